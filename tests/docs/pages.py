"""The project's Markdown pages: their code blocks, links and anchors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\[\]]*\])*\]\((?P<target>[^()\s]+(?:\([^()\s]*\))?)(?: +\"[^\"]*\")?\)")
_CODE = re.compile(r"(`+)(?:(?!\1).)+?\1")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?) *#*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced code block."""

    page: Path
    line: int
    """Of the opening fence, 1-based."""
    language: str
    options: dict[str, str] = field(default_factory=dict)
    """What follows the language: `run exit=1` is {"run": "", "exit": "1"}."""
    text: str

    @property
    def where(self) -> str:
        """Return file and line, to be shown when something is wrong."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One inline link."""

    page: Path
    line: int
    target: str


def pages() -> tuple[Path, ...]:
    """Return every page of the project, the templates aside."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    return tuple(sorted(found))


def blocks(page: Path) -> tuple[Block, ...]:
    """Return the code blocks of a page, in order."""
    return tuple(part for part in _parts(page) if isinstance(part, Block))


def links(page: Path) -> Iterator[Link]:
    """Yield the links of a page; what stands in code is none."""
    for part in _parts(page):
        if isinstance(part, tuple):
            line, text = part
            for match in _LINK.finditer(_CODE.sub("", text)):
                yield Link(page=page, line=line, target=match["target"])


def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that forges give to the headings of a page."""
    found: dict[str, int] = {}
    result = set()
    for part in _parts(page):
        match = _HEADING.match(part[1]) if isinstance(part, tuple) else None
        if match:
            slug = _slug(match["text"])
            seen = found.get(slug, 0)
            found[slug] = seen + 1
            result.add(f"{slug}-{seen}" if seen else slug)
    return frozenset(result)


def _slug(heading: str) -> str:
    """GitHub's rule: lower case, letters, digits, hyphens and underscores stay, spaces become hyphens."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def _parts(page: Path) -> Iterator[Block | tuple[int, str]]:
    """Yield blocks, and (number, text) of the lines outside them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        match = _FENCE.match(lines[number])
        if match is None:
            yield number + 1, lines[number]
            number += 1
            continue
        start = number
        number += 1
        body: list[str] = []
        while number < len(lines) and not re.fullmatch(rf" *{match['fence']}[`~]* *", lines[number]):
            body.append(lines[number].removeprefix(match["indent"]))
            number += 1
        number += 1
        language, *options = shlex.split(match["info"]) or [""]
        pairs = (option.partition("=") for option in options)
        yield Block(
            page=page,
            line=start + 1,
            language=language,
            options={key: value for key, _, value in pairs},
            text="\n".join(body) + "\n",
        )
