"""What becomes of one effect: it may fail, or its process may end before, during or after it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


class Fate(enum.Enum):
    """The fates of an effect."""

    WELL = "well"
    KILLED_BEFORE = "killed before"
    """The process ends before the request leaves."""
    KILLED_AFTER = "killed after"
    """It is done, and the process ends before it hears so."""
    KILLED_FLYING = "killed flying"
    """The process ends, and its request arrives when another process has begun to look around."""
    REQUEST_LOST = "request lost"
    """It is not done, and the caller is told of an error."""
    ANSWER_LOST = "answer lost"
    """It is done, and the caller is told of an error."""


LETHAL = (Fate.KILLED_BEFORE, Fate.KILLED_AFTER, Fate.KILLED_FLYING)
REMOTE = (*LETHAL, Fate.REQUEST_LOST, Fate.ANSWER_LOST)
"""Fates of a request to something outside."""
LOCAL = (Fate.KILLED_BEFORE, Fate.KILLED_AFTER)
"""Fates of something done on the spot: a journal written, a process started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One effect of a traced run, in the order in which they happened."""

    actor: str
    what: str
    fates: tuple[Fate, ...]


Choose = Callable[[Effect], Fate]
"""Decides about the next effect."""


@dataclass(slots=True)
class Fates:
    """Counts the effects of one run and decides about each: by plan where its number is in it, else by `choose`."""

    choose: Choose = lambda effect: Fate.WELL
    planned: Mapping[int, Fate] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)

    def of(self, actor: str, what: str, fates: tuple[Fate, ...]) -> Fate:
        """Return the fate of the next effect."""
        effect = Effect(actor=actor, what=what, fates=fates)
        self.effects.append(effect)
        planned = self.planned.get(len(self.effects) - 1)
        return planned if planned is not None else self.choose(effect)
