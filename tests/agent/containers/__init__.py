"""Tests of containers: on a fake engine, and what every engine promises."""

from __future__ import annotations
