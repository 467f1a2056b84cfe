"""Who commits: the person git would name as the author, by environment or configuration."""

from __future__ import annotations

import os
import re
import subprocess

from reconciler.seams.git import process

STEERING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE")
"""Variables that git sets for what it starts, hooks above all: they lead git there, whatever folder is meant."""


def author() -> tuple[str, str] | None:
    """Return name and mail address; None where git knows neither.

    The person's own configuration is read, as it is nowhere else, and from the root folder, so that no repository's is.
    """
    process.require()
    environment = {name: value for name, value in os.environ.items() if name not in STEERING}
    said = subprocess.run(
        ["git", "var", "GIT_AUTHOR_IDENT"], cwd="/", env=environment, capture_output=True, text=True, check=False, timeout=30
    ).stdout
    match = re.match(r"(?P<name>[^<>]+) <(?P<mail>[^<>]*)> \d", said)
    return (match["name"], match["mail"]) if match else None
