"""Commands that look: what they answer, for people and for machines, before and while something runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.cli.outputs import conforms
from tests.cli.site import Site
from tests.conditions import eventually


def test_before_anything_runs(site: Site) -> None:
    site.job()
    site.push()
    [standing] = site.json("status")["jobs"]
    assert (standing["phase"], standing["reason"], standing["attempt"]) == ("pending", "TargetUnknown", None)
    assert "count is on a target that cannot be listed now" in site.run("why", "count").stdout
    assert site.run("history", "count").stdout == "It has not been run yet.\n"
    assert site.run("checkpoints").stdout == "No checkpoint has been taken.\n"
    assert site.run("verify").stdout == "There is no checkpoint to verify.\n"
    assert site.run("events").stdout == ""
    assert "has not been run yet" in site.run("logs", "count", code=2).stderr
    for command in ("why", "history", "checkpoints"):
        site.json(command, "count")
    assert not (site.data / "agent").exists(), "looking starts nothing"


def test_while_it_runs_and_after_it_was_killed(site: Site) -> None:
    site.job()
    site.push()
    loop = site.start("reconcile")
    site.run("wait", "count", "--for", "running", "--timeout", "60s")
    eventually(lambda: site.json("status")["jobs"][0]["step"] == 1, timeout=60)
    why = site.run("why", "count").stdout
    assert "Reason:    Running" in why
    assert "step 1/3" in why
    [explained] = site.json("why", "count")["jobs"]
    assert explained["text"] == "running as declared"
    plan = site.json("diff", "--observed", "live")
    assert plan["summary"] == {"create": 0, "change": 0, "replace": 0, "delete": 0, "refuse": 0, "unchanged": 1}
    waited = site.run("wait", "count", "--timeout", "1s", code=1)
    assert "count is not finished after" in waited.stdout
    examined = site.run("doctor", code=None).stdout
    assert f"in use by process {loop.pid}" in examined
    assert "; 1 attempt (seen" in examined


def test_logs_and_events_are_followed_over_attempts(site: Site) -> None:
    site.job()
    site.push()
    site.start("reconcile")
    site.run("wait", "count", "--for", "running", "--timeout", "60s")
    logs = site.start("logs", "count", "-f", name="logs")
    events = site.start("events", "-f", "-o", "json", name="events")
    eventually(lambda: "from 0" in site.output("logs"), timeout=60)
    site.job(more="state: Suspended")
    site.push("suspend")
    eventually(lambda: site.phase() == "suspended", timeout=60)
    site.gate.touch()
    site.job()
    site.push("resume")
    assert logs.wait(90) == 0, "it ends with the job"
    assert site.output("logs").splitlines()[-1] == "done"
    assert "attempt 2 of count on here" in site.output("logs")
    assert (
        "count has no attempt 9\n  `perdure history count` lists them."
        in site.run("logs", "count", "--attempt", "9", code=2).stderr
    )
    eventually(lambda: '"finished"' in site.output("events"), timeout=60)
    events.send_signal(signal.SIGINT)
    assert events.wait(30) == 130
    lines = [conforms("events", json.loads(line)) for line in site.output("events").splitlines() if line.startswith("{")]
    assert [line["what"] for line in lines] == ["planned", "started", "suspended", "resumed", "restored", "finished"]


def test_waiting_ends_at_once_when_the_job_has_failed(site: Site) -> None:
    site.write("code/count.py", "raise SystemExit(7)\n")
    site.job()
    site.push()
    site.start("reconcile")
    waited = site.json("wait", "count", "--timeout", "60s", code=1)
    assert waited["reached"] is False
    assert "count has failed" in waited["text"]
    [run] = site.json("history", "count")["runs"]
    assert [attempt["exitCode"] for attempt in run["attempts"]] == [7]


def test_a_damaged_checkpoint_is_found(site: Site) -> None:
    site.job()
    site.gate.touch()
    site.push()
    site.start("reconcile")
    site.run("wait", "count", "--timeout", "60s")
    [pack] = [path for path in site.store.glob("runs/*/packs/*") if path.name.endswith("-00000")]
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    os.chmod(pack, 0o600)
    pack.write_bytes(bytes(content))
    [verdict] = site.json("verify", code=1)["checkpoints"]
    assert not verdict["ok"]
    assert verdict["problems"]
    assert site.run("verify", verdict["digest"][:15], code=1).stdout.splitlines()[1].startswith("bad")
    assert "knows no checkpoint 'feed'" in site.run("verify", "feed", code=2).stderr
    unknown = site.run("verify", "f" * 64, code=1).stdout.splitlines()[1]
    assert unknown.startswith("bad")
    assert "checkpoints" in unknown
    assert "no such checkpoint" in unknown
    site.store.rename(site.root / "aside")
    site.store.mkdir()  # what lies under a mount that is missing
    [verdict] = site.json("verify", code=2)["checkpoints"]
    assert (verdict["ok"], verdict["problems"]) == (None, ["the store is empty, although checkpoints of it are known"])
    unread = site.run("verify", code=2)
    assert unread.stdout.splitlines()[1].startswith("unread  1 in all")
    assert f"perdure: store checkpoints ({site.store}): the store is empty" in unread.stderr
    assert "Mount it again" in unread.stderr
    keys = site.data / "keys" / "signing"
    keys.mkdir(parents=True)
    (keys / "x.key").write_text("half")
    (keys / "x.key").chmod(0o600)
    assert site.json("verify", code=2)["checkpoints"][0]["problems"] == ["this file holds no key"]


def test_an_unknown_job_is_answered_with_the_nearest(site: Site) -> None:
    site.job()
    site.push()
    for command in ("why", "history", "logs", "wait", "status"):
        assert "Did you mean count?" in site.run(command, "cuont", code=2).stderr


def test_a_repository_that_cannot_be_read(site: Site) -> None:
    site.repository = site.root / "nowhere.git"
    for command in (("status",), ("diff",), ("events",)):
        refused = site.run(*command, code=2)
        assert "nowhere.git" in refused.stderr
    found = site.json("doctor", code=1)
    assert not found["ok"]


def test_an_empty_repository(site: Site) -> None:
    assert site.run("status").stdout == "No job is declared or unfinished.\n"
    assert "has no commit yet" in site.run("status").stderr
    assert "has no commit yet" in site.run("diff", code=2).stderr


def test_the_configuration_tells_where_each_value_comes_from(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_LOOP_DRIFT", "7m")
    values = {row["path"]: row for row in site.json("config")["values"]}
    assert values["loop.poll"] == {"path": "loop.poll", "value": 0.5, "from": f"{site.config}:2"}
    assert values["loop.drift"] == {"path": "loop.drift", "value": 420.0, "from": "PERDURE_LOOP_DRIFT"}
    assert values["source.ref"] == {"path": "source.ref", "value": "main", "from": "default"}
    assert values["data"] == {"path": "data", "value": str(site.data), "from": "--data"}
    assert "agents.name" in site.run("config").stdout
    site.json("version")


def test_the_doctor_names_what_is_wrong_and_what_mends_it(site: Site) -> None:
    site.job("bad", more="replicas: many")
    site.push()
    keys = site.data / "keys" / "signing"
    keys.mkdir(parents=True)
    (keys / "main.key").write_text("0" * 64)
    (keys / "main.key").chmod(0o644)
    findings = {(row["subject"], row["state"]): row for row in site.json("doctor", code=1)["findings"]}
    assert "jobs/bad.yaml" in findings["manifests", "fail"]["text"]
    assert findings["keys", "fail"]["remedy"] == f"chmod 600 {keys / 'main.key'}"
    assert findings["store", "fail"]["remedy"] == f"chmod 600 {keys / 'main.key'}"
    assert findings["ledger", "ok"]["text"].startswith("refs/perdure/state/default may be pushed")


def test_completion_offers_the_names_of_jobs(site: Site) -> None:
    site.job()
    site.push()
    site.run("status")
    environment = {
        **os.environ,
        "_PERDURE_COMPLETE": "bash_complete",
        "COMP_WORDS": f"perdure --data {site.data} why c",
        "COMP_CWORD": "4",
    }
    done = subprocess.run(
        site.arguments()[:3], env=environment, capture_output=True, text=True, timeout=60, cwd=site.root, check=False
    )
    assert done.stdout.split() == ["plain,count"]
    names = site.data / "names"
    names.write_bytes(b"\xff\xfecount\n")
    done = subprocess.run(
        site.arguments()[:3], env=environment, capture_output=True, text=True, timeout=60, cwd=site.root, check=False
    )
    assert (done.stdout.split(), done.stderr, done.returncode) == ([], "", 0)
    site.run("status")
    assert names.read_text() == "count\n", "what is no list of names is replaced by one"


def test_top_is_plain_where_nobody_looks(site: Site) -> None:
    site.job()
    site.push()
    top = site.start("top", name="top")
    eventually(lambda: "count" in site.output("top"), timeout=60)
    top.send_signal(signal.SIGINT)
    assert top.wait(30) == 130
    assert "\x1b" not in site.output("top")
    assert site.output("top").count("JOB") == 1
