"""Perdure's agent: on one host, it runs the attempts assigned to it and takes and restores their checkpoints."""

from __future__ import annotations
