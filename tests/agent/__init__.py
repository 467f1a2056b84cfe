"""Tests of the agent, on real processes."""

from __future__ import annotations
