"""How often machines go away, as the ledger tells it."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest

from reconciler.core import failures, hazard, intend, observed, record, spec
from tests.core import runs

SPOT = "aws/p4d/eu-1"
HOUR = 3600.0


def attempt(
    number: int, hours: float | None, failure: str = "", market: str = SPOT, ending: record.Ending | None = None
) -> record.Attempt:
    """An attempt that began at 0 and ended after so many hours; None: it runs."""
    return record.Attempt(
        number=number,
        target="spot",
        host="one",
        intended_at=0.0,
        started_at=0.0,
        ended_at=None if hours is None else hours * HOUR,
        ending=ending or (None if hours is None else record.Ending.LOST),
        failure=failure,
        hazard=spec.Hazard(market=market),
    )


def run(*attempts: record.Attempt) -> record.Record:
    return runs.of(runs.JOB, *attempts)


def test_a_market_is_what_the_labels_of_a_host_say() -> None:
    state = observed.HostState(host="one", labels={"provider": "aws", "zone": "eu-1", "colour": "red"})
    assert hazard.market(state) == "aws/-/eu-1"
    assert hazard.market(None) == "-/-/-"


def test_nothing_seen_is_what_is_assumed() -> None:
    assert hazard.measure([run()], 0.0) == {}
    assert hazard.estimate(SPOT, losses=0, seconds=0.0).between == spec.BETWEEN_LOSSES


def test_losses_shorten_and_quiet_hours_lengthen_what_is_expected() -> None:
    stormy = run(attempt(1, 1, failures.LOST), attempt(2, 1, failures.VANISHED), attempt(3, 1, failures.UNKNOWN))
    quiet = run(attempt(1, None, market="static/-/-"))
    seen = hazard.measure([stormy, quiet], now=94 * HOUR)
    assert seen[SPOT] == spec.Hazard(market=SPOT, between=(1 + 3) / 4 * HOUR, losses=3, seconds=3 * HOUR)
    assert seen["static/-/-"].between == 95 * HOUR


@pytest.mark.parametrize("failure", ["StartFailed", "ExitStatus", "OutOfMemory", "CheckpointDamaged", ""])
def test_what_is_not_the_end_of_a_machine_is_no_loss(failure: str) -> None:
    seen = hazard.measure([run(attempt(1, 6, failure, ending=record.Ending.FAILED))], now=0.0)
    assert (seen[SPOT].losses, seen[SPOT].between) == (0, 7 * HOUR)


def test_what_was_never_started_or_is_of_no_known_market_does_not_count() -> None:
    unstarted = dataclasses.replace(attempt(1, 1, failures.LOST), started_at=None)
    unknown = dataclasses.replace(attempt(2, 1, failures.LOST), hazard=None)
    assert hazard.measure([run(unstarted, unknown)], now=0.0) == {}


@pytest.mark.parametrize(("losses", "seconds", "between"), [(10_000, 60.0, hazard.SHORTEST), (0, 1e10, hazard.LONGEST)])
def test_what_is_measured_is_believed_within_bounds(losses: int, seconds: float, between: float) -> None:
    assert hazard.estimate(SPOT, losses, seconds).between == between


def test_an_attempt_carries_what_it_was_planned_with() -> None:
    measured = spec.Hazard(market=SPOT, between=HOUR, losses=2, seconds=2 * HOUR)
    one = run(dataclasses.replace(attempt(1, None), hazard=measured))
    assert intend.attempt_spec(one, one.applied).hazard == measured


@pytest.mark.parametrize(("interval", "costs"), [("auto", (2.0, 0.5)), (60.0, ())])
def test_an_attempt_knows_what_checkpoints_of_those_before_it_took(
    interval: Literal["auto"] | float, costs: tuple[float, ...]
) -> None:
    def saved(number: int, frozen: float, seconds: float) -> record.Saved:
        taken = observed.Taken(digest=f"sha256:{number}{seconds}", attempt=number, taken_at=0.0, frozen=frozen, seconds=seconds)
        return record.Saved(taken=taken)

    one = run(attempt(1, None), attempt(2, None))
    kept = (saved(1, 0.0, 0.0), saved(1, 0.0, 2.0), saved(1, 0.5, 3.0), saved(2, 9.0, 9.0))
    job = dataclasses.replace(one.applied, checkpoint=dataclasses.replace(one.applied.checkpoint, interval=interval))
    assert intend.attempt_spec(dataclasses.replace(one, checkpoints=kept), job).costs == costs
