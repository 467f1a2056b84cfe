"""The JSON Schemas of `schemas/`: the single truth about the form of every document people write."""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any

from reconciler import data
from reconciler.load import checker
from reconciler.load.checker import Check

KINDS = ("Job", "Checkpoint", "Store", "Target", "Pool")
"""Kinds of manifests, in the order in which people meet them."""

LAYOUT = "perdure"
"""Schema of `perdure.yaml`."""
CONFIG = "config"
"""Schema of the reconciler's configuration."""

Schema = dict[str, Any]


@functools.cache
def schema(name: str) -> Schema:
    """Return the schema of a kind, of LAYOUT or of CONFIG. Do not change it: it is shared."""
    file = importlib.resources.files(data) / "schemas" / f"{name.lower()}.json"
    loaded: Schema = json.loads(file.read_text(encoding="utf-8"))
    return loaded


@functools.cache
def check(name: str) -> Check:
    """Return the fast test that is true of exactly the values that satisfy the schema."""
    return checker.compiled(schema(name))


def below(root: Schema, part: Schema) -> Schema:
    """Return `part` with its reference resolved: members beside a reference win over those it points to."""
    reference = part.get("$ref")
    if reference is None:
        return part
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return {**found, **{key: value for key, value in part.items() if key != "$ref"}}


def at(root: Schema, path: tuple[str | int, ...]) -> Schema | None:
    """Return the part of a schema that describes the value at `path`, or None where it allows none."""
    part = root
    for step in path:
        part = below(root, part)
        following = part.get("items") if isinstance(step, int) else part.get("properties", {}).get(step)
        if following is None and isinstance(step, str):
            following = part.get("additionalProperties")
        if not isinstance(following, dict):
            return None
        part = following
    return below(root, part)
