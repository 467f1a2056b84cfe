"""Ways to capture an attempt's state and to put it back."""

from __future__ import annotations
