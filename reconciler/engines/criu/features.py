"""What a processor offers, from CRIU's `cpuinfo.img`: what a checkpoint keeps, and what hosts tell.

Message: CRIU `images/cpuinfo.proto` (cpuinfo_entry.x86_entry = 1). Elsewhere than on x86 the architecture alone is told, and
CRIU compares the rest when it restores.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from reconciler import errors
from reconciler.core import processor
from reconciler.engines.criu import messages, program

IMAGE = "cpuinfo.img"

_X86, _WORDS, _STATE, _FRAME, _LARGEST = 1, 6, 8, 9, 10


def here(criu: str, folder: Path) -> str:
    """Return the line of this machine's processor (`core.processor`); empty where CRIU does not tell. Writes below `folder`."""
    try:
        with tempfile.TemporaryDirectory(prefix="cpuinfo-", dir=folder) as images:
            path = Path(images) / IMAGE
            if not program.cpuinfo(criu, Path(images), "dump") or not path.exists():
                return ""
            return decode(path.read_bytes())
    except (errors.Damaged, errors.Unavailable, OSError):
        return ""


def decode(content: bytes) -> str:
    """Return the line of the processor that an image tells of. Raises `errors.Damaged`."""
    entries = messages.messages(content, messages.COMMON_MAGIC, messages.CPUINFO_MAGIC, IMAGE)
    first = next(entries, None)
    if first is None:
        raise errors.Damaged("the CRIU image is empty", where=IMAGE)
    found = messages.nested(messages.decode(first, IMAGE), _X86)
    if found is None:
        return os.uname().machine
    fields = messages.decode(found, IMAGE)
    state, frame, largest = (messages.number(fields, each, -1) for each in (_STATE, _FRAME, _LARGEST))
    return processor.x86(messages.numbers(fields, _WORDS), *(None if each < 0 else each for each in (state, frame, largest)))
