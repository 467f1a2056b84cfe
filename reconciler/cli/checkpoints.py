"""`perdure checkpoints` and `perdure verify`: what is saved, what builds on what, and whether it is still good."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from reconciler import errors
from reconciler.cli import complete, compose, history, looking, options, output, selection, status, view
from reconciler.contracts import store
from reconciler.core import model, record, transition

BAD = 1
"""Exit code when a checkpoint is not good."""
UNREAD = 2
"""Exit code when a store could not be read: nothing is known of what it has."""
NEWEST = 3
"""Of an attempt's checkpoints that are merely kept, so many are listed."""


@click.command(
    epilog=options.examples(
        "perdure checkpoints                 of every job",
        "perdure checkpoints train           with the attempt that took each, and what it builds on",
        "perdure checkpoints train --all     also the many that nobody needs any more",
        "perdure checkpoints train -o json | jq -r '.runs[].checkpoints[-1].digest'",
    )
)
@options.argument("job", metavar="[JOB]", required=False, shell_complete=complete.jobs)
@click.option("--all", "every", is_flag=True, help="Each checkpoint in a line of its own.")
@options.common("text", "wide", "json", "yaml")
@click.pass_obj
def checkpoints(flags: options.Flags, *, job: str | None, every: bool) -> None:
    """List checkpoints with their lineage: each attempt, what it continued from, and what it saved.

    Lists the newest, and those that are pinned, damaged or were restored; counts the others that are kept, and the
    superseded ones that wait for their deletion. JSON and YAML have every checkpoint.
    """
    seen = looking.look(compose.settings(flags))
    runs = _runs(seen, job)
    document = {**status.heading(seen), "runs": [_machine(run) for run in runs]}
    output.show(flags.output, document, lambda: _trees(runs, wide=flags.output == "wide", every=every))
    status.remark(seen)


def _runs(seen: view.View, job: str | None) -> list[record.Record]:
    """Return the runs of a job, or every run that has saved something."""
    if job is None:
        every = sorted(seen.snapshot.records.values(), key=lambda run: (run.key, run.created_at))
        return [run for run in every if run.checkpoints]
    found = selection.one(job, seen.subjects())
    return [run for each in found for run in (*each.earlier, *((each.recorded,) if each.recorded else ()))]


def _machine(run: record.Record) -> dict[str, Any]:
    return {
        "run": run.run,
        "tenant": run.tenant,
        "job": run.job,
        "replica": run.replica,
        "phase": run.phase.value,
        "store": run.store.name if run.store else None,
        "attempts": [{"number": attempt.number, "restoredFrom": attempt.restored_from or None} for attempt in run.attempts],
        "checkpoints": [history.saved(each) for each in run.checkpoints],
    }


def _trees(runs: Sequence[record.Record], *, wide: bool, every: bool) -> str:
    if not runs:
        return "No checkpoint has been taken."
    return "\n\n".join("\n".join(_tree(run, wide=wide, every=every)) for run in runs)


def _tree(run: record.Record, *, wide: bool, every: bool) -> Iterator[str]:
    where = f" in store {run.store.name}" if run.store else ""
    yield f"{transition.name(run)}: run {run.run[:12]}, {run.phase.value}{where}"
    for attempt in run.attempts:
        last = attempt is run.attempts[-1]
        origin = f" from {status.short(attempt.restored_from)}" if attempt.restored_from else " from the beginning"
        yield f"{'└' if last else '├'}─ attempt {attempt.number}{origin}"
        own = [each for each in run.checkpoints if each.taken.attempt == attempt.number]
        told = {each.taken.digest for each in (own if every else _telling(run, own))}
        leaves = [_leaf(each, wide=wide) for each in own if each.taken.digest in told]
        leaves += _others([each for each in own if each.taken.digest not in told])
        for leaf in leaves:
            yield f"{' ' if last else '│'}  {'└' if leaf is leaves[-1] else '├'}─ {leaf}"


def _telling(run: record.Record, own: Sequence[record.Saved]) -> Sequence[record.Saved]:
    """Return those of an attempt's checkpoints that a person looks for."""
    restored = {attempt.restored_from for attempt in run.attempts}
    marked = [each for each in own if each.pinned_by or each.damaged or each.taken.digest in restored]
    return [*marked, *[each for each in own if each.tombstoned_at is None][-NEWEST:]]


def _others(hidden: Sequence[record.Saved]) -> Iterator[str]:
    """Yield a line that counts the rest, where there is one."""
    going = sum(each.tombstoned_at is not None for each in hidden)
    counts = [f"{len(hidden) - going} more kept"] if len(hidden) > going else []
    counts += [f"{going} superseded, to be deleted"] if going else []
    if counts:
        yield f"{', '.join(counts)}: --all lists them"


def _leaf(each: record.Saved, *, wide: bool) -> str:
    taken = each.taken
    digest = taken.digest if wide else status.short(taken.digest)
    step = f"step {taken.step}, " if taken.step is not None else ""
    sizes = f"{output.size(taken.logical_bytes)} ({output.size(taken.stored_bytes)} stored)"
    text = f"{digest}  {step}{output.clock(taken.taken_at)}, {taken.purpose.value}, {sizes}"
    marks = [f"pinned by {name}" for name in each.pinned_by]
    marks += ["to be deleted"] if each.tombstoned_at is not None else []
    marks += ["damaged"] if each.damaged else []
    return f"{text} [{', '.join(marks)}]" if marks else text


_WHOLE = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A checkpoint and where it is kept."""

    digest: str
    job: str
    """Empty: the ledger does not know it."""
    store: model.StoreSpec


@click.command(
    epilog=options.examples(
        "perdure verify                     every checkpoint that the ledger knows",
        "perdure verify 3f2a9c              those whose digest begins like this",
        "perdure verify --job train --all   with a line for each",
    )
)
@options.argument("digests", nargs=-1, metavar="[DIGEST]...")
@click.option("--job", metavar="JOB", default=None, help="Those of this job.", shell_complete=complete.jobs)
@click.option("--all", "every", is_flag=True, help="Each checkpoint in a line of its own.")
@options.common("text", "json", "yaml")
@click.pass_obj
def verify(flags: options.Flags, *, digests: tuple[str, ...], job: str | None, every: bool) -> int:
    """Read every byte of checkpoints again and compare with their digests. Exits with 1 when one is not good.

    Lists those that are named, and those that are not good; counts the others by job. JSON and YAML have every checkpoint.
    Where a store cannot be read, nothing is known of its checkpoints: they are called unread, and the exit code is 2.
    """
    settings = compose.settings(flags)
    seen = looking.look(settings)
    runs = _runs(seen, job)
    stores = {run.store.name: run.store for run in runs if run.store is not None}
    places = _chosen(list(_places(runs)), digests, stores.values())
    open_store = compose.stores(settings)
    results = [(place, _verified(open_store, place)) for place in places]
    for said in dict.fromkeys(str(result) for _, result in results if isinstance(result, errors.PerdureError)):
        output.note(said)
    document = {**status.heading(seen), "checkpoints": [_verdict(place, result) for place, result in results]}
    output.show(flags.output, document, lambda: _verdicts(results, every=every or bool(digests)))
    if any(isinstance(result, errors.PerdureError) for _, result in results):
        return UNREAD
    return 0 if all(isinstance(result, store.Verified) and result.ok for _, result in results) else BAD


def _places(runs: Iterable[record.Record]) -> Iterator[Place]:
    for run in runs:
        if run.store is not None:
            for each in run.checkpoints:
                yield Place(digest=each.taken.digest, job=transition.name(run), store=run.store)


def _chosen(places: list[Place], digests: tuple[str, ...], stores: Iterable[model.StoreSpec]) -> list[Place]:
    """Return the places that `digests` (or their beginnings) mean, all for none. Raises `errors.UsageError`.

    A whole digest that the ledger does not know may be another repository's: it is looked for in every store.
    """
    if not digests:
        return places
    chosen: dict[tuple[str, str], Place] = {}
    for digest in digests:
        wanted = digest.removeprefix("sha256:").lower()
        matching = [place for place in places if place.digest.removeprefix("sha256:").startswith(wanted)]
        if not matching and _WHOLE.fullmatch(wanted):
            matching = [Place(digest=f"sha256:{wanted}", job="", store=each) for each in stores]
        if not wanted or not matching:
            raise errors.UsageError(
                f"the ledger knows no checkpoint {digest!r}", remedy="`perdure checkpoints -o wide` lists their digests."
            )
        chosen |= {(place.digest, place.store.name): place for place in matching}
    return list(chosen.values())


Result = store.Verified | errors.PerdureError


def _verified(open_store: Callable[[model.StoreSpec], store.Store], place: Place) -> Result:
    """Return the store's verdict, or why it has none: a store that cannot be read does not make a checkpoint bad."""
    try:
        opened = open_store(place.store)
    except errors.PerdureError as error:  # its keys, say
        return error
    try:
        found = opened.verify(place.digest)
        if not found.ok and not any(opened.runs()):  # the folder under a mount that is missing, say
            raise errors.Unavailable(
                "the store is empty, although checkpoints of it are known",
                where=f"store {place.store.name} ({place.store.root})",
                remedy="Mount it again, or bring its content back.",
            )
    except (errors.Unavailable, errors.KeyMissing) as error:
        return error
    except errors.PerdureError as error:
        return store.Verified(digest=place.digest, ok=False, problems=(error.line,))
    return found


def _verdict(place: Place, result: Result) -> dict[str, Any]:
    if isinstance(result, errors.PerdureError):
        ok, found = None, store.Verified(digest=place.digest, ok=False, problems=(result.message,))
    else:
        ok, found = result.ok, result
    return {
        "digest": place.digest,
        "job": place.job,
        "store": place.store.name,
        "ok": ok,
        "problems": list(found.problems),
        "logicalBytes": found.logical_bytes,
        "storedBytes": found.stored_bytes,
    }


def _verdicts(results: Sequence[tuple[Place, Result]], *, every: bool) -> str:
    if not results:
        return "There is no checkpoint to verify."
    good: dict[tuple[str, str], list[int]] = {}
    unread: dict[tuple[str, str, str], int] = {}
    rows = []
    for place, result in results:
        if isinstance(result, errors.PerdureError):
            key = (place.job, place.store.name, result.message)
            unread[key] = unread.get(key, 0) + 1
            continue
        if result.ok and not every:
            good.setdefault((place.job, place.store.name), []).append(result.logical_bytes)
            continue
        word, size = "good" if result.ok else "bad", output.size(result.logical_bytes)
        rows.append((word, status.short(place.digest), place.job, place.store.name, size, "; ".join(result.problems)))
    for (job, name), sizes in good.items():
        rows.append(("good", f"{len(sizes)} in all", job, name, output.size(sum(sizes)), ""))
    for (job, name, said), count in unread.items():
        rows.append(("unread", f"{count} in all", job, name, "", said))
    return output.columns(("STATE", "DIGEST", "JOB", "STORE", "SIZE", "PROBLEM"), rows, output.width())
