"""What the agent says about its attempts and its host. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent import journal, process, setup
from reconciler.core import observed, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of an attempt now, and is not journalled because it can be looked up again."""

    presence: process.Presence
    image: str = ""
    """As in `process.Look`."""
    progress: observed.Progress | None = None
    first_step: int | None = None
    cadence: str = ""
    """How often the timer checkpoints, where that was computed."""
    conditions: Mapping[str, str] = field(default_factory=dict)


def item(entry: journal.Entry, seen: Seen, host: str) -> observed.Item:
    """Return one attempt as it is reported."""
    said = {**entry.conditions, **seen.conditions}
    ready = waits_for_its_engine(entry, seen.presence)
    return observed.Item(
        ref=entry.ref,
        state=_state(entry, seen.presence),
        want=entry.assignment.want,
        host=host,
        spec=entry.spec,
        ready=ready,
        image=seen.image if ready else "",
        started_at=entry.started_at,
        ended_at=entry.ended_at,
        exit=entry.exit,
        progress=seen.progress,
        first_step=seen.first_step,
        checkpoints=entry.checkpoints,
        request=entry.request,
        condition="; ".join(text for _, text in sorted(said.items()) if text),
        cadence=seen.cadence,
    )


def waits_for_its_engine(entry: journal.Entry, presence: process.Presence) -> bool:
    """Whether everything is laid out for it, and its engine has not created its container."""
    engines = entry.spec.created_by is spec.Creator.ENGINE
    return engines and entry.stage is journal.Stage.STARTED and presence is process.Presence.ABSENT


def unreadable(ref: spec.AttemptRef, reason: str, host: str) -> observed.Item:
    """Return an attempt whose journal cannot be read. It may run: it must not look absent."""
    condition = f"its journal on the host is damaged: {reason}"
    return observed.Item(ref=ref, state=observed.ItemState.RUNNING, host=host, condition=condition, damaged=True)


def state(
    offer: setup.Offer, host: journal.Host, items: tuple[observed.Item, ...], boot: str, conditions: tuple[str, ...]
) -> observed.HostState:
    """Return the host as it is reported; the generation is given when it is sent."""
    return observed.HostState(
        host=offer.host,
        pool=offer.pool,
        labels=offer.labels,
        cpu=offer.cpu,
        memory=offer.memory,
        agent=host.agent,
        boot=boot,
        session=host.session,
        accepted=host.accepted,
        items=tuple(sorted(items, key=lambda one: one.ref)),
        notice=host.notice,
        draining=host.draining,
        conditions=conditions,
    )


def _state(entry: journal.Entry, presence: process.Presence) -> observed.ItemState:
    if entry.stage is journal.Stage.ENDED:
        return observed.ItemState.ENDED
    if entry.started_at is not None or presence in (process.Presence.LIVE, process.Presence.ORPHANED):
        return observed.ItemState.RUNNING
    return observed.ItemState.PREPARING
