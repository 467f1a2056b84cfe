"""Questions about a clone on this machine: where it comes from, and what its names mean. Nothing of it is ever run."""

from __future__ import annotations

from pathlib import Path

from reconciler.seams.git import address, environment, process


def origin(path: Path, ref: str) -> str:
    """Return where the remote "origin" of a clone is that does not itself have `ref`; empty: it has, or has no origin.

    A person works in a clone; what Perdure records is in the repository that the clone comes from.
    """
    if not address.is_repository(path):
        return ""
    folder = address.git_directory(path)
    if (folder / ref).is_file() or f" {ref}\n" in _text(folder / "packed-refs"):
        return ""
    question = ["config", "--file", str(folder / "config"), "--get", "remote.origin.url"]
    answer = process.run(question, environment.build(None), timeout=10.0)
    url = answer.output.decode(errors="surrogateescape").strip()
    if answer.code != 0 or not url:
        return ""
    local = url.partition("://")[1] == "" and ":" not in url.partition("/")[0]
    return str((path / url).resolve()) if local else url


def resolve(path: Path, revision: str) -> str:
    """Return the id of the commit that `revision` (HEAD, a branch, an abbreviated id, …) names there; empty: none."""
    if not address.is_repository(path) or address.text_problem(revision):
        return ""
    question = ["--git-dir", str(address.git_directory(path)), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    answer = process.run(question, environment.build(None), timeout=10.0)
    return answer.output.decode().strip() if answer.code == 0 else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
