"""How an end is told: rules in order, the first that applies wins."""

from __future__ import annotations

import os
import signal
import time
from typing import Any


def decide(status: int | None, ending: dict[str, Any] | None, *, killed_for_memory: int, grouped: bool) -> dict[str, Any]:
    """Return the result for a wait status (None: nobody could wait for it).

    `ending` says why we had begun to end it, `killed_for_memory` how many of its processes the kernel ended for memory,
    `grouped` whether its memory is limited by a control group.
    """
    why = ending["why"] if ending else ""
    exit_code = None if status is None else os.waitstatus_to_exitcode(status)
    code = exit_code if exit_code is not None and exit_code >= 0 else None
    number = -exit_code if exit_code is not None and exit_code < 0 else None
    stopped = why == "stop"
    said = str(ending["detail"]) if ending else ""
    if why in ("timeout", "memory"):
        return _result("timeout" if why == "timeout" else "out-of-memory", code, number, said)
    if status is None:
        return _result("unknown", None, None, said or "its supervisor was killed, and nobody saw how it ended", stopped)
    if killed_for_memory and exit_code != 0 and not stopped:
        return _result("out-of-memory", code, number, f"the kernel ended {killed_for_memory} of its processes for memory")
    if number is not None:
        cause = "" if stopped else _cause(number, grouped)
        return _result("signaled", None, number, said or cause, stopped)
    return _result("exited", code, None, said, stopped)


def not_started(detail: str, *, fatal: bool) -> dict[str, Any]:
    """Return the result of a program that never ran."""
    return {**_result("not-started", None, None, detail), "fatal": fatal}


def unknown(detail: str) -> dict[str, Any]:
    """Return the result of a program that is gone without a record."""
    return _result("unknown", None, None, detail)


def _cause(number: int, grouped: bool) -> str:
    if number != signal.SIGKILL:
        return ""
    if grouped:
        return "signal 9, not for memory: someone else sent it"
    return "signal 9, cause unknown"


def _result(kind: str, code: int | None, number: int | None, detail: str, stopped: bool = False) -> dict[str, Any]:
    return {
        "kind": kind,
        "code": code,
        "signal": number,
        "detail": detail,
        "stopped": stopped,
        "fatal": False,
        "at": time.time(),
        "gone": False,
    }
