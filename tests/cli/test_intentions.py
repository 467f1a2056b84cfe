"""What a person wants of a job that runs, by commands alone: each is a commit, and the loop makes it so."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from reconciler.cli import editing
from tests.cli.site import Site
from tests.conditions import eventually

PROGRAM = """
import os, pathlib, time
import perdure_job as perdure

GATE = pathlib.Path(os.environ["GATE"])
step = int((perdure.restore_dir() / "state").read_text()) if perdure.restore_dir() else 0
print(f"from {step}", flush=True)
while not GATE.exists():
    time.sleep(0.02)
    if perdure.requested():
        step += 1
        perdure.progress(step)
        with perdure.checkpoint(step) as folder:
            (folder / "state").write_text(str(step))
"""
"""Takes a step for each checkpoint that is asked for, until the gate is open."""


def declared(site: Site) -> None:
    site.write("code/count.py", PROGRAM)
    site.job()
    site.push()
    site.start("reconcile")
    reaches(site, "running", 1)


def run_of(site: Site) -> Any:
    """Return the newest run of the job as `history` shows it."""
    return site.json("history", "count")["runs"][-1]


def reaches(site: Site, phase: str, attempt: int) -> None:
    def there() -> bool:
        [found] = site.json("status", "count")["jobs"]
        seen = phase != "running" or found["reason"] == "Running"  # the host has said so
        return seen and (found["phase"], found["attempt"]) == (phase, attempt)

    eventually(there, timeout=90, interval=0.1, message=lambda: f"{site.json('status')}\n{site.loop()}")


def test_from_checkpoint_to_rerun(site: Site) -> None:
    declared(site)
    site.run("checkpoint", "count", "--name", "first", "--reason", "before: all")
    eventually(lambda: run_of(site)["checkpoints"], timeout=60, interval=0.1)
    [first] = run_of(site)["checkpoints"]
    assert first["pinnedBy"]

    until = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)).isoformat()
    site.run("suspend", "count", "--until", until, "--reason", "the night")
    reaches(site, "suspended", 1)
    assert "the night" in site.run("why", "count").stdout
    assert site.json("resume", "count")["follows"][0]["verb"] == "restore"
    reaches(site, "running", 2)

    assert run_of(site)["attempts"][1]["restoredFrom"] != first["digest"]
    site.run("restore", "count", "--from", first["digest"][:19])
    reaches(site, "running", 3)
    assert run_of(site)["attempts"][2]["restoredFrom"] == first["digest"]

    refused = site.run("rerun", "count", "--dry-run").stderr
    assert "! refuse count, attempt 3 on here (ChangeRefused)" in refused
    assert "remedy: set `onChange: restart`, or stop the job first" in refused

    site.run("checkpoint", "count", "--stop")
    reaches(site, "stopped", 3)
    assert site.json("run", "count")["changed"]
    reaches(site, "running", 4)

    site.gate.touch()
    reaches(site, "finished", 4)
    pinned = [each for each in run_of(site)["checkpoints"] if each["pinnedBy"]]
    assert [each["attempt"] for each in pinned] == [1, 3]  # two were asked for, the second by `--stop`; to run on asks for none
    told = site.run("run", "count").stdout
    assert told.startswith("Nothing to change: count is declared that way already.\nThe next pass would\n")
    assert "remedy: set `rerun` to a new text to run it once more" in told
    before = run_of(site)["run"]
    site.run("rerun", "count")
    eventually(lambda: run_of(site)["run"] != before, timeout=60, interval=0.1)
    reaches(site, "finished", 1)
    assert "from 0" in site.run("logs", "count").stdout


def test_moving_to_a_host_that_is_not_there_is_foretold(site: Site) -> None:
    declared(site)
    moved = site.json("move", "count", "--to", "nowhere")
    assert [(act["verb"], act["reason"]) for act in moved["follows"]] == [("checkpoint", "Moving")]
    site.says("checkpoint")
    eventually(lambda: site.json("status")["jobs"][0]["reason"] == "WaitingForCapacity", timeout=60, interval=0.1)
    site.run("move", "count", "--to", "")
    reaches(site, "running", 2)


def test_a_lock_that_a_killed_git_left_is_told_as_what_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.job()
    site.push()
    monkeypatch.setattr(editing, "TRIES", 2)
    lock = site.repository / "refs" / "heads" / "main.lock"
    lock.touch()
    said = site.run("suspend", "count", code=2).stderr
    assert f"{lock.name}': File exists" in said
    assert "remove that file" in said
    assert "first" not in said, "nobody was first"
    assert site.git("log", "--format=%s", "main", cwd=site.repository).split() == ["change"]
    lock.unlink()
    site.run("suspend", "count")
