"""What a Pool means for a host: whether it may become part of it, and which labels it has then."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from reconciler.core import model, observed

Labels = Mapping[str, Mapping[str, str]]
"""Of hosts, by the Pool that they joined for."""


def objection(desired: model.Desired, pool: str, host: str) -> str:
    """Return why a host may not become part of a Pool as declared now, or nothing where it may."""
    declared = desired.pools.get(pool)
    if declared is None:
        return f"there is no Pool {pool!r}"
    if declared.hosts and host not in declared.hosts:
        return f"{host} is not among the hosts of Pool {pool}"
    return ""


def labelled(state: observed.HostState, by_pool: Labels) -> observed.HostState:
    """Return what a host says with the labels of its Pool, which count before those that it gives itself."""
    labels = {**state.labels, **by_pool.get(state.pool, {})}
    return state if labels == state.labels else dataclasses.replace(state, labels=labels)
