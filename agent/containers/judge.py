"""The agent's word on its containers: which may begin, from what, and whether a signal is delivered at once."""

from __future__ import annotations

import dataclasses
import logging
import re
import signal
from collections.abc import Callable, Mapping

from agent import journal, verdicts
from agent.containers import books, seam
from agent.containers import controller as containers
from reconciler import errors
from reconciler.contracts import clock as clocks
from reconciler.contracts import engine
from reconciler.core import container, model, spec

_log = logging.getLogger("perdure.agent")

SERVICE = "com.docker.swarm.service.name"
"""Label by which a Swarm says which service a container belongs to."""
ENDING = frozenset({signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGQUIT})
"""Signals by which an engine ends a container, besides the image's own stop signal."""
_SIGNAL = re.compile(r"(?:SIG)?([A-Z0-9]+)([+-][0-9]+)?")


class Judge:
    """`agent.verdicts.Judge` on what the journal says. An attempt is granted one `create`, written down before the answer."""

    def __init__(
        self,
        entries: Mapping[spec.AttemptRef, journal.Entry],
        control: containers.ContainerController,
        docker: seam.Docker,
        clock: clocks.Clock,
        at_rest: Callable[[str], None] = lambda container: None,
    ) -> None:
        """`entries` is the journal's own mapping: read here, changed by the agent's loop. `at_rest` returns once no dump of a
        container is under way."""
        self._entries = entries
        self._control = control
        self._docker = docker
        self._clock = clock
        self._at_rest = at_rest

    def create(self, asked: verdicts.Asked) -> verdicts.Create | verdicts.Restore | verdicts.Refuse:
        """Grant what is assigned to this host, ready, and asked for the first time, by the container it is meant for."""
        entry = self._entry(asked)
        if entry is None:
            reason = f"{asked.attempt} is no attempt of this host, and PERDURE_ATTEMPT is ours to set. Leave it out"
            return verdicts.Refuse(reason=reason)
        what = entry.spec
        if entry.assignment.want is not spec.Want.RUN or entry.stopping:
            return verdicts.Refuse(reason=f"attempt {asked.attempt} is not wanted any more")
        if entry.stage not in (journal.Stage.RESTORED, journal.Stage.STARTED):
            text = f"attempt {asked.attempt} is {entry.stage.value}: this host is not ready to run it, or has run it"
            return verdicts.Refuse(reason=text)
        # A list waits for nothing, whatever its engine holds locked.
        listed = next((each for each in self._docker.list(container.ATTEMPT) if each.id == asked.container), None)
        if why := self._foreign(listed, what):
            return verdicts.Refuse(reason=f"this container is not attempt {asked.attempt}: {why}")
        own = listed.volumes if listed is not None else ()

        def grant(record: books.Record) -> books.Record:
            if record.granted:
                raise errors.Refused(f"attempt {asked.attempt} was granted already, and is begun once")
            if what.created_by is spec.Creator.AGENT and record.container != asked.container:
                raise errors.Refused(f"attempt {asked.attempt} is another container's")
            granted = dataclasses.replace(record, granted=True, begun=True, container=asked.container, volumes=own)
            return dataclasses.replace(granted, bundle=asked.bundle, root=asked.root)

        self._control.moves(entry.ref)
        record = self._control.books.change(entry.ref, grant)
        if record.restore and what.checkpoint.engine is model.EngineName.CRIU:
            return verdicts.Restore(directory=self._control.restore_folder(entry.ref), volumes=own)
        if what.restore and what.checkpoint.engine is model.EngineName.CRIU:
            return verdicts.Refuse(reason=f"the checkpoint of attempt {asked.attempt} is not laid out")
        return verdicts.Create()

    def kill(self, asked: verdicts.Asked) -> None:
        """Take a checkpoint first where somebody other than we ends a container whose Job asks for one on a notice."""
        entry = self._entry(asked)
        if entry is None or self._control.books.get(entry.ref).container != asked.container:
            return
        record = self._control.books.get(entry.ref)
        if not _ends(asked.signal, record.stop_signal):
            return
        self._control.hold_output(entry.ref, asked.container)
        if record.ending is not books.Ending.NONE:
            return
        policy = entry.spec.checkpoint
        saves = policy.engine is model.EngineName.CRIU and model.Occasion.NOTICE in policy.on
        if saves and entry.stage is journal.Stage.STARTED and asked.signal != signal.SIGKILL:
            wanted = spec.Request(
                id=f"{spec.BY_ITS_ENGINE}{self._clock.now():.3f}",
                purpose=spec.Purpose.NOTICE,
                reason="its container engine ends it",
                deadline=policy.deadline,
                then_stop=True,
            )
            outcome = self._control.checkpoint(entry, wanted, lambda: None, lambda: False)
            if isinstance(outcome, engine.Failed):
                _log.warning("%s: no checkpoint before its engine ends it: %s", asked.attempt, outcome.reason)
                unsaved = outcome.reason.replace("\n  ", ". ").rstrip(".")
                self._control.books.set(entry.ref, unsaved=unsaved)
        self._control.books.end(entry.ref, books.Ending.ENGINE)

    def hold(self, asked: verdicts.Asked) -> None:
        """Wait until no checkpoint holds it still: CRIU moves what its engine would freeze, and leaves it as it was found."""
        self._at_rest(asked.container)

    def started(self, asked: verdicts.Asked) -> None:
        """The next list shows it."""

    def deleted(self, asked: verdicts.Asked) -> None:
        """The next list shows it."""

    def failed(self, asked: verdicts.Asked) -> None:
        """Remember why: whoever asked the engine to start it is told."""
        entry = self._entry(asked)
        if entry is not None and self._control.books.get(entry.ref).container == asked.container:
            self._control.books.set(entry.ref, failed=asked.reason)

    def _entry(self, asked: verdicts.Asked) -> journal.Entry | None:
        run, _, number = asked.attempt.rpartition("-")
        if not run or not number.isdecimal():
            return None
        entry = self._entries.get(spec.AttemptRef(run=run, attempt=int(number)))
        return entry if entry is not None and entry.spec.workload.image else None

    def _foreign(self, listed: seam.Listed | None, what: spec.AttemptSpec) -> str:
        """Return what shows that a container is not the attempt's own; empty when it is."""
        if listed is None:
            return "its engine does not list it with the labels of an attempt"
        owner = container.owner(listed.labels)
        if owner is None or owner.ref != what.ref or owner.instance != what.instance:
            return "its labels name another attempt"
        if owner.digest != container.made_from(what):
            return "it was made from another specification"
        if what.created_by is spec.Creator.ENGINE and listed.labels.get(SERVICE) != container.name(what.ref):
            return "it belongs to no service of the attempt's name"
        prepared = self._control.books.get(what.ref)
        if listed.image != prepared.image:
            return f"it was made of image {listed.image[:19] or 'unknown'}, and {prepared.exactly} was prepared for it"
        return ""


def _ends(number: int, own: str) -> bool:
    """Whether a signal is meant to end a container; `own` is its image's stop signal, as a name or a number."""
    return number in ENDING or (number > 0 and number == _number(own))


def _number(own: str) -> int:
    """Return what a signal is that an image names: 10, USR1, SIGUSR1, SIGRTMIN+3 (which Python has no name for); 0 for none."""
    if own.isdecimal():
        return int(own)
    match = _SIGNAL.fullmatch(own.upper())
    return int(getattr(signal, f"SIG{match[1]}", 0)) + int(match[2] or 0) if match else 0
