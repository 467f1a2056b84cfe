"""Whether an index of files (`layer.json`, `volume-0.json`, `shm.json`) may be applied.

Its form: `agent/runtime/perdure_runc.py`.
"""

from __future__ import annotations

import json
from collections.abc import Container

from reconciler import errors

_KINDS = ("directory", "file", "link", "fifo")
_NUMBERS = ("mode", "uid", "gid", "mtime", "size")


def check(content: bytes, name: str, held: Container[str], *, whole: bool = False) -> None:
    """Raise `errors.Damaged` when a path leaves the root or passes through what is no folder, or a content is missing.

    `whole`: it must say all that is in the folder and of the folder itself, and delete nothing.
    """
    try:
        value = json.loads(content)
        kinds: dict[str, str] = {"": "directory"}
        if whole and (value["deleted"] or not value["entries"] or value["entries"][0]["path"] != ""):
            raise ValueError("it is no whole folder")
        for path in value["deleted"]:
            _check_path(path)
        for entry in value["entries"]:
            path = entry["path"]
            _check_path(path)
            for above in _above(path):
                if kinds.get(above) != "directory":
                    raise ValueError(f"{path!r} does not lie in a folder of the index")
            if not path and ("same" in entry or entry["kind"] != "directory"):
                raise ValueError("its root is no folder")
            if "same" in entry:
                if kinds.get(entry["same"], "directory") == "directory":
                    raise ValueError(f"{path!r} is a link to nothing")
                kinds[path] = kinds[entry["same"]]
                continue
            _check_entry(entry, f"{name.removesuffix('.json')}/", held)
            kinds[path] = entry["kind"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise errors.Damaged(f"{name} is damaged or hostile: {error}") from error


def _check_entry(entry: dict[str, object], folder: str, held: Container[str]) -> None:
    if entry["kind"] not in _KINDS:
        raise ValueError(f"an entry of kind {entry['kind']!r}")
    for number in _NUMBERS:
        value = entry.get(number, 0)
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"{number} {value!r}")
    data = entry.get("data")
    if data is not None and (not isinstance(data, str) or not data.isdecimal() or f"{folder}{data}" not in held):
        raise ValueError(f"the content {data!r} is missing")
    if entry["kind"] == "link" and not isinstance(entry["target"], str):
        raise ValueError("a link without a target")


def _check_path(path: object) -> None:
    if not isinstance(path, str) or "\0" in path:
        raise ValueError(f"the path {path!r}")
    if path and any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"the path {path!r}")


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
