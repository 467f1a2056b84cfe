"""Plain files on disk as a tree."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from reconciler import errors, load
from reconciler.load import paths
from tests.load import fixtures


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def problems(*asked: Path) -> list[str]:
    return [str(problem) for tree in paths.trees(asked) for problem in tree.shown(load.revision(tree).problems)]


def test_a_repository_is_read_as_a_whole_and_what_was_asked_for_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = fixtures.job("other", extra="priority: high")
    write(tmp_path, {**fixtures.INFRASTRUCTURE, "jobs/a.yaml": fixtures.job(), "jobs/b.yaml": bad, "perdure.yaml": ""})
    monkeypatch.chdir(tmp_path)
    assert problems(Path("jobs/a.yaml")) == []
    assert (
        problems(Path("jobs"))
        == problems(Path("."))
        == problems(tmp_path)
        == problems(Path("jobs/b.yaml"), Path("jobs/a.yaml"))
    )
    assert problems(Path("jobs"))[0].startswith("jobs/b.yaml:7:13: spec.priority")
    monkeypatch.chdir(tmp_path / "jobs")
    assert problems(Path("b.yaml"))[0].startswith("b.yaml:7:13: spec.priority")
    monkeypatch.chdir("/")
    assert problems(tmp_path)[0].startswith(f"{tmp_path.relative_to('/')}/jobs/b.yaml:7:13: spec.priority")


def test_a_file_of_no_repository_stands_alone(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": fixtures.job(), "b.yaml": fixtures.TARGET})
    assert "there is no Target" in problems(tmp_path / "a.yaml")[0]
    assert problems(tmp_path / "a.yaml", tmp_path / "b.yaml") == []
    assert problems(tmp_path) == []


def test_links_are_listed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(
        tmp_path,
        {"outside/secret.yaml": "password: x\n", "repo/infra.yaml": fixtures.TARGET, "repo/jobs/a.yaml": fixtures.job()},
    )
    (tmp_path / "repo/b.yaml").symlink_to(outside / "secret.yaml")
    (tmp_path / "repo/loop").symlink_to("loop")
    (tmp_path / "repo/all").symlink_to(outside)
    [problem] = problems(tmp_path / "repo")
    assert "b.yaml:1:1: a link is not followed" in problem


def test_ids_of_folders_follow_their_names(tmp_path: Path) -> None:
    write(tmp_path, {"code/a.py": "1", "code/b/c.py": "2"})
    [tree] = paths.trees([tmp_path])
    before = tree.tree_id("code")
    assert before == tree.tree_id("code")
    assert before
    assert tree.tree_id("code/a.py")
    assert tree.tree_id("nothing") is None
    write(tmp_path, {"code/d.py": ""})
    assert tree.tree_id("code") != before


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidInput, match="no such file"):
        paths.trees([tmp_path / "nothing"])


def test_git_itself_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, {".git/x.yaml": ":", "a/b.yaml": fixtures.TARGET})
    assert problems(tmp_path) == []
    assert [entry.path for entry in paths.trees([tmp_path])[0].entries()] == ["a/b.yaml"]


def test_what_git_ignores_is_read_only_when_asked_for(tmp_path: Path) -> None:
    write(
        tmp_path,
        {".gitignore": ".venv/\n*.tmp.yaml\n", ".git/HEAD": "", ".venv/x/bad.yaml": ":", "a.tmp.yaml": ":", "a.yaml": ""},
    )
    assert problems(tmp_path) == []
    assert len(problems(tmp_path / "a.tmp.yaml")) == 1
    assert len(problems(tmp_path / ".venv")) == 1
    assert len(problems(tmp_path / ".venv" / "x" / "bad.yaml")) == 1


def test_a_repository_inside_is_what_git_would_make_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = {"vendor/.git": "gitdir: elsewhere\n", "vendor/jobs/b.yaml": "spec: [", "vendor/jobs/train.yaml": fixtures.job()}
    write(tmp_path, {**fixtures.INFRASTRUCTURE, "jobs/a.yaml": fixtures.job(), "perdure.yaml": "", **inside})
    monkeypatch.chdir(tmp_path)
    assert problems(Path()) == [], "without Git it does not count"
    (tmp_path / ".git").mkdir()
    assert problems(Path()) == ["vendor:1:1: a submodule is not read (commit its files, or name it in .perdureignore)"]
    for line in ("vendor/", "vendor", "/vendor"):
        write(tmp_path, {".perdureignore": f"{line}\n"})
        assert problems(Path()) == []


def test_a_submodule_that_was_not_fetched_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fresh clone, as in CI, it is an empty folder: validate was content with what the loop refuses."""
    modules = '[submodule "x"]\n\tpath = code/vendor\n\turl = ../x\n[submodule "y"]\n  path = "gone"\n'
    write(tmp_path, {**fixtures.INFRASTRUCTURE, ".gitmodules": modules, "jobs/a.yaml": fixtures.job(), "gone/a.yaml": "a: 1"})
    (tmp_path / "code" / "vendor").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    assert problems(Path()) == ["code/vendor:1:1: a submodule is not read (commit its files, or name it in .perdureignore)"]


@pytest.mark.parametrize("name", [b"a\xff.yaml", b"a\nb.yaml", b"-a.yaml"])
def test_a_file_whose_name_misleads_is_refused_also_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    write(tmp_path, {**fixtures.INFRASTRUCTURE, "perdure.yaml": "", "jobs/ok.yaml": fixtures.job()})
    file = tmp_path / "jobs" / os.fsdecode(name)
    file.write_text(fixtures.job("other"))
    monkeypatch.chdir(tmp_path)
    [told] = problems(file.relative_to(tmp_path))
    assert "the file's name" in told
    assert problems(Path("jobs")) == [told]
    assert problems(Path("jobs/ok.yaml")) == []


def test_folders_may_lie_as_deep_as_the_system_lets_them(tmp_path: Path) -> None:
    write(tmp_path, {**fixtures.INFRASTRUCTURE, "perdure.yaml": "", ".gitignore": "*.tmp\n", ".perdureignore": "*.tmp\n"})
    with contextlib.chdir(tmp_path):
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        Path("a.yaml").write_text("apiVersion: perdure.dev/v1alpha1\n")
    [told] = problems(tmp_path)
    subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)  # deeper than Python's own `rmtree` goes
    assert told.endswith("d/a.yaml:1:1: kind is missing (one of: Job, Checkpoint, Store, Target, Pool)")
