"""`perdure init`: a repository that works as it is, and nothing of anybody's touched."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reconciler import load
from reconciler.cli import beginning, main
from reconciler.load import paths
from tests.cli.outputs import conforms
from tests.cli.site import PERDURE, Site
from tests.conditions import eventually

FILES = [
    ".github/workflows/perdure.yaml",
    ".pre-commit-config.yaml",
    ".schemas/checkpoint.json",
    ".schemas/job.json",
    ".schemas/perdure.json",
    ".schemas/pool.json",
    ".schemas/store.json",
    ".schemas/target.json",
    "README.md",
    "code/count.py",
    "jobs/count.yaml",
    "perdure.yaml",
    "platform.yaml",
]


def git(place: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=place, check=True, capture_output=True, text=True, timeout=60).stdout


def files(place: Path) -> dict[str, bytes]:
    """Every file but git's own."""
    found = (path for path in place.rglob("*") if path.is_file() and ".git" not in path.relative_to(place).parts)
    return {str(path.relative_to(place)): path.read_bytes() for path in found}


def init(capfd: pytest.CaptureFixture[str], place: Path, *more: str, code: int = 0) -> tuple[str, str]:
    """Run `perdure init`; checkpoints go beside the folder unless `more` says otherwise."""
    given = more if "--store" in more else ("--store", str(place.parent / "store"), *more)
    assert main.run(["init", str(place), *given]) == code
    said = capfd.readouterr()
    return said.out, said.err


def test_a_new_repository_is_valid_and_nothing_is_committed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, said = init(capfd, tmp_path / "my jobs", "-o", "json")
    made = conforms("init", json.loads(out))
    assert (said, made["repository"], sorted(made["created"])) == ("", "created", FILES)
    assert sorted(files(tmp_path / "my jobs")) == FILES
    assert git(tmp_path / "my jobs", "symbolic-ref", "HEAD") == "refs/heads/main\n"
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    assert main.run(["validate", str(tmp_path / "my jobs")]) == 0
    assert capfd.readouterr().out == "1 Job, 1 Store, 1 Target: no problem.\n"
    out, _ = init(capfd, tmp_path / "my jobs")
    assert f"{tmp_path}/my jobs: every file was there already." in out
    assert f"  cd {shlex.quote(str(tmp_path / 'my jobs'))}\n" in out


def test_a_hook_of_another_repository_makes_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git sets these variables for hooks, and follows them whatever folder it is started in."""
    git(tmp_path, "init", "--quiet", "other")
    before = files(tmp_path / "other" / ".git")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    init(capfd, tmp_path / "jobs")
    assert git(tmp_path / "jobs", "config", "--local", "notes.displayRef") == "refs/notes/perdure/default\n"
    assert files(tmp_path / "other" / ".git") == before


def test_the_sample_runs_to_its_end_as_the_last_words_say(site: Site) -> None:
    place = site.root / "jobs"
    told = site.run("init", str(place), "--store", str(site.root / "checkpoints")).stdout
    program = place / "code" / "count.py"
    program.write_text(program.read_text().replace("60", "3").replace("sleep(1)", "sleep(0.05)"))
    steps = [line.strip() for line in told.partition("Next:\n")[2].splitlines()]
    assert [step.split()[0] for step in steps] == ["cd", "perdure", "git", "perdure"]
    for step in steps[1:3]:
        words = step.replace("perdure", " ".join(PERDURE), 1) if step.startswith("perdure") else step
        subprocess.run(words, shell=True, cwd=place, check=True, capture_output=True, timeout=60)
    assert steps[3] == "perdure reconcile --repo ."
    site.repository = place
    loop = site.start("reconcile")
    site.says("count finished in attempt 1")
    loop.terminate()
    assert loop.wait(30) == 0
    assert "count finished in attempt 1" in git(place, "log", "-1"), "git log shows the notes"
    assert site.run("logs", "count").stdout == "1\n2\n3\n"
    assert (
        site.run("diff", "--repo", str(place / ".git"), "--revision", "HEAD", "--data", str(site.root / "ci")).returncode == 0
    )
    assert "no branch or tag “nowhere”" in site.run("diff", "--ref", "nowhere", code=2).stderr


def test_hook_and_workflow_are_what_their_programs_expect(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    init(capfd, tmp_path / "jobs")
    workflow = tmp_path / "jobs" / ".github" / "workflows" / "perdure.yaml"
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    commands = [step["run"] for step in yaml.safe_load(workflow.read_text())["jobs"]["plan"]["steps"] if "run" in step]
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True, timeout=60)
    known = {row.name for section in main.SECTIONS for row in section.rows}
    assert {command.split()[1] for command in commands if command.startswith("perdure ")} <= known
    [repository] = yaml.safe_load((tmp_path / "jobs" / ".pre-commit-config.yaml").read_text())["repos"]
    [hook] = repository["hooks"]
    assert repository["repo"] == "local"
    assert {"id", "name", "entry", "language"} <= hook.keys()
    subprocess.run(
        shlex.split(hook["entry"].replace("perdure", " ".join(PERDURE), 1)), cwd=tmp_path / "jobs", check=True, timeout=60
    )


def test_editors_find_the_schema_of_each_manifest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    init(capfd, tmp_path / "jobs")
    for name in ("platform.yaml", "jobs/count.yaml", "perdure.yaml"):
        path = tmp_path / "jobs" / name
        for document in path.read_text().split("---\n"):
            [line] = [line for line in document.splitlines() if "yaml-language-server" in line]
            schema = json.loads((path.parent / line.partition("$schema=")[2]).read_text())
            kind = yaml.safe_load(document).get("kind", "perdure.yaml")
            assert schema["title"] == kind


def test_what_is_there_stays_and_only_what_is_missing_is_added(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place, remote = tmp_path / "jobs", tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", str(remote))
    git(tmp_path, "clone", "--quiet", str(remote), str(place))
    (place / "README.md").write_text("mine\n")
    git(place, "add", ".")
    git(place, "commit", "--quiet", "-m", "mine")
    (place / "README.md").write_text("mine, changed\n")
    (place / "staged").write_text("x")
    (place / "untracked").write_text("y")
    git(place, "add", "staged")
    before = (git(place, "diff"), git(place, "diff", "--cached"), (place / ".git" / "index").read_bytes(), files(place))
    for _ in range(2):
        out, _ = init(capfd, place, "--instance", "blue")
    after = (git(place, "diff"), git(place, "diff", "--cached"), (place / ".git" / "index").read_bytes(), files(place))
    assert after[:3] == before[:3]
    assert {name: after[3][name] for name in before[3]} == before[3]
    assert set(after[3]) - set(before[3]) == set(FILES) - {"README.md"}
    assert "`git fetch` from origin brings the notes" in out
    fetched = git(place, "config", "--get-all", "remote.origin.fetch").splitlines()
    assert fetched == ["+refs/heads/*:refs/remotes/origin/*", beginning.NOTES]
    assert git(place, "config", "--get-all", "notes.displayRef") == "refs/notes/perdure/blue\n"
    git(place, "fetch", "--quiet")


def test_where_manifests_are_no_sample_is_added(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "jobs"
    place.mkdir()
    git(place, "init", "--quiet")
    (place / "mine.yaml").write_text("apiVersion: perdure.dev/v1alpha1\nkind: Job\nmetadata: {name: mine}\nspec: {}\n")
    out, _ = init(capfd, place)
    assert sorted(files(place)) == sorted(
        ["mine.yaml", *(name for name in FILES if name.startswith(beginning.ABOUT_THE_REPOSITORY))]
    )
    assert "git add" not in out
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["a b", "x: y", "#1", "ünü", 'q"q', "../up", "it's"])
def test_any_store_folder_is_written_so_that_it_is_read_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    init(capfd, tmp_path / "jobs", "--store", name)
    assert main.run(["validate", str(tmp_path / "jobs")]) == 0
    documents = list(yaml.safe_load_all((tmp_path / "jobs" / "platform.yaml").read_text()))
    assert documents[1]["spec"]["path"]["root"] == os.path.abspath(name)
    assert Path(name).is_dir()


def test_folders_that_cannot_hold_a_repository_are_refused_untouched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    git(tmp_path, "init", "--quiet", "--bare", str(tmp_path / "bare.git"))
    git(tmp_path, "init", "--quiet", str(tmp_path / "outer"))
    (tmp_path / "file").touch()
    (tmp_path / "linked").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked" / "jobs").symlink_to(tmp_path / "elsewhere")
    cases = {
        "bare.git": "this is a bare repository",
        "outer/inner": f"belongs to the Git repository {tmp_path}/outer",
        "file": "is a file",
        "file/below": "Not a directory",
        "linked": "a link leads there",
    }
    for name, said in cases.items():
        _, complaint = init(capfd, tmp_path / name, "--store", str(tmp_path / "store"), code=2)
        assert said in complaint, complaint
    assert not (tmp_path / "outer" / "inner").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_store_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    _, said = init(capfd, tmp_path / "jobs", "--store", str(tmp_path / "file" / "store"), code=2)
    assert said == (
        f"perdure: {tmp_path}/file/store: the folder for checkpoints cannot be made: Not a directory\n"
        "  Name another one with --store.\n"
    )
    assert not (tmp_path / "jobs").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_is_not_ours_to_write_in(site: Site) -> None:
    os.seteuid(65534)
    try:
        refused = site.run("init", str(site.root / "jobs"), "--store", "/tmp", code=2)
    finally:
        os.seteuid(0)
    assert "Permission denied" in refused.stderr
    assert not (site.root / "jobs").exists()


def test_an_instance_is_a_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, said = init(capfd, tmp_path / "jobs", "--instance", "a b", code=2)
    assert "--instance" in said
    assert not (tmp_path / "jobs").exists()


def test_the_loop_takes_a_job_that_is_added_to_the_sample(site: Site) -> None:
    place = site.root / "jobs"
    site.run("init", str(place), "--store", str(site.root / "checkpoints"))
    (place / "jobs" / "count.yaml").unlink()
    (place / "code" / "count.py").write_text("print('short')\n")
    text = "apiVersion: perdure.dev/v1alpha1\nkind: Job\nmetadata: {name: mine}\nspec:\n  target: machines\n"
    (place / "jobs" / "mine.yaml").write_text(f"{text}  workload: {{code: {{path: code, entrypoint: count.py}}}}\n")
    assert sorted(json.loads(site.run("init", str(place), "-o", "json").stdout)["created"]) == [], "the sample stays away"
    site.repository = place
    git(place, "add", ".")
    git(place, "commit", "--quiet", "-m", "mine")
    site.start("reconcile")
    eventually(lambda: "mine finished" in site.notes(), timeout=60)


def test_an_encrypted_store_has_its_keys_and_they_are_never_replaced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, place = tmp_path / "data", tmp_path / "jobs"
    asked = ["init", str(place), "--store", str(tmp_path / "store"), "--data", str(data), "--encrypted"]
    assert main.run(asked) == 0
    key = data / "keys" / "encryption" / "checkpoints.key"
    first = key.read_bytes()
    assert key.stat().st_mode & 0o077 == 0
    assert first.decode().strip() not in "".join(capfd.readouterr())
    [store] = load.revision(paths.PathTree(place, [place])).stores.values()
    assert (store.encryption, store.signing) == ("checkpoints", "checkpoints")
    assert main.run([*asked[:1], str(tmp_path / "others"), *asked[2:]]) == 0
    assert key.read_bytes() == first
