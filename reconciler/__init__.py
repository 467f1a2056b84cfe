"""Perdure's reconciler: it reads the jobs declared in Git, compares them with what hosts run, and acts on the difference."""

from __future__ import annotations

__version__ = "0.1.0"
