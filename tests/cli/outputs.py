"""Machine output against its schema in `schemas/output`."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

import jsonschema
import referencing

from reconciler import data

FOLDER = resources.files(data) / "schemas" / "output"


def schema(command: str) -> Any:
    return json.loads((FOLDER / f"{command}.json").read_text())


@functools.cache
def registry() -> referencing.Registry[Any]:
    """All of them, as one refers to another."""
    found = [json.loads(file.read_text()) for file in FOLDER.iterdir() if file.name.endswith(".json")]
    return referencing.Registry().with_contents((each["$id"], each) for each in found)


def conforms(command: str, document: Any) -> Any:
    """Return the document once it fits the command's schema."""
    validator = jsonschema.Draft202012Validator(schema(command), format_checker=jsonschema.FormatChecker(), registry=registry())
    problems = [f"{problem.json_path}: {problem.message}" for problem in validator.iter_errors(document)]
    assert problems == [], f"{command}: {problems}\n{json.dumps(document, indent=2)}"
    return document
