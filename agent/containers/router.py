"""Each attempt to the controller that can run it: a container's, or a process's of this host."""

from __future__ import annotations

from collections.abc import Callable

from agent import controller, journal, process, progress, refusal
from reconciler.contracts import engine
from reconciler.core import observed, spec


class Router:
    """`agent.controller.Controller` that asks one of two others."""

    def __init__(self, processes: controller.Controller, containers: controller.Controller | None) -> None:
        """`containers` is None on a host that is to run none."""
        self._processes = processes
        self._containers = containers

    def offers(self) -> controller.Offers:
        """Return what both offer."""
        both = [each.offers() for each in (self._processes, self._containers) if each is not None]
        return controller.Offers(
            engines=tuple(sorted(name for each in both for name in each.engines)),
            conditions=tuple(text for each in both for text in each.conditions),
            facts={name: text for each in both for name, text in each.facts.items()},
        )

    def known(self, ref: spec.AttemptRef) -> bool:
        """Ask both: without its entry nobody knows what it is."""
        return any(each.known(ref) for each in (self._processes, self._containers) if each is not None)

    def progress(self, entry: journal.Entry) -> progress.Source:
        """Ask the one."""
        return self._of(entry).progress(entry)

    def remarks(self, entry: journal.Entry) -> dict[str, str]:
        """Ask the one."""
        return self._of(entry).remarks(entry)

    def look(self, entry: journal.Entry) -> process.Look:
        """Ask the one."""
        return self._of(entry).look(entry)

    def saved(self, entry: journal.Entry) -> bool:
        """Ask the one."""
        return self._of(entry).saved(entry)

    def prepare(self, entry: journal.Entry, owner: str) -> None:
        """Tell the one."""
        if entry.spec.workload.image and self._containers is None:
            raise refusal.CannotStart("this host has no container engine")
        self._of(entry).prepare(entry, owner)

    def restore(self, entry: journal.Entry) -> None:
        """Tell the one."""
        self._of(entry).restore(entry)

    def start(self, entry: journal.Entry) -> None:
        """Tell the one."""
        self._of(entry).start(entry)

    def tell(self, entry: journal.Entry) -> None:
        """Tell the one."""
        self._of(entry).tell(entry)

    def stop(self, entry: journal.Entry) -> None:
        """Tell the one."""
        self._of(entry).stop(entry)

    def checkpoint(
        self,
        entry: journal.Entry,
        asked: spec.Request,
        step: Callable[[], int | None],
        given_up: Callable[[], bool],
    ) -> engine.Captured | engine.Failed:
        """Tell the one."""
        return self._of(entry).checkpoint(entry, asked, step, given_up)

    def wait(self, entry: journal.Entry) -> observed.Exit:
        """Ask the one."""
        return self._of(entry).wait(entry)

    def unknown(self, entry: journal.Entry) -> tuple[observed.Taken, ...]:
        """Ask the one."""
        return self._of(entry).unknown(entry)

    def ship(self, entry: journal.Entry) -> None:
        """Tell the one."""
        self._of(entry).ship(entry)

    def remove(self, entry: journal.Entry, *, unshipped: bool) -> None:
        """Tell the one."""
        self._of(entry).remove(entry, unshipped=unshipped)

    def _of(self, entry: journal.Entry) -> controller.Controller:
        return self._containers if entry.spec.workload.image and self._containers is not None else self._processes
