"""Checkpoints of real programs: asked for, taken, restored; failing ones leave the program as it was."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.core import model, observed, spec
from tests import conditions
from tests.agent.host import Host

Kind = observed.ExitKind
Purpose = spec.Purpose

TRAINS = """
import sys, time
import perdure_job as p
step = 0
if p.restore_dir():
    step = int((p.restore_dir() / "step").read_text())
print("from", step, flush=True)
while step < 100000:
    step += 1
    p.progress(step, 100000)
    if p.requested():
        with p.checkpoint(step) as folder:
            (folder / "step").write_text(str(step))
            (folder / "weights").write_bytes(b"w" * 10000)
    time.sleep(0.01)
"""
"""Trains until it is stopped, and saves when asked."""

SAVES_ON_ITS_OWN = """
import time
import perdure_job as p
for step in (1, 2):
    with p.checkpoint(step) as folder:
        (folder / "step").write_text(str(step))
"""

SAVES_ON_SIGNAL = """
import os, signal, time
d = os.environ["PERDURE_CHECKPOINT_DIR"]
def save(*_):
    open(d + "/state", "w").write("signalled")
    open(d + "/COMPLETE", "w").close()
signal.signal(signal.SIGUSR1, save)
print("ready", flush=True)
while True: time.sleep(60)
"""

IN_SHELL = """
step=0
[ -n "$PERDURE_RESTORE_DIR" ] && step=$(cat "$PERDURE_RESTORE_DIR/step")
echo from $step
while [ "$step" -lt 1000000 ]; do
    step=$((step + 1))
    echo "{\\"step\\": $step, \\"of\\": 1000000}" >> "$PERDURE_PROGRESS_FILE"
    if [ -e "$PERDURE_REQUEST_FILE" ] && [ ! -e "$PERDURE_CHECKPOINT_DIR/COMPLETE" ]; then
        echo "$step" > "$PERDURE_CHECKPOINT_DIR/step"
        touch "$PERDURE_CHECKPOINT_DIR/COMPLETE"
    fi
    sleep 0.01
done
"""
"""The ten lines of the helper's docstring."""

DEAF = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(60)"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


def policy(**changed: Any) -> model.CheckpointPolicy:
    return dataclasses.replace(model.CheckpointPolicy(store="main", deadline=30.0), **changed)


def ask(purpose: spec.Purpose = Purpose.DEMAND, name: str = "r1", **changed: Any) -> spec.Request:
    return spec.Request(id=name, purpose=purpose, **{"deadline": 20.0, **changed})


def served(host: Host, ref: spec.AttemptRef, name: str = "r1") -> observed.RequestReport:
    item = host.until(ref, lambda item: item.request is not None and item.request.id == name and item.request.done)
    assert item.request is not None
    return item.request


def test_on_demand_the_program_saves_and_goes_on(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(TRAINS))
        host.logged(ref, "from 0")
        host.change(ref, request=ask())
        report = served(host, ref)
        item = host.running(ref)
        (taken,) = item.checkpoints
        assert (taken.digest, taken.purpose, taken.request) == (report.digest, Purpose.DEMAND, "r1")
        assert taken.step is not None
        assert taken.seconds > 0
        host.until(ref, lambda item: item.progress is not None and item.progress.step > (taken.step or 0))
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)
    assert host.store.verify(report.digest).ok


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_program_of_the_user_who_ran_jobs_before_is_saved_too(host: Host) -> None:
    with host.up(user="nobody"):
        ref = host.assign(host.attempt(TRAINS))
        host.logged(ref, "from 0")
    with host.up(user="daemon"):
        host.change(ref, request=ask(Purpose.SUSPEND, then_stop=True))
        report = served(host, ref)
        assert (report.detail, host.ended(ref).stopped) == ("", True)
    assert host.store.verify(report.digest).ok


@pytest.mark.parametrize("program", [TRAINS, IN_SHELL], ids=["helper", "shell"])
def test_a_suspended_program_continues_at_its_step(host: Host, program: str) -> None:
    command: Any = ["/bin/sh", "-c", program] if program is IN_SHELL else program
    with host.up():
        first = host.assign(host.attempt(command))
        host.logged(first, "from 0")
        host.until(first, lambda item: item.progress is not None and item.progress.step > 5)
        host.change(first, request=ask(Purpose.SUSPEND, then_stop=True))
        found = host.ended(first)
        assert found.stopped
        item = host.item(first)
        assert item is not None
        saved = item.checkpoints[-1]
        second = host.assign(host.attempt(command, number=2, restore=saved.digest))
        host.logged(second, "from ")
        word = host.log(second).split()[1]
        if saved.step is not None and program is TRAINS:
            assert int(word) == saved.step
        again = host.until(second, lambda item: item.first_step is not None)
        assert again.first_step == int(word) + 1
        host.change(second, request=ask(name="r2"))
        served(host, second, "r2")
        host.change(second, want=spec.Want.STOP)
        host.ended(second)
        item = host.item(second)
        assert item is not None
    assert item.checkpoints[-1].parent == saved.digest


def test_what_the_program_saves_on_its_own_is_taken_also_after_its_end(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SAVES_ON_ITS_OWN))
        assert host.ended(ref).code == 0
        item = host.item(ref)
        assert item is not None
    assert [(taken.step, taken.purpose) for taken in item.checkpoints] == [(1, Purpose.SAVED), (2, Purpose.SAVED)]
    assert [taken.digest for taken in host.store.list(ref.run)] == [taken.digest for taken in item.checkpoints]


def test_what_was_saved_last_waits_for_the_store(host: Host) -> None:
    program = SAVES_ON_ITS_OWN.replace("(1, 2)", "(1,)") + "\nraise SystemExit(3)"
    with host.up():
        waits = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)\n"
        ref = host.assign(host.attempt(waits + program))
        host.running(ref)
        with host.without_store():
            (host.shared(ref) / "work" / "go").touch()
            host.until(ref, lambda item: "saved checkpoint failed" in item.condition)
        host.ended(ref)
        item = host.item(ref)
        assert item is not None
    assert len(item.checkpoints) == 1
    assert item.condition == ""


def test_a_signal_comes_with_the_request(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SAVES_ON_SIGNAL, checkpoint=policy(signal="SIGUSR1")))
        host.logged(ref, "ready")
        host.change(ref, request=ask())
        assert served(host, ref).digest
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)


def test_the_request_file_says_what_and_until_when_and_goes_away(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(DEAF))
        host.logged(ref, "ready")
        host.change(ref, request=ask(reason="for the record", deadline=1.0))
        file = host.shared(ref) / "request.json"
        conditions.eventually(file.exists)
        value = json.loads(file.read_text())
        assert (value["id"], value["reason"]) == ("r1", "for the record")
        report = served(host, ref)
        assert (report.digest, report.detail) == ("", "the program did not save within 1 s")
        assert not file.exists()
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)


@pytest.mark.parametrize("purpose", [Purpose.SUSPEND, Purpose.UPDATE, Purpose.MOVE, Purpose.DEMAND])
def test_a_deaf_program_runs_on_when_it_was_to_be_saved(host: Host, purpose: spec.Purpose) -> None:
    with host.up():
        ref = host.assign(host.attempt(DEAF))
        host.logged(ref, "ready")
        host.change(ref, request=ask(purpose, deadline=0.2, then_stop=True))
        report = served(host, ref)
        assert report.digest == ""
        assert "did not save" in report.detail
        host.running(ref)
        host.change(ref, request=ask(purpose, name="r2", deadline=0.2, then_stop=True))
        served(host, ref, "r2")
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)


def test_a_program_that_is_to_end_does_no_work_after_its_last_save(host: Host) -> None:
    large = TRAINS.replace('b"w" * 10000', "os.urandom(1 << 26)").replace("import sys", "import os, sys")
    with host.up():
        ref = host.assign(host.attempt(large))
        host.until(ref, lambda item: item.progress is not None and item.progress.step > 5)
        host.change(ref, request=ask(Purpose.SUSPEND, then_stop=True))
        host.ended(ref)
        item = host.item(ref)
    assert item is not None
    assert item.progress is not None
    saved = item.checkpoints[-1].step
    assert saved is not None
    assert item.progress.step - saved < 20  # storing so much takes longer than twenty steps


def test_a_program_goes_on_when_its_last_save_could_not_be_stored(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(TRAINS))
        host.until(ref, lambda item: item.progress is not None and item.progress.step > 5)
        with host.without_store():
            host.change(ref, request=ask(Purpose.SUSPEND, then_stop=True))
            report = host.until(ref, lambda item: item.request is not None and item.request.done)
        assert report.request is not None
        assert not report.request.digest
        before = host.item(ref)
        assert before is not None
        assert before.progress is not None
        at = before.progress.step
        host.until(ref, lambda item: item.progress is not None and item.progress.step > at)
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)


def test_a_deaf_program_is_stopped_when_it_was_to_stop(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(DEAF), request=ask(Purpose.STOP, deadline=0.2, then_stop=True))
        found = host.ended(ref)
    assert found.stopped


def test_a_request_before_the_start_to_save_and_end_starts_nothing(host: Host) -> None:
    with host.up(), host.without_store():
        ref = host.assign(host.attempt(DEAF), request=ask(Purpose.SUSPEND, then_stop=True))
        found = host.ended(ref)
    assert (found.kind, found.stopped) == (Kind.NOT_STARTED, True)


def test_without_an_engine_a_request_is_answered_at_once(host: Host) -> None:
    with host.up():
        what = host.attempt(DEAF, checkpoint=model.CheckpointPolicy(engine=model.EngineName.NONE))
        ref = host.assign(what)
        host.logged(ref, "ready")
        host.change(ref, request=ask(Purpose.SUSPEND, then_stop=True))
        assert "none" in served(host, ref).detail
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)


def test_the_timer_takes_checkpoints_and_a_deaf_program_gets_a_condition(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(TRAINS, checkpoint=policy(interval=0.3)))
        host.until(ref, lambda item: len(item.checkpoints) >= 2)
        deaf = host.assign(host.attempt(DEAF, number=2, run=host.another(), checkpoint=policy(interval=0.1, deadline=0.1)))
        host.until(deaf, lambda item: "the timer checkpoint failed: the program did not save" in item.condition)
        host.running(deaf)
        for each in (ref, deaf):
            host.change(each, want=spec.Want.STOP)
            host.ended(each)
        item = host.item(ref)
        assert item is not None
    assert all(taken.purpose is Purpose.TIMER for taken in item.checkpoints)
    assert item.checkpoints[1].parent == item.checkpoints[0].digest
    assert item.checkpoints[1].number == item.checkpoints[0].number + 1 > 1


def test_an_automatic_interval_says_its_numbers(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(DEAF, checkpoint=policy(interval="auto")))
        item = host.until(ref, lambda item: bool(item.cadence))
        assert "assumed" in item.cadence
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)


def test_the_same_request_is_not_taken_twice_by_the_next_agent(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(TRAINS))
        host.logged(ref, "from 0")
        host.change(ref, request=ask())
        first = served(host, ref)
    host.link.said.clear()
    with host.up():
        host.send()
        assert served(host, ref) == first
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)
    assert len(host.store.list(ref.run)) == 1


def test_a_checkpoint_that_is_too_large_is_refused_and_the_program_goes_on(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(TRAINS, checkpoint=policy(max_size=5000)))
        host.logged(ref, "from 0")
        host.change(ref, request=ask())
        assert "maxSize" in served(host, ref).detail
        host.running(ref)
        host.change(ref, want=spec.Want.STOP)
        host.ended(ref)
    assert host.store.list(ref.run) == ()


def test_a_notice_saves_and_ends_what_can_be_saved_and_lets_the_rest_run(host: Host) -> None:
    with host.up() as agent:
        saves = host.assign(host.attempt(TRAINS))
        deaf = host.assign(host.attempt(DEAF, run=host.another()))
        unasked = host.assign(host.attempt(TRAINS, run=host.another(), checkpoint=policy(on=())))
        for ref in (saves, deaf, unasked):
            host.running(ref)
        host.logged(saves, "from 0")
        agent.notice(6.0, "reclaimed")
        late = host.assign(host.attempt(TRAINS, run=host.another()))
        found = host.ended(saves)
        assert (found.stopped, found.detail) == (True, "")
        item = host.item(saves)
        assert item is not None
        assert item.checkpoints[-1].purpose is Purpose.NOTICE
        assert (host.ended(late).kind, host.ended(late).stopped) == (Kind.NOT_STARTED, True)
        host.until(deaf, lambda item: "notice checkpoint failed" in item.condition)
        conditions.eventually(lambda: host.state.notice is None)
        for ref in (deaf, unasked):
            host.running(ref)
            host.change(ref, want=spec.Want.STOP)
            host.ended(ref)


def test_a_notice_is_served_as_soon_as_the_store_answers_again(host: Host) -> None:
    with host.up() as agent:
        ref = host.assign(host.attempt(TRAINS))
        host.logged(ref, "from 0")
        with host.without_store():
            agent.notice(600.0, "reclaimed")
            host.until(ref, lambda item: "notice checkpoint failed" in item.condition)  # the program has answered
        assert host.ended(ref).stopped
        item = host.item(ref)
        assert item is not None
    assert [taken.purpose for taken in item.checkpoints] == [Purpose.SAVED, Purpose.NOTICE]


def test_a_drain_ends_what_is_saved_and_survives_a_restart(host: Host) -> None:
    with host.up() as agent:
        agent.drain(True)
        conditions.eventually(lambda: host.state.draining)
    with host.up() as agent:
        conditions.eventually(lambda: host.state.draining)
        refused = host.ended(host.assign(host.attempt(TRAINS)))
        assert (refused.kind, refused.stopped) == (Kind.NOT_STARTED, True)
        agent.drain(False)
        ref = host.assign(host.attempt(TRAINS, number=2))
        host.logged(ref, "from 0")
        agent.drain(True)
        assert host.ended(ref).stopped
        agent.drain(False)
    assert host.store.list(ref.run)[-1].purpose is Purpose.NOTICE


def test_a_checkpoint_of_another_tenant_is_refused(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SAVES_ON_ITS_OWN))
        host.ended(ref)
        item = host.item(ref)
        assert item is not None
        other = host.assign(host.attempt(TRAINS, run=host.another(), tenant="evil", restore=item.checkpoints[-1].digest))
        found = host.ended(other)
    assert (found.kind, found.fatal) == (Kind.NOT_STARTED, True)
    assert "another tenant" in found.detail


@pytest.mark.parametrize("purpose", [Purpose.SUSPEND, Purpose.NOTICE])
def test_what_cannot_be_built_upon_costs_room_and_not_the_checkpoint(host: Host, purpose: spec.Purpose) -> None:
    """Bytes of the parent are not what was written, so what it shares with the program's state cannot be used any more."""
    with host.up() as agent:
        ref = host.assign(host.attempt(TRAINS))
        host.logged(ref, "from 0")
        host.change(ref, request=ask())
        first = served(host, ref)
        [pack] = (Path(host.spec.root) / "runs" / ref.run / "packs").glob("*-00000")
        pack.write_bytes(bytes(pack.stat().st_size))
        if purpose is Purpose.NOTICE:
            agent.notice(20.0)
        else:
            host.change(ref, request=ask(purpose, "r2", then_stop=True))
        assert host.ended(ref).stopped
        item = host.item(ref)
        assert item is not None
        last = item.checkpoints[-1]
    assert last.purpose is purpose
    assert not host.store.verify(first.digest).ok
    assert host.store.verify(last.digest).ok


def test_a_damaged_checkpoint_is_named_and_nothing_started(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt(SAVES_ON_ITS_OWN))
        host.ended(ref)
        item = host.item(ref)
        assert item is not None
        digest = item.checkpoints[-1].digest
        for pack in (host.folder / "store").rglob("*"):
            if pack.is_file() and "pack" in str(pack):
                pack.write_bytes(bytes(byte ^ 1 for byte in pack.read_bytes()))
        other = host.assign(host.attempt(TRAINS, number=2, restore=digest))
        found = host.ended(other)
    assert (found.kind, found.damaged) == (Kind.NOT_STARTED, digest)
    assert not (host.shared(other) / "restore").exists()
    assert not (host.shared(other) / "restoring").exists()
