"""A host as a pass sees it: how long and how often a silent one was silent."""

from __future__ import annotations

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


def rightful(item: observed.Item) -> bool:
    """Whether the host that lists an attempt is the one it was made for: no other host's word counts against it."""
    return item.spec is not None and item.spec.host == item.host


def taken(state: observed.HostState, creator: spec.Creator) -> tuple[int, int]:
    """Return the cpu and memory that a host's attempts of one creator ask for."""
    wanted = [
        item.spec.resources
        for item in state.items
        if item.spec is not None and item.spec.created_by is creator and item.state is not observed.ItemState.ENDED
    ]
    return sum(each.cpu or 0 for each in wanted), sum(each.memory or 0 for each in wanted)
