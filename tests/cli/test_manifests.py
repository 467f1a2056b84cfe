"""`validate`, `schema` and `explain`, in process and as a script sees them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cli import main
from tests.cli.outputs import conforms
from tests.cli.site import PERDURE

GOOD = "apiVersion: perdure.dev/v1alpha1\nkind: Target\nmetadata: {name: machines}\nspec: {hosts: {selector: {}}}\n"
BAD = """\
apiVersion: perdure.dev/v1alpha1
kind: Job
metadata: {name: train}
spec:
  target: machine
  workload: {comand: [a]}
  replicas: many
---
apiVersion: perdure.dev/v1alpha1
kind: Jub
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """Return what a command answers with -o json; it fits the command's schema."""
    assert main.run([*arguments, "-o", "json"]) == code
    said = capfd.readouterr()
    assert said.err == ""
    return conforms(arguments[0], json.loads(said.out))


def test_every_problem_of_every_file_at_once(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "a").mkdir()
    (here / "a" / "bad.yaml").write_text(BAD)
    (here / "good.yaml").write_text(GOOD)
    (here / "torn.yaml").write_text("kind: [\n")
    found = answer(capfd, "validate", code=2)
    places = [(each["file"], each["line"], each["column"], each["kind"], each["name"]) for each in found["problems"]]
    assert places == [
        ("a/bad.yaml", 5, 11, "Job", "train"),
        ("a/bad.yaml", 6, 3, "Job", "train"),
        ("a/bad.yaml", 6, 14, "Job", "train"),
        ("a/bad.yaml", 7, 13, "Job", "train"),
        ("a/bad.yaml", 10, 7, None, None),
        ("torn.yaml", 2, 1, None, None),
    ]
    assert found["problems"][0]["fix"] == "did you mean machines?"
    assert found["valid"]["Target"] == 1
    assert main.run(["validate"]) == 2
    out, said = capfd.readouterr()
    assert said == ""
    assert out.splitlines()[0] == 'a/bad.yaml:5:11: spec.target: there is no Target "machine" (did you mean machines?)'
    assert out.splitlines()[-1] == "6 problems in 2 files."
    assert main.run(["validate", "-o", "yaml"]) == 2
    assert yaml.safe_load(capfd.readouterr().out) == found


def test_only_what_was_asked_for_is_told_and_the_rest_is_known(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / ".git").mkdir()
    (here / "a").mkdir()
    (here / "a" / "bad.yaml").write_text(BAD)
    (here / "good.yaml").write_text(GOOD)
    assert answer(capfd, "validate", "good.yaml")["problems"] == []
    assert len(answer(capfd, "validate", "a", code=2)["problems"]) == 5
    assert main.run(["validate", "nowhere.yaml"]) == 2
    assert capfd.readouterr() == ("", "perdure: nowhere.yaml: there is no such file or folder\n  Correct the path.\n")


@pytest.mark.usefixtures("here")
def test_a_folder_without_any_manifest_is_valid(capfd: pytest.CaptureFixture[str]) -> None:
    assert answer(capfd, "validate") == {
        "problems": [],
        "valid": dict.fromkeys(["Job", "Checkpoint", "Store", "Target", "Pool"], 0),
    }
    assert main.run(["validate"]) == 0
    assert capfd.readouterr().out.startswith("No manifest here: files that end in .yaml or .yml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("paths: jobs\n", "perdure.yaml:1:8: paths: expected a list"),
        ("pathz: [jobs]\n", 'perdure.yaml:1:1: there is no field "pathz" here (did you mean paths?)'),
        ("paths: [nowhere]\n", 'perdure.yaml:1:9: paths: there is no "nowhere" in the repository'),
        ("source: {repository: x}\n", "perdure.yaml:1:1: there is no field"),
        ("paths: [\n", "perdure.yaml:"),
    ],
)
def test_perdure_yaml_may_hold_paths_and_nothing_else(
    here: Path, capfd: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (here / "good.yaml").write_text(GOOD)
    (here / "perdure.yaml").write_text(text)
    [problem] = answer(capfd, "validate", code=2)["problems"]
    assert problem["file"] == "perdure.yaml"
    assert main.run(["validate"]) == 2
    assert capfd.readouterr().out.startswith(said)


def test_a_script_gets_one_document_and_an_exit_code(here: Path) -> None:
    """Without a standard input, without a terminal, from any folder, and whoever reads may stop reading."""
    (here / "bad.yaml").write_text(BAD)
    command = f"exec {' '.join(PERDURE)} validate -o json <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False, cwd=here)
    assert (done.returncode, done.stderr) == (2, "")
    assert len(conforms("validate", json.loads(done.stdout))["problems"]) == 5
    read, write = os.pipe()
    os.close(read)
    cut = subprocess.run([*PERDURE, "validate"], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False, cwd=here)
    os.close(write)
    assert (cut.returncode, cut.stderr) == (141, b"")


def test_a_file_that_may_not_be_read_is_named(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() == 0:
        (here / "gone.yaml").symlink_to("nowhere")
        assert main.run(["validate"]) == 2
        assert capfd.readouterr().out.startswith("gone.yaml:1:1: a link is not followed")
    else:
        (here / "closed.yaml").touch(mode=0)
        assert main.run(["validate"]) == 2
        assert "closed.yaml" in capfd.readouterr().err


def test_schemas_and_what_has_one(capfd: pytest.CaptureFixture[str]) -> None:
    names = answer(capfd, "schema")["names"]
    assert main.run(["schema"]) == 0
    assert capfd.readouterr().out.split() == names
    for name in names:
        found = answer(capfd, "schema", name.lower())
        assert main.run(["schema", name]) == 0
        assert json.loads(capfd.readouterr().out) == found
    assert main.run(["schema", "jub"]) == 2
    assert capfd.readouterr() == ("", "perdure: jub: there is no kind jub\n  Did you mean Job?\n")


def test_a_field_is_explained_with_what_changing_it_does(capfd: pytest.CaptureFixture[str]) -> None:
    found = answer(capfd, "explain", "job.spec.state")
    assert (found["path"], found["default"], found["change"]["class"]) == ("Job.spec.state", "Running", "in place")
    assert answer(capfd, "explain", "Job.spec.workload.command")["change"]["class"] == "new run"
    assert answer(capfd, "explain", "Store.spec.path.root")["change"] is None
    assert "spec" in [each["name"] for each in answer(capfd, "explain", "Job")["fields"]]
    assert answer(capfd, "explain", "Job.checkpoint.interval") == answer(capfd, "explain", "Job.spec.checkpoint.interval")
    assert main.run(["explain", "Job.spec.state"]) == 0
    assert "  Change:    in place: the plan acts on it\n" in capfd.readouterr().out
    assert main.run(["explain", "Job.spec.stat"]) == 2
    assert capfd.readouterr() == ("", "perdure: Job.spec.stat: Job.spec has no field stat\n  Did you mean state?\n")
    assert main.run(["explain", "Job.spec.state.more"]) == 2
    assert "`perdure explain Job.spec.state` shows all there is." in capfd.readouterr().err


def test_every_field_can_be_explained(capfd: pytest.CaptureFixture[str]) -> None:
    waiting = list(answer(capfd, "schema")["names"])
    seen = 0
    while waiting:
        path = waiting.pop()
        seen += 1
        waiting += [f"{path}.{each['name']}" for each in answer(capfd, "explain", path)["fields"]]
    assert seen > 100


def test_a_narrow_terminal_folds_and_cuts_nothing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main.run(["explain", "Job.spec.checkpoint"]) == 0
    wide = capfd.readouterr().out
    monkeypatch.setattr("reconciler.cli.output.on_terminal", lambda: True)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda **_: os.terminal_size((20, 10)))
    assert main.run(["explain", "Job.spec.checkpoint"]) == 0
    narrow = capfd.readouterr().out
    assert narrow.split() == wide.split()
    assert max(map(len, narrow.splitlines())) < max(map(len, wide.splitlines()))


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("schema Jo", ["Job"]),
        ("explain st", ["Store"]),
        ("explain Job.spec.sta", ["Job.spec.state"]),
        ("explain Job.nope.x", []),
    ],
)
def test_completion_offers_kinds_and_fields(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, offered: list[str]
) -> None:
    monkeypatch.setenv("_PERDURE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"perdure {words}")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert main.run([]) == 0
    assert capfd.readouterr().out.split() == [f"plain,{name}" for name in offered]
