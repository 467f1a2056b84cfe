"""What a field means: the schemas as `perdure explain` and `perdure schema` show them."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler import errors
from reconciler.load import schemas, suggest

NAMES = (*schemas.KINDS, schemas.LAYOUT, schemas.CONFIG)
"""Everything that has a schema: the kinds, `perdure` (perdure.yaml) and `config` (the configuration)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One field below another."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All that is known about one field."""

    path: str
    """Kind and field, e.g. "Job.spec.checkpoint.interval"."""
    type: str
    description: str
    form: str = ""
    """What a text must look like, in words."""
    required: bool = False
    default: str = ""
    """As it would be written; empty: none."""
    values: tuple[str, ...] = ()
    """All allowed values, where they are few."""
    limits: str = ""
    """Smallest and largest value."""
    examples: tuple[str, ...] = ()
    """As they would be written."""
    members: tuple[Member, ...] = ()


def schema(name: str) -> Mapping[str, Any]:
    """Return the JSON Schema of a kind. Raises `errors.UsageError` for a name that has none."""
    return copy.deepcopy(schemas.schema(_name(name)))


def explain(path: str) -> Explanation:
    """Return what is known of a kind ("Job") or a field ("Job.spec.timeout"; `spec` may be left out, lists have no index).

    Raises `errors.UsageError`, with the nearest name, for a field that does not exist.
    """
    first, *steps = path.replace("[]", "").split(".")
    name = _name(first)
    root = schemas.schema(name)
    part, required, gone = root, False, name
    if steps and _spec_only(root, steps[0]):
        steps = ["spec", *steps]
    for step in steps:
        inside = _inside(root, part)
        fields = inside.get("properties", {})
        by_case = {field.lower(): field for field in fields}
        field = by_case.get(step.lower())
        if field is None:
            remedy = _sentence(suggest.fix(step, fields, lead="known are")) or f"`perdure explain {gone}` shows all there is."
            raise errors.UsageError(f"{gone} has no field {step}", where=path, remedy=remedy)
        required = field in inside.get("required", ())
        part, gone = schemas.below(root, fields[field]), f"{gone}.{field}"
    return _explanation(root, part, gone, required)


def _spec_only(root: Mapping[str, Any], field: str) -> bool:
    """Whether a kind has a field in its `spec` and none of that name beside it."""
    fields = root.get("properties", {})
    inside = _inside(root, fields["spec"]).get("properties", {}) if "spec" in fields else {}
    return field.lower() in map(str.lower, inside) and field.lower() not in map(str.lower, fields)


def _name(text: str) -> str:
    found = {name.lower(): name for name in NAMES}.get(text.lower())
    if found is None:
        raise errors.UsageError(f"there is no kind {text}", where=text, remedy=_sentence(suggest.fix(text, NAMES)))
    return found


def _sentence(fix: str) -> str:
    return f"{fix[:1].upper()}{fix[1:]}"


def _inside(root: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part whose fields can be named: of a list, its items."""
    inner: Mapping[str, Any] = schemas.below(dict(root), dict(part))
    while inner.get("type") == "array":
        inner = schemas.below(dict(root), inner["items"])
    return inner


def _explanation(root: Mapping[str, Any], part: Mapping[str, Any], path: str, required: bool) -> Explanation:
    inside = _inside(root, part)
    names = inside.get("required", ())
    return Explanation(
        path=path,
        type=_type(root, part),
        description=part.get("description", ""),
        form=part.get("title", "") if "type" in part and part["type"] != "object" else "",
        required=required,
        default=_written(part["default"]) if "default" in part else "",
        values=tuple(inside.get("enum", ())),
        limits=_limits(part),
        examples=tuple(_written(example) for example in part.get("examples", ())),
        members=tuple(
            Member(
                name=name,
                type=_type(root, schemas.below(dict(root), member)),
                required=name in names,
                description=member.get("description", ""),
            )
            for name, member in inside.get("properties", {}).items()
        ),
    )


def _type(root: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    if part["type"] == "array":
        return f"list of {_type(root, schemas.below(dict(root), part['items']))}"
    if part["type"] == "object" and "properties" not in part:
        return "mapping of text to text"
    names = [part["type"]] if isinstance(part["type"], str) else part["type"]
    return " or ".join({"object": "mapping", "string": "text", "integer": "whole number"}.get(name, name) for name in names)


def _limits(part: Mapping[str, Any]) -> str:
    if part.get("type") not in ("integer", "number"):
        return ""
    least = part.get("minimum", part.get("exclusiveMinimum"))
    most = part.get("maximum")
    word = "more than" if "exclusiveMinimum" in part else "at least"
    return ", ".join(
        text for text in (f"{word} {least}" if least is not None else "", f"at most {most}" if most is not None else "") if text
    )


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
