"""Attempts that hosts still list although the ledger has no use for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from reconciler.core import action, intend, observed, record, spec


def find(instance: str, records: Mapping[str, record.Record], world: observed.World) -> Iterator[action.Action]:
    """Yield what to do with each item that is not a live attempt of the ledger.

    `records` is the ledger after this pass's absorption: a host may forget an ended attempt only when its outcome is in the
    ledger on the server, which the push before applying sees to. Items of other instances are not spoken of, and what the
    ledger does not know is left alone: attempts are recorded before they start, so that this ledger would be an old one.
    """
    for name, target in world.targets.items():
        if not target.known:
            continue
        for ref, item in target.items.items():
            run = records.get(ref.run)
            live = run.live if run is not None else None
            if live is not None and live.number == ref.attempt:
                continue
            if item.want is spec.Want.REMOVE or (item.spec is not None and item.spec.instance != instance):
                continue
            if ref in target.objects and item.host not in target.hosts:
                continue  # no host speaks of it: what the engine keeps for it is dealt with below
            view = target.hosts.get(item.host)
            if view is not None and view.silent_since is not None:
                continue
            if run is None or all(each.number != ref.attempt for each in run.attempts):
                yield _unclaimed(name, item)
            else:
                yield _leftover(name, item, run)
        yield from _objects(target, records)


def _objects(target: observed.TargetView, records: Mapping[str, record.Record]) -> Iterator[action.Action]:
    """Yield what to do with the engine's objects of attempts that no host which is heard lists.

    The engine keeps what it was told for as long as nobody tells it otherwise: also for a host that is gone, and for an attempt
    that was given up, which a host that comes back ends when its object is removed.
    """
    for ref, said in target.objects.items():
        item = target.items.get(ref)
        view = target.hosts.get(item.host) if item is not None else None
        if view is not None and view.silent_since is None:
            continue
        run = records.get(ref.run)
        attempt = next((each for each in run.attempts if each.number == ref.attempt), None) if run is not None else None
        if attempt is not None and attempt.live:
            continue
        unknown = run is None or attempt is None
        text = "is not in the ledger; it is left alone" if unknown else "is over and recorded, and the engine still has it"
        yield action.Action(
            verb=action.Verb.KEEP if unknown else action.Verb.REMOVE,
            tenant=run.tenant if run is not None else "",
            job=run.job if run is not None else ref.run,
            replica=run.replica if run is not None else 0,
            run=ref.run,
            attempt=ref.attempt,
            target=target.name,
            host=attempt.host if attempt is not None else "",
            reason="Unclaimed" if unknown else "Recorded",
            sentence=f"attempt {ref.attempt} {text} ({said})",
        )


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
        sentence=f"attempt {item.ref.attempt} on {item.host} is not in the ledger; it is left alone",
    )


def _leftover(target: str, item: observed.Item, run: record.Record) -> action.Action:
    """Forget an attempt that is over; end one that was given up and still runs."""
    ended = item.state is observed.ItemState.ENDED
    text = "is over and recorded" if ended else "was given up and still runs"
    verb = action.Verb.REMOVE if ended else action.Verb.STOP
    known = _recorded(item, run) if item.damaged else item.spec
    if not ended and (known is None or item.want is spec.Want.STOP):
        verb, text = action.Verb.WAIT, "was given up and is being ended"
    asked = None
    if known is not None:  # the host that has it is told, also where it was made for one of another name
        want = spec.Want.REMOVE if ended else spec.Want.STOP
        asked = spec.Assignment(spec=dataclasses.replace(known, host=item.host), want=want)
    return action.Action(
        verb=verb,
        effect=action.Effect.DELETE if verb is action.Verb.STOP else action.Effect.UNCHANGED,
        tenant=run.tenant,
        job=run.job,
        replica=run.replica,
        run=run.run,
        attempt=item.ref.attempt,
        target=target,
        host=item.host,
        reason="Recorded" if ended else "Outdated",
        sentence=f"attempt {item.ref.attempt} {text} on {item.host}",
        assignment=asked if verb is not action.Verb.WAIT else None,
    )


def _recorded(item: observed.Item, run: record.Record) -> spec.AttemptSpec:
    """Return what the ledger says of an attempt that its host cannot name any more: enough to have it ended and forgotten."""
    until = tuple(each for each in run.attempts if each.number <= item.ref.attempt)
    return intend.attempt_spec(dataclasses.replace(run, attempts=until), run.applied)
