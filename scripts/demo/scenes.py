"""The scenes of the demo, in order."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import console
import machines
from machines import DemoError, Site, TooShortError

REFERENCE = "uninterrupted.log"


@dataclasses.dataclass(slots=True, kw_only=True)
class Story:
    """What was seen, for the claims to be checked against."""

    reference: str = ""
    """Digest of the weights of a run that nothing interrupted."""
    train: dict[str, Any] = dataclasses.field(default_factory=dict)
    flaky: dict[str, Any] = dataclasses.field(default_factory=dict)
    logs: str = ""
    notes: str = ""
    lost_host: str = ""
    silence: str = ""
    suspended_with: int | None = None
    jobs: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def play(site: Site, stage: console.Stage) -> Story:
    """Play all scenes and return what was seen."""
    story = Story()
    with _reference(site) as uninterrupted:
        _begin(site, stage)
        _work(site, stage)
        _lose(site, stage, story)
        _change(site, stage)
        _suspend(site, stage, story)
        _finish(site, stage, story)
        uninterrupted.wait(timeout=120)
        story.reference = (site.logs / REFERENCE).read_text().split("weights ")[-1].strip()
    return story


@contextlib.contextmanager
def _reference(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """Train the same model with the same seed and nothing in the way, beside the demo; its output goes to the logs."""
    code = site.clone / "code" / "train.py"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    with (site.logs / REFERENCE).open("wb") as log:
        process = subprocess.Popen(
            ["nice", "-n", "5", sys.executable, str(code)],
            env={**plain, **site.training},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for the demo: this one would answer with a traceback
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _begin(site: Site, stage: console.Stage) -> None:
    stage.scene(1, "Jobs are declared in Git, a loop reads them, three hosts join")
    stage.say(f"the repository: {site.remote}, made from examples/first-steps and pushed")
    site.start_loop()
    site.until("the loop's first pass", lambda: bool(site.jobs()))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for name in pool.map(site.start_host, machines.HOSTS):
            stage.say(f"host {name} joined with a one-time token and dials in over mutual TLS; it listens on no port")


def _work(site: Site, stage: console.Stage) -> None:
    stage.scene(2, "They run: a chain (prepare, train, report), and a job that fails twice")
    site.until("flaky finishes in its third attempt", lambda: site.history("flaky")["phase"] == "finished")
    for attempt in site.history("flaky")["attempts"]:
        stage.say(f"flaky, attempt {attempt['number']} on {attempt['host']}: {attempt['detail'] or attempt['ending']}")
    site.until("train has two checkpoints", lambda: len(site.history("train")["checkpoints"]) >= 2)
    for saved in site.history("train")["checkpoints"]:
        stage.say(f"train saved a checkpoint at step {saved['step']}: complete, read back, verified")


def _lose(site: Site, stage: console.Stage, story: Story) -> None:
    stage.scene(3, "A host is lost: SIGKILL for its agent, supervisors and jobs, its data removed")
    host = str(_unfinished(site)["attempts"][-1]["host"])
    story.lost_host = host
    count = site.lose_host(host)
    stage.say(f"{host} is gone, with {count} processes and everything on its disk", style="red")
    stage.say("a closed connection is not evidence: two budgets decide, shortened for the demo")
    stage.say(f"  time: {machines.LOST_AFTER} s of silence; tries: {machines.LOST_TRIES} observations in silence")
    told: set[str] = set()

    def restored() -> bool:
        found = json.loads(site.perdure("why", "train", "-o", "json"))["jobs"][0]
        silence = found.get("silence")
        text = found["sentence"] if found["reason"] in ("HostSilent", "HostGivenUp") else ""
        if silence and text and text not in told and len(told) < 6:
            told.add(text)
            stage.say(f"  why train: {text}")
        _unfinished(site)
        return _events(site, "restored") != []

    site.until("train is restored on another host", restored)
    story.silence = str(_events(site, "lost")[-1]["say"])
    for what in ("lost", "restored"):
        stage.say(str(_events(site, what)[-1]["say"]), style="green" if what == "restored" else "red")


def _change(site: Site, stage: console.Stage) -> None:
    stage.scene(4, "A change is a plan to review, then a push")
    manifest = site.clone / "jobs" / "train.yaml"
    text = manifest.read_text()
    manifest.write_text(text.replace("memory: 256Mi", "memory: 384Mi"))
    site.git("commit", "--quiet", "--all", "-m", "Give train more memory")
    attempts = len(site.history("train")["attempts"])
    shown = site.perdure("diff", "--repo", str(site.clone), "--revision", "HEAD", expect=(0, 1))
    _unfinished(site)  # of one that has finished there would be nothing to change
    stage.command("perdure diff --revision HEAD", shown)
    site.git("push", "--quiet", "origin", "HEAD:main")
    stage.say("pushed: the loop checkpoints train, ends it, and starts it with the new limit from that checkpoint")

    def recreated() -> bool:
        run = _unfinished(site)
        return len(run["attempts"]) > attempts and run["attempts"][-1]["startedAt"] is not None

    site.until("train runs with the new limit", recreated)
    stage.say(str(_events(site, "restored")[-1]["say"]), style="green")


def _suspend(site: Site, stage: console.Stage, story: Story) -> None:
    stage.scene(5, "Suspend by a commit, with a checkpoint; then resume")
    stage.command("perdure suspend train --reason 'the GPU is needed elsewhere'")
    site.perdure("suspend", "train", "--reason", "the GPU is needed elsewhere")
    site.until("train is suspended", lambda: _unfinished(site)["phase"] == "suspended")
    story.suspended_with = site.history("train")["checkpoints"][-1]["step"]
    stage.say(str(_events(site, "suspended")[-1]["say"]), style="yellow")
    attempts = len(site.history("train")["attempts"])
    stage.command("perdure resume train")
    site.perdure("resume", "train")
    site.until(
        "train runs again",
        lambda: (
            len(site.history("train")["attempts"]) > attempts and site.history("train")["attempts"][-1]["startedAt"] is not None
        ),
    )
    stage.say(str(_events(site, "restored")[-1]["say"]), style="green")


def _finish(site: Site, stage: console.Stage, story: Story) -> None:
    stage.scene(6, "It finishes, once, and the commits carry the story")
    site.until("every job has finished", lambda: all(job["phase"] == "finished" for job in site.jobs()))
    story.jobs = site.jobs()
    story.train, story.flaky = site.history("train"), site.history("flaky")
    story.logs = site.perdure("logs", "train")
    stage.close()
    site.git("fetch", "--quiet", "origin")
    story.notes = site.git("log", "--notes=perdure/demo", "--format=%C(auto)%h %s%n%N", "origin/main")
    stage.command("git fetch && git log --notes=perdure/demo", _sentences(story.notes))
    stage.command("perdure checkpoints train", site.perdure("checkpoints", "train"))


def encore(site: Site, stage: console.Stage, lost: str) -> None:
    """Say what can be tried while everything but the lost host goes on running."""
    alive = next(host for host in machines.HOSTS if host != lost)
    stage.say("KEEP=1: the loop and the hosts go on running. Try:")
    for program, *words in (
        ("perdure", "status", "--config", site.config),
        ("perdure", "rerun", "train", "--config", site.config),
        ("perdure", "top", "--config", site.config),
        ("perdure-agent", "notice", "--in", "30s", "--data", site.root / alive),
    ):
        stage.command(shlex.join([str(machines.BIN / program), *map(str, words)]))
    stage.say("`make demo STOP=1` ends it and removes its folder; `make demo` does that first, too")


def _unfinished(site: Site) -> dict[str, Any]:
    """Return the run of train, which a scene is still to be played with."""
    run = site.history("train")
    if run["phase"] == "finished":
        raise TooShortError(
            "train finished before this could be shown: the machine is too busy. Run `make demo` when it is not."
        )
    return run


def _events(site: Site, what: str) -> list[dict[str, Any]]:
    lines = site.perdure("events", "--job", "train", "-o", "json").splitlines()
    return [found for line in lines if (found := json.loads(line))["what"] == what]


def _sentences(notes: str) -> str:
    """Return the notes with each JSON line as its sentence: the whole lines are for machines."""
    shown = []
    for line in notes.splitlines():
        try:
            shown.append("    " + str(json.loads(line)["say"]) if line.startswith("{") else line)
        except (ValueError, KeyError) as error:
            raise DemoError(f"a note's line is not JSON with a sentence first: {line}") from error
    return "\n".join(line for line in shown if line)
