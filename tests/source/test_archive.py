"""Archives of code: exactly the tree, whatever attributes, links and submodules it holds."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.seams.git import mirror, stream
from reconciler.source import archive
from reconciler.source.archive import leaves


@pytest.fixture
def ours(tmp_path: Path) -> mirror.Mirror:
    return mirror.Mirror(tmp_path / "folder.git")


def tree_of(ours: mirror.Mirror, files: dict[str, stream.Blob | stream.Link | None]) -> str:
    [made] = ours.build([stream.Commit(scratch="t", parent="", name="a", mail="b", at=1, message="m", files=files)])
    return ours.git("rev-parse", f"{made}^{{tree}}").decode().strip()


def unpacked(ours: mirror.Mirror, oid: str, folder: Path) -> None:
    data = b"".join(archive.stream(ours, oid))
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        opened.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 has brought them
        opened.extractall(folder)


def test_attributes_have_no_effect(ours: mirror.Mirror, tmp_path: Path) -> None:
    files = {
        ".gitattributes": b"* export-ignore\n*.txt export-subst filter=evil text eol=crlf\n",
        "a.txt": b"$Format:%H$\n",
        "b": b"\r\n\0",
    }
    oid = tree_of(ours, {path: stream.Blob(data=data) for path, data in files.items()})
    unpacked(ours, oid, tmp_path / "out")
    assert {path: (tmp_path / "out" / path).read_bytes() for path in files} == files


def test_modes_links_and_names_are_kept(ours: mirror.Mirror, tmp_path: Path) -> None:
    oid = tree_of(
        ours,
        {
            "run": stream.Blob(data=b"#!/bin/sh\n", mode="100755"),
            "deep/ü " + 120 * "x": stream.Blob(data=b"long"),
            "deep/up": stream.Blob(data=b"../run", mode="120000"),
            "dangling": stream.Blob(data=b"nowhere", mode="120000"),
            "module": stream.Link(oid="1" * 40, mode="160000"),
        },
    )
    out = tmp_path / "out"
    unpacked(ours, oid, out)
    assert (out / "run").stat().st_mode & 0o111
    assert (out / "deep/up").resolve() == (out / "run").resolve()
    assert (out / ("deep/ü " + 120 * "x")).read_bytes() == b"long"
    assert (out / "dangling").is_symlink()
    assert list((out / "module").iterdir()) == []


def test_equal_trees_are_equal_archives(ours: mirror.Mirror) -> None:
    oid = tree_of(ours, {"a": stream.Blob(data=b"1"), "b/c": stream.Blob(data=b"2")})
    assert b"".join(archive.stream(ours, oid)) == b"".join(archive.stream(ours, oid))


def test_a_large_file_comes_in_pieces(ours: mirror.Mirror, tmp_path: Path) -> None:
    data = bytes(range(256)) * (5 << 12)
    oid = tree_of(ours, {"big": stream.Blob(data=data), "small": stream.Blob(data=b"1")})
    assert max(map(len, archive.stream(ours, oid))) <= 1 << 20
    unpacked(ours, oid, tmp_path / "out")
    assert (tmp_path / "out/big").read_bytes() == data


def test_an_archive_that_is_given_up_leaves_no_process(ours: mirror.Mirror) -> None:
    oid = tree_of(ours, {f"f{number}": stream.Blob(data=b"x" * 5000) for number in range(50)})
    pieces = archive.stream(ours, oid)
    next(iter(pieces))


@pytest.mark.parametrize(
    ("path", "target", "answer"),
    [
        ("a", "b", False),
        ("a", "./b/c", False),
        ("x/a", "../b", False),
        ("x/y/a", "../../b", False),
        ("a", "", False),
        ("a", "../b", True),
        ("x/a", "../../b", True),
        ("a", "/etc/passwd", True),
        ("a", "b/../../c", True),
        ("a", "b/..", True),
        ("x/a", ".././../b", True),
    ],
)
def test_which_links_lead_out(path: str, target: str, answer: bool) -> None:
    assert leaves(path, target) is answer


def test_a_link_that_leads_out_is_named(ours: mirror.Mirror) -> None:
    oid = tree_of(ours, {"sub/evil": stream.Blob(data=b"../../etc/passwd", mode="120000")})
    with pytest.raises(errors.InvalidInput) as caught:
        b"".join(archive.stream(ours, oid))
    assert caught.value.where == "sub/evil"
