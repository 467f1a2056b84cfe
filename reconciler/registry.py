"""Adapters by name, for what one revision declares. A target's lives for as long as its declaration stays the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.contracts import store, target
from reconciler.core import model

MakeTarget = Callable[[model.TargetSpec], target.Target]
OpenStore = Callable[[model.StoreSpec], store.Store]


class Registry:
    """Makes targets on first use and keeps them while their declaration is unchanged. Stores are kept by what opens them."""

    def __init__(self, make_target: MakeTarget, open_store: OpenStore) -> None:
        self._make_target = make_target
        self._open_store = open_store
        self._targets: dict[str, tuple[model.TargetSpec, target.Target]] = {}

    def targets(self, declared: Mapping[str, model.TargetSpec]) -> Mapping[str, target.Target]:
        """Return one adapter per declared target; those not declared any more are dropped."""
        self._targets = {name: self._target(name, spec) for name, spec in declared.items()}
        return {name: adapter for name, (_, adapter) in self._targets.items()}

    def _target(self, name: str, spec: model.TargetSpec) -> tuple[model.TargetSpec, target.Target]:
        known = self._targets.get(name)
        if known is not None and known[0] == spec:
            return known
        return spec, self._make_target(spec)

    def store(self, spec: model.StoreSpec) -> store.Store:
        """Return the adapter of one store. Raises `errors.Unavailable` when it cannot be reached now."""
        return self._open_store(spec)
