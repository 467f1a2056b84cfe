"""A real job from a real repository, by the loop with its embedded agent, through what happens to processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess

from tests.cli.site import TARGET, Site
from tests.conditions import eventually


def test_a_job_runs_to_its_end_and_the_commit_tells_it(site: Site) -> None:
    site.job()
    site.gate.touch()
    commit = site.push()
    loop = site.start("reconcile")
    site.says("count finished in attempt 1", commit)
    loop.send_signal(signal.SIGTERM)
    assert loop.wait(30) == 0

    told = [json.loads(line)["what"] for line in site.notes(commit).splitlines()]
    assert told == ["planned", "started", "finished"]
    assert all(line.startswith('{"say": "') for line in site.notes(commit).splitlines())
    assert "count finished" in site.git("log", "--notes=perdure/default", "-1", "main", cwd=site.repository)
    printed = [line for line in site.output().splitlines() if not line.startswith("perdure:")]
    assert [line.split("  ", 1)[1] for line in printed] == [json.loads(line)["say"] for line in site.notes(commit).splitlines()]
    [standing] = site.json("status")["jobs"]
    assert (standing["phase"], standing["step"], standing["of"], standing["reason"]) == ("finished", 3, 3, "Finished")
    assert site.run("logs", "count").stdout == "from 0\ndone\n"
    [run] = site.json("checkpoints", "count")["runs"]
    assert [saved["step"] for saved in run["checkpoints"]] == [3]
    assert [one["ok"] for one in site.json("verify")["checkpoints"]] == [True]


def test_a_finished_job_is_never_executed_again(site: Site) -> None:
    site.job()
    site.gate.touch()
    site.push()
    site.start("reconcile")
    site.run("wait", "count", "--timeout", "60s")
    site.close()
    site.run("reconcile", "--once")
    site.write("README", "another commit\n")
    site.push("unrelated")
    site.run("reconcile", "--once")
    [run] = site.json("history", "count")["runs"]
    assert [attempt["ending"] for attempt in run["attempts"]] == ["finished"]
    assert site.json("diff")["summary"]["create"] == 0


def test_a_killed_loop_takes_up_the_job_that_went_on_without_it(site: Site) -> None:
    site.job()
    commit = site.push()
    loop = site.start("reconcile")
    site.says("Attempt 1 of count started", commit)
    loop.kill()
    loop.wait(30)
    assert site.living()
    site.gate.touch()
    eventually(lambda: not site.living(), timeout=60)
    site.start("reconcile")
    site.says("count finished in attempt 1", commit)
    [run] = site.json("history", "count")["runs"]
    assert [attempt["ending"] for attempt in run["attempts"]] == ["finished"]


def test_single_passes_bring_a_job_to_its_end_too(site: Site) -> None:
    site.job()
    site.gate.touch()
    commit = site.push()

    def finished() -> bool:
        site.run("reconcile", "--once")
        return "finished" in site.notes(commit)

    eventually(finished, timeout=120)
    [run] = site.json("history", "count")["runs"]
    assert len(run["attempts"]) == 1


def test_suspending_by_commit_saves_the_work_and_resuming_goes_on_from_there(site: Site) -> None:
    site.job()
    site.push()
    site.start("reconcile")
    site.run("wait", "count", "--for", "running", "--timeout", "60s")
    site.job(more="state: Suspended")
    suspended = site.push("suspend")
    site.says("count was suspended with a checkpoint at step", suspended)
    assert site.phase() == "suspended"
    site.gate.touch()
    site.job()
    resumed = site.push("resume")
    site.says("count finished in attempt 2", resumed)
    [run] = site.json("history", "count")["runs"]
    first, second = run["attempts"]
    assert (first["ending"], second["ending"]) == ("checkpointed", "finished")
    assert second["restoredFrom"] == run["checkpoints"][0]["digest"]
    assert site.run("logs", "count").stdout.splitlines()[-2:] == [f"from {run['checkpoints'][0]['step']}", "done"]


def test_a_data_directory_belongs_to_one_process(site: Site) -> None:
    site.push("nothing yet")
    loop = site.start("reconcile")
    eventually(lambda: "reconciling" in site.loop(), timeout=60)
    for command in (("reconcile", "--once"), ("apply",)):
        refused = site.run(*command, code=2)
        assert f"in use by process {loop.pid}" in refused.stderr
        assert refused.stdout == ""


def test_ctrl_c_ends_the_loop_in_good_order(site: Site) -> None:
    site.job()
    site.push()
    loop = site.start("reconcile")
    site.run("wait", "count", "--for", "running", "--timeout", "60s")
    loop.send_signal(signal.SIGINT)
    assert loop.wait(30) == 130
    assert "Traceback" not in site.loop()
    assert "jobs that run go on" in site.loop()
    assert site.living(), "the job goes on"


def test_ctrl_c_ends_a_command_that_waits(site: Site) -> None:
    site.job()
    site.push()
    waiting = subprocess.Popen(site.arguments("wait", "count"), cwd=site.root, stderr=subprocess.PIPE)
    names = site.data / "names"
    eventually(names.exists, timeout=60)
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert b"Traceback" not in said


def test_a_closed_pipe_ends_silently(site: Site) -> None:
    site.job()
    site.push()
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        site.arguments("status"), cwd=site.root, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == b""


def test_a_broken_manifest_freezes_its_own_job_and_apply_says_so(site: Site) -> None:
    site.job("good")
    site.gate.touch()
    site.job("bad", more="replicas: many")
    site.push()
    done = site.run("apply", code=2)
    assert "good is planned" in done.stdout
    assert "jobs/bad.yaml:" in done.stderr
    assert "bad is planned" not in done.stdout
    assert "jobs/bad.yaml:" in site.run("diff", code=2).stderr


def test_a_saved_plan_is_carried_out_or_refused(site: Site) -> None:
    site.job()
    site.gate.touch()
    site.push()
    for _ in range(2):  # the second one sees what the first one has begun
        site.run("reconcile", "--once")
    site.job("other")
    site.push("another job")
    assert site.json("diff", code=1)["summary"]["create"] == 1
    site.run("diff", "--out", "plan", code=1)
    site.job("third")
    site.push("and another one")
    refused = site.run("apply", "plan", code=2)
    assert "the revision was" in refused.stderr
    assert "to be done now: start third, attempt 1 on here" in refused.stderr
    assert refused.stdout == ""
    site.run("diff", "--out", "plan", code=1)
    done = site.run("apply", "plan")
    assert "other is planned" in done.stdout
    assert "third is planned" in done.stdout


def test_a_plan_needs_no_cluster_and_tells_what_is_new(site: Site) -> None:
    site.job()
    site.push()
    shown = site.run("diff", code=1)
    assert "count (TargetUnknown)" in shown.stdout
    assert "Plan: 1 to create" in shown.stdout
    assert "no observation yet" in shown.stderr
    assert site.run("diff", "-o", "markdown", code=1).stdout.startswith("<!-- perdure:plan -->")
    assert not (site.data / "agent").exists()
    assert "no loop runs here" in site.run("diff", "--observed", "live", code=2).stderr
    assert "there is no such file" in site.run("diff", "--observed", "nowhere", code=2).stderr
    other = site.root / "other.json"
    other.write_text("{}")
    assert f"{other}: not a valid Observation:" in site.run("diff", "--observed", str(other), code=2).stderr


def test_a_repository_that_goes_away_is_said_once_and_changes_nothing(site: Site) -> None:
    site.job()
    commit = site.push()
    site.start("reconcile")
    site.run("wait", "count", "--for", "running", "--timeout", "60s")
    aside = site.root / "aside.git"
    site.repository.rename(aside)
    eventually(lambda: "the repository does not answer" in site.loop(), timeout=60)
    site.gate.touch()
    eventually(lambda: not site.living(), timeout=60)
    aside.rename(site.repository)
    site.says("count finished in attempt 1", commit)
    eventually(lambda: "the repository is read again" in site.loop(), timeout=60)
    assert site.loop().count("the repository does not answer") == 1


STORELESS = """
apiVersion: perdure.dev/v1alpha1
kind: Job
metadata: {name: hello}
spec:
  target: machines
  workload: {command: [/bin/sh, -c, "echo hello; echo there"]}
  checkpoint: {engine: none}
"""


def test_without_a_store_the_host_keeps_what_a_finished_job_has_written(site: Site) -> None:
    site.write("platform.yaml", TARGET)
    site.write("jobs/hello.yaml", STORELESS)
    site.push()
    loop = site.start("reconcile")
    site.says("hello finished in attempt 1")
    eventually(lambda: list((site.data / "agent" / "logs").iterdir()), timeout=60)
    eventually(lambda: not list((site.data / "agent" / "attempts").iterdir()), timeout=60)
    assert site.run("logs", "hello").stdout == "hello\nthere\n"
    loop.terminate()
    assert loop.wait(30) == 0
    shutil.rmtree(site.data / "agent" / "logs")
    gone = site.run("logs", "hello")
    assert (gone.stdout, "without a store, output stays" in gone.stderr) == ("", True)
