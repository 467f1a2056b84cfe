"""The supervisor's loop: wait, look, act on what is due, write down how it ended."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import time
from typing import Any

from agent.supervisor import confinement, files, mask, output, pause, processes, program, tree, verdict

TICK = 0.1
"""Seconds between looks while the tree is being ended."""
LONGEST = 30.0
"""Most seconds between two looks at anything."""
UNWRITTEN_TICK = 1.0
"""Seconds between tries to write down a result for which the disk has no room."""
MEMORY_TICK = 0.5
"""Seconds between looks at resident memory where no control group enforces it."""
LEFTOVER_GRACE = 5.0
"""Most seconds that processes which outlive the program get between SIGTERM and SIGKILL."""
CHUNK = 1 << 16
BURST = 64
"""Chunks of output taken in one turn, so that a chatty program does not starve everything else."""


class Supervisor:
    """Stands by the one attempt whose folder it is given."""

    def __init__(self, folder: str) -> None:
        """Nothing is touched before `run`."""
        self._folder = folder
        self._child = False
        self._started: dict[str, Any] = {}
        self._ending: dict[str, Any] | None = None
        self._kill_at: float | None = None
        self._result: dict[str, Any] | None = None
        self._unwritten = False
        self._finished = False
        self._shutdown = False
        self._memory_at = 0.0
        self._commands = b""

    def run(self) -> int:
        """Start or adopt the program and stay until its end is recorded.

        Returns 0: recorded; 3: another supervisor is there; 4: nothing was started and nothing will be.
        """
        os.chdir("/")  # no folder is kept busy
        lock = os.open(os.path.join(self._folder, files.LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return 3
        self._result = files.read(self._folder, files.RESULT)
        if self._result is not None and self._result["gone"]:
            return 0
        try:
            self._launch = program.launch(files.read(self._folder, files.LAUNCH) or {})
        except KeyError:
            print(f"{os.path.join(self._folder, files.LAUNCH)} cannot be read", file=sys.stderr, flush=True)
            return 4
        self._groups = confinement.Confinement(self._launch.groups)
        self._tree = tree.Tree(self._groups, self._launch)
        self._pause = pause.Pause(self._tree)
        self._timeout = self._launch.timeout
        self._grace = self._launch.grace
        again = bool(output.segments(self._launch.logs))  # the first thing that a supervisor makes
        self._listen()
        secrets = _secrets()
        self._mask = mask.Mask((secrets or {}).values())
        started = files.read(self._folder, files.STARTED)
        noted = files.there(self._folder, files.STARTED)
        if started is None and (noted or again):
            started = self._found()
        if started is not None:
            self._adopt(started, secrets or {})
        elif noted:
            self._conclude(verdict.unknown("the record of its start cannot be read, and nothing of it runs"))
        elif not self._begin(secrets):
            return 4
        while not self._finished:
            self._wait()
            self._look()
        return 0

    def _listen(self) -> None:
        program.prctl(program.PR_SET_CHILD_SUBREAPER, 1)
        self._log = output.Output(self._launch.logs, self._launch.segment, self._launch.keep)
        # Opened for both directions, so that there is always a writer and the end of one never reads as the end of all.
        self._pipe = os.open(os.path.join(self._folder, files.OUTPUT), os.O_RDWR | os.O_NONBLOCK)
        self._control = os.open(os.path.join(self._folder, files.CONTROL), os.O_RDWR | os.O_NONBLOCK)
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._shut_down)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._poll = select.poll()
        for descriptor in (self._pipe, self._control, self._woken):
            self._poll.register(descriptor, select.POLLIN)

    def _shut_down(self, *_: object) -> None:
        self._shutdown = True

    def _begin(self, secrets: dict[str, str] | None) -> bool:
        if secrets is None:
            return False
        self._child = True
        stdout = os.open(os.path.join(self._folder, files.OUTPUT), os.O_RDWR)
        held = program.hold(self._launch, secrets, stdout)
        os.close(stdout)
        main = processes.look(held.pid)
        if main is None:
            return False
        self._tree.bear(main)
        self._started = {
            "pid": main.pid,
            "start": main.start,
            "boot": processes.boot(),
            "at": time.time(),
            "monotonic": time.monotonic(),
        }
        files.write(self._folder, files.STARTED, self._started)
        try:
            self._groups.enter(main.pid)
        except OSError as error:
            os.close(held.gate)
            self._conclude(verdict.not_started(f"its control group refuses it: {error.strerror}", fatal=False))
            return True
        if problem := held.release():
            self._conclude(verdict.not_started(problem, fatal=True))
        return True

    def _found(self) -> dict[str, Any] | None:
        """Note a program that runs without a record of its start that can be read; None where nothing of it runs."""
        main = self._tree.find()
        if main is None:
            return None
        age = processes.age(main)
        started = {
            "pid": main.pid,
            "start": main.start,
            "boot": processes.boot(),
            "at": time.time() - age,
            "monotonic": time.monotonic() - age,
        }
        with contextlib.suppress(OSError):  # it is found again by the next one
            files.write(self._folder, files.STARTED, started)
        return started

    def _adopt(self, started: dict[str, Any], secrets: dict[str, str]) -> None:
        """Take over from a supervisor that was killed. What its program was given for `secrets` may be others by now."""
        self._started = started
        self._ending = files.read(self._folder, files.ENDING)
        if self._ending is not None:
            self._kill_at = time.monotonic() + self._grace
        alive = self._tree.adopt(started)
        self._mask = mask.Mask([*secrets.values(), *self._tree.given(secrets)])
        if self._result is not None:
            self._kill_at = self._kill_at or time.monotonic() + min(self._grace, LEFTOVER_GRACE)
        elif alive:
            if hasattr(os, "pidfd_open"):
                with contextlib.suppress(OSError):
                    self._poll.register(os.pidfd_open(started["pid"]), select.POLLIN)
            if self._ending is not None:
                self._tree.signal(signal.SIGTERM)
            self._tree.signal(signal.SIGCONT)  # the one before may have died while it held it still
        elif started["boot"] != processes.boot():
            self._conclude(verdict.unknown("the machine was restarted while it ran"))
        else:
            self._conclude(self._verdict(None))

    def _wait(self) -> None:
        for descriptor, _ in self._poll.poll(self._patience() * 1000):
            if descriptor == self._pipe:
                self._drain(BURST)
            elif descriptor == self._control:
                self._obey(os.read(self._control, CHUNK))
            elif descriptor == self._woken:
                os.read(self._woken, CHUNK)
            else:
                self._poll.unregister(descriptor)  # the adopted process has ended: `_look` finds it gone

    def _patience(self) -> float:
        if self._unwritten:
            return UNWRITTEN_TICK
        if self._kill_at is not None:
            return TICK
        times = [LONGEST]
        if not self._child and not hasattr(os, "pidfd_open"):
            times.append(TICK)
        if self._watches_memory():
            times.append(MEMORY_TICK)
        if (held := self._pause.left()) is not None:
            times.append(held)
        if self._timeout is not None:
            times.append(self._started["monotonic"] + self._timeout - time.monotonic())
        return max(0.0, min(times))

    def _look(self) -> None:
        now = time.monotonic()
        status = self._reap()
        self._pause.look()
        if self._result is not None:
            self._settle()
        elif status is not None or (not self._child and self._tree.over()):
            self._conclude(self._verdict(status))
        elif self._shutdown:
            self._end("stop", self._grace, "the machine shuts down")
        elif not os.path.exists(self._folder):
            # Nobody can find, stop or acknowledge it any more, and another attempt will take its place.
            self._end("stop", self._grace, "the agent's data was removed")
        elif self._timeout is not None and now >= self._started["monotonic"] + self._timeout:
            self._end("timeout", self._grace, f"it ran longer than {self._timeout:g} s")
        elif self._watches_memory() and now >= self._memory_at:
            self._memory_at = now + MEMORY_TICK
            limit = self._launch.memory or 0
            if (used := self._tree.memory(limit)) > limit:
                self._end("memory", 0.0, f"its processes held {used} bytes of memory, {limit} are allowed")
        if self._kill_at is not None and now >= self._kill_at and not self._finished:
            self._groups.seal()
            self._tree.signal(signal.SIGKILL)

    def _reap(self) -> int | None:
        """Collect whatever has ended below us; return the program's own wait status when it is among them."""
        found = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if pid == 0:
                return found
            if self._child and pid == self._started["pid"]:
                found = status

    def _obey(self, data: bytes) -> None:
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            try:
                command = json.loads(line)
            except ValueError:
                continue
            if "stop" in command:
                self._end("stop", float(command["stop"]), str(command.get("why", "")))
            if "hold" in command and self._ending is None and self._result is None:
                self._pause.begin(float(command["hold"]))
            if "release" in command:
                self._pause.end()
            if "timeout" in command:
                self._timeout = command["timeout"]
            number = getattr(signal, str(command.get("signal", "")), None)
            if isinstance(number, signal.Signals) and self._tree.main is not None and self._result is None:
                processes.send(self._tree.main, number)

    def _end(self, why: str, grace: float, detail: str) -> None:
        """End the tree: found alive, then written down, then signalled. What is recorded as stopped had not finished before."""
        kill_at = time.monotonic() + grace
        if self._ending is not None or self._result is not None:
            if self._kill_at is not None:
                self._kill_at = min(self._kill_at, kill_at)
            return
        if not self._tree.freeze():
            return
        self._ending = {"why": why, "detail": detail, "at": time.time()}
        with contextlib.suppress(OSError):  # a full disk must not keep a program from being stopped
            files.write(self._folder, files.ENDING, self._ending)
        self._tree.signal(signal.SIGTERM)
        self._pause.end()
        self._tree.signal(signal.SIGCONT)
        self._kill_at = kill_at

    def _watches_memory(self) -> bool:
        return self._launch.memory is not None and not self._groups.memory and self._result is None

    def _verdict(self, status: int | None) -> dict[str, Any]:
        return verdict.decide(
            status,
            self._ending,
            killed_for_memory=self._groups.killed_for_memory(),
            grouped=self._groups.memory,
        )

    def _conclude(self, result: dict[str, Any]) -> None:
        """The program's own end is known. It is on the disk before anything else is done."""
        self._result = result
        if self._kill_at is None:
            self._kill_at = time.monotonic() + min(self._grace, LEFTOVER_GRACE)
        if self._tree.members(thorough=True):
            self._write_result()
            self._tree.signal(signal.SIGTERM)
            self._tree.signal(signal.SIGCONT)
        self._settle()

    def _settle(self) -> None:
        """Once nobody of the tree is left: keep the last output, then say so."""
        assert self._result is not None
        if self._tree.members(thorough=True):
            if self._unwritten:
                self._write_result()
            return
        self._drain(None)
        self._log.append(self._mask.rest())
        self._result["gone"] = True
        self._write_result()
        if not self._unwritten:
            self._groups.remove()
            self._finished = True

    def _write_result(self) -> None:
        assert self._result is not None
        try:
            files.write(self._folder, files.RESULT, self._result)
            self._unwritten = False
        except OSError as error:
            if not self._unwritten:
                with contextlib.suppress(OSError):  # the disk that is full is the one that our own words go to
                    os.write(2, f"the result cannot be written yet: {error}\n".encode())
            self._unwritten = os.path.exists(self._folder)  # without it there is nobody to tell

    def _drain(self, limit: int | None) -> None:
        """Take output that has come: `limit` chunks, or all there is."""
        taken = 0
        while limit is None or taken < limit:
            try:
                data = os.read(self._pipe, CHUNK)
            except BlockingIOError:
                return
            self._log.append(self._mask.feed(data))
            taken += 1


def _secrets() -> dict[str, str] | None:
    """Read the secrets from stdin; None when the agent died before it had said everything."""
    with os.fdopen(0, "rb", closefd=False) as pipe:
        data = pipe.read()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return {str(name): str(text) for name, text in value.items()}
