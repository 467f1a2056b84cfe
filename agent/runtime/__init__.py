"""The interposer: files that `perdure-agent install` copies to a host. Nothing here is imported by what runs from the venv."""

from __future__ import annotations
