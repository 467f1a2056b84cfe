"""Which files are read: perdure.yaml, .perdureignore, and what a tree may hold that must not be followed."""

from __future__ import annotations

import pytest

from reconciler import load
from tests.load import fixtures

JOB = fixtures.job()


def names(files: dict[str, str]) -> list[str]:
    """The Jobs of a tree that has no problem."""
    desired = load.revision(fixtures.with_infrastructure(files))
    assert desired.problems == ()
    return sorted(ref.name for ref in desired.jobs)


def test_any_folder_and_both_suffixes_are_read() -> None:
    files = {
        "a.yaml": fixtures.job("a"),
        "x/y/b.yml": fixtures.job("b"),
        "C.YAML": fixtures.job("c"),
        "d.json": "{}",
        "e.txt": ":",
    }
    assert names(files) == ["a", "b", "c"]


def test_paths_narrow_what_is_read() -> None:
    files = {"perdure.yaml": "paths: [jobs//., ././infra.yaml]\n", "jobs/a.yaml": fixtures.job("a"), "other.yaml": ": :"}
    assert names(files) == ["a"]
    assert names({"perdure.yaml": "# nothing\n", "jobs/a.yaml": fixtures.job("a")}) == ["a"]
    assert names({"perdure.yaml": "paths: [./]\n", "jobs/a.yaml": fixtures.job("a")}) == ["a"]


def test_ignored_files_are_not_read() -> None:
    files = {".perdureignore": "charts/\n*.tmpl.yaml\n", "charts/x.yaml": "{{", "a.tmpl.yaml": "[", "a.yaml": fixtures.job("a")}
    assert names(files) == ["a"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("path: [jobs]\n", 'perdure.yaml:1:1: there is no field "path" here (did you mean paths?)'),
        ("paths: jobs\n", "perdure.yaml:1:8: paths: expected a list, found the text"),
        ("paths: [..]\n", "perdure.yaml:1:9: paths[0]: expected a path inside the repository"),
        ("paths: [/etc]\n", "perdure.yaml:1:9: paths[0]: expected a path inside the repository"),
        (
            "source: {repository: x}\n",
            'perdure.yaml:1:1: there is no field "source" here '
            "(only paths may stand here: the reconciler is configured by the file that --config names)",
        ),
        ("paths: [a\n", "perdure.yaml:1:8: a list in brackets that is never closed"),
        ("paths: [jbos]\n", 'perdure.yaml:1:9: paths: there is no "jbos" in the repository (did you mean jobs?)'),
        ("# all\n---\npaths: # these\n- jobs\n- x\n", 'perdure.yaml:5:3: paths: there is no "x" in the repository'),
        ("paths: [jobs]\n---\npaths: [x]\n", "perdure.yaml:2:1: more than one document"),
        (f"paths: [jobs] # {'x' * (1 << 20)}\n", "perdure.yaml:1:1: the document is larger than 1 MiB"),
        ("\0", "perdure.yaml:1:1: the text contains a NUL character"),
    ],
)
def test_a_wrong_perdure_yaml_refuses_the_revision(content: str, expected: str) -> None:
    good = load.revision(fixtures.with_infrastructure({"jobs/a.yaml": JOB}))
    desired = load.revision(fixtures.with_infrastructure({"jobs/a.yaml": JOB, "perdure.yaml": content}, "r2"), previous=good)
    assert desired.refused.startswith(expected)
    assert desired.jobs == good.jobs


@pytest.mark.parametrize(
    ("content", "mode", "files"),
    [
        ("path: [jobs]\n", "", ["jobs/a.yaml", "other/b.yaml", "perdure.yaml"]),
        ("paths: [a\n", "", ["jobs/a.yaml", "other/b.yaml", "perdure.yaml"]),
        ("paths: [..]\n", "", ["jobs/a.yaml", "other/b.yaml", "perdure.yaml"]),
        ("/etc/passwd", "120000", ["jobs/a.yaml", "other/b.yaml", "perdure.yaml"]),
        ("paths: [jobs, infra.yaml]\nsource: {}\n", "", ["jobs/a.yaml", "perdure.yaml"]),
        ("paths: [jobs, infra.yaml, jbos]\n", "", ["jobs/a.yaml", "perdure.yaml"]),
    ],
)
def test_with_a_wrong_perdure_yaml_the_problems_of_all_files_are_told(content: str, mode: str, files: list[str]) -> None:
    """Of those below the paths that it names all the same, else of the whole repository."""
    good = load.revision(fixtures.with_infrastructure({"jobs/a.yaml": JOB}))
    wrong = {"jobs/a.yaml": fixtures.job("a", extra="priority: high"), "other/b.yaml": fixtures.job("b", extra="priority: low")}
    tree = fixtures.OddTree(
        {**fixtures.INFRASTRUCTURE, **wrong, "perdure.yaml": content}, {"perdure.yaml": mode} if mode else {}
    )
    desired = load.revision(tree, previous=good)
    assert sorted({problem.file for problem in desired.problems}) == files
    assert desired.refused.startswith("perdure.yaml:")
    assert desired.jobs == good.jobs, "nothing of such a revision counts"


def test_a_perdure_yaml_under_another_name_is_not_passed_over() -> None:
    desired = load.revision(fixtures.with_infrastructure({"perdure.yml": "paths: [jobs]\n", "jobs/a.yaml": JOB}))
    assert "rename it perdure.yaml" in desired.refused


@pytest.mark.parametrize(
    ("path", "content", "mode", "expected"),
    [
        ("b.yaml", "a.yaml", "120000", "b.yaml:1:1: a link is not followed"),
        ("b.yaml", "/etc/passwd", "120000", "b.yaml:1:1: a link is not followed"),
        ("b.yaml", "nowhere", "120000", "b.yaml:1:1: a link is not followed"),
        ("b.yaml", "b.yaml", "120000", "b.yaml:1:1: a link is not followed"),
        ("more", "jobs", "120000", "more:1:1: a link is not followed"),
        ("x/more", "../jobs", "120000", "x/more:1:1: a link is not followed"),
        ("vendor/lib", "", "160000", "vendor/lib:1:1: a submodule is not read"),
        ("b\n.yaml", JOB, "100644", "b\\n.yaml:1:1: the file's name contains characters that are not shown"),
        ("b\u202e.yaml", JOB, "100644", "b\\u202e.yaml:1:1: the file's name contains characters that are not shown"),
        ("b\udce9.yaml", JOB, "100644", "b\\udce9.yaml:1:1: the file's name is not UTF-8"),
        ("-b.yaml", JOB, "100644", "-b.yaml:1:1: the file's name, or its folder's, begins with a hyphen"),
        ("--x/b.yaml", JOB, "100644", "--x/b.yaml:1:1: the file's name, or its folder's, begins with a hyphen"),
        ("b\\.yaml", JOB, "100644", "b\\.yaml:1:1: the file's name contains a backslash"),
    ],
)
def test_what_must_not_be_followed_is_refused_by_name(path: str, content: str, mode: str, expected: str) -> None:
    files = {**fixtures.INFRASTRUCTURE, "jobs/a.yaml": JOB, path: content}
    desired = load.revision(fixtures.OddTree(files, {path: mode}))
    [problem] = desired.problems
    assert str(problem).startswith(expected)
    assert problem.fix
    assert len(desired.jobs) == 1
    assert desired.unread == (problem.file,)


@pytest.mark.parametrize("target", ["/mnt/data", "../outside", "code", "nowhere"])
def test_a_link_that_holds_no_manifests_is_nobodys_business(target: str) -> None:
    files = {**fixtures.INFRASTRUCTURE, "jobs/a.yaml": JOB, "data": target, "naïve name (1).yaml": fixtures.job("b")}
    assert load.revision(fixtures.OddTree(files, {"data": "120000"})).problems == ()


def test_an_ignored_link_is_not_refused() -> None:
    files = {**fixtures.INFRASTRUCTURE, "b.yaml": "x", "lib": "", ".perdureignore": "b.yaml\nlib\n"}
    assert load.revision(fixtures.OddTree(files, {"b.yaml": "120000", "lib": "160000"})).problems == ()


def test_a_folder_that_became_a_link_freezes_what_it_held() -> None:
    good = load.revision(fixtures.with_infrastructure({"jobs/a.yaml": JOB}))
    tree = fixtures.OddTree({**fixtures.INFRASTRUCTURE, "jobs": "elsewhere", "elsewhere/x.yaml": ""}, {"jobs": "120000"})
    desired = load.revision(tree, previous=good)
    assert desired.jobs == good.jobs
    assert desired.unread == ("jobs",)


@pytest.mark.parametrize("path", ["code", "code/train.py"])
def test_code_behind_a_link_is_refused(path: str) -> None:
    files = {**fixtures.INFRASTRUCTURE, "a.yaml": fixtures.job(workload="code: {path: code, entrypoint: train.py}")}
    if path == "code":
        files = {key: text for key, text in files.items() if not key.startswith("code/")} | {"code": "elsewhere"}
    desired = load.revision(fixtures.OddTree(files, {path: "120000"}))
    assert "is a link" in str(desired.problems[0])


def test_a_link_in_place_of_perdure_yaml_refuses_the_revision() -> None:
    tree = fixtures.OddTree({**fixtures.INFRASTRUCTURE, "perdure.yaml": "/etc/passwd"}, {"perdure.yaml": "120000"})
    assert "a link is not followed" in load.revision(tree).refused
