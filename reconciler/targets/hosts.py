"""The target of plain hosts: those of one link whose labels contain a selector."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from reconciler.contracts import target
from reconciler.core import model, observed, pools, settle, spec
from reconciler.targets import books, views

CAPABILITIES = target.Capabilities(
    engines=frozenset({model.EngineName.APPLICATION, model.EngineName.CRIU, model.EngineName.NONE})
)


class HostsTarget:
    """`contracts.target.Target` over agents. All targets of one link share its books, for a host's set is sent as a whole."""

    def __init__(self, declared: model.TargetSpec, shared: books.Books) -> None:
        self._declared = declared
        self._books = shared
        self._views = views.Views()
        self._matched: set[str] = set()

    def capabilities(self) -> target.Capabilities:
        """Return what plain hosts can do."""
        return CAPABILITIES

    def observe(self, at: float) -> observed.TargetView:
        """Return what the hosts report. A silent one is shown with its last state and with how long and often it was silent."""
        hosts: dict[str, observed.HostView] = {}
        for name, sight in sorted(self._books.look().items()):
            state = self._own(pools.labelled(sight.state, self._declared.by_pool))
            if state is not None:
                hosts[name] = self._views.of(sight, state, at)
        return observed.TargetView(name=self._declared.name, hosts=hosts, items=views.items(hosts, _mine))

    def apply(self, assignment: spec.Assignment) -> settle.Outcome:
        """Make one attempt stand on its host. UNKNOWN: the host is not heard now."""
        if not assignment.spec.host:
            return settle.Outcome(result=settle.Result.REFUSED, detail="no host was chosen for it")
        return self._books.assign(assignment)

    def delete(self, ref: spec.AttemptRef, host: str) -> settle.Outcome:
        """Have the host forget an attempt. It is listed until the host has done so."""
        return self._books.remove(ref, host)

    def confirm_gone(self, ref: spec.AttemptRef, host: str) -> target.Presence:
        """GONE when the host lists it as ended, or not at all in a state that no older set can change any more."""
        return self._books.presence(ref, host)

    def _own(self, state: observed.HostState) -> observed.HostState | None:
        """Return the state when the host belongs here. One that has lost its labels still does, while it has attempts."""
        name = state.host
        if _matches(self._declared.selector, state.labels):
            self._matched.add(name)
            return state
        if name in self._matched and state.items:
            text = f"its labels do not match the selector of target {self._declared.name} any more: nothing new is placed here"
            return dataclasses.replace(state, draining=True, conditions=(*state.conditions, text))
        self._matched.discard(name)
        return None


def _mine(state: observed.HostState) -> Iterator[observed.Item]:
    """Yield what no engine creates: the rest belongs to the target that the engine is; nobody else may have it forgotten."""
    for item in state.items:
        if item.spec is None or item.spec.created_by is not spec.Creator.ENGINE:
            yield item


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())
