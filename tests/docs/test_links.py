"""Every relative link of every page leads to a file, and to a heading where it names one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import pages


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(pages.ROOT))) for page in pages.pages()])
def test_links_lead_somewhere(page: Path) -> None:
    assert [f"{link.line}: {link.target}: {why}" for link in pages.links(page) if (why := broken(link))] == []


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("no-such-page.md", "there is no such file"),
        ("#no-such-heading", "there is no such heading"),
        ("../nowhere/", "there is no such file"),
        ("https://example.org/#anything", ""),
        ("#here-it-is", ""),
    ],
)
def test_a_broken_link_is_noticed(tmp_path: Path, target: str, why: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Here it is\n\nSee [this]({target}), and not `[that](in-code.md)`.\n\n```\n[nor](this.md)\n```\n")
    [link] = pages.links(page)
    assert broken(link) == why


def broken(link: pages.Link) -> str:
    """Return what is wrong with a link, or nothing."""
    if "://" in link.target or link.target.startswith("mailto:"):
        return ""
    path, _, anchor = link.target.partition("#")
    place = (link.page.parent / path).resolve() if path else link.page
    if not place.exists():
        return "there is no such file"
    if anchor and anchor not in pages.anchors(place):
        return "there is no such heading"
    return ""
