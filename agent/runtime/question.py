"""Asking the agent (`agent/verdicts.py`, which has the words)."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from typing import Any

from agent.runtime.call import Call, Config

NOTE_SECONDS = 2.0
"""What is waited for an agent that only listens."""
PATIENT = ("kill", "pause", "resume")
"""Before which the agent may have a checkpoint to take, or to end."""


def ask(machine: Config, call: Call, attempt: str, seconds: float, **more: Any) -> Config:
    """Return the agent's answer. Raises OSError when none comes within so many seconds.

    For `PATIENT` questions they count from its last sign of life: an agent that checkpoints gives one every second.
    """
    question = {"v": 1, "verb": call.command, "container": call.container, "namespace": call.namespace, "attempt": attempt}
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.settimeout(seconds)
        agent.connect(machine["socket"])
        _, uid, _ = struct.unpack("3i", agent.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.geteuid()):
            raise PermissionError(f"user {uid} listens at {machine['socket']}, not root")
        agent.sendall(json.dumps({**question, **more}).encode() + b"\n")
        heard = b""
        while not heard.endswith(b"\n"):
            agent.settimeout(seconds if call.command in PATIENT else max(0.001, end - time.monotonic()))
            piece = agent.recv(1 << 16)
            if not piece:
                raise ConnectionError("the agent hung up")
            heard = (heard + piece).lstrip(b"\n")
    try:
        answer = json.loads(heard)
    except ValueError as error:
        raise ConnectionError("the agent's answer is not JSON") from error
    return answer if isinstance(answer, dict) else {}
