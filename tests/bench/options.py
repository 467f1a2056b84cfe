"""How large, how often, from which seed, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The same for every benchmark; what it does not need it leaves."""

    folder: Path
    """Empty; where everything is made. On the disk whose figures are wanted."""
    seed: int = 0
    """Of all that is generated."""
    rounds: int | None = None
    """How often each measurement is repeated; None: as often as the benchmark finds worth its time."""
    count: int = 10_000
    """Manifests, jobs, and runs of the large ledger."""
    size: int = 2 << 30
    """Bytes of the checkpoints, a multiple of 8 MiB."""

    def times(self, usual: int) -> int:
        """Return how often to repeat what is usually repeated so often."""
        return usual if self.rounds is None else self.rounds
