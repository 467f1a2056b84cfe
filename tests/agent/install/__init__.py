"""Tests of what `perdure-agent install` does to a machine."""

from __future__ import annotations
