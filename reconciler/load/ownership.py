"""Which documents are ours. A repository may hold YAML of other programs; those are passed over in silence.

A document is another program's when

- it is no mapping, or is empty; or
- its `apiVersion` names a group that is neither `perdure.dev` nor like it (a misspelt group is ours, and a problem); or
- it has no `apiVersion`, and is not one of our kinds with `metadata` or `spec` either.

A document whose text cannot be parsed is ours unless an `apiVersion` before the mistake says otherwise: passing it over
could lose a Job without a word.
"""

from __future__ import annotations

from typing import Any

from reconciler.core import model
from reconciler.load import schemas, suggest
from reconciler.load.nodes import Reading

GROUP = model.API_VERSION.partition("/")[0]


def ours(reading: Reading) -> bool:
    """Return whether a document is to be validated."""
    root = reading.root
    if isinstance(root, list) and root:
        root = root[0]  # a list of manifests is a mistake worth a message
    if not isinstance(root, dict):
        return not reading.complete
    version = root.get("apiVersion")
    if isinstance(version, str):
        return _is_near(version)
    if not reading.complete:
        return True
    misspelt = any(
        isinstance(value, str) and suggest.closest(key, ("apiVersion",)) and _is_near(value) for key, value in root.items()
    )
    return misspelt or (_is_kind(root.get("kind")) and bool(root.keys() & {"metadata", "spec"}))


def _is_near(version: str) -> bool:
    group = version.partition("/")[0].casefold()
    return group == GROUP or "perdure" in group or bool(suggest.closest(group, (GROUP,)))


def _is_kind(kind: Any) -> bool:
    return isinstance(kind, str) and kind in schemas.KINDS
