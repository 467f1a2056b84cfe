"""Attempts that hosts still list although the ledger has no use for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.core import action, observed, record, spec


def find(
    instance: str, records: Mapping[str, record.Record], world: observed.World, known: Mapping[str, record.Record]
) -> Iterator[action.Action]:
    """Yield what to do with each item that is not a live attempt of the ledger.

    `records` is the ledger after this pass's absorption, `known` as it was read: a host may forget an ended attempt only when
    its outcome is in the ledger on the server, which the push before applying sees to. Items of other instances and items
    without a record are left alone.
    """
    for name, target in world.targets.items():
        if not target.known:
            continue
        for ref, item in target.items.items():
            if item.want is spec.Want.REMOVE:
                continue
            view = target.hosts.get(item.host)
            if view is not None and view.silent_since is not None:
                continue
            run = records.get(ref.run)
            if item.spec is not None and item.spec.instance != instance:
                continue
            if run is None:
                yield _unclaimed(name, item)
                continue
            attempt = next((each for each in run.attempts if each.number == ref.attempt), None)
            if attempt is not None and attempt.live:
                continue
            yield _leftover(name, item, run, ref.run in known)


def _unclaimed(target: str, item: observed.Item) -> action.Action:
    owner = item.spec
    return action.Action(
        verb=action.Verb.KEEP,
        tenant=owner.tenant if owner else "",
        job=owner.job if owner else item.ref.run,
        replica=owner.replica if owner else 0,
        run=item.ref.run,
        attempt=item.ref.attempt,
        target=target,
        host=item.host,
        reason="Unclaimed",
        sentence=f"attempt {item.ref.attempt} of run {item.ref.run[:12]} is on {item.host} and not in the ledger; it is left alone",
    )


def _leftover(target: str, item: observed.Item, run: record.Record, recorded: bool) -> action.Action:
    ended = item.state is observed.ItemState.ENDED
    verb = action.Verb.REMOVE if ended else action.Verb.STOP
    if ended and not recorded:
        verb = action.Verb.KEEP
    assignment = spec.Assignment(spec=item.spec, want=spec.Want.REMOVE if ended else spec.Want.STOP) if item.spec else None
    text = (
        f"attempt {item.ref.attempt} is over and recorded"
        if ended
        else f"attempt {item.ref.attempt} was given up and still runs"
    )
    return action.Action(
        verb=verb if assignment is not None or ended else action.Verb.KEEP,
        tenant=run.tenant,
        job=run.job,
        replica=run.replica,
        run=run.run,
        attempt=item.ref.attempt,
        target=target,
        host=item.host,
        reason="Recorded" if ended else "Outdated",
        sentence=f"{text} on {item.host}",
        assignment=assignment,
    )
