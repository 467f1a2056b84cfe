"""What befalls containers on a host with dockerd: other people's containers, engines that end, notices, limits, secrets."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent import saving
from reconciler.core import container
from tests import conditions
from tests.lab import fleet, installed
from tests.lab.lab import Lab
from tests.lab.stores import Store
from tests.lab.test_docker_jobs import COUNT, LINES, PIECES, counted_on, joins, lines, seamless, started

SAVES = """
import json, os, pathlib, time
home = pathlib.Path(os.environ["PERDURE_CHECKPOINT_DIR"])
restored = os.environ.get("PERDURE_RESTORE_DIR")
n = int((pathlib.Path(restored) / "n").read_text()) if restored else 0
print("begins at", n, flush=True)
while True:
    n += 1
    with open(os.environ["PERDURE_PROGRESS_FILE"], "a") as file:
        file.write(json.dumps({"step": n}) + chr(10))
    if os.path.exists(os.environ["PERDURE_REQUEST_FILE"]) and not (home / "COMPLETE").exists():
        (home / "n").write_text(str(n))
        (home / "COMPLETE").write_text(json.dumps({"step": n}))
    time.sleep(0.02)
"""

SHOWS = """
import os, pathlib, sys, time
print("token", len(os.environ["TOKEN"]), flush=True)
for name in ("/in/read", "/shared/written"):
    try:
        pathlib.Path(name).write_text("x")
        print(name, "was written", flush=True)
    except OSError as error:
        print(name, error.strerror, flush=True)
hog = [bytearray(os.urandom(1 << 20)) for _ in range(int(sys.argv[1]))]
time.sleep(3600)
"""


STORE = """\
apiVersion: perdure.dev/v1alpha1
kind: Store
metadata: {name: %s}
spec: {path: {root: %s}}
"""


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[fleet.Fleet]:
    made = fleet.Fleet(lab, lost_after="60s")
    made.host("alpha")
    made.host("beta")
    yield made
    made.close()


@pytest.fixture
def alpha(site: fleet.Fleet) -> Iterator[fleet.Host]:
    """The first host; afterwards nothing is declared, and nothing runs."""
    host = site.hosts["alpha"]
    yield host
    if not host.docker.daemon or not host.docker.daemon.alive():
        host.docker.start()
    left = {path.name: None for path in (site.outside / "desired").glob("job-*.yaml")}
    site.commit(left, "Nothing is to run\n\nPerdure-Allow-Empty: true")
    conditions.eventually(lambda: not any(each.containers() for each in site.hosts.values()), 60)
    if more := {path.name: None for path in (site.outside / "desired").glob("store-*.yaml")}:
        site.commit(more, "One store is enough\n\nPerdure-Allow-Empty: true")


def declare(site: fleet.Fleet, name: str, program: str, **more: Any) -> None:
    text = fleet.job(name, program, **{"extra": "placement: {node: alpha}", **more})
    site.commit({f"job-{name}.yaml": text})


def ended(number: int) -> Callable[[dict[str, Any]], Any]:
    """Whether attempt `number` has ended."""
    return lambda run: len(run["attempts"]) >= number and run["attempts"][number - 1]["ending"]


def test_nobody_else_can_be_an_attempt(site: fleet.Fleet, alpha: fleet.Host) -> None:
    declare(site, "mine", COUNT)
    site.until("mine", started(1))
    (own,) = alpha.containers()
    marker = next(each for each in own["Config"]["Env"] if each.startswith("PERDURE_ATTEMPT="))
    labels = [word for name, value in own["Config"]["Labels"].items() for word in ("--label", f"{name}={value}")]
    for more, why in (([], "is not attempt"), (labels, "granted already")):
        thief = alpha.node.run(["docker", "run", "--rm", "--env", marker, *more, own["Config"]["Image"], "true"], check=False)
        assert thief.returncode != 0
        assert why in thief.stderr
    counted_on(site, "mine", 20, 1)
    assert alpha.docker.inspect(own["Id"])["State"]["Running"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_with_live_restore_it_outlives_its_engine(site: fleet.Fleet, alpha: fleet.Host, number: int) -> None:
    alpha.docker.configure({**alpha.docker.options, "live-restore": True})
    alpha.docker.restart()
    declare(site, f"lives{number}", LINES, checkpoint="{interval: 1s}")
    site.until(f"lives{number}", started(1))
    alpha.docker.stop(number)
    alpha.docker.start()
    known = len(site.run(f"lives{number}")["checkpoints"])
    last = lines(site, f"lives{number}")[-1][1]
    counted = counted_on(site, f"lives{number}", last + 50, 1)
    assert [n for _, n in counted] == list(range(1, counted[-1][1] + 1))
    run = site.until(f"lives{number}", lambda run: len(run["checkpoints"]) > known)
    assert len(run["attempts"]) == 1


def test_an_engine_that_shuts_down_saves_first(site: fleet.Fleet, alpha: fleet.Host) -> None:
    alpha.docker.configure({**alpha.docker.options, "live-restore": False})
    alpha.docker.restart()
    declare(site, "goes", COUNT)
    site.until("goes", started(1))
    counted_on(site, "goes", 20, 1)
    alpha.docker.stop()
    alpha.docker.start()
    run = site.until("goes", started(2))
    assert run["attempts"][0]["ending"] == "checkpointed"
    joins(site, "goes", 1)


@pytest.mark.usefixtures("alpha")
def test_what_an_engine_that_was_shut_down_has_saved_goes_on_elsewhere_without_it(site: fleet.Fleet) -> None:
    declare(site, "left", COUNT, extra="")
    site.until("left", started(1))
    counted_on(site, "left", 20, 1)
    first, second = (site.hosts[name] for name in ("alpha", "beta"))
    if site.run("left")["attempts"][0]["host"] == "beta":
        first, second = second, first
    first.docker.stop()
    try:
        run = site.until("left", started(2))
        assert run["attempts"][1]["host"] == second.node.name.rpartition("-")[2]
        assert run["attempts"][0]["ending"] == "checkpointed"
        assert run["attempts"][0]["detail"].endswith("because its container engine was told to end it")
        joins(site, "left", 1)
    finally:
        first.docker.start()


def test_a_line_is_whole_that_two_attempts_have_written(site: fleet.Fleet, alpha: fleet.Host) -> None:
    declare(site, "pieces", PIECES)
    site.until("pieces", started(1))
    counted_on(site, "pieces", 20, 1)
    alpha.docker.cli("stop", alpha.containers()[0]["Id"])
    site.until("pieces", started(2))
    joins(site, "pieces", 1)
    before, after = (site.log("pieces", "--attempt", str(number)) for number in (1, 2))
    last = before.splitlines()[-1]
    assert before.endswith(last), "no line's end"
    assert re.fullmatch(r"[0-9a-f]{32} ", last)
    assert re.match(r"\d+\n" + last, after)


@pytest.mark.parametrize("late", ["shim", "dockerd"])
def test_what_nobody_had_read_when_it_ended_is_not_lost(site: fleet.Fleet, alpha: fleet.Host, late: str) -> None:
    """Who passes its output on stands still from before its last lines until its checkpoint is stored and it has ended."""
    name = f"unread-{late}"
    text = fleet.job(name, COUNT, extra="placement: {node: alpha}")
    site.commit({f"job-{name}.yaml": text})
    site.until(name, started(1))
    counted_on(site, name, 20, 1)
    (own,) = alpha.containers()
    program = str(own["State"]["Pid"])
    assert alpha.docker.daemon
    reader = str(alpha.docker.daemon.pid) if late == "dockerd" else alpha.node.out("ps", "-o", "ppid=", "-p", program).strip()
    alpha.node.run(["kill", "-STOP", reader])
    try:
        before = _written(alpha, program)
        conditions.eventually(lambda: _written(alpha, program) > before + 2000, 60)
        site.commit({f"job-{name}.yaml": f"{text}  state: Suspended\n"})
        site.until(name, lambda run: run["checkpoints"])
        conditions.eventually(
            lambda: alpha.node.run(["ps", "-o", "stat=", "-p", program], check=False).stdout[:1] in ("", "Z"), 60
        )
    finally:
        alpha.node.run(["kill", "-CONT", reader])
    site.until(name, lambda run: run["phase"] == "suspended")
    site.commit({f"job-{name}.yaml": text})
    site.until(name, started(2))
    joins(site, name, 1)


def test_a_notice_saves_everything_and_it_goes_on_elsewhere(site: fleet.Fleet, alpha: fleet.Host) -> None:
    names = [f"moves{number}" for number in range(3)]
    for name in names:
        declare(site, name, COUNT)
    for name in names:
        site.until(name, started(1))
        counted_on(site, name, 20, 1)
    for name in names:
        site.commit({f"job-{name}.yaml": fleet.job(name, COUNT)})
    for name in names:
        site.until(name, lambda run: run["phase"] == "running")
    alpha.node.run([str(fleet.BIN / "perdure-agent"), "notice", "--in", "30s"], env=fleet.PLAIN)
    for name in names:
        run = site.until(name, started(2))
        assert (run["attempts"][0]["ending"], run["attempts"][1]["host"]) == ("checkpointed", "beta")
        joins(site, name, 1)
    conditions.eventually(lambda: "going away" not in _status(alpha), 60)


def test_a_deadline_that_cannot_hold_all_leaves_the_rest_running(site: fleet.Fleet, alpha: fleet.Host) -> None:
    count = 12
    declare(site, "crowd", COUNT, extra=f"placement: {{node: alpha}}\nreplicas: {count}")
    names = [f"crowd[{number}]" for number in range(count)]
    for name in names:
        site.until(name, started(1))
    alpha.node.run([str(fleet.BIN / "perdure-agent"), "notice", "--in", "2s"], env=fleet.PLAIN)
    conditions.eventually(lambda: "going away" not in _status(alpha), 60)
    last = {name: lines(site, name, "--attempt", "1")[-1][1] for name in names}

    def well(name: str) -> bool:
        endings = [each["ending"] for each in site.run(name)["attempts"]]
        before, after = (lines(site, name, "--attempt", str(number)) for number in (1, 2))
        if endings == [None]:
            return before[-1][1] > last[name]
        assert endings in (["checkpointed"], ["checkpointed", None]), name
        return bool(after) and seamless("".join(site.log(name, "--attempt", str(number)) for number in (1, 2)))

    for name in names:
        conditions.eventually(lambda name=name: well(name), 90, interval=0.5, message=lambda name=name: site.told(name))  # type: ignore[misc]


@contextlib.contextmanager
def hanging(store: Store) -> Iterator[None]:
    """Whoever writes to a store waits."""
    subprocess.run(["fsfreeze", "--freeze", store.outside], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", store.outside], check=True)


def test_where_a_deadline_cannot_hold_all_the_best_come_first(lab: Lab, site: fleet.Fleet, alpha: fleet.Host) -> None:
    """Small and large ones, some of them saved a moment ago: what counts is the work lost for each second that saving takes.

    The store hangs until the deadline has passed, so that exactly those are saved which came first.
    """
    store = lab.store(f"{site.name}-best", "2g", kind="ext4")
    program = f"import os\nheld = os.urandom((1, 128)[int(os.environ['PERDURE_REPLICA']) % 2] << 20)\n{COUNT}"
    extra = f"placement: {{node: alpha}}\nreplicas: {saving.FROZEN_AT_ONCE + 1}"
    texts = {f"job-{name}.yaml": fleet.job(name, program, checkpoint="{store: best}", extra=extra) for name in ("old", "fresh")}
    site.commit({"store-best.yaml": STORE % ("best", store.path), **texts})
    conditions.eventually(lambda: all(map(started(1), runs(site, "old", "fresh").values())), 120, interval=0.5)
    save(site, "old", "fresh")
    save(site, "fresh")
    known = runs(site, "old", "fresh")
    takes = {name: max(each["seconds"] for each in run["checkpoints"]) for name, run in known.items()}
    deadline, noticed = f"{int(max(takes.values())) + 2}s", time.time()
    with hanging(store):
        alpha.node.run([str(fleet.BIN / "perdure-agent"), "notice", "--in", deadline], env=fleet.PLAIN)
        conditions.eventually(lambda: "going away" not in _status(alpha), 120)

    def over() -> set[str]:
        found = {name for name, run in runs(site, "old", "fresh").items() if run["attempts"][0]["ending"]}
        return found if len(found) >= saving.FROZEN_AT_ONCE else set()

    ended = conditions.eventually(over, 120, interval=0.5, message=lambda: json.dumps(runs(site, "old", "fresh")))
    assert ended
    worth = {name: (noticed - _moment(run["checkpoints"][-1]["takenAt"])) / takes[name] for name, run in known.items()}
    said = sorted(((value, name, name in ended) for name, value in worth.items()), reverse=True)
    remain = known.keys() - ended
    assert 2 * min(worth[name] for name in ended) > max(worth[name] for name in remain), said  # moments are whole seconds
    last = counts(alpha)

    def goes_on() -> bool:
        now, found = counts(alpha), runs(site, "old", "fresh")
        assert {name for name, run in found.items() if run["attempts"][0]["ending"] == "checkpointed"} == ended, said
        return all(now[name] > last[name] + 20 for name in remain) and all(started(2)(found[name]) for name in ended)

    conditions.eventually(goes_on, 120, interval=0.5)


def counts(host: fleet.Host) -> dict[str, int]:
    """How far each replica that runs there has counted."""
    found = {}
    for each in host.containers():
        if each["State"]["Running"]:
            owner = each["Config"]["Labels"]
            name = f"{owner[container.JOB]}[{owner[container.REPLICA]}]"
            found[name] = int(host.docker.cli("logs", "--tail", "1", each["Id"]).split()[1])
    return found


def runs(site: fleet.Fleet, *jobs: str) -> dict[str, dict[str, Any]]:
    """The run of each replica of jobs."""
    found = [run for job in jobs for run in json.loads(site.perdure("history", job, "-o", "json"))["runs"]]
    return {f"{run['job']}[{run['replica']}]": run for run in found}


def save(site: fleet.Fleet, *jobs: str) -> None:
    """Has each of them take a checkpoint, and go on."""
    before = {name: len(run["checkpoints"]) for name, run in runs(site, *jobs).items()}
    request = "apiVersion: perdure.dev/v1alpha1\nkind: Checkpoint\nmetadata: {name: %s}\nspec: {job: %s}\n"
    known = sum(before.values())
    site.commit({f"job-save-{known}.yaml": "---\n".join(request % (f"{job}-{known}", job) for job in jobs)})

    def saved() -> bool:
        return all(len(run["checkpoints"]) > before[name] for name, run in runs(site, *jobs).items())

    conditions.eventually(saved, 240, interval=0.5)


def _moment(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def test_a_checkpoint_that_hangs_beyond_the_deadline_lets_its_container_go_on(
    lab: Lab, site: fleet.Fleet, alpha: fleet.Host
) -> None:
    store = lab.store(f"{site.name}-hangs", "2g", kind="ext4")
    site.commit({"store-hangs.yaml": STORE % ("hangs", store.path)})
    declare(site, "stays", f"import os\nlarge = os.urandom(512 << 20)\n{COUNT}", checkpoint="{store: hangs}")
    site.until("stays", started(1))
    counted_on(site, "stays", 20, 1)
    (one,) = alpha.containers()

    def count() -> int:
        return int(alpha.docker.cli("logs", "--tail", "1", one["Id"]).split()[1])

    room = store.free()
    alpha.node.run([str(fleet.BIN / "perdure-agent"), "notice", "--in", "10s"], env=fleet.PLAIN)
    conditions.eventually(lambda: store.free() < room - (16 << 20), 30, interval=0.01, message=lambda: site.told("stays"))
    with hanging(store):  # in the middle of its memory
        before = count()
        conditions.eventually(lambda: "going away" not in _status(alpha), 30)
        still = count()
        assert still <= before + 3, "it has some time beyond the deadline"  # a line may have been on its way
        conditions.eventually(lambda: count() > still, 60, message=lambda: site.told("stays"))
    counted = counted_on(site, "stays", still + 50, 1)
    assert [n for _, n in counted] == list(range(1, counted[-1][1] + 1))
    assert [each["ending"] for each in site.run("stays")["attempts"]] == [None]
    assert "the machine is still there" in " ".join(site.perdure("why", "stays").split())


def test_an_agent_that_is_killed_again_and_again_harms_nothing(site: fleet.Fleet, alpha: fleet.Host) -> None:
    declare(site, "bears", COUNT, checkpoint="{interval: 300ms}")
    site.until("bears", started(1))
    for turn in range(5):
        counted_on(site, "bears", 60 * turn, 1)
        alpha.stop(signal.SIGKILL)
        alpha.start()
    known = len(site.run("bears")["checkpoints"])
    run = site.until("bears", lambda run: len(run["checkpoints"]) > known)
    assert len(run["attempts"]) == 1
    counted = counted_on(site, "bears", lines(site, "bears")[-1][1] + 20, 1)
    assert [n for _, n in counted] == list(range(1, counted[-1][1] + 1))


@pytest.mark.usefixtures("alpha")
def test_the_application_engine_works_in_a_container(site: fleet.Fleet) -> None:
    declare(site, "saves", SAVES, checkpoint="{engine: application}")
    site.until("saves", started(1))
    conditions.eventually(lambda: "step" in site.perdure("status", "saves", "-o", "json", check=False), 30)
    text = fleet.job("saves", SAVES, checkpoint="{engine: application}", extra="placement: {node: alpha}")
    site.commit({"job-saves.yaml": f"{text}  state: Suspended\n"})
    run = site.until("saves", lambda run: run["phase"] == "suspended")
    step = run["checkpoints"][-1]["step"]
    assert step > 0
    site.commit({"job-saves.yaml": text})
    site.until("saves", started(2))
    conditions.eventually(lambda: f"begins at {step}" in site.log("saves", "--attempt", "2"), 30)


def test_limits_secrets_and_volumes(site: fleet.Fleet, alpha: fleet.Host) -> None:
    alpha.node.write("/var/lib/perdure/agent/secrets/TOKEN", "forty-two", mode=0o600)
    (site.outside / "in").mkdir(exist_ok=True)
    workload = (
        f"image: perdure-lab/base:1, command: [python3, -u, -c, {fleet.quoted(SHOWS)}, '0'], secrets: [TOKEN], volumes: ["
        f"{{source: {site.inside}/in, target: /in, readOnly: true}}, "
        f"{{source: {site.inside}/in, target: /shared, shared: true}}]"
    )
    site.commit({"job-shows.yaml": _job("shows", workload, "engine: none")})
    site.until("shows", started(1))
    log = conditions.eventually(lambda: "/shared" in site.log("shows") and site.log("shows"), 30)
    assert log
    assert "token 9" in log
    assert "/in/read Read-only file system" in log
    assert "/shared/written was written" in log
    (own,) = alpha.containers()
    assert (own["HostConfig"]["Memory"], own["HostConfig"]["NanoCpus"]) == (100 << 20, 500_000_000)
    assert "forty-two" not in alpha.node.out("ps", "-eo", "args")


@pytest.mark.usefixtures("alpha")
def test_too_much_memory(site: fleet.Fleet) -> None:
    workload = f"image: perdure-lab/base:1, command: [python3, -u, -c, {fleet.quoted(SHOWS)}, '300'], env: {{TOKEN: a}}"
    site.commit({"job-hog.yaml": _job("hog", workload, "engine: none")})
    run = site.until("hog", ended(1))
    assert run["attempts"][0]["failure"] == "OutOfMemory"


@pytest.mark.usefixtures("alpha")
def test_too_much_time(site: fleet.Fleet) -> None:
    declare(site, "late", COUNT, extra="placement: {node: alpha}\ntimeout: 2s")
    run = site.until("late", ended(1))
    assert run["attempts"][0]["failure"] == "TimedOut"


@pytest.mark.usefixtures("alpha")
def test_what_cannot_be_had_says_so(site: fleet.Fleet) -> None:
    declare(site, "missing", COUNT, image="127.0.0.1:1/no/such:1", extra="placement: {node: alpha}\nretries: {preemption: 0}")
    conditions.eventually(lambda: "127.0.0.1:1/no/such:1" in site.perdure("why", "missing", check=False), 60)


def test_an_upgrade_beside_a_running_agent_takes_nothing_away(site: fleet.Fleet, alpha: fleet.Host) -> None:
    """The agent is not started anew, and nothing alive holds the criu that it began with."""
    declare(site, "upgraded", COUNT)
    site.until("upgraded", started(1))
    counted_on(site, "upgraded", 20, 1)
    text = fleet.job("upgraded", COUNT, extra="placement: {node: alpha}")
    site.commit({"job-upgraded.yaml": f"{text}  state: Suspended\n"})
    site.until("upgraded", lambda run: run["phase"] == "suspended")
    conditions.eventually(lambda: not alpha.containers(), 60)
    before = alpha.node.out("ls", installed.LIBRARY).split()
    another = f"mkdir -p /opt/new && cp {installed.LIBRARY}/{before[0]}/criu /opt/new/criu && printf x >> /opt/new/criu"
    alpha.node.run(["sh", "-c", another])
    installed.agent(alpha.node, "upgrade", "--criu", "/opt/new/criu")
    assert set(before).isdisjoint(alpha.node.out("ls", installed.LIBRARY).split())
    site.commit({"job-upgraded.yaml": text})
    site.until("upgraded", started(2))
    joins(site, "upgraded", 1)


def _job(name: str, workload: str, checkpoint: str) -> str:
    return (
        f"apiVersion: perdure.dev/v1alpha1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  target: machines\n"
        f"  workload: {{{workload}}}\n  checkpoint: {{{checkpoint}}}\n"
        "  placement: {node: alpha}\n  resources: {memory: 100Mi, cpu: 500m}\n"
    )


def _written(host: fleet.Host, pid: str) -> int:
    """How many bytes a process has written."""
    return int(dict(line.split(": ") for line in host.node.out("cat", f"/proc/{pid}/io").splitlines())["wchar"])


def _status(host: fleet.Host) -> str:
    return host.node.run([str(fleet.BIN / "perdure-agent"), "status"], env=fleet.PLAIN).stdout
