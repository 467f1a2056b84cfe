"""The two files of the interposer, as `perdure-agent install` puts them on a host."""

from __future__ import annotations

import importlib.resources
import io
import zipfile

import agent.runtime

PROGRAM = "perdure-runc"
LIBRARY = "perdure_runc.pyz"
MODULES = (
    *("archive", "call", "capture", "cgroup", "compare", "create", "freeze"),
    *("perdure_runc", "question", "seccomp", "shape", "system", "tree", "volumes"),
)
MAIN = "import sys\nfrom agent.runtime import perdure_runc\nsys.exit(perdure_runc.main(sys.argv[1:]))\n"
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The same modules make the same bytes: a version's folder is named after them."""


def files() -> dict[str, bytes]:
    """Return name and content: the prologue, and the modules in one file that any python3 runs."""
    package = importlib.resources.files(agent.runtime)
    packed = {"__main__.py": MAIN.encode(), "agent/__init__.py": b"", "agent/runtime/__init__.py": b""}
    packed |= {f"agent/runtime/{name}.py": (package / f"{name}.py").read_bytes() for name in MODULES}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(packed):
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), packed[name])
    return {PROGRAM: (package / PROGRAM).read_bytes(), LIBRARY: content.getvalue()}
