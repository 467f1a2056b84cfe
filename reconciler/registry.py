"""Adapters by name, for what one revision declares. An adapter lives for as long as its declaration stays the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.contracts import store, target
from reconciler.core import model

MakeTarget = Callable[[model.TargetSpec], target.Target]
MakeStore = Callable[[model.StoreSpec], store.Store]


class Registry:
    """Makes targets and stores on first use and keeps them while their declaration is unchanged."""

    def __init__(self, make_target: MakeTarget, make_store: MakeStore) -> None:
        self._make_target = make_target
        self._make_store = make_store
        self._targets: dict[str, tuple[model.TargetSpec, target.Target]] = {}
        self._stores: dict[model.StoreSpec, store.Store] = {}

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
        adapter = self._stores.get(spec)
        if adapter is None:
            adapter = self._stores[spec] = self._make_store(spec)
        return adapter
