"""The interposer on a machine: put in place for its engines, upgraded, taken away; and what such a machine must have."""

from __future__ import annotations
