"""What proves that everything ran once notices when it did not; and a seed is a schedule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.lab import havoc, witness

LOG = """\
begin one 1 aaaa 0 100.0
beat one 1 aaaa 1 101.0
beat one 1 aaaa 2 102.0
begin two 1 bbbb 0 103.0
fail two 1 bbbb 1 103.5
beat one 2 aaaa 2 104.0
beat one 2 aaaa 3 105.0
begin two 2 cccc 0 106.0
beat two 2 cccc 1 107.0
end two 2 cccc 1 107.5
end one 2 aaaa 3 108.0
"""
"""Run one was lost after its second beat and restored from its first; run two failed once and was begun again."""

ONE = witness.Run(
    job="one",
    phase="finished",
    attempts=(
        witness.Attempt(number=1, ending="lost"),
        witness.Attempt(number=2, restored_from="sha256:1", ending="finished", code=0),
    ),
    checkpoints={"sha256:1": witness.Saved(attempt=1, asked_at=101.5)},
)
TWO = witness.Run(
    job="two",
    phase="finished",
    attempts=(witness.Attempt(number=1, ending="failed", code=3), witness.Attempt(number=2, ending="finished", code=0)),
)
FIRST = witness.Look(
    boxes=(witness.Box(id="x", run="one", attempt=1, running=True),),
    runs={"one": replace(ONE, phase="running", attempts=(witness.Attempt(number=1),))},
    noted=2,
)
SECOND = witness.Look(
    boxes=(witness.Box(id="y", run="one", attempt=2, running=True), witness.Box(id="z", run="two", attempt=2, running=False)),
    runs={"one": replace(ONE, phase="running", attempts=(ONE.attempts[0], replace(ONE.attempts[1], ending=""))), "two": TWO},
    noted=10,
)
LAST = witness.Look(boxes=(), runs={"one": ONE, "two": TWO}, noted=11)


def evidence(log: str = LOG, *looks: witness.Look, jobs: tuple[str, ...] = ("one", "two")) -> witness.Evidence:
    return witness.Evidence(notes=witness.parse(log), looks=looks or (FIRST, SECOND, LAST), jobs=frozenset(jobs))


def told(seen: witness.Evidence) -> str:
    return "\n".join(witness.broken(seen))


def with_line(line: str, log: str = LOG) -> witness.Evidence:
    """The same, with one more line that was written before the last look."""
    return evidence(f"{log}{line}\n", FIRST, SECOND, LAST, replace(LAST, noted=12))


def test_what_went_well_is_well() -> None:
    assert witness.broken(evidence()) == []


def test_a_line_that_is_being_written_is_not_read_yet() -> None:
    assert witness.parse(LOG + "begin one") == witness.parse(LOG)


def test_an_attempt_that_starts_twice() -> None:
    assert "No attempt starts twice: one-1 has started with aaaa, dddd" in told(with_line("begin one 1 dddd 0 100.1"))


def test_a_restored_attempt_that_begins_at_the_beginning() -> None:
    log = LOG.replace("beat one 2 aaaa 2", "begin one 2 eeee 0")
    assert "one-2 has started, and should have continued attempt 1" in told(evidence(log))


def test_an_image_older_than_the_first_line_of_its_program_may_begin() -> None:
    log = LOG.replace("one 2 aaaa", "one 2 eeee").replace("beat one 2 eeee 2", "begin one 2 eeee 0")
    early = {"sha256:1": witness.Saved(attempt=1, asked_at=99.9)}
    looks = [
        replace(each, runs={**each.runs, "one": replace(each.runs["one"], checkpoints=early)}) for each in (FIRST, SECOND, LAST)
    ]
    assert witness.broken(evidence(log, *looks)) == []


def test_a_restored_attempt_with_the_memory_of_another() -> None:
    assert "one-2 noted beat 3 with eeee, and not with aaaa" in told(evidence(LOG.replace("2 aaaa 3 105", "2 eeee 3 105")))


def test_an_attempt_restored_from_nothing_that_is_known() -> None:
    attempts = (ONE.attempts[0], replace(ONE.attempts[1], restored_from="sha256:2"))
    last = replace(LAST, runs={"one": replace(ONE, attempts=attempts), "two": TWO})
    assert "one-2 continues from sha256:2, which nobody has seen" in told(evidence(LOG, FIRST, SECOND, last))


def test_a_checkpoint_that_was_dropped_is_remembered() -> None:
    last = replace(LAST, runs={"one": replace(ONE, checkpoints={}), "two": TWO})
    assert witness.broken(evidence(LOG, FIRST, SECOND, last)) == []


def test_two_programs_that_count_in_one_attempt() -> None:
    twice = LOG.replace("beat one 2 aaaa 3 105.0\n", "beat one 2 aaaa 3 105.0\nbeat one 2 aaaa 2 105.1\n")
    looks = [replace(each, noted=each.noted + (each is not FIRST)) for each in (FIRST, SECOND, LAST)]
    assert "one-2 went back 1 times, and 0 attempts were made from it" in told(evidence(twice, *looks))


def test_one_old_number_a_restore_is_no_second_program() -> None:
    stale = LOG.replace("beat one 2 aaaa 2 104.0\n", "beat one 1 aaaa 2 103.9\n")
    assert witness.broken(evidence(stale)) == []


@pytest.mark.parametrize("number", [1, 3])
def test_a_finished_run_that_starts_again(number: int) -> None:
    found = told(with_line(f"begin two {number} ffff 0 109.0"))
    assert f"No finished run starts again: two-{number} has started with ffff" in found


def test_a_finished_run_that_the_ledger_begins_again() -> None:
    again = replace(TWO, phase="running", attempts=(*TWO.attempts, witness.Attempt(number=3)))
    found = told(evidence(LOG, FIRST, SECOND, replace(LAST, runs={"one": ONE, "two": again})))
    assert "two: finished with 2 attempts, then running with 3" in found
    assert "Every job finishes, as one run, and leaves nothing: two is [('two', 'running')]" in found


def test_a_ledger_that_forgets() -> None:
    assert "one: the ledger has forgotten attempts" in told(evidence(LOG, FIRST, SECOND, replace(LAST, runs={"two": TWO})))


def test_a_container_of_a_finished_run() -> None:
    last = replace(LAST, boxes=(witness.Box(id="w", run="two", attempt=2, running=True),))
    found = told(evidence(LOG, FIRST, SECOND, last))
    assert "No finished run starts again: container w of two-2 runs" in found
    assert "container w of two-2 is left" in found


def test_one_that_was_given_up_may_run_on_for_a_while() -> None:
    zombie = replace(LAST, boxes=(witness.Box(id="x", run="one", attempt=1, running=True),))
    assert witness.broken(evidence(LOG, FIRST, SECOND, LAST, zombie, LAST)) == []


def test_two_containers_of_one_attempt() -> None:
    second = replace(SECOND, boxes=(*SECOND.boxes, witness.Box(id="v", run="one", attempt=2, running=True)))
    assert "An attempt is one container: one-2 ran as v, y" in told(evidence(LOG, FIRST, second, LAST))


def test_what_the_ledger_does_not_know() -> None:
    second = replace(SECOND, boxes=(witness.Box(id="u", run="three", attempt=1, running=False),))
    found = told(evidence(f"{LOG}begin one 3 abab 0 109.0\n", FIRST, second, replace(LAST, noted=12), replace(LAST, noted=12)))
    assert "container u of three-1" in found
    assert "one-3 noted begin" in found


def test_an_end_that_the_program_did_not_come_to() -> None:
    found = told(evidence(LOG.replace("end two 2 cccc 1 107.5\n", "beat two 2 cccc 2 107.5\n")))
    assert "two-2 is finished, and its program did not come to its end" in found


def test_a_failure_that_was_none() -> None:
    found = told(evidence(LOG.replace("fail two 1 bbbb 1", "beat two 1 bbbb 1")))
    assert "two-1 has failed, and its program did not" in found


def test_two_attempts_that_are_finished() -> None:
    attempts = (replace(TWO.attempts[0], ending="finished", code=0), TWO.attempts[1])
    found = told(evidence(LOG, FIRST, LAST, replace(LAST, runs={"one": ONE, "two": replace(TWO, attempts=attempts)})))
    assert "two is finished, and attempts [1, 2] are finished" in found


def test_a_job_that_was_never_run_and_one_of_two_runs() -> None:
    last = replace(LAST, runs={"one": ONE, "two": TWO, "uno": replace(TWO, job="one", phase="stopped", attempts=())})
    found = told(evidence(LOG, FIRST, SECOND, last, jobs=("one", "two", "three")))
    assert "one is [('one', 'finished'), ('uno', 'stopped')]" in found
    assert "three is []" in found


def test_a_seed_is_a_schedule() -> None:
    assert havoc.schedule(7, 20) == havoc.schedule(7, 20) != havoc.schedule(8, 20)


def test_who_is_down_already_is_not_killed_meanwhile() -> None:
    assert all(blow.meanwhile is not blow.kind for number in range(50) for blow in havoc.schedule(number, 40))


def test_every_kind_comes_before_any_comes_twice() -> None:
    for number in range(50):
        kinds = [blow.kind for blow in havoc.schedule(number, 40)]
        assert set(kinds[: len(havoc.Kind)]) == set(havoc.Kind)
        assert len(kinds) == 40
