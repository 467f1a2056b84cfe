"""How often a timer checkpoint is worth its price.

Daly's higher-order optimum (J. T. Daly, FGCS 22 (2006), eq. 37; its first term is Young's, CACM 17 (1974)): with C seconds a
checkpoint and M seconds between losses, for C < 2M

    tau = sqrt(2 C M) * (1 + sqrt(C / 2M) / 3 + (C / 2M) / 9) - C,    else tau = M.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from reconciler.core import spec

PRIOR_COST = 5.0
"""Seconds a checkpoint is assumed to take before one was measured."""
FIRST = 60.0
"""Most seconds until the first one, which tells what the next will cost."""
SHORTEST = 30.0
LONGEST = 3600.0
MEASURED = 5
"""Newest checkpoints whose median counts."""


def daly(cost: float, between_losses: float) -> float:
    """Return the seconds of work between two checkpoints that lose the least time altogether."""
    if cost >= 2 * between_losses:
        return between_losses
    ratio = cost / (2 * between_losses)
    return math.sqrt(2 * cost * between_losses) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - cost


def choose(
    wanted: float | Literal["auto"] | None, costs: Sequence[float], hazard: spec.Hazard | None = None
) -> tuple[float | None, str]:
    """Return the interval and the sentence that explains it.

    `costs` are the seconds that the checkpoints so far have taken from the program, oldest first.
    """
    hazard = hazard or spec.Hazard()
    if wanted is None:
        return None, ""
    if wanted != "auto":
        return wanted, ""
    measured = costs[-MEASURED:]
    if not measured:
        chosen = min(max(daly(PRIOR_COST, hazard.between), SHORTEST), FIRST)
        return chosen, f"the first checkpoint after {chosen:.0f} s, to learn what it takes; {_expected(hazard)}"
    cost = max(statistics.median(measured), 0.001)
    chosen = min(max(daly(cost, hazard.between), SHORTEST), LONGEST)
    how = f"median of the last {len(measured)}"
    return chosen, f"a checkpoint every {chosen:.0f} s: each takes {cost:.3g} s ({how}), and {_expected(hazard)} (Daly)"


def _expected(hazard: spec.Hazard) -> str:
    hours = f"{hazard.between / 3600:.3g} h between losses"
    if not hazard.seconds:
        return f"{hours} are assumed"
    seen = f"{hazard.losses} unannounced in {hazard.seconds / 3600:.3g} h"
    return f"{hours} are expected ({seen} on {hazard.market}, and one in {spec.BETWEEN_LOSSES / 3600:g} h assumed before)"
