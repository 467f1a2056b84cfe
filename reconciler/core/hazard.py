"""How often machines of one market go away without a word, by what the ledger has seen. Pure.

A market is what machines are taken from together: provider, machine type and zone, from the host's labels. With one loss in
`spec.BETWEEN_LOSSES` assumed before anything was seen (a Gamma prior of shape 1 on the rate of losses), n losses in t seconds
of running make (BETWEEN_LOSSES + t) / (1 + n) seconds between losses: the inverse of the rate's posterior mean.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping

from reconciler.core import failures, observed, record, spec

UNANNOUNCED = frozenset({failures.LOST, failures.VANISHED, failures.UNKNOWN})
"""Failures that cost the work since the last checkpoint. An end after a notice costs none, and a failed start none either."""

SHORTEST = 600.0
LONGEST = 30 * 86400.0
"""Seconds between losses: what is measured is not believed beyond these."""


def market(host: observed.HostState | None) -> str:
    """Return the market of a host as provider/type/zone, each as its label says, "-" where it says nothing."""
    labels = host.labels if host is not None else {}
    return "/".join(labels.get(name) or "-" for name in ("provider", "type", "zone"))


def measure(records: Iterable[record.Record], now: float) -> Mapping[str, spec.Hazard]:
    """Return what attempts have met so far, by market. Only attempts whose market was recorded count."""
    losses: collections.Counter[str] = collections.Counter()
    seconds: collections.defaultdict[str, float] = collections.defaultdict(float)
    for run in records:
        for attempt in run.attempts:
            if attempt.hazard is None or attempt.started_at is None:
                continue
            ended = now if attempt.ended_at is None else attempt.ended_at
            seconds[attempt.hazard.market] += max(ended - attempt.started_at, 0.0)
            losses[attempt.hazard.market] += attempt.failure in UNANNOUNCED
    return {name: estimate(name, losses[name], total) for name, total in seconds.items()}


def estimate(name: str, losses: int, seconds: float) -> spec.Hazard:
    """Return the hazard of a market in which `losses` were seen in so many seconds of running."""
    between = (spec.BETWEEN_LOSSES + seconds) / (1 + losses)
    return spec.Hazard(market=name, between=min(max(between, SHORTEST), LONGEST), losses=losses, seconds=seconds)
