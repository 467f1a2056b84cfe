"""The schemas describe every field, and agree with each other and with the values made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from reconciler import load
from reconciler.core import model, quantities
from reconciler.load import schemas, settings
from tests.load import fixtures

NAMES = (*schemas.KINDS, schemas.LAYOUT, schemas.CONFIG)


def fields(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a schema with its path."""
    root = schemas.schema(name)
    waiting: list[tuple[str, dict[str, Any]]] = [(name, root)]
    while waiting:
        path, part = waiting.pop()
        yield path, part
        inner = schemas.below(root, part)
        inner = schemas.below(root, inner["items"]) if inner["type"] == "array" else inner
        waiting.extend((f"{path}.{key}", field) for key, field in inner.get("properties", {}).items())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_schema_of_2020_12(name: str) -> None:
    schema = schemas.schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_described_and_every_mapping_closed(name: str) -> None:
    for path, part in fields(name):
        assert part.get("description", "").endswith("."), path
        inner = schemas.below(schemas.schema(name), part)
        if inner["type"] == "object":
            assert inner["additionalProperties"] is False or "type" in schemas.below(
                schemas.schema(name), inner["additionalProperties"]
            )
            assert set(inner.get("required", ())) <= set(inner.get("properties", ())), path


@pytest.mark.parametrize("name", NAMES)
def test_every_example_and_default_is_valid_where_it_stands(name: str) -> None:
    root = schemas.schema(name)
    for path, part in fields(name):
        for value in [*part.get("examples", ()), *([part["default"]] if "default" in part else ())]:
            jsonschema.Draft202012Validator({**schemas.below(root, part), "$defs": root.get("$defs", {})}).validate(value)
        assert "examples" in part or "default" in part or "enum" in part or "properties" in part or path.endswith("spec"), path


@pytest.mark.parametrize("name", NAMES)
def test_texts_with_a_form_say_it_in_words(name: str) -> None:
    root = schemas.schema(name)
    parts = [schemas.below(root, part) for _, part in fields(name)] + list(root.get("$defs", {}).values())
    assert all("title" in part for part in parts if "pattern" in part)


def test_definitions_of_one_name_are_the_same_in_every_file() -> None:
    found: dict[str, Any] = {}
    for name in schemas.KINDS:
        for key, part in schemas.schema(name).get("$defs", {}).items():
            assert found.setdefault(key, part) == part, f"{name}: {key}"


def test_the_kinds_carry_this_version() -> None:
    for name in schemas.KINDS:
        properties = schemas.schema(name)["properties"]
        assert properties["apiVersion"]["enum"] == [model.API_VERSION]
        assert properties["kind"]["enum"] == [name]


def test_a_job_that_writes_every_default_is_the_job_that_writes_none() -> None:
    written = ""
    root = schemas.schema("Job")
    for path, part in fields("Job"):
        if "default" in part and path not in ("Job.spec.workload.volumes.readOnly", "Job.spec.workload.volumes.shared"):
            default = schemas.below(root, part)["default"]
            *groups, leaf = path.removeprefix("Job.spec.").split(".")
            written += f"{'.'.join(groups)} {leaf}: {default!r}\n".lstrip()
    lines: dict[str, list[str]] = {}
    for line in written.splitlines():
        group, _, field = line.partition(" ") if not line.split(" ")[0].endswith(":") else ("", "", line)
        lines.setdefault(group, []).append(field)
    extra = "\n".join(lines.pop("")) + "\n"
    extra += "".join(f"{group}: {{{', '.join(found)}}}\n" for group, found in lines.items())
    plain = load.revision(fixtures.with_infrastructure({"a.yaml": fixtures.job()}))
    full = load.revision(fixtures.with_infrastructure({"a.yaml": fixtures.job(extra=extra)}))
    assert full.problems == ()
    assert full.jobs == plain.jobs
    assert len(lines) >= 3


def test_the_configuration_without_any_value_has_the_defaults_of_its_schema() -> None:
    given = settings.effective(None, {}, {})
    for path, part in settings.fields().items():
        value: Any = given
        for step in path.split("."):
            snake = "".join(f"_{char.lower()}" if char.isupper() else char for char in step)
            value = getattr(value, snake)
        default = part.get("default", "" if value == "" else None)
        is_duration = part.get("title", "").startswith("a duration")
        assert value == (quantities.seconds(default) if is_duration else default), path
