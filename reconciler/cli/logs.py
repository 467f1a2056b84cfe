"""`perdure logs`: what a job has written, attempt after attempt, from its store or else from this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from reconciler import errors
from reconciler.cli import complete, compose, following, looking, options, output, selection
from reconciler.contracts import store
from reconciler.core import model, record, spec, transition

CHUNK = 1 << 20

Read = Callable[[spec.AttemptRef, int], tuple[int, bytes]]
"""Returns log bytes of an attempt from an offset, or from the next one that is left, and which that is.

Empty: there are no more now. Raises `errors.PerdureError`.
"""


@click.command(
    epilog=options.examples(
        "perdure logs train                 of every attempt, oldest first",
        "perdure logs train -f              and what comes, over restarts, until it has ended",
        "perdure logs train --attempt 2",
    )
)
@options.argument("job", metavar="JOB", shell_complete=complete.jobs)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--attempt", type=options.Count(1), metavar="N", default=None, help="Of this attempt only.")
@options.common("text")
@click.pass_obj
def logs(flags: options.Flags, *, job: str, follow: bool, attempt: int | None) -> None:
    """Print what a job has written, over all its attempts: as bytes on stdout, with the attempts' borders on stderr.

    Names one run: of several replicas, say which (NAME[replica]). Kept in the job's store after the attempt is gone;
    of a job without a store, by the host that ran it, for 14 days.

    One attempt may end within a line that the next one goes on with.
    """
    settings = compose.settings(flags)
    tail = _Tail(attempt=attempt)
    opened = compose.stores(settings)
    looker = looking.Looker(settings)
    for seen in following.views(looker, once=not follow):
        run = _run(job, selection.one(job, seen.subjects()))
        if attempt is not None and not follow and attempt not in {each.number for each in run.attempts}:
            raise errors.UsageError(f"{job} has no attempt {attempt}", remedy=f"`perdure history {job}` lists them.")
        tail.print(run, _reader(run, opened, compose.data(settings)))
        if run.phase in record.TERMINAL:
            break
    tail.end(job)


def _run(job: str, found: Sequence[selection.Subject]) -> record.Record:
    if len(found) > 1:
        raise errors.UsageError(f"{job} has {len(found)} replicas", remedy=f"Name one of them, e.g. {found[0].name}.")
    run = found[0].recorded or next(iter(found[0].earlier[::-1]), None)
    if run is None:
        raise errors.UsageError(f"{found[0].name} has not been run yet", remedy="`perdure why` tells what it waits for.")
    return run


@dataclass(slots=True, kw_only=True)
class _Tail:
    """Prints logs, and remembers how far it has come."""

    attempt: int | None
    run: str = ""
    number: int = 0
    offset: int = 0
    printed: bool = False
    kept: bool = False
    """Whether the run has a store, where its output stays."""

    def print(self, run: record.Record, read: Read) -> None:
        """Print everything there is that was not printed yet."""
        self.kept = run.store is not None
        if run.run != self.run:
            self.run, self.number, self.offset = run.run, 0, 0
        for attempt in run.attempts:
            if attempt.number < self.number or self.attempt not in (None, attempt.number):
                continue
            if attempt.number > self.number:
                self.number, self.offset = attempt.number, 0
                if len(run.attempts) > 1 and self.attempt is None:
                    output.note(f"attempt {attempt.number} of {transition.name(run)} on {attempt.host}")
            for piece in self._pieces(spec.AttemptRef(run=run.run, attempt=attempt.number), read):
                if sys.stdout is not None:
                    sys.stdout.buffer.write(piece)
                    sys.stdout.buffer.flush()
                self.printed = True

    def end(self, job: str) -> None:
        """Say so when there was nothing."""
        if not self.printed and self.kept:
            output.note(f"{job} has written nothing")
        elif not self.printed:
            output.note(
                f"nothing is here of what {job} has written: without a store, output stays in the data of its host's agent"
            )

    def _pieces(self, ref: spec.AttemptRef, read: Read) -> Iterator[bytes]:
        while (found := read(ref, self.offset))[1]:
            at, piece = found
            if at > self.offset:
                output.note(f"{output.size(at - self.offset)} of output are gone: without a store, the host keeps the newest")
            self.offset = at + len(piece)
            yield piece


def _reader(run: record.Record, opened: Callable[[model.StoreSpec], store.Store], data: Path) -> Read:
    """Return what reads a run's logs: its store where that has them, else the agent's own files on this machine."""
    from reconciler.cli import embedded

    def read(ref: spec.AttemptRef, offset: int) -> tuple[int, bytes]:
        problem: errors.PerdureError | None = None
        if run.store is not None:
            try:
                if found := opened(run.store).read_log(ref, offset, CHUNK):
                    return offset, found
            except errors.PerdureError as error:
                problem = error
        at, found = embedded.log(data, ref, offset, CHUNK)
        if not found and problem is not None:
            raise problem
        return at, found

    return read
