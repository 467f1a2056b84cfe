"""Save and continue: what a program needs to survive the loss of its machine. Standard library only; copy it if you like.

    import perdure_job as perdure

    start = 0
    if perdure.restore_dir():
        start = load(perdure.restore_dir() / "state")
    for step in range(start, 1000):
        work(step)
        perdure.progress(step + 1, of=1000)
        if perdure.requested() or step % 100 == 99:
            with perdure.checkpoint(step + 1) as folder:
                save(folder / "state")

Outside Perdure nothing is requested or restored, and what is saved is thrown away: the program runs as it always did.

The contract itself is files, so any language will do. In shell:

    step=0
    [ -n "$PERDURE_RESTORE_DIR" ] && step=$(cat "$PERDURE_RESTORE_DIR/step")
    while [ "$step" -lt 1000 ]; do
        work "$step"; step=$((step + 1))
        echo "{\\"step\\": $step, \\"of\\": 1000}" >> "$PERDURE_PROGRESS_FILE"
        if [ -e "$PERDURE_REQUEST_FILE" ] && [ ! -e "$PERDURE_CHECKPOINT_DIR/COMPLETE" ]; then
            echo "$step" > "$PERDURE_CHECKPOINT_DIR/step"
            touch "$PERDURE_CHECKPOINT_DIR/COMPLETE"
        fi
    done

The rules: COMPLETE comes last and says that everything beside it is whole. While COMPLETE exists, write nothing into the
folder: the agent is about to move all of it away. The request file disappears when it was answered or given up.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

COMPLETE = "COMPLETE"


class Request(NamedTuple):
    """A checkpoint that is wanted now."""

    id: str
    reason: str
    deadline: float
    """POSIX time in seconds by which it must be complete."""


_answered: set[Request] = set()
"""The request that was answered last; its file stays until the agent has seen the answer. With another deadline it is
new: what was saved for it could not be stored, or the agent was killed meanwhile."""


def restore_dir() -> Path | None:
    """Return the folder with the files of the checkpoint to continue from; None: begin at the beginning."""
    name = os.environ.get("PERDURE_RESTORE_DIR")
    return Path(name) if name else None


def requested() -> Request | None:
    """Return the checkpoint that is wanted and not yet answered, None when none is. Cheap enough to be asked at each step."""
    name = os.environ.get("PERDURE_REQUEST_FILE")
    if not name:
        return None
    try:
        value = json.loads(Path(name).read_text(encoding="utf-8"))
        request = Request(str(value["id"]), str(value["reason"]), float(value["deadline"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if request in _answered else request


@contextlib.contextmanager
def checkpoint(step: int | None = None, patience: float = 600.0) -> Iterator[Path]:
    """Yield an empty folder to write the state into; leaving the block without an exception makes it a checkpoint.

    `step` is kept with it. Waits while the one before is still being moved away, which takes a moment; raises TimeoutError when
    that takes longer than `patience` seconds, for then nobody takes checkpoints.
    """
    name = os.environ.get("PERDURE_CHECKPOINT_DIR")
    if not name:
        with tempfile.TemporaryDirectory() as thrown_away:
            yield Path(thrown_away)
        return
    folder = Path(name)
    _wait_until_taken(folder, patience)
    for left in folder.iterdir():  # by a block that raised
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
    request = requested()
    yield folder
    partial = folder / f".{COMPLETE}"
    partial.write_text(json.dumps({} if step is None else {"step": step}), encoding="utf-8")
    os.replace(partial, folder / COMPLETE)
    if request is not None:
        _answered.clear()
        _answered.add(request)


def progress(step: int, of: int | None = None) -> None:
    """Say how far the work has come: `step` of `of`. This is where "steps lost" in the reports comes from.

    A full disk is no reason to end the work: what could not be said is left out.
    """
    name = os.environ.get("PERDURE_PROGRESS_FILE")
    if name:
        with contextlib.suppress(OSError), open(name, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} if of is None else {"step": step, "of": of}) + "\n")


def _wait_until_taken(folder: Path, patience: float) -> None:
    end = time.monotonic() + patience
    while (folder / COMPLETE).exists():
        if time.monotonic() >= end:
            raise TimeoutError(f"nobody has taken the checkpoint in {folder} for {patience:g} s")
        time.sleep(0.02)
