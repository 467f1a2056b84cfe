"""A host as a pass sees it: how long and how often a silent one was silent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from reconciler.core import observed, spec
from reconciler.targets import books


class Views:
    """Counts the observations in a row in which each host of one target was silent."""

    def __init__(self) -> None:
        self._tries: dict[str, int] = {}

    def of(self, sight: books.Sight, state: observed.HostState, at: float) -> observed.HostView:
        """Return the view of a host at POSIX time `at`; `state` is the sight's own, perhaps with what a target adds to it."""
        seen_at = at - sight.age
        if not sight.silent:
            self._tries.pop(state.host, None)
            return observed.HostView(state=state, seen_at=seen_at)
        self._tries[state.host] = self._tries.get(state.host, 0) + 1
        return observed.HostView(state=state, seen_at=seen_at, silent_since=seen_at, silent_tries=self._tries[state.host])


def items(
    hosts: Mapping[str, observed.HostView], mine: Callable[[observed.HostState], Iterable[observed.Item]]
) -> dict[spec.AttemptRef, observed.Item]:
    """Return what the hosts list of what is `mine`, each attempt once.

    The host that an attempt was made for has the word on it: a copy of its data elsewhere says nothing. Unless it is silent and
    the same data speaks under another name, in the same boot: then its machine has joined again, and is heard as that.
    """
    machines = {_machine(view.state) for view in hosts.values() if view.silent_since is None}
    found: dict[spec.AttemptRef, observed.Item] = {}
    for view in hosts.values():
        if view.silent_since is not None and all(_machine(view.state)) and _machine(view.state) in machines:
            continue
        for item in mine(view.state):
            if found.setdefault(item.ref, item) is not item and item.spec is not None and item.spec.host == item.host:
                found[item.ref] = item
    return found


def _machine(state: observed.HostState) -> tuple[str, str]:
    return state.agent, state.boot
