"""The containers' part of an agent, put together: while it is open the interposer is answered and the engine is looked at."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from agent import checkpointing, journal, setup, verdicts
from agent.containers import archived, controller, dockerd, judge, room, seam
from agent.install import hostfile, machine
from reconciler import errors
from reconciler.contracts import clock as clocks
from reconciler.core import model
from reconciler.engines.criu import engine as criu_engine
from reconciler.engines.criu import program

_log = logging.getLogger("perdure.agent")

SOCKET = "/var/run/docker.sock"
CRIU = "criu"
"""Found in PATH where `perdure-agent install` has not named one."""
NONE = "none"
"""What a person writes for a host that is to run no containers."""


def socket(wanted: str) -> str:
    """Return the engine's socket; empty for a host without containers. Where nothing is said: dockerd's, if it is there."""
    if wanted == NONE:
        return ""
    return wanted or (SOCKET if os.path.exists(SOCKET) else "")


def engine(folder: Path, clock: clocks.Clock) -> criu_engine.CriuEngine:
    """Return the engine that checkpoints containers; its dumps lie below `folder`."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return criu_engine.CriuEngine(clock, folder, criu=_criu)


def _criu() -> str:
    """Return the criu of this host now: an upgrade beside a running agent takes the one of before away."""
    known = told()
    return known.criu if known else CRIU


def told() -> hostfile.HostFile | None:
    """Return what `perdure-agent install` wrote down; None where it has not run, or nobody may follow it."""
    try:
        return hostfile.load(machine.System())
    except errors.PerdureError:
        return None


class Ability:
    """Whether criu works on this machine, and with which processor: looked at aside, once; a look that failed is repeated now
    and then."""

    def __init__(self, criu: str, clock: clocks.Clock, needs: Callable[[], str]) -> None:
        """`needs` asks criu what the processor offers."""
        self._criu = criu
        self._clock = clock
        self._needs = needs
        self.processor = ""
        """What the processor offers; empty: not known (yet)."""
        self._said = "criu is being looked at"
        self.unanswered = ""
        """Why the interposer is not answered; empty while it is."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="ability", daemon=True)

    def trouble(self) -> str:
        """Return why containers cannot be checkpointed on this machine; empty when they can."""
        return self.unanswered or self._said

    def begin(self) -> None:
        """Look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._end.set()

    def _look(self) -> None:
        while not self._end.is_set():
            try:
                if os.geteuid() != 0:
                    raise errors.Refused("checkpoints of containers need root. Run the agent as root")
                program.version(self._criu)
                program.check(self._criu)
                self.processor = self._needs()
                self._said = ""
                return
            except errors.PerdureError as error:
                self._said = error.line
            self._clock.wait(60.0, self._end)


@contextlib.contextmanager
def opened(
    about: setup.Setup, book: journal.Journal, docker: seam.Docker, known: hostfile.HostFile | None
) -> Iterator[controller.ContainerController]:
    """Yield the controller of this host's containers, after what a crash left was swept and before anything new is begun."""
    made = about.engines.get(model.EngineName.CRIU)
    ability = Ability(known.criu if known else CRIU, about.clock, made.needs if made is not None else str)
    control = controller.ContainerController(
        about, docker, checkpointing.Stores(about), ability.trouble, lambda: ability.processor
    )
    keep = {str(ref) for ref in [*book.entries, *book.damaged]}
    room.swept(keep)
    if isinstance(made, criu_engine.CriuEngine):
        for concerned in made.sweep():
            _log.warning("a checkpoint of container %s was cut short: it goes on", concerned[:12])
    path = Path(known.socket) if known else verdicts.SOCKET
    with contextlib.ExitStack() as stack:
        try:
            if os.geteuid() == 0:
                at_rest = made.at_rest if isinstance(made, criu_engine.CriuEngine) else lambda container: None
                answers = judge.Judge(book.entries, control, docker, about.clock, at_rest)
                stack.enter_context(verdicts.serve(path, answers))
        except (errors.PerdureError, OSError) as error:
            ability.unanswered = f"the interposer is not answered: {error}".replace("\n  ", ". ")
        stack.callback(docker.close)
        control.view.open()
        _forget(book, control, docker)
        stack.callback(control.view.close)
        keeper = archived.Keeper(docker, about.clock)
        keeper.open()
        stack.callback(keeper.close)
        ability.begin()
        stack.callback(ability.close)
        yield control


def _forget(book: journal.Journal, control: controller.ContainerController, docker: seam.Docker) -> None:
    """Remove what is left of attempts that were removed here: their outcome is in the ledger."""
    with contextlib.suppress(errors.PerdureError):  # an engine that does not answer keeps them, until the next start
        listed = control.view.recent().attempts
        for ref in set(book.host.forgotten) & listed.keys() - book.entries.keys():
            docker.remove(listed[ref].id)


def on(path: str) -> seam.Docker:
    """Return the engine at a socket."""
    return dockerd.Dockerd(path)
