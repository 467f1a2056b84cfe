"""A revision with some files changed."""

from __future__ import annotations

from reconciler import load
from reconciler.load import overlay
from reconciler.source import fake

TARGET = b"apiVersion: perdure.dev/v1alpha1\nkind: Target\nmetadata: {name: NAME}\nspec: {hosts: {selector: {}}}\n"
TREE = fake.FakeTree("one", {"code/a.py": b"a", "code/b.py": b"b", "x.yaml": TARGET.replace(b"NAME", b"x")})


def test_files_are_changed_and_added() -> None:
    over = overlay.Overlay(TREE, {"x.yaml": TARGET.replace(b"NAME", b"other"), "n/z.yaml": b""})
    assert [entry.path for entry in over.entries()] == ["code/a.py", "code/b.py", "n/z.yaml", "x.yaml"]
    contents = over.read([entry.oid for entry in over.entries()])
    assert [contents[entry.oid] for entry in over.entries()] == [b"a", b"b", b"", TARGET.replace(b"NAME", b"other")]
    assert list(load.revision(over).targets) == ["other"]
    assert list(load.revision(TREE).targets) == ["x"]


def test_ids_change_with_what_is_below() -> None:
    over = overlay.Overlay(TREE, {"code/b.py": b"c", "new/a": b""})
    assert over.tree_id("code") != TREE.tree_id("code")
    assert over.tree_id("code/a.py") == TREE.tree_id("code/a.py")
    assert over.tree_id("new") is not None
    assert over.tree_id("") != TREE.tree_id("")
    assert over.tree_id("nothing") is None


def test_a_place_that_is_not_read() -> None:
    assert overlay.reads(TREE, "jobs/x.yaml")
    assert not overlay.reads(TREE, "jobs/x.txt")
    limited = fake.FakeTree("two", {**TREE.files, "perdure.yaml": b"paths: [x.yaml]\n"})
    assert overlay.reads(limited, "x.yaml")
    assert not overlay.reads(limited, "y.yaml")
