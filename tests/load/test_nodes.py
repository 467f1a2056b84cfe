"""Reading one document: values with their places, within limits, and never a crash."""

from __future__ import annotations

import hypothesis
import pytest
import yaml
from hypothesis import strategies

from reconciler.load import nodes, places


def message(text: str) -> str:
    """The one finding about a text."""
    [finding] = nodes.read(text).findings
    return f"{finding.line}:{finding.column} {finding.message}"


def test_values_and_places() -> None:
    reading = nodes.read("# first\na:\n  - b: 1\n    c: [x, true]\n")
    assert reading.root == {"a": [{"b": 1, "c": ["x", True]}]}
    assert places.place(reading, ("a", 0, "c", 1)) == (4, 12)
    assert places.place(reading, ("a", 0, "c"), key=True) == (4, 5)
    assert places.place(reading, ("a", 0, "nothing", 3)) == (3, 5)
    assert places.dotted(("a", 0, "c", 1)) == "a[0].c[1]"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "? " * 100_000, "[[" * 50_000 + "]]" * 50_000]
)
def test_deep_nesting_is_refused_and_costs_nothing(text: str) -> None:
    reading = nodes.read(text)
    assert not reading.complete
    assert "deeper than 64" in reading.findings[-1].message


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "more than" in message("\n".join(lines))


def test_a_bomb_of_merge_keys_is_refused() -> None:
    lines = ["a0: &a0 {x: y}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40)]
    findings = nodes.read("\n".join(lines)).findings
    assert findings[0].message == "merge keys (<<) are not allowed"


def test_aliases_within_the_limits_mean_what_they_stand_for() -> None:
    assert nodes.read("a: &x [1]\nb: *x\nc: &y text\nd: *y\n").root == {"a": [1], "b": [1], "c": "text", "d": "text"}
    assert "more than 100 aliases" in message("a: &x 1\nb: [" + ", ".join(["*x"] * 101) + "]")


def test_an_alias_may_stand_for_a_key() -> None:
    reading = nodes.read("&name train: {job: *name}\n")
    assert (reading.root, reading.findings) == ({"train": {"job": "train"}}, [])


def test_a_value_cannot_contain_itself() -> None:
    assert message("a: &x [*x]") == "1:8 the alias *x stands for nothing before it"


def test_too_many_values_are_refused() -> None:
    assert "more than 20000 values" in message("a: [" + "1, " * 20_001 + "]")
    assert "more than 20000 values" in message("\n".join(f"k{n}: 1" for n in range(20_001)))


def test_keys_stand_once() -> None:
    assert message("a: 1\nb: 2\na: 3\n") == '3:1 the key "a" stands here a second time, first in line 1'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: !!python/object/apply:os.system [x]", "the tag tag:yaml.org,2002:python/object/apply:os.system is not allowed"),
        ("a: !!binary aGk=", "the tag tag:yaml.org,2002:binary is not allowed"),
        ("!x {a: 1}", "the tag !x is not allowed"),
        ("? [a]\n: 1", "a key must be text, this one is a mapping or a list"),
        ("a: {{ b }}", "a template in {{ }} is not filled in here"),
        ("a: &x k\n*x : 1", "a key must be written out"),
        ('a: "\\0"', "the text contains a NUL character"),
    ],
)
def test_what_yaml_can_do_and_a_manifest_may_not(text: str, expected: str) -> None:
    assert message(text).partition(" ")[2] == expected


SCALARS = strategies.one_of(strategies.integers(-(10**9), 10**9), strategies.booleans(), strategies.text(max_size=8))
VALUES = strategies.recursive(
    SCALARS,
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@hypothesis.settings(max_examples=200, deadline=None, database=None, derandomize=True)
@hypothesis.given(strategies.dictionaries(strategies.text("abc", max_size=5), VALUES, max_size=4))
def test_what_the_library_writes_is_read_back(value: dict[str, object]) -> None:
    text = yaml.safe_dump(value, allow_unicode=False, default_style='"' if "" in value else None)
    reading = nodes.read(text)
    if not reading.findings and not reading.doubts and "!!" not in text:
        assert reading.root == value


@hypothesis.settings(max_examples=300, deadline=None, database=None, derandomize=True)
@hypothesis.given(strategies.text(strategies.sampled_from("ab:-[]{}!&*?|>'\"%@`#,\n\t \\0"), max_size=40))
def test_no_text_makes_reading_fail(text: str) -> None:
    reading = nodes.read(text)
    assert reading.complete or reading.findings
