"""Trees for the tests of loading: what every case of `bad/` stands beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from reconciler.contracts.source import Entry
from reconciler.source.fake import FakeTree

BAD = Path(__file__).parent / "bad"

TARGET = """\
apiVersion: perdure.dev/v1alpha1
kind: Target
metadata: {name: machines}
spec: {hosts: {}}
"""

STORE = """\
apiVersion: perdure.dev/v1alpha1
kind: Store
metadata: {name: main}
spec: {path: {root: /srv/checkpoints}}
"""

POOL = """\
apiVersion: perdure.dev/v1alpha1
kind: Pool
metadata: {name: spot}
spec: {provider: static}
"""

CODE = {"code/train.py": "print(1)\n", "code/requirements.txt": "numpy\n"}
INFRASTRUCTURE = {"infra.yaml": "---\n".join((TARGET, STORE, POOL)), **CODE}


def job(name: str = "train", extra: str = "", workload: str = "command: [run]") -> str:
    """Return a small valid Job; `extra` are further lines of `spec`, without indentation."""
    lines = "".join(f"  {line}\n" for line in extra.splitlines())
    return (
        "apiVersion: perdure.dev/v1alpha1\nkind: Job\n"
        f"metadata: {{name: {name}}}\nspec:\n  target: machines\n  workload: {{{workload}}}\n{lines}"
    )


def tree(files: Mapping[str, str | bytes], revision: str = "r1") -> FakeTree:
    """Return a revision of these files and nothing else."""
    return FakeTree(revision, {path: text if isinstance(text, bytes) else text.encode() for path, text in files.items()})


def with_infrastructure(files: Mapping[str, str | bytes], revision: str = "r1") -> FakeTree:
    """Return a revision of these files beside a Target, a Store, a Pool and some code."""
    return tree({**INFRASTRUCTURE, **files}, revision)


class OddTree(FakeTree):
    """A revision with entries that are no plain files: `modes` by path."""

    def __init__(self, files: Mapping[str, str | bytes], modes: Mapping[str, str]) -> None:
        super().__init__("r1", {path: text if isinstance(text, bytes) else text.encode() for path, text in files.items()})
        self.modes = modes

    def entries(self) -> Iterable[Entry]:
        """Every file in path order, with its mode."""
        return [replace(entry, mode=self.modes.get(entry.path, entry.mode)) for entry in super().entries()]
