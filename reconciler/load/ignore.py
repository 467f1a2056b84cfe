"""`.perdureignore`: files that are not read, in the syntax of gitignore(5), from the root of the repository only.

Understood are comments, `!` (read again; as in Git not below a folder that is itself ignored), a leading or inner `/` (from
the root), a trailing `/` (folders only), `*`, `?`, `[…]`, `**` and `\\` before a special character. As in Git, a line that ends
in a set without its `]` or in a lone `\\` matches nothing.
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
        lines = text.removeprefix("\ufeff").split("\n")
        self._rows = tuple(row for line in lines if (row := _row(line.removesuffix("\r"))) is not None)
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


_LETTER = re.compile(r"\\.|.", re.DOTALL)


def _row(line: str) -> _Row | None:
    letters = _LETTER.findall(line)
    while letters and letters[-1] == " ":
        letters.pop()
    text = "".join(letters)
    if not text or text.startswith("#"):
        return None
    read_again = text.startswith("!")
    text = text.removeprefix("!")
    only_folders = text.endswith("/")
    text = text.removesuffix("/")
    rooted = "/" in text
    regex = _regex(text.removeprefix("/"))
    if regex is None:
        return None
    pattern = re.compile(("" if rooted else "(?:.*/)?") + regex, re.DOTALL)
    return _Row(pattern=pattern, only_folders=only_folders, read_again=read_again)


_TOKEN = re.compile(
    r"""(?P<up>^\*\*/|(?<=/)\*\*/)
    |(?P<rest>(?<=/)\*\*$)
    |(?P<star>\*+)
    |(?P<one>\?)
    |(?P<set>\[)
    |\\(?P<plain>.)
    |(?P<other>[^\\])""",
    re.DOTALL | re.VERBOSE,
)


_STAR = "[^/]*"
_FOLDERS = "(?:[^/]*/)*"


def _regex(text: str) -> str | None:
    """Return a pattern as a regular expression, None for one that matches nothing."""
    blocks, runs = [""], [""]  # what stands between two "**/", and in a part of the path between two stars
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            return None
        place = found.end()
        if found.lastgroup == "star":
            runs.append("")
        elif found.lastgroup == "up":
            blocks.append("")
        elif found[0] == "/":
            blocks[-1] += _joined(runs, _STAR) + "/"
            runs = [""]
        elif found.lastgroup == "set":
            members, place = _set(text, place)
            if not members:
                return None
            runs[-1] += members
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
    return {"rest": ".+", "one": "[^/]"}.get(kind) or re.escape(found[kind])


_MEMBER = re.compile(
    r"""\[:(?P<named>[^]]*):\]
    |(?P<low>\\.|[^\\])-(?P<high>\\.|[^]\\])
    |(?P<one>\\.|[^\\])""",
    re.DOTALL | re.VERBOSE,
)

_NAMED = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t\n\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
"""Classes of characters, as Git knows them."""


def _set(text: str, place: int) -> tuple[str, int]:
    """Return the set whose "[" stands before `place` as a regular expression, and where it ends.

    It is empty where the set is not closed or names a class that there is not.
    """
    negated = text.startswith(("!", "^"), place)
    first = place = place + negated
    members = ""
    while place == first or not text.startswith("]", place):
        found = _MEMBER.match(text, place)
        if found is None or (found["named"] is not None and found["named"] not in _NAMED):
            return "", place
        place = found.end()
        if found["named"] is not None:
            members += _NAMED[found["named"]]
            continue
        low, high = (found["low"] or found["one"])[-1], (found["high"] or "")[-1:]
        members += re.escape(low)
        if low < high:
            members += f"{re.escape(low)}-{re.escape(high)}"
    return f"(?!/)[{'^' if negated else ''}{members}]", place + 1
