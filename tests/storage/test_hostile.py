"""Images made to harm whoever restores them (reliability T6 91, 92): refused when written, and when opened."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
import zstandard

from reconciler import errors
from reconciler.contracts import store
from reconciler.storage import image, index, names, packs
from reconciler.storage.disk.fake import FakeDisk
from tests.storage import faults, images
from tests.storage.images import UNIT

PATHS = {
    "absolute": "/etc/passwd",
    "above": "../outside",
    "above-in-the-middle": "a/../../outside",
    "dot": "a/./b",
    "empty": "",
    "empty-part": "a//b",
    "folder": "a/",
    "nul": "a\0b",
    "backslash": "..\\outside",
    "long-part": "x" * 256,
    "long": "x/" * 2500 + "x",
    "deep": "x/" * store.DEEPEST + "x",
    "not-utf-8": "caf\udce9",
}
LINKS = {
    "absolute": "/etc/passwd",
    "above": "../x",
    "far-above": "a/../../x",
    "back-up-behind-a-name": "a/..",
    "empty": "",
    "nul": "a\0",
}


def _file(path: str, **more: object) -> store.FileEntry:
    return store.FileEntry(path=path, **more)  # type: ignore[arg-type]


ENTRIES: dict[str, list[store.FileEntry]] = {
    **{f"path-{name}": [_file(path)] for name, path in PATHS.items()},
    **{f"link-{name}": [_file("link", kind="symlink", link=link)] for name, link in LINKS.items()},
    "twice": [_file("a"), _file("a")],
    "below-a-link": [_file("a", kind="symlink", link="b"), _file("a/b")],
    "below-a-file": [_file("a"), _file("a/b")],
    "link-where-a-folder-is-implied": [_file("a/b"), _file("a", kind="symlink", link="c")],
    "hard-link": [_file("a", kind="link", link="b")],
    "device": [_file("a", kind="device")],
    "fifo": [_file("a", kind="fifo")],
    "negative": [_file("a", size=-1)],
    "too-large": [_file("a", size=names.LARGEST_FILE + 1)],
    "folder-with-size": [_file("a", kind="directory", size=5)],
}


@pytest.mark.parametrize("case", ENTRIES)
def test_a_sink_refuses(case: str) -> None:
    checked = names.Names()
    with pytest.raises(errors.InvalidInput, match="cannot be part of a checkpoint"):
        _announce(checked, ENTRIES[case])


def _announce(checked: names.Names, entries: list[store.FileEntry]) -> None:
    for entry in entries:
        checked.add(entry)


@pytest.mark.parametrize("case", [case for case in ENTRIES if case not in ("path-not-utf-8", "twice")])
def test_opening_refuses_what_a_sink_should_have(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeDisk()
    depot = faults.opened(disk)
    depot.claim(images.ALONE, "me")
    with monkeypatch.context() as careless:
        careless.setattr(names.Names, "_problem", lambda *_: "")
        sink = depot.writer(images.meta())
        for entry in ENTRIES[case]:
            sink.file(entry)
        digest = sink.commit()[0].digest
    with pytest.raises(errors.Damaged):
        depot.open(digest)


def test_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MOST_FILES", 3)
    checked = names.Names()
    for number in range(3):
        checked.add(_file(str(number)))
    with pytest.raises(errors.InvalidInput, match="archive"):
        checked.add(_file("one more"))


@pytest.mark.parametrize(
    ("path", "link", "inside"),
    [
        ("a", "b", True),
        ("a", ".", True),
        ("a/b", "..", True),
        ("a/b/c", "../../d/e", True),
        ("a", "..", False),
        ("a/b", "../..", False),
        ("a/b", "c/../d", False),
        ("a", "b//c/.", True),
    ],
)
def test_where_a_link_leads(path: str, link: str, inside: bool) -> None:
    assert names.stays_inside(path, link) is inside


def test_links_that_were_there_first_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "target").symlink_to(outside)
    depot = faults.opened(FakeDisk())
    with depot.open(images.put(depot, {"a": b"1"}).digest) as found, pytest.raises(errors.Unavailable):
        found.export(str(tmp_path / "target"))
    assert list(outside.iterdir()) == []


def test_a_link_put_there_meanwhile_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    depot = faults.opened(FakeDisk())
    digest = images.put(depot, {"a/first": b"1", "b/second": b"2"}).digest
    read = image.PathImage.extents

    def swapped(self: image.PathImage, path: str) -> object:
        if path == "a/first":
            (target / "b").symlink_to(outside)
        return read(self, path)

    monkeypatch.setattr(image.PathImage, "extents", swapped)
    with depot.open(digest) as found, pytest.raises(errors.PerdureError):
        found.export(str(target))
    assert list(outside.iterdir()) == []


def test_a_failed_restore_leaves_nothing(tmp_path: Path) -> None:
    disk = FakeDisk()
    depot = faults.opened(disk)
    digest = images.put(depot, {"a": images.noise(1, 300), "b/c": images.noise(2, 300)}).digest
    pack = next(name for name in disk.names(f"runs/{images.RUN}/packs") if name.endswith("-00000"))
    with depot.open(digest) as found:
        disk.corrupt(f"runs/{images.RUN}/packs/{pack}", 500 * UNIT)
        with pytest.raises(errors.Damaged):
            found.export(str(tmp_path / "target"))
    assert os.listdir(tmp_path / "target") == []


BOMB = zstandard.ZstdCompressor().compress(bytes(1 << 28))


def test_a_frame_is_not_unpacked_beyond_its_size() -> None:
    for payload in (BOMB, zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 20)), b"no frame"):
        with pytest.raises(errors.Damaged):
            packs.expand(payload, 10 * UNIT, "here")
    with pytest.raises(errors.Damaged):
        packs.expand(BOMB, 1 << 28, "here")


@pytest.mark.parametrize("field", ["stored", "plain", "offset", "number"])
def test_a_frame_may_not_claim_an_impossible_size(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    append = packs.PackWriter.append

    def lying(self: packs.PackWriter, payload: bytes, plain: int) -> packs.Frame:
        frame = append(self, payload, plain)
        if self.name.endswith("-index"):
            return frame
        values = {name: getattr(frame, name) for name in frame.__slots__}
        return packs.Frame(**{**values, field: 1 << 60 if field in ("stored", "plain") else -1})

    disk = FakeDisk()
    depot = faults.opened(disk)
    with monkeypatch.context() as patch:
        patch.setattr(packs.PackWriter, "append", lying)
        digest = images.put(depot, {"a": images.noise(1, 3)}).digest
    assert not depot.verify(digest).ok


SECTIONS = {
    "runs-overlap": ([(0, 2, 0, 0), (1, 1, 0, 0)], 3),
    "run-beyond-the-span": ([(0, 9, 0, 0)], 3),
    "run-beyond-the-frame": ([(0, 2, 0, 2)], 3),
    "no-such-frame": ([(0, 1, 7, 0)], 3),
    "empty-run": ([(0, 0, 0, 0)], 3),
    "span-beyond-the-file": ([(0, 3, 0, 0)], 300),
}


@pytest.mark.parametrize("case", SECTIONS)
def test_an_index_that_contradicts_itself(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, units = SECTIONS[case]
    rows = index.IndexWriter._rows

    def lying(self: index.IndexWriter, section: index._Open) -> object:
        frames, spans = rows(self, section)
        number, first, digests, whole, _ = spans[0]
        packed = b"".join(index._RUN.pack(*run) for run in runs)
        if units > 3:
            digests = digests[:16] * units
        return frames, [(number, first, digests, whole, packed)]

    depot = faults.opened(FakeDisk())
    with monkeypatch.context() as patch:
        patch.setattr(index.IndexWriter, "_rows", lying)
        digest = images.put(depot, {"a": images.noise(1, 3)}).digest
    assert not depot.verify(digest).ok


def test_a_table_of_contents_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    depot = faults.opened(FakeDisk())
    for content in (b"", b"\xc1", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode(([], [(0, 0, 1, 1, b"short")]))):
        with monkeypatch.context() as patch:
            patch.setattr(msgspec.msgpack, "encode", lambda _, content=content: content)
            digest = images.put(depot, {}).digest
        assert not depot.verify(digest).ok
