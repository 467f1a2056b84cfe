"""Every manifest and configuration that a page shows is valid, and every example is."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler import load
from reconciler.load import documents, paths, settings
from tests.docs import pages

BLOCKS = tuple(block for page in pages.pages() for block in pages.blocks(page) if block.language in ("yaml", "yml"))
MANIFESTS = tuple(block for block in BLOCKS if "apiVersion: perdure.dev/" in block.text)
CONFIGURATIONS = tuple(block for block in BLOCKS if "config" in block.options)
EXAMPLES = tuple(path for path in sorted((pages.ROOT / "examples").iterdir()) if path.is_dir())


@pytest.mark.parametrize("block", [pytest.param(block, id=block.where) for block in MANIFESTS])
def test_manifests_on_pages_are_valid(block: pages.Block) -> None:
    found = documents.parse(block.where, "0" * 40, block.text.encode())
    problems = [*found.unread, *(problem for document in found.documents for problem in document.problems)]
    assert [str(problem) for problem in problems] == []
    assert found.documents


@pytest.mark.parametrize("block", [pytest.param(block, id=block.where) for block in CONFIGURATIONS])
def test_configurations_on_pages_are_valid(block: pages.Block, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(block.text)
    settings.effective(str(file), {}, {})


@pytest.mark.parametrize("example", [pytest.param(path, id=path.name) for path in EXAMPLES])
def test_examples_are_valid(example: Path) -> None:
    for tree in paths.trees((example,)):
        desired = load.revision(tree)
        assert [str(problem) for problem in desired.problems] == []
        assert desired.refused == ""
        assert desired.jobs


def test_the_readme_shows_a_manifest() -> None:
    assert any(block.page.name == "README.md" and block.page.parent == pages.ROOT for block in MANIFESTS)
