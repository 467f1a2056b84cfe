"""The seccomp filters of an image, taken apart so that the interposer can put the manifest's in place of the engine's.

Source: CRIU `images/seccomp.proto` (seccomp_entry: seccomp_filters = 1; seccomp_filter: filter = 1, prev = 2, flags = 3) and
`criu/seccomp.c`: a thread names its newest filter, each filter the one before it, and the oldest none. What comes out is
written down in `agent/runtime/perdure_runc.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler import errors
from reconciler.engines.criu import messages

IMAGE = "seccomp.img"
FILTERED = 2
"""The seccomp mode of a thread with filters (prctl(2))."""

_FILTERS = 1
_INSTRUCTIONS, _PREV, _FLAGS = 1, 2, 3


def collect(content: bytes, tasks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the filters of an image, whose threads are `tasks` of `credentials.collect`; `content` is empty where it has none.

    Raises `errors.Damaged` when it cannot be read, a filter is not behind the one that it names, or a thread lacks its own.
    """
    found = list(messages.messages(content, messages.COMMON_MAGIC, messages.SECCOMP_MAGIC, IMAGE)) if content else []
    if len(found) > 1:
        raise errors.Damaged("the image of filters holds more than one message", where=IMAGE)
    entries = messages.decode(found[0], IMAGE).get(_FILTERS, []) if found else []
    filters = [_filter(entry, number) for number, entry in enumerate(entries)]
    for task in tasks:
        if task["seccomp"] == FILTERED and not 0 <= task["filter"] < len(filters):
            raise errors.Damaged(f"process {task['pid']} has a seccomp filter that the image lacks", where=IMAGE)
    return {"v": 1, "filters": filters}


def _filter(entry: messages.Value, number: int) -> dict[str, Any]:
    fields = messages.decode(entry if isinstance(entry, bytes) else b"", IMAGE)
    instructions = messages.nested(fields, _INSTRUCTIONS)
    prev = messages.number(fields, _PREV) if _PREV in fields else None
    if instructions is None or not (prev is None or 0 <= prev < number):
        raise errors.Damaged("a seccomp filter has no instructions, or names one that is not before it", where=IMAGE)
    return {
        "filter": base64.b64encode(instructions).decode(),
        "prev": prev,
        "flags": messages.number(fields, _FLAGS),
    }
