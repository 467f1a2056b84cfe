"""What a program that means harm leaves where others have to read or remove it."""

from __future__ import annotations

import os
from pathlib import Path

DEEP = 3000
"""Folders in one another: more than Python's stack holds, and more than a path may name."""


def deepen(folder: Path, levels: int) -> None:
    """Make so many folders in one another, with a file in each."""
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=here))
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
