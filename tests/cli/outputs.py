"""Machine output against its schema in `schemas/output`."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema

from reconciler import data


def schema(command: str) -> Any:
    return json.loads((resources.files(data) / "schemas" / "output" / f"{command}.json").read_text())


def conforms(command: str, document: Any) -> Any:
    """Return the document once it fits the command's schema."""
    validator = jsonschema.Draft202012Validator(schema(command), format_checker=jsonschema.FormatChecker())
    problems = [f"{problem.json_path}: {problem.message}" for problem in validator.iter_errors(document)]
    assert problems == [], f"{command}: {problems}\n{json.dumps(document, indent=2)}"
    return document
