"""Output of a container that its engine removes before anybody could ask for the last of it.

Who ends a container that is not his may also remove it: a Swarm does, as soon as it has ended. What it printed last (and the
beginning of a line, which an engine writes down at the end only) is then in a file without a name. The files of `json-file`,
in which our containers keep their output, are therefore held open from the moment in which somebody asks for the end.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from agent.containers import dockerd, seam


class Unread:
    """`seam.Docker.output` of one container, whether it is still there or not. `close` lets go of its files."""

    def __init__(self, root: str, container: str) -> None:
        """Hold what the engine, whose data is in `root`, has written and will write of it. Raises OSError."""
        newest = Path(root, "containers", container, f"{container}-json.log")
        before, earlier = (newest.with_name(f"{newest.name}.{number}") for number in (1, 2))
        with contextlib.ExitStack() as undo:
            self._files = [undo.enter_context(each.open("rb")) for each in (before, newest) if each is newest or each.exists()]
            self._all = not earlier.exists()
            """Whether it has written nothing before these."""
            self.close = undo.pop_all().close

    def output(self, container: str, since: int) -> Iterator[seam.Line]:
        """Yield its output from `since` on; nothing where some of that is older than what is held: it could not be counted."""
        del container
        for file in self._files:
            file.seek(0)
            for text in file:
                piece = _piece(text)
                if piece is None:
                    continue
                if not self._all and piece.at > since:
                    return
                self._all = True
                if piece.at >= since:
                    yield piece


def _piece(text: bytes) -> seam.Line | None:
    """Return what a line of the file says; None for one that is damaged, which the engine leaves out as well."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        value = json.loads(text)
        return seam.Line(at=dockerd.nanoseconds(value["time"]), data=value["log"].encode(errors="replace"))
    return None
