"""Edits keep everything a person wrote except the one field."""

from __future__ import annotations

import difflib

import hypothesis
import pytest
from hypothesis import strategies

from reconciler import errors
from reconciler.load import rewrite

TEXT = """\
# top
apiVersion: perdure.dev/v1alpha1
kind: Job
metadata: {name: train, labels: {a: b}} # inline
spec:
  # a comment
  target: machines   # where
  workload:
    command: [a, b]
    script: |
      hello
  # after
---
kind: Job
spec: {target: x}
---
kind: Store
spec:
---
spec:
  suspend: # s
    reason: a # r
    until: x
  state:
    Stopped # now
---
{"spec": {"target":"a"}}
"""

SET = {
    "a new field of a block": (0, ("spec", "state"), "Suspended", ["+  state: Suspended"]),
    "an old value keeps its comment": (
        0,
        ("spec", "target"),
        "other",
        ["-  target: machines   # where", "+  target: other   # where"],
    ),
    "a mapping": (
        0,
        ("spec", "suspend"),
        {"reason": "why: x", "owner": "me"},
        ["+  suspend:", '+    reason: "why: x"', "+    owner: me"],
    ),
    "a field of a flow mapping": (
        1,
        ("spec", "state"),
        "Stopped",
        ["-spec: {target: x}", "+spec: {target: x, state: Stopped}"],
    ),
    "a nested field of a flow mapping": (
        1,
        ("spec", "placement", "node"),
        "b",
        ["-spec: {target: x}", "+spec: {target: x, placement: {node: b}}"],
    ),
    "a field of an empty mapping": (2, ("spec", "state"), "Stopped", ["+  state: Stopped"]),
    "a mapping in the place of another": (
        3,
        ("spec", "suspend"),
        {"owner": "me"},
        ["-    reason: a # r", "-    until: x", "+    owner: me"],
    ),
    "a value on a line of its own": (3, ("spec", "state"), "Running", ["-    Stopped # now", "+    Running # now"]),
    "a value of JSON stays JSON": (4, ("spec", "target"), "b", ['-{"spec": {"target":"a"}}', '+{"spec": {"target": "b"}}']),
    "a new field of JSON is JSON": (
        4,
        ("spec", "suspend", "reason"),
        "why",
        ['-{"spec": {"target":"a"}}', '+{"spec": {"target":"a", "suspend": {"reason": "why"}}}'],
    ),
    "a text that would be read as something else": (0, ("spec", "rerun"), "2026-01-01", ['+  rerun: "2026-01-01"']),
}


def changed(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


@pytest.mark.parametrize("case", SET.values(), ids=SET.keys())
def test_set_changes_only_the_field(case: tuple[int, rewrite.Path, rewrite.Value, list[str]]) -> None:
    document, path, value, expected = case
    assert changed(TEXT, rewrite.set_field(TEXT, document, path, value)) == expected


REMOVE = {
    "a line": (0, ("spec", "target"), ["-  target: machines   # where"]),
    "a block scalar": (0, ("spec", "workload", "script"), ["-    script: |", "-      hello"]),
    "the last entry of a flow mapping": (
        0,
        ("metadata", "labels"),
        ["-metadata: {name: train, labels: {a: b}} # inline", "+metadata: {name: train} # inline"],
    ),
    "what is not there": (0, ("spec", "state"), []),
}


@pytest.mark.parametrize("case", REMOVE.values(), ids=REMOVE.keys())
def test_remove_removes_only_the_field(case: tuple[int, rewrite.Path, list[str]]) -> None:
    document, path, expected = case
    assert changed(TEXT, rewrite.remove_field(TEXT, document, path)) == expected


def test_line_endings_stay() -> None:
    text = TEXT.replace("\n", "\r\n")
    after = rewrite.set_field(text, 0, ("spec", "target"), "other")
    assert after == text.replace("target: machines", "target: other")


def test_new_lines_end_like_the_others() -> None:
    text = TEXT.replace("\n", "\r\n")
    after = rewrite.set_field(text, 0, ("spec", "suspend"), {"reason": "x"})
    after = rewrite.set_field(after, 2, ("spec", "state"), "Stopped")
    assert after.count("\n") == after.count("\r\n") == text.count("\n") + 3


def test_what_other_programs_write_into_the_file_is_no_obstacle() -> None:
    other = "base: &base {a: 1}\nmore: {<<: *base, tag: !x y}\n---\n"
    assert rewrite.set_field(other + TEXT, 1, ("spec", "target"), "x") == other + rewrite.set_field(
        TEXT, 0, ("spec", "target"), "x"
    )


@pytest.mark.parametrize(
    "other",
    [
        "apiVersion: v1\nbad: [}\n",
        "apiVersion: v1\nat: {{ .Values.x }}\n",
        "%YAML 1.1\n---\na: b\n",
        "%TAG ! x:\n",
        "# only this\n",
        "",
    ],
)
def test_a_document_of_another_program_that_is_no_yaml_is_no_obstacle(other: str) -> None:
    before, after = f"{other}---\n", f"---\n{other}...\n"
    job = "kind: Job\nspec: {target: x}\n"
    text = before + job + after
    number = rewrite.document_at(text, before.count("\n") + 1)
    assert rewrite.set_field(text, number, ("spec", "target"), "z") == before + job.replace("x", "z") + after
    assert rewrite.remove_field(text, number, ("spec", "target")) == before + "kind: Job\n" + after


def test_a_shape_that_cannot_be_edited_is_refused_with_what_to_write() -> None:
    text = "kind: Job\nspec: &a {target: x}\nother: *a\n"
    with pytest.raises(errors.Refused, match="by hand"):
        rewrite.set_field(text, 0, ("spec", "target"), "y")


@hypothesis.given(strategies.text(max_size=30), strategies.sampled_from(["state", "target", "brand"]))
@hypothesis.settings(max_examples=200, deadline=None)
def test_any_text_is_written_so_that_it_reads_the_same_or_is_refused(value: str, name: str) -> None:
    try:
        after = rewrite.set_field(TEXT, 0, ("spec", name), value)
    except errors.Refused:
        return
    assert rewrite.set_field(after, 0, ("spec", name), value) == after
