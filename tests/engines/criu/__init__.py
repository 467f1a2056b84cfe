"""Tests of the CRIU engine that need no CRIU."""

from __future__ import annotations
