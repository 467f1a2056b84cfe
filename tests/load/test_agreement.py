"""The fast verdict on a document is the schema's: held against the `jsonschema` library on generated documents."""

from __future__ import annotations

import functools
import re
from typing import Any

import hypothesis
import jsonschema
import pytest
from hypothesis import strategies

from reconciler.load import schemas

NAMES = (*schemas.KINDS, schemas.LAYOUT, schemas.CONFIG)

JUNK = strategies.one_of(
    strategies.none(),
    strategies.booleans(),
    strategies.integers(-5, 5),
    strategies.integers(),
    strategies.floats(allow_nan=False),
    strategies.sampled_from(["", "a", "A", "1", "5m", "500m", "1Gi", "none", "Job", "../x", "/x", "a" * 64, "PERDURE_X"]),
    strategies.text(max_size=5).filter(lambda text: not text.endswith("\n")),
    strategies.lists(strategies.integers(0, 2), max_size=3),
    strategies.dictionaries(strategies.sampled_from(["a", "name", "x y"]), strategies.text(max_size=2), max_size=2),
)
"""Values that rarely fit. No text ends in a line break: there Python's `$` is not JSON Schema's, and ours is (tested below)."""


def documents(name: str) -> strategies.SearchStrategy[Any]:
    """Documents of a schema: mostly valid, with junk here and there."""
    return value_of(schemas.schema(name), schemas.schema(name))


def value_of(root: dict[str, Any], schema: dict[str, Any]) -> strategies.SearchStrategy[Any]:
    part = schemas.below(root, schema)
    proper = strategies.one_of([_MAKERS[kind](root, part) for kind in _types(part)])
    return strategies.integers(0, 24).flatmap(lambda dice: JUNK if dice == 0 else proper)


def _types(part: dict[str, Any]) -> list[str]:
    return [part["type"]] if isinstance(part["type"], str) else part["type"]


def _text(_root: dict[str, Any], part: dict[str, Any]) -> strategies.SearchStrategy[Any]:
    known = [*part.get("enum", ()), *(value for value in part.get("examples", ()) if isinstance(value, str))]
    made = strategies.sampled_from(known) if known else strategies.text("abz09-._/", max_size=8)
    if "pattern" not in part:
        return made
    # An end of the pattern that is not the end of the text would let a line break slip in behind it.
    pattern = re.sub(r"(?<!\\)\$", r"\\Z", part["pattern"])
    return made | strategies.from_regex(re.compile(pattern, re.ASCII))


def _number(_root: dict[str, Any], part: dict[str, Any]) -> strategies.SearchStrategy[Any]:
    edges = [part[key] + step for key in ("minimum", "maximum", "exclusiveMinimum") if key in part for step in (-1, 0, 1)]
    return strategies.sampled_from([*edges, 1, 2.0, 0.5, 3, True])


def _list(root: dict[str, Any], part: dict[str, Any]) -> strategies.SearchStrategy[Any]:
    return strategies.lists(value_of(root, part["items"]), max_size=3)


def _mapping(root: dict[str, Any], part: dict[str, Any]) -> strategies.SearchStrategy[Any]:
    fields = {name: value_of(root, field) for name, field in part.get("properties", {}).items()}
    required = {name: fields.pop(name) for name in part.get("required", ())}
    made = strategies.fixed_dictionaries(required, optional=fields)
    if isinstance(part["additionalProperties"], dict):
        keys = value_of(root, part["propertyNames"]).filter(lambda key: isinstance(key, str))
        return strategies.dictionaries(keys, value_of(root, part["additionalProperties"]), max_size=3)
    return strategies.integers(0, 24).flatmap(
        lambda dice: made.map(lambda found: {**found, "extra": 1}) if dice == 0 else made.map(lambda found: drop(found, dice))
    )


def drop(found: dict[str, Any], dice: int) -> dict[str, Any]:
    """Now and then without its first field."""
    return dict(list(found.items())[1:]) if dice == 1 else found


_MAKERS = {
    "string": _text,
    "integer": _number,
    "number": _number,
    "boolean": lambda _root, _part: strategies.booleans(),
    "array": _list,
    "object": _mapping,
}


@functools.cache
def library(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schemas.schema(name))


def ends_in_a_line_break(value: Any) -> bool:
    if isinstance(value, dict):
        return any(ends_in_a_line_break(part) for item in value.items() for part in item)
    if isinstance(value, list):
        return any(ends_in_a_line_break(part) for part in value)
    return isinstance(value, str) and value.endswith("\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_fast_check_and_the_library_agree(name: str) -> None:
    verdicts = set()

    @hypothesis.settings(
        max_examples=300, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True
    )
    @hypothesis.given(documents(name))
    def agree(document: Any) -> None:
        hypothesis.assume(not ends_in_a_line_break(document))
        verdict = schemas.check(name)(document)
        verdicts.add(verdict)
        assert verdict == library(name).is_valid(document)

    agree()
    assert verdicts == {True, False}, "both valid and invalid documents were made"


@pytest.mark.parametrize("name", schemas.KINDS)
def test_a_line_break_at_the_end_of_a_name_is_refused(name: str) -> None:
    document = {**schemas.schema(name)["examples"][0], "metadata": {"name": "train\n"}}
    assert not schemas.check(name)(document)


def test_a_keyword_that_the_fast_check_does_not_know_stops_the_program() -> None:
    from reconciler.load import checker

    with pytest.raises(KeyError, match="format"):
        checker.compiled({"type": "string", "format": "uri"})
    with pytest.raises(KeyError, match="beside"):
        checker.compiled({"$ref": "#/$defs/a", "maxLength": 3, "$defs": {"a": {"type": "string"}}})
