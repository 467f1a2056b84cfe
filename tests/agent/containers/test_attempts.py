"""An attempt that is a container, from its assignment to its removal, and everything that may come between."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from pathlib import Path

import pytest

from agent import verdicts
from agent.containers import books, fake, seam, sites, view
from reconciler import errors
from reconciler.contracts import engine
from reconciler.core import container, failures, model, observed, spec
from tests import conditions
from tests.agent.containers import rig as rigs
from tests.agent.containers.rig import REF, WHAT, Rig

Kind = observed.ExitKind


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_it_runs_as_it_was_assigned(rig: Rig) -> None:
    (rig.folder / "secrets/TOKEN").write_text("hush\n")
    (rig.folder / "secrets/TOKEN").chmod(0o600)
    workload = dataclasses.replace(WHAT.workload, secrets=("TOKEN",), workdir="/src")
    one = rig.running(dataclasses.replace(WHAT, workload=workload, resources=model.Resources(cpu=500, memory=1 << 20)))
    host = one.body["HostConfig"]
    assert one.body["Image"] == rigs.IMAGE.id
    assert one.body["Cmd"] == ["--fast"]
    assert "Entrypoint" not in one.body
    assert {"A=b", f"PERDURE_ATTEMPT={REF}", "TOKEN=hush"} <= set(one.body["Env"])
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (500_000_000, 1 << 20, 1 << 20)
    assert host["RestartPolicy"] == {"Name": "no"}
    assert one.body["Labels"][container.RUN] == REF.run
    item = rig.item()
    assert (item.state, item.started_at) == (observed.ItemState.RUNNING, one.started_at)
    state = rig.agent.state()
    assert state.engines == ("application", "criu", "docker")
    assert state.conditions == ()


def test_its_end_is_collected_and_then_it_is_removed(rig: Rig) -> None:
    one = rig.running()
    rig.docker.say(one.id, "hello\n")
    rig.docker.end(one.id, 3)
    assert rig.ended() == observed.Exit(kind=Kind.EXITED, code=3)
    assert rig.store.read_log(REF, 0, 100) == b"hello\n"
    rig.assign(want=spec.Want.REMOVE)
    rig.look(4)
    assert rig.docker.containers == {}
    assert rig.agent.state().items == ()


@pytest.mark.parametrize(
    ("code", "memory", "expected"),
    [
        (0, False, observed.Exit(kind=Kind.EXITED, code=0)),
        (137, True, observed.Exit(kind=Kind.OUT_OF_MEMORY, signal=9, detail="the kernel ended it for memory")),
        (137, False, observed.Exit(kind=Kind.SIGNALED, signal=9)),
        (139, False, observed.Exit(kind=Kind.SIGNALED, signal=11)),
        (255, False, observed.Exit(kind=Kind.EXITED, code=255)),
    ],
)
def test_how_it_ended(rig: Rig, code: int, memory: bool, expected: observed.Exit) -> None:
    one = rig.running()
    rig.docker.end(one.id, code, out_of_memory=memory)
    assert rig.ended() == expected


def test_an_end_that_its_engine_did_not_see_is_no_failure_of_the_program(rig: Rig) -> None:
    one = rig.running()
    rig.docker.end(one.id, 255, witnessed=False)
    found = rig.ended()
    assert found == observed.Exit(kind=Kind.UNKNOWN, detail="its container engine was away, and nobody saw how it ended")
    assert failures.classify(found).fault is failures.Fault.MACHINE


def test_an_end_while_the_agent_was_down_is_recorded_at_its_return(rig: Rig) -> None:
    one = rig.running()
    rig.docker.say(one.id, "last words\n")
    rig.docker.end(one.id, 9)
    rig.start()
    assert rig.ended() == observed.Exit(kind=Kind.EXITED, code=9)
    assert rig.store.read_log(REF, 0, 100) == b"last words\n"


def test_one_that_runs_is_adopted_by_the_next_agent(rig: Rig) -> None:
    one = rig.running()
    rig.start()
    rig.look(3)
    assert rig.item().state is observed.ItemState.RUNNING
    assert rig.docker.calls["create"] == 1
    assert rig.docker.containers == {one.id: one}


def test_one_that_was_removed_by_somebody_may_have_finished_and_is_not_begun_again(rig: Rig) -> None:
    one = rig.running()
    rig.docker.remove(one.id)
    found = rig.ended()
    assert found.kind is Kind.UNKNOWN
    assert rig.docker.calls["create"] == 1


@pytest.mark.parametrize("verb", ["create", "start"])
def test_an_agent_that_is_killed_in_the_act_begins_it_once(rig: Rig, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """The engine has done what it was asked, and nobody heard."""
    real = getattr(type(rig.docker), verb)

    def cut(*arguments: object) -> object:
        real(*arguments)
        raise errors.Unavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(type(rig.docker), verb, cut)
        rig.assign()
        rig.look(4)
    rig.start()
    rig.look(6)
    assert rig.item().state is observed.ItemState.RUNNING
    assert len(rig.docker.containers) == 1
    assert rig.docker.calls["create"] == 1


def test_a_stop_stops(rig: Rig) -> None:
    one = rig.running()
    rig.assign(want=spec.Want.STOP)
    found = rig.ended()
    assert (found.kind, found.signal, found.stopped) == (Kind.SIGNALED, 15, True)
    assert one.state is seam.State.EXITED
    assert rig.item().checkpoints == ()  # our own stop is delivered at once


def test_its_time_is_limited(rig: Rig) -> None:
    what = dataclasses.replace(WHAT, timeout=30.0)
    rig.running(what)
    rig.clock.at += 20
    rig.look(3)
    assert rig.item().exit is None
    rig.clock.at += 20
    assert rig.ended().kind is Kind.TIMEOUT


def test_a_longer_time_holds_for_one_that_runs(rig: Rig) -> None:
    rig.running(dataclasses.replace(WHAT, timeout=30.0))
    rig.assign(dataclasses.replace(WHAT, timeout=300.0))
    rig.look(2)
    rig.clock.at += 100
    rig.look(4)
    assert rig.item().exit is None


def test_it_ends_by_its_own_checkpoint_and_is_stopped_although_its_engine_says_137(rig: Rig) -> None:
    rig.running()
    asked = spec.Request(id="r1", purpose=spec.Purpose.SUSPEND, then_stop=True)
    rig.assign(request=asked)
    found = rig.ended()
    assert found.stopped
    item = rig.item()
    assert [taken.request for taken in item.checkpoints] == ["r1"]
    assert item.request == observed.RequestReport(
        id="r1", done=True, digest=item.checkpoints[0].digest, at=item.request.at if item.request else 0
    )


def test_and_also_where_the_agent_was_killed_before_it_had_written_that_down(rig: Rig) -> None:
    rig.running()
    entry = rig.book.entries[REF]
    rig.control.checkpoint(
        entry, spec.Request(id="r1", purpose=spec.Purpose.DEMAND, then_stop=True), lambda: None, lambda: False
    )
    rig.start()
    found = rig.ended()
    assert found.stopped
    assert [taken.request for taken in rig.item().checkpoints] == ["r1"]


def test_a_checkpoint_that_failed_is_no_excuse_for_137(rig: Rig) -> None:
    one = rig.running()
    rig.criu.broken = "no room"
    rig.assign(request=spec.Request(id="r1", purpose=spec.Purpose.SUSPEND, then_stop=True))
    rig.look(3)
    assert rig.item().exit is None
    rig.docker.end(one.id, 137)
    assert not rig.ended().stopped


@pytest.mark.parametrize(("on", "taken"), [((model.Occasion.NOTICE,), 1), ((model.Occasion.SUSPEND, model.Occasion.UPDATE), 0)])
def test_a_stop_by_the_engine_takes_a_checkpoint_first(rig: Rig, on: tuple[model.Occasion, ...], taken: int) -> None:
    one = rig.running(dataclasses.replace(WHAT, checkpoint=dataclasses.replace(rigs.CRIU, on=on)))
    rig.docker.stop(one.id, 10.0)
    found = rig.ended()
    assert found.stopped
    item = rig.item()
    assert [each.purpose for each in item.checkpoints] == [spec.Purpose.NOTICE] * taken


def test_a_stop_by_the_engine_is_delivered_also_when_nothing_could_be_saved(rig: Rig) -> None:
    one = rig.running()
    rig.criu.broken = "io_uring is in use"
    rig.docker.stop(one.id, 10.0)
    assert rig.ended().stopped
    assert rig.item().checkpoints == ()


def test_one_that_has_ended_before_it_could_be_killed_is_no_trouble(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Its own checkpoint has ended it, and the newest list does not say so yet."""
    rig.running()
    asked = spec.Request(id="r1", purpose=spec.Purpose.SUSPEND, then_stop=True)
    outcome = rig.control.checkpoint(rig.book.entries[REF], asked, lambda: None, lambda: False)
    assert isinstance(outcome, engine.Captured)
    rig.clock.at += 0.2
    rig.control.stop(dataclasses.replace(rig.book.entries[REF], checkpoints=(outcome.taken,)))
    conditions.eventually(lambda: not any(each.name == "end" for each in threading.enumerate()))
    assert rig.docker.calls["kill"] == 1
    assert caplog.messages == []


def test_other_signals_are_delivered_at_once(rig: Rig) -> None:
    one = rig.running()
    rig.docker.kill(one.id, "SIGUSR1")
    rig.look(3)
    assert rig.item().exit is None
    assert rig.item().checkpoints == ()


def test_a_checkpoint_says_what_it_needs_of_a_processor(rig: Rig) -> None:
    rig.criu.processor = "x86_64 9:20"
    rig.running()
    rig.assign(request=spec.Request(id="r1", purpose=spec.Purpose.DEMAND))
    rig.look(3)
    (reported,) = rig.item().checkpoints
    (listed,) = rig.store.list(REF.run)
    assert reported.processor == listed.processor == rig.store.open(listed.digest).meta.processor == "x86_64 9:20"


def test_it_continues_from_a_checkpoint(rig: Rig) -> None:
    second = rigs.restored(rig)
    one = rig.running(second)
    assert rig.criu.restored == {second.ref: second.restore}
    assert one.restored != ""
    assert not Path(one.restored).exists()  # it runs: nothing of it is left in memory


def test_a_checkpoint_laid_out_before_the_machine_started_anew_is_laid_out_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = rigs.restored(rig)
    rig.assign(second)
    rig.look(2)
    place = Path(rig.control.books.get(second.ref).restore)
    (place / "left").touch()
    monkeypatch.setattr("agent.supervisor.processes.boot", lambda: "another boot")
    rig.start()
    rig.look(2)
    assert place.is_dir()
    assert not (place / "left").exists()
    assert rig.running(second).restored == str(place)


def test_a_damaged_checkpoint_is_named(rig: Rig) -> None:
    second = rigs.restored(rig)
    rig.store.images[second.restore].damaged = True
    rig.assign(second)
    rig.look(6)
    found = rig.item(second.ref).exit
    assert found is not None
    assert found.damaged == second.restore


@pytest.mark.parametrize(
    ("workload", "expected"),
    [
        (model.Workload(image="no/such:1"), "image no/such:1 cannot be pulled"),
        (model.Workload(image="train:1", secrets=("TOKEN",)), "the secret TOKEN is missing"),
        (model.Workload(image="train:1", volumes=(model.Volume(source="/", target="/host", shared=True),)), "the host's own"),
        (
            model.Workload(image="train:1", volumes=(model.Volume(source="/var/run", target="/x", shared=True),)),
            "the host's own",
        ),
        (
            model.Workload(image="train:1", volumes=(model.Volume(source="/missing", target="/x", shared=True),)),
            "does not exist",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_in_plain_words(rig: Rig, workload: model.Workload, expected: str) -> None:
    rig.assign(dataclasses.replace(WHAT, workload=workload))
    rig.look(6)
    found = rig.item().exit
    assert found is not None
    assert expected in found.detail
    assert rig.docker.containers == {}


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"userns": True}, "userns-remap"),
        ({"rootless": True}, "rootless"),
        ({"runtimes": {"runc": "runc"}, "default_runtime": "runc"}, "perdure-agent install"),
    ],
)
def test_an_engine_whose_containers_cannot_be_saved_says_why(rig: Rig, about: dict[str, object], expected: str) -> None:
    rig.docker.known = dataclasses.replace(rig.docker.known, **about)  # type: ignore[arg-type]
    rig.control.view.look()
    state = rig.agent.state()
    assert state.engines == ("application", "docker")
    assert expected in state.conditions[0]
    rig.assign()
    rig.look(4)
    found = rig.item().exit
    assert found is not None
    assert expected in found.detail
    assert not found.fatal  # another host may


def test_the_interposer_is_asked_for_where_it_is_not_the_default(rig: Rig) -> None:
    rig.docker.known = dataclasses.replace(rig.docker.known, default_runtime="runc")
    rig.control.view.look()
    assert rig.running().body["HostConfig"]["Runtime"] == "perdure"


def test_an_attempt_of_another_creator_waits_for_it(rig: Rig) -> None:
    what = dataclasses.replace(WHAT, created_by=spec.Creator.ENGINE)
    rig.assign(what)
    rig.look(6)
    assert rig.item().ready
    assert rig.docker.calls["create"] == 0
    assert rig.agent.settled()
    labels = container.labels(what)
    body = {"Image": "train:1", "Labels": labels, "Env": [f"{container.MARKER}={what.ref}"]}
    wrong = rig.docker.create("by-hand", body)
    with pytest.raises(errors.Refused, match="no service of the attempt's name"):
        rig.docker.start(wrong)
    rig.docker.remove(wrong)
    right = rig.docker.create("task", {**body, "Labels": {**labels, "com.docker.swarm.service.name": container.name(what.ref)}})
    rig.docker.start(right)
    rig.look(4)
    assert (rig.item().ready, rig.item().state) == (False, observed.ItemState.RUNNING)
    rig.docker.end(right, 0)
    again = rig.docker.create("twice", rig.docker.containers[right].body)
    with pytest.raises(errors.Refused, match="granted already"):
        rig.docker.start(again)
    assert rig.ended() == observed.Exit(kind=Kind.EXITED, code=0)


def test_why_a_granted_container_did_not_come_to_be_is_told_and_nothing_else(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its engine is not asked again: the grant is used up, and its words would hide the reason."""
    why = "the checkpoint is not what the manifest yields: the manifest has a mount at /x that it lacks"
    asked: list[str] = []

    def start(_: fake.FakeDocker, one: str) -> None:
        asked.append(one)
        if isinstance(answer := rig.judge.create(rigs.asked(one)), verdicts.Refuse):
            raise errors.Refused(f"container {one[:12]} cannot be started: OCI runtime create failed: {answer.reason}")
        rig.judge.failed(dataclasses.replace(rigs.asked(one), reason=why))
        raise errors.Refused(f"container {one[:12]} cannot be started: OCI runtime create failed: perdure: {why}")

    monkeypatch.setattr(type(rig.docker), "start", start)
    rig.assign()
    assert rig.ended() == observed.Exit(kind=Kind.NOT_STARTED, detail=why)
    assert len(asked) == 1


def test_a_container_that_was_granted_is_not_missed_in_a_list_from_before(rig: Rig) -> None:
    """Its engine makes it between two lists: the older one does not have it, and yet it has not been removed."""
    what = dataclasses.replace(WHAT, created_by=spec.Creator.ENGINE)
    rig.assign(what)
    rig.look(6)
    service = {**container.labels(what), "com.docker.swarm.service.name": container.name(what.ref)}
    body = {"Image": "train:1", "Labels": service, "Env": [f"{container.MARKER}={what.ref}"]}
    rig.clock.at += 0.1
    rig.docker.start(rig.docker.create("task", body))
    rig.agent.tick()
    assert (rig.item().state, rig.item().exit) == (observed.ItemState.PREPARING, None)
    rig.look(4)
    assert rig.item().state is observed.ItemState.RUNNING


def test_records_survive(rig: Rig) -> None:
    one = rig.running()
    record = books.Books(rig.control.books._places).get(REF)
    assert (record.container, record.granted, record.begun) == (one.id, True, True)
    assert record.digest == rigs.IMAGE.digests[0]


def test_an_engine_that_answers_no_more_is_no_reason_to_save_nothing(rig: Rig) -> None:
    """dockerd closes its socket before it ends its containers."""
    one = rig.running()
    rig.docker.trouble = errors.Unavailable("shutting down")
    rig.judge.kill(dataclasses.replace(rigs.asked(one.id), signal=15))
    rig.docker.trouble = None
    assert rig.ended().stopped
    assert [each.purpose for each in rig.item().checkpoints] == [spec.Purpose.NOTICE]


@pytest.mark.parametrize("left", ["nothing", "its state", "its memory unsaved"])
def test_an_engine_that_was_shut_down_need_not_come_back_for_what_its_checkpoint_ended(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """Only where its runtime has removed it: the container of an engine that is away for another reason goes on."""
    monkeypatch.setattr(sites, "RUNC", tmp_path / "runc")
    rig.docker.known = dataclasses.replace(rig.docker.known, root=str(tmp_path / "engine"))
    one = rig.running()
    folder = tmp_path / "engine/containers" / one.id
    folder.mkdir(parents=True)
    (tmp_path / "runc" / one.id).mkdir(parents=True)
    rig.criu.broken = "no room" if left == "its memory unsaved" else ""
    with (folder / f"{one.id}-json.log").open("w") as file:
        rig.judge.kill(dataclasses.replace(rigs.asked(one.id), signal=15))
        file.write(json.dumps({"log": "its last words\n", "stream": "stdout", "time": "2027-01-15T08:00:00.5Z"}) + "\n")
    if left != "its state":
        (tmp_path / "runc" / one.id).rmdir()
    rig.docker.trouble = errors.Unavailable("dockerd does not answer")
    rig.clock.at += view.STALE + 1
    rig.look(6)
    if left == "nothing":
        assert rig.item().exit == observed.Exit(
            kind=Kind.SIGNALED, signal=9, detail="ended by its own checkpoint", stopped=True
        )
        assert [each.purpose for each in rig.item().checkpoints] == [spec.Purpose.NOTICE]
        assert rig.store.read_log(REF, 0, 100) == b"its last words\n"
    else:
        assert rig.item().exit is None
        assert rig.item().state is observed.ItemState.RUNNING
    rig.docker.trouble = None
    rig.docker.end(one.id, 137)
    assert rig.ended().stopped
    rig.assign(want=spec.Want.REMOVE)
    rig.look(6)
    assert rig.docker.containers == {}


def test_what_it_printed_last_is_whole_though_its_engine_removed_it_at_once(rig: Rig, tmp_path: Path) -> None:
    """A Swarm whose service is removed does."""
    rig.docker.known = dataclasses.replace(rig.docker.known, root=str(tmp_path / "engine"))
    one = rig.running()
    folder = tmp_path / "engine/containers" / one.id
    folder.mkdir(parents=True)
    with (folder / f"{one.id}-json.log").open("w") as file:
        rig.judge.kill(dataclasses.replace(rigs.asked(one.id), signal=15))
        for text in ("a line\n", "half of ano"):
            file.write(json.dumps({"log": text, "stream": "stdout", "time": "2027-01-15T08:00:00.5Z"}) + "\n")
    shutil.rmtree(folder)
    del rig.docker.containers[one.id]
    assert rig.ended().stopped
    assert rig.store.read_log(REF, 0, 100) == b"a line\nhalf of ano"
    rig.assign(want=spec.Want.REMOVE)
    rig.look(4)
    assert rig.store.read_log(REF, 0, 100) == b"a line\nhalf of ano"


def test_an_engine_that_waits_for_the_end_of_a_container_is_not_asked_meanwhile(rig: Rig) -> None:
    """dockerd ends what it finds when it starts, one after the other, and answers nobody until then."""
    one = rig.running()
    before = rig.docker.calls.copy()
    rig.judge.kill(dataclasses.replace(rigs.asked(one.id), signal=15))
    assert rig.docker.calls == before
    assert rig.ended().stopped
    assert [each.purpose for each in rig.item().checkpoints] == [spec.Purpose.NOTICE]
