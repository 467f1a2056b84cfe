"""One dump under way: from criu's start until it has ended, with the one word from us that decides how.

    criu ─ pages ─→ socketpair ─→ a taker          criu ─ post-dump ─→ hook.py ─→ socket ─→ `standstill`, `release`

Whatever goes wrong on our side closes both: criu then undoes what it did and the program goes on.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from reconciler import errors
from reconciler.engines.criu import hook, leftovers, logtext, messages, program, receiver
from reconciler.engines.criu.program import Order
from reconciler.engines.criu.receiver import Taker

_BEAT = 0.1
"""Seconds between two looks at whether the dump should be given up."""

_SEIZING = 20.0
"""Seconds after which processes are not only slow to stand still: CRIU, whose own limit is shorter, hangs in the kernel."""

_ENDED = 2.0
"""Seconds that CRIU has to notice that the program was killed. It may wait for it without end, and has nothing to undo."""

_DUMP, _FROZEN_TIME = 1, 2
"""Fields of CRIU's `images/stats.proto`."""


class Passing(errors.Unavailable):
    """What stands in the way will be over in a moment: the program was let go and may be asked again."""


class Freeze:
    """A context: leaving it, however, leaves no dump under way and a program that was not ended unharmed."""

    def __init__(self, criu: str, order: Order, trace: leftovers.Trace, given_up: Callable[[], str]) -> None:
        """Start to dump. `given_up` says why to stop, or nothing; it is asked all the time. Raises OSError."""
        self._order = order
        self._given_up = given_up
        self._reason = ""
        self._pages, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._asking: socket.socket | None = None
        self._stands = False
        """Pages have come: every process stands, and CRIU has let go of the control group."""
        self._thawed = self._held = False
        """We had to let go of the group, and it was certainly somebody else who held it."""
        self._released = False
        """CRIU was told that the checkpoint counts: it ends the program itself, if that is to end."""
        self._ended_at: float | None = None
        """When the program was first seen to have ended before that."""
        self._over = threading.Event()
        self.began = time.monotonic()
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self._pages.close)
            undo.callback(self._listener.close)
            self._listen()
            self._process = program.start(criu, order, theirs)
            undo.pop_all()
        self.trace = leftovers.running(order.folder, trace, self._process.pid)
        self._watch = threading.Thread(target=self._look, name="criu-watch", daemon=True)
        self._watch.start()

    def pages(self, version: tuple[int, ...], taker: Taker, settled: Callable[[], None]) -> None:
        """Take all pages. Raises `errors.Unavailable` with what CRIU says when it gives up before, and what `taker` raises."""
        with self._explained():
            receiver.await_first(self._pages)
            self._stands = True
            receiver.receive(self._pages, version, taker, settled)

    def standstill(self) -> None:
        """Return when every image is written and the program stands. Raises `errors.Unavailable` when CRIU gives up before."""
        with self._explained():
            ended = os.pidfd_open(self._process.pid)
            try:
                waits = select.poll()  # not select(2): an agent of many containers has more descriptors than that can name
                for descriptor in (self._listener.fileno(), ended):
                    waits.register(descriptor, select.POLLIN)
                if self._listener.fileno() not in dict(waits.poll()):
                    raise receiver.Gone
                self._asking, _ = self._listener.accept()
            except OSError as error:  # it was closed because the dump is given up
                raise receiver.Gone from error
            finally:
                os.close(ended)

    def release(self) -> None:
        """Tell CRIU that the checkpoint counts, and wait for its end. Raises `errors.Unavailable` when it does not take it."""
        with self._explained():
            asking = self._asking
            if asking is None:
                raise receiver.Gone
            self._released = True
            try:
                asking.sendall(hook.YES)
                if self._process.wait(leftovers.PATIENCE) != 0:
                    raise receiver.Gone
            except (OSError, subprocess.TimeoutExpired) as error:
                raise receiver.Gone from error

    def standing(self) -> float:
        """Return for how many seconds the program has stood still at most."""
        return time.monotonic() - self.began

    def frozen(self) -> float:
        """Return for how many seconds the program stood still, as CRIU measured it; else as we saw it."""
        path = self._order.folder / program.WORK / program.STATS
        with contextlib.suppress(OSError, errors.Damaged):
            content = path.read_bytes()
            for one in messages.messages(content, messages.SERVICE_MAGIC, messages.STATS_MAGIC, path.name):
                dump = messages.nested(messages.decode(one, path.name), _DUMP)
                if dump is not None:
                    return messages.number(messages.decode(dump, path.name), _FROZEN_TIME) / 1e6
        return time.monotonic() - self.began

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except receiver.Gone as error:
            self._close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(leftovers.PATIENCE)
            log = self._order.folder / program.WORK / program.LOG
            why = f"the program could not be captured: {self._reason or logtext.explain(log) or error.message}"
            if not self._reason and logtext.is_passing(log):
                raise Passing(why) from error
            raise errors.Unavailable(why) from error

    def _listen(self) -> None:
        folder = os.open(self._order.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:  # a socket's whole path may have 107 bytes only
            self._listener.bind(f"/proc/self/fd/{folder}/{program.HOOK_SOCKET}")
            self._listener.listen(1)
        finally:
            os.close(folder)

    def _look(self) -> None:
        while not self._over.wait(_BEAT):
            self._reason = self._given_up()
            slow = not self._stands and self.standing() > _SEIZING
            if (slow or self._stands) and not self.trace.paused and leftovers.frozen(self._order.freezer):
                # Somebody else has frozen what CRIU has to move, or it hangs in the kernel with what it has frozen itself. It
                # must not be killed: its code may be in the program.
                leftovers.thaw(self._order.freezer)
                self._thawed, self._held = True, self._stands
            elif not self._reason and slow and self._thawed and self.standing() > 2 * _SEIZING:
                self._reason = "the processes did not stand still in time"
            if not self._reason and self._is_left():
                self._reason = "the container was ended meanwhile"
                self._process.kill()
            if self._reason:
                self._close()
                return

    def _is_left(self) -> bool:
        """Whether the program was ended by somebody else, and CRIU goes on waiting for it."""
        if self._released or self.trace.lives:
            return False
        self._ended_at = self._ended_at or time.monotonic()
        return time.monotonic() > self._ended_at + _ENDED

    def _close(self) -> None:
        """Let CRIU know. What is blocked in a read elsewhere wakes up."""
        for one in (self._pages, self._asking):
            if one is not None:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.close()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._watch.join()
        self._close()
        self._pages.close()
        self._listener.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(leftovers.PATIENCE)
        if self._process.returncode != 0:
            leftovers.calm(self.trace)
            self._process.wait()
        if self._held and self.trace.lives:
            leftovers.freeze(self.trace.freezer)
