"""Tests of the engines."""

from __future__ import annotations
