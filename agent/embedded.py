"""The agent inside the reconciler's process: the same agent, with direct calls in place of a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reconciler.core import observed, spec


class EmbeddedUplink:
    """`agent.uplink.Uplink` by direct calls."""

    def __init__(
        self,
        deliver_state: Callable[[observed.HostState], None],
        assignments: Callable[[], spec.Assignments | None],
        archive: Callable[[str], Iterator[bytes]],
    ) -> None:
        """Use three functions of the reconciler's end; each is called from the agent's threads and returns soon.

        `deliver_state` takes the newest state, `assignments` returns the newest set for this host (None: none yet),
        `archive` is `contracts.link.CodeServer.archive`.
        """
        self._deliver = deliver_state
        self._assignments = assignments
        self._archive = archive
        self._wake: Callable[[], None] | None = None

    @property
    def trouble(self) -> str:
        """Nothing can stand between two parts of one process."""
        return ""

    def send(self, state: observed.HostState) -> None:
        """Hand the newest state over."""
        self._deliver(state)

    def newest(self) -> spec.Assignments | None:
        """Return the newest assignments; None before the first."""
        return self._assignments()

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever `changed` is called."""
        self._wake = wake

    def changed(self) -> None:
        """Say that there are newer assignments. Without it the agent still finds them, a fraction of a second later."""
        if self._wake is not None:
            self._wake()

    def archive(self, tree: str) -> Iterator[bytes]:
        """Yield a tar archive of the Git object `tree`."""
        return self._archive(tree)
