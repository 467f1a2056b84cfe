"""Whose word counts on an attempt: any host can list what it likes, and one that lies is not to end the runs of the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from reconciler.core import observed, record, spec


def without(view: observed.TargetView, records: Mapping[str, record.Record]) -> observed.TargetView:
    """Return a target as it is seen without what hosts say of live attempts that the ledger has given to others."""
    words: dict[spec.AttemptRef, observed.Item | None] = {}
    for ref, item in view.items.items():
        run = records.get(ref.run)
        live = run.live if run is not None else None
        if live is None or item.host == live.host or not live.host or live.number != ref.attempt or live.target != view.name:
            continue
        word = _word(item, live, view)
        if word is not item:
            words[ref] = word
    if not words:
        return view
    heard = {ref: words.get(ref, item) for ref, item in view.items.items()}
    return dataclasses.replace(view, items={ref: item for ref, item in heard.items() if item is not None})


def _word(item: observed.Item, attempt: record.Attempt, view: observed.TargetView) -> observed.Item | None:
    """Return the word of the host that the attempt was given to, or of one with the same agent's data while that one is not
    heard: a machine that has joined again under another name."""
    given, speaker = view.hosts.get(attempt.host), view.hosts.get(item.host)
    own = next((each for each in given.state.items if each.ref == item.ref), None) if given is not None else None
    if own is not None and given is not None and given.silent_since is None:
        return own
    same = speaker is not None and speaker.state.agent == attempt.agent != ""
    return item if same else own
