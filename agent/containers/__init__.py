"""Attempts that are containers of this host's engine: made, looked at, checkpointed, restored and ended here."""

from __future__ import annotations
