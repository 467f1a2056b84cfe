"""The interposer: what `perdure-agent install` puts on a host, by itself (`pack.py`), and any python3 from 3.8 runs there."""

from __future__ import annotations
