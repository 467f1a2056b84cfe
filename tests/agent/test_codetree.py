"""Archives of program files: what is extracted, and what is refused."""

from __future__ import annotations

import io
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import codetree
from reconciler import errors
from tests.agent import host

Member = tuple[str, bytes, str]
"""Name, tar type, link target."""


def made(*members: Member, content: bytes = b"x") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.mode = 0o7777
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def test_files_folders_and_inner_links_are_extracted_with_plain_modes(tmp_path: Path) -> None:
    data = made(
        ("dir", tarfile.DIRTYPE, ""),
        ("dir/tool", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "dir/tool"),
        ("other/up", tarfile.SYMTYPE, "../dir"),
    )
    codetree.extract(pieces(data), tmp_path / "out")
    assert (tmp_path / "out/link").read_bytes() == b"x"
    assert (tmp_path / "out/dir/tool").stat().st_mode & 0o7777 == 0o700
    assert (tmp_path / "out/other/up/tool").exists()


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (("../out", tarfile.REGTYPE, ""), "leads out"),
        (("a/../../out", tarfile.REGTYPE, ""), "leads out"),
        (("/etc/out", tarfile.REGTYPE, ""), "leads out"),
        (("link", tarfile.SYMTYPE, "/etc"), "leads out"),
        (("a/link", tarfile.SYMTYPE, "../../etc"), "leads out"),
        (("hard", tarfile.LNKTYPE, "first"), "neither"),
        (("fifo", tarfile.FIFOTYPE, ""), "neither"),
        (("device", tarfile.CHRTYPE, ""), "neither"),
        (("first", tarfile.REGTYPE, ""), "twice"),
    ],
)
def test_what_leads_out_or_is_no_file_is_refused(tmp_path: Path, member: Member, reason: str) -> None:
    with pytest.raises(errors.Refused, match=reason):
        codetree.extract(pieces(made(("first", tarfile.REGTYPE, ""), member)), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    data = made(("sub", tarfile.SYMTYPE, "."), ("sub/file", tarfile.REGTYPE, ""))
    with pytest.raises((errors.Refused, errors.Damaged, FileExistsError)):
        codetree.extract(pieces(data), tmp_path / "out")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("cut", [512, 1024, 1536, 3000])
def test_a_cut_archive_is_damaged_also_at_the_border_of_a_member(tmp_path: Path, cut: int) -> None:
    data = made(("a", tarfile.REGTYPE, ""), ("b", tarfile.REGTYPE, ""), content=b"y" * 600)
    with pytest.raises(errors.Damaged):
        codetree.extract(pieces(data[:cut]), tmp_path / "out")


def test_no_archive_at_all_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(errors.Damaged):
        codetree.extract(iter(()), tmp_path / "out")


def test_an_empty_tree_is_fine(tmp_path: Path) -> None:
    codetree.extract(pieces(made()), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codetree, "MOST_BYTES", 1000)
    with pytest.raises(errors.Refused, match="GiB"):
        codetree.extract(pieces(made(("a", tarfile.REGTYPE, ""), content=b"z" * 2000)), tmp_path / "out")
    monkeypatch.setattr(codetree, "MOST_FILES", 1)
    with pytest.raises(errors.Refused, match="files"):
        codetree.extract(pieces(made(("a", tarfile.REGTYPE, ""), ("b", tarfile.REGTYPE, ""))), tmp_path / "out2")


def test_a_tree_is_fetched_once_and_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    asked: list[str] = []
    answers = {"b" * 40: host.archive({"f": "1"})}

    def archive(tree: str) -> Iterator[bytes]:
        asked.append(tree)
        if tree not in answers:
            raise errors.Unavailable("not there")
        return pieces(answers[tree])

    trees = codetree.CodeTrees(tmp_path, archive)
    assert trees.get("b" * 40) == trees.get("b" * 40)
    assert asked == ["b" * 40]
    with pytest.raises(errors.Unavailable):
        trees.get("c" * 40)
    answers["d" * 40] = answers["b" * 40][:600]
    with pytest.raises(errors.Damaged):
        trees.get("d" * 40)
    with pytest.raises(errors.Refused):
        trees.get("../../etc")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b" * 40, f"{'b' * 40}.seal"]


@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "gone", "more", "mode", "folder", "file", "seal", "no-seal"])
def test_a_tree_that_is_not_what_was_fetched_is_fetched_again(tmp_path: Path, damage: str) -> None:
    fetched: list[str] = []
    data = host.archive({"a/main.py": "print('hello')\n"})

    def archive(tree: str) -> Iterator[bytes]:
        fetched.append(tree)
        return pieces(data)

    trees = codetree.CodeTrees(tmp_path, archive)
    trees.get("t")
    trees.get("t")
    assert fetched == ["t"]
    file, seal = tmp_path / "t" / "a" / "main.py", tmp_path / f"t{codetree.SEAL}"
    match damage:
        case "cut" | "empty" | "changed":
            file.write_bytes({"cut": b"print(", "empty": b"", "changed": b"print('other')\n"}[damage])
        case "gone":
            file.unlink()
        case "more":
            (tmp_path / "t" / "sitecustomize.py").write_text("")
        case "mode":
            file.chmod(0o700)
        case "folder":
            file.unlink()
            file.mkdir()
        case "file":
            shutil.rmtree(tmp_path / "t")
            (tmp_path / "t").write_text("")
        case "seal":
            seal.write_text("half")
        case "no-seal":
            seal.unlink()
    assert (codetree.CodeTrees(tmp_path, archive).get("t") / "a" / "main.py").read_bytes() == b"print('hello')\n"
    assert fetched == ["t", "t"]
    codetree.CodeTrees(tmp_path, archive).sweep(set(), time.time() + 60)
    assert not list(tmp_path.iterdir())


def test_sweeping_removes_leftovers_and_what_is_old_and_unused(tmp_path: Path) -> None:
    for name in ("old", "used", ".partial-x"):
        (tmp_path / name).mkdir()
    trees = codetree.CodeTrees(tmp_path, lambda tree: iter((tree.encode(),)))
    trees.sweep({"used"}, older=2e12)
    assert [path.name for path in tmp_path.iterdir()] == ["used"]
