"""What a running loop says: transitions on stdout as they happen, warnings on stderr once and again when they change."""

from __future__ import annotations

import json
import logging

from reconciler import loop
from reconciler.cli import output, running
from reconciler.core import action, reasons, record, settle

FAILED = (settle.Result.UNKNOWN, settle.Result.REFUSED)


class Notes(logging.Handler):
    """Says on stderr what the parts of this process log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record, on one line and without a stack trace."""
        output.note(output.clean(record.getMessage()))


class Teller:
    """Prints passes. Remembers what it has warned about."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._said: dict[str, frozenset[str]] = {}
        self._rivals: set[str] = set()
        log = logging.getLogger("perdure")
        log.handlers = [Notes()]
        log.setLevel(logging.INFO)
        log.propagate = False

    def begins(self, here: running.Running) -> None:
        """Say what is reconciled, and where."""
        settings = here.settings
        output.note(f"reconciling {settings.source.repository} at {settings.source.ref} as instance {settings.instance}")
        for line in here.notes:
            output.note(line)

    def ends(self) -> None:
        """Say that the loop has ended in good order."""
        output.note("the loop has ended; jobs that run go on, and `perdure reconcile` takes them up again")

    def lost(self, done: loop.Pass) -> None:
        """Say once who else writes to the ledger, or why the push was refused where that was nobody."""
        if not done.rival:
            self._warn("push", [done.notice])
        elif done.rival not in self._rivals:
            self._rivals.add(done.rival)
            output.note(f"{done.rival} writes to the same ledger; whoever is first is followed")

    def tell(self, done: loop.Pass) -> None:
        """Print the transitions of a pass, and what is new of what stands in its way."""
        for line in done.lines:
            self._print(shown(line, self._form))
        if done.remark:
            output.note(output.clean(done.remark))
        self._warn("notice", [done.notice] if done.notice else [])
        problems = done.desired.problems if done.desired else ()
        self._warn("problem", [str(problem) for problem in problems])
        if done.plan is not None:
            self._warn("refused", [_refused(act) for act in done.plan.actions if act.effect is action.Effect.REFUSE])
        failed = [f"{act.verb.value} {act.job}: {outcome.detail}" for act, outcome in done.outcomes if outcome.result in FAILED]
        if done.standing is loop.Standing.DONE:
            self._warn("not done", failed)
            self._warn("push", [])

    def _print(self, text: str) -> None:
        """Print a transition. Where its output goes may be full: the loop goes on, for the ledger has every transition."""
        try:
            output.line(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._warn("output", [f"transitions cannot be printed ({error.strerror}); `perdure events` has them"])

    def _warn(self, kind: str, texts: list[str]) -> None:
        known = self._said.get(kind, frozenset())
        for text in texts:
            if text not in known:
                output.note(output.clean(text) if kind != "notice" else text)
        if known and not texts and kind == "notice":
            output.note("the repository is read again")
        self._said[kind] = frozenset(texts)


def _refused(act: action.Action) -> str:
    remedy = reasons.TABLE[act.reason].remedy
    return f"{act.job}: {act.sentence} ({act.reason}{f': {remedy}' if remedy else ''})"


def shown(line: record.Line, form: str) -> str:
    """Return a transition as a line of text, or as the JSON of its note line with `say` first."""
    if form == "json":
        return json.dumps(machine(line), ensure_ascii=False)
    return f"{output.clock(line.at)}  {output.clean(line.say)}"


def machine(line: record.Line) -> dict[str, object]:
    """Return a transition as machine output has it."""
    return {
        "say": line.say,
        "what": line.what,
        "at": output.moment(line.at),
        "tenant": line.tenant,
        "job": line.job,
        "replica": line.replica,
        "run": line.run,
        "attempt": line.attempt,
        "revision": line.revision,
        "data": dict(line.data),
    }
