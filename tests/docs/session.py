"""A shell that is given the code blocks of a page one after the other, as a reader would type them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests import conditions
from tests.docs import pages


class Session:
    """One bash. `perform` runs a block that says so and checks what was printed; whatever is left is ended by `close`."""

    def __init__(self, folder: Path, start: Path, environment: Mapping[str, str], substitutes: Mapping[str, str]) -> None:
        """Keep scripts and output in `folder`, begin in `start`. `substitutes` are texts that a test must not share."""
        self._folder = folder
        self._substitutes = substitutes
        self._count = 0
        self._printed = folder / "printed"
        with self._printed.open("wb") as out:
            self._shell = subprocess.Popen(
                [str(shutil.which("bash")), "--norc", "--noprofile"],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                cwd=start,
                env=dict(environment),
                start_new_session=True,
            )

    def perform(self, block: pages.Block, expected: pages.Block | None, timeout: float = 120.0) -> None:
        """Run a block; fail with everything it printed when its exit code or its output is not what the page says."""
        before = self._printed.stat().st_size
        self._count += 1
        script = self._folder / f"block-{self._count}.sh"
        wanted = int(block.options.get("exit", "0"))
        script.write_text(("set -e\n" if wanted == 0 else "") + self._own(block.text))
        mark = f"=== block {self._count} ended with "
        assert self._shell.stdin is not None
        self._shell.stdin.write(f". {script} </dev/null; printf '\\n%s%d\\n' '{mark}' $?; set +e\n".encode())
        self._shell.stdin.flush()

        def printed() -> str:
            return self._printed.read_bytes()[before:].decode(errors="replace")

        def ended() -> bool:
            return mark in printed() or self._shell.poll() is not None

        conditions.eventually(ended, timeout=timeout, message=lambda: f"{block.where} goes on\n{printed()}")
        text, found, code = printed().partition(mark)
        assert found, f"{block.where} failed:\n{text}"
        assert int(code.split()[0]) == wanted, f"{block.where} ended with {code.split()[0]}, not {wanted}:\n{text}"
        if expected is not None:
            missing = unmatched(self._own(expected.text), text)
            assert not missing, f"{expected.where} says {missing!r}, which does not follow in:\n{text}"

    def write(self, block: pages.Block, below: Path) -> None:
        """Write the file that a block is."""
        path = below / block.options["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._own(block.text))

    def close(self) -> None:
        """End the shell and every process that was started below the session's folder."""
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()

    def _own(self, text: str) -> str:
        for shared, own in self._substitutes.items():
            text = text.replace(shared, own)
        return text


def unmatched(expected: str, printed: str) -> str:
    """Return the first line of `expected` that does not follow in `printed`, where "…" stands for anything; "": none.

    Lines that were printed in between do not matter, and neither does how wide columns are.
    """
    lines = iter([_plain(line) for line in printed.splitlines()])
    for wanted in filter(None, map(_plain, expected.splitlines())):
        pattern = re.compile(re.escape(wanted).replace(r"\ …\ ", " (?:.* )?").replace("…", ".*"))
        if not any(pattern.fullmatch(line) for line in lines):
            return wanted
    return ""


def _plain(line: str) -> str:
    return re.sub(r"\s+", " ", line).strip()
