"""`.perdureignore`: files that are not read, in the syntax of gitignore(5), from the root of the repository only.

Understood are comments, `!` (read again; as in Git not below a folder that is itself ignored), a leading or inner `/` (from
the root), a trailing `/` (folders only), `*`, `?`, `[…]`, `**` and `\\` before a special character.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FILE = ".perdureignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    pattern: re.Pattern[str]
    only_folders: bool
    read_again: bool


class Ignore:
    """The rules of one file. `hides(path)` is their verdict."""

    def __init__(self, text: str = "") -> None:
        self._rows = tuple(row for line in text.splitlines() if (row := _row(line)) is not None)
        self._folders: dict[str, bool] = {"": False}

    def hides(self, path: str) -> bool:
        """Return whether the file at `path` is not read."""
        return bool(self._rows) and (self.hides_folder(path.rpartition("/")[0]) or self._matches(path, folder=False))

    def hides_folder(self, path: str) -> bool:
        """Return whether nothing below the folder at `path` is read."""
        unknown: list[str] = []
        while path not in self._folders:
            unknown.append(path)
            path = path.rpartition("/")[0]
        hidden = self._folders[path]
        for folder in reversed(unknown):
            hidden = self._folders[folder] = hidden or self._matches(folder, folder=True)
        return hidden

    def _matches(self, path: str, *, folder: bool) -> bool:
        for row in reversed(self._rows):  # the last row that matches decides
            if (folder or not row.only_folders) and row.pattern.fullmatch(path):
                return not row.read_again
        return False


def _row(line: str) -> _Row | None:
    text = re.sub(r"(?<!\\) +$", "", line)
    if not text or text.startswith("#"):
        return None
    read_again = text.startswith("!")
    text = text.removeprefix("!")
    only_folders = text.endswith("/")
    text = text.removesuffix("/")
    rooted = "/" in text
    try:
        pattern = re.compile(("" if rooted else "(?:.*/)?") + _regex(text.removeprefix("/")), re.DOTALL)
    except re.error:
        return None  # like Git: a pattern that is not one matches nothing
    return _Row(pattern=pattern, only_folders=only_folders, read_again=read_again)


_TOKEN = re.compile(
    r"""(?P<up>^\*\*/|(?<=/)\*\*/)
    |(?P<rest>(?<=/)\*\*$)
    |(?P<star>\*+)
    |(?P<one>\?)
    |(?P<set>\[[!^]?\]?[^]]*\])
    |\\(?P<plain>.)
    |(?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)


_STAR = "[^/]*"
_FOLDERS = "(?:[^/]*/)*"


def _regex(text: str) -> str:
    blocks, runs = [""], [""]  # what stands between two "**/", and in a part of the path between two stars
    for found in _TOKEN.finditer(text):
        if found.lastgroup == "star":
            runs.append("")
        elif found.lastgroup == "up":
            blocks.append("")
        elif found[0] == "/":
            blocks[-1] += _joined(runs, _STAR) + "/"
            runs = [""]
        else:
            runs[-1] += _part(found)
    blocks[-1] += _joined(runs, _STAR)
    return _joined(blocks, _FOLDERS)


def _joined(parts: list[str], gap: str) -> str:
    """Return parts with gaps between them, all but the last as short as they can be, and never longer.

    What stands between two gaps is of one length, so that a later place is no better; to try every place of every gap would
    take longer than anybody waits.
    """
    first, *others = parts
    if not others:
        return first
    return first + "".join(f"(?>{gap}?{part})" for part in others[:-1]) + gap + others[-1]


def _part(found: re.Match[str]) -> str:
    kind = found.lastgroup or "other"
    fixed = {"rest": ".+", "one": "[^/]"}.get(kind)
    if fixed is not None:
        return fixed
    return _set(found[kind]) if kind == "set" else re.escape(found[kind])


_RANGE = re.compile(r"(.)-(.)|.", re.DOTALL)


def _set(text: str) -> str:
    inner = text[1:-1]
    negated = inner[:1] in ("!", "^")
    members = _RANGE.finditer(inner[1:] if negated else inner)
    written = (f"{re.escape(one[1])}-{re.escape(one[2])}" if one[1] else re.escape(one[0]) for one in members)
    return f"(?!/)[{'^' if negated else ''}{''.join(written)}]"
