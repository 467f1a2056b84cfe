"""Damaged and incomplete images (reliability T6 88 to 90): never offered as whole, never a wrong byte handed out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import spec
from reconciler.storage import layout, sink
from reconciler.storage.disk.fake import FakeDisk, FakeFile
from tests.storage import faults, images
from tests.storage.images import RUN

pytestmark = pytest.mark.usefixtures("small_parts")

PACKS = f"runs/{RUN}/packs"
REFUSED = (errors.Damaged, errors.Refused)


def _image() -> tuple[FakeDisk, str, list[str]]:
    """A disk with one image, and the paths of all its files."""
    disk, taken = faults.with_first_image()
    manifest = f"runs/{RUN}/checkpoints/{taken.digest[7:]}/manifest.json"
    return disk, taken.digest, [manifest, *(f"{PACKS}/{name}" for name in disk.names(PACKS))]


def _refuses(disk: FakeDisk, digest: str, tmp_path: Path) -> None:
    """However it is read, it is an error or the right bytes, and nothing of it stays in the folder it was restored to."""
    depot = faults.opened(disk)
    assert not depot.verify(digest).ok
    target = tmp_path / "restored"
    with pytest.raises(REFUSED), depot.open(digest) as image:
        image.export(str(target))
    assert not target.exists() or list(target.iterdir()) == []
    with pytest.raises(REFUSED), depot.open(digest) as image:
        _read_right_bytes(image)


def _read_right_bytes(image: store.Image) -> None:
    for path, content in faults.OLD.items():
        for offset, data in image.extents(path):
            assert content[offset : offset + len(data)] == data


def test_any_flipped_bit(tmp_path: Path) -> None:
    disk, digest, paths = _image()
    chance = random.Random(4)
    for path in paths:
        size = disk.size(path)
        for offset in {0, size - 1, *(chance.randrange(size) for _ in range(12))}:
            hurt = disk.copy()
            hurt.corrupt(path, offset, 1 << chance.randrange(8))
            _refuses(hurt, digest, tmp_path)


def test_what_is_wrong_is_told_with_its_place_and_without_jargon() -> None:
    disk, digest, [manifest, pack, *_] = _image()
    cut = disk.copy()
    cut.put(manifest, cut.open(manifest).read(0, 1 << 30)[:-40])
    assert faults.opened(cut).verify(digest).problems == ("its manifest was altered or cut short",)
    flipped = disk.copy()
    flipped.corrupt(pack, 12, 1)
    assert faults.opened(flipped).verify(digest).problems == (f"{pack}: the bytes at 0 are not what was written",)


def test_any_wrong_length(tmp_path: Path) -> None:
    disk, digest, paths = _image()
    for path in paths:
        content = disk.open(path).read(0, 1 << 30)
        for wrong in (b"", content[:-1], content[: len(content) // 2], content + b"\0"):
            hurt = disk.copy()
            hurt.put(path, wrong)
            if path.startswith(PACKS):
                assert faults.opened(hurt).list(RUN) == ()
            _refuses(hurt, digest, tmp_path)


def test_any_missing_file(tmp_path: Path) -> None:
    disk, digest, paths = _image()
    for path in paths:
        hurt = disk.copy()
        hurt.unlink(path)
        assert faults.opened(hurt).list(RUN) == ()
        _refuses(hurt, digest, tmp_path)


def test_a_folder_in_the_place_of_any_file_is_damage_of_that_image_alone(tmp_path: Path) -> None:
    disk, digest, paths = _image()
    other = images.put(faults.opened(disk), faults.NEW, images.meta(at=2), digest)
    elsewhere = images.put(faults.opened(disk), faults.OLD, images.meta(run=images.OTHER_RUN))
    shared = [path for path in paths if not path.endswith(("-index", layout.MANIFEST))]
    for path in paths:
        hurt = disk.copy()
        hurt.unlink(path)
        hurt.folder(f"{path}/of somebody")
        depot = faults.opened(hurt)
        assert [taken.digest for taken in depot.list(RUN)] == ([] if path in shared else [other.digest])
        assert [taken.digest for taken in depot.list(images.OTHER_RUN)] == [elsewhere.digest]
        _refuses(hurt, digest, tmp_path)
        [problem] = depot.verify(digest).problems
        assert path in problem
        assert depot.verify(elsewhere.digest).ok
        depot.sweep(0)
        assert (path in shared) is not depot.verify(other.digest).ok


def test_a_file_in_the_place_of_the_folder_of_a_run_or_an_image_is_nobody_elses_damage() -> None:
    disk, digest, [manifest, *_] = _image()
    other = images.put(faults.opened(disk), faults.NEW, images.meta(at=2))
    hurt = disk.copy()
    hurt.unlink(manifest)
    hurt.rmdir(manifest.rpartition("/")[0])
    hurt.put(manifest.rpartition("/")[0], b"hello")
    hurt.put("runs/0", b"hello")
    depot = faults.opened(hurt)
    assert [taken.digest for taken in depot.list(RUN)] == [other.digest]
    assert depot.list("0") == ()
    assert depot.verify(other.digest).ok
    assert not depot.verify(digest).ok
    hurt.put(f"{PACKS}/{'0' * 16}-00000", b"of a dead writer")
    with pytest.raises(errors.Unavailable, match="something else lies in the place of runs/0"):
        depot.sweep(0)
    assert f"{'0' * 16}-00000" not in hurt.names(PACKS)
    assert depot.health().ok
    assert faults.opened(hurt, max_size=1 << 30).health().ok


@pytest.mark.parametrize("content", [b"", b"0123abcd", b"\x97\x02 noise"], ids=["emptied", "half", "noise"])
def test_a_damaged_name_of_a_ledger_is_waited_for_and_not_another_repositorys(content: bytes) -> None:
    disk = FakeDisk()
    depot = faults.opened(disk)
    assert depot.claim(images.ALONE, "me", "0123abcd4567cdef")
    disk.put(f"runs/{RUN}/attempts/ledger", content)
    with pytest.raises(errors.Unavailable, match=r"attempts/ledger: .* altered or cut short") as caught:
        depot.claim(images.ALONE, "me", "0123abcd4567cdef")
    assert "Remove that file" in caught.value.remedy
    disk.unlink(f"runs/{RUN}/attempts/ledger")
    assert depot.claim(images.ALONE, "me", "0123abcd4567cdef")


def test_files_swapped_between_two_checkpoints(tmp_path: Path) -> None:
    disk, digest, paths = _image()
    other = images.put(faults.opened(disk), {"state": images.noise("other", 60), "log": b"two\n" * 100}, images.meta(at=2))
    theirs = sorted(name for name in disk.names(PACKS) if f"{PACKS}/{name}" not in paths)
    ours = sorted(path.rpartition("/")[2] for path in paths[1:])
    for mine, yours in zip(ours, theirs, strict=True):
        hurt = disk.copy()
        hurt.put(f"{PACKS}/{mine}", disk.open(f"{PACKS}/{yours}").read(0, 1 << 30))
        _refuses(hurt, digest, tmp_path)
    hurt = disk.copy()
    hurt.put(paths[0], disk.open(f"runs/{RUN}/checkpoints/{other.digest[7:]}/manifest.json").read(0, 1 << 30))
    assert [taken.digest for taken in faults.opened(hurt).list(RUN)] == [other.digest]
    _refuses(hurt, digest, tmp_path)


def test_what_is_read_back_wrong_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk stores other bytes than it was given (bad memory, bad cable)."""
    put, points = FakeFile._put, _writes()
    for bad in range(1, points + 1):
        disk = FakeDisk()
        count = [0]

        def flipped(self: FakeFile, block: bytes, bad: int = bad, count: list[int] = count) -> None:
            count[0] += "attempts" not in self._path
            if count[0] == bad:
                block = bytes([block[0] ^ 4]) + block[1:]
            put(self, block)

        with monkeypatch.context() as patch:
            patch.setattr(FakeFile, "_put", flipped)
            with pytest.raises(errors.Damaged):
                images.put(faults.opened(disk), faults.OLD)
        assert faults.opened(disk).list(RUN) == ()


def _writes() -> int:
    """How often a commit writes, the claim's and the lock's own writes left out."""
    disk, _ = faults.with_first_image()
    return sum(what == "write" for what, path in disk.trace if "attempts" not in path)


@pytest.mark.parametrize("purpose", [spec.Purpose.TIMER, spec.Purpose.SUSPEND])
@pytest.mark.parametrize("lent", [sink.LENT, 0])
def test_a_damaged_parent_is_noticed_before_it_is_built_upon(
    purpose: spec.Purpose, lent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "LENT", lent)
    disk, digest, paths = _image()
    pack = next(path for path in paths if path.endswith("-00000"))
    disk.corrupt(pack, 1000)
    about = images.meta(at=2, purpose=purpose)
    if lent or purpose in spec.ENDING:
        with pytest.raises(errors.Damaged):
            images.put(faults.opened(disk), faults.NEW, about, digest)
        assert [taken.digest for taken in faults.opened(disk).list(RUN)] == [digest]
    else:  # only of much may the source that lives on rely on what was checked when the parent was written
        assert not faults.opened(disk).verify(images.put(faults.opened(disk), faults.NEW, about, digest).digest).ok
    assert faults.opened(disk).verify(images.put(faults.opened(disk), faults.NEW, about).digest).ok


def test_a_parent_with_a_missing_pack_is_not_built_upon() -> None:
    disk, digest, paths = _image()
    disk.unlink(next(path for path in paths if path.endswith("-00001")))
    taken = images.put(faults.opened(disk), faults.NEW, images.meta(at=2), digest)
    assert images.content_of(faults.opened(disk), taken.digest) == faults.NEW


def test_a_folder_that_is_full_of_other_things() -> None:
    disk, digest, _ = _image()
    root = f"runs/{RUN}/checkpoints"
    disk.folder(f"{root}/{'0' * 64}")
    disk.put(f"{root}/{'0' * 64}/manifest.json", b"{}")
    disk.folder(f"{root}/notes")
    disk.put(f"{root}/notes/manifest.json", b"hello")
    disk.put(f"{root}/README", b"hello")
    disk.put(f"{PACKS}/README", b"hello")
    disk.folder("runs/.snapshot")
    depot = faults.opened(disk)
    assert [taken.digest for taken in depot.list(RUN)] == [digest]
    assert list(depot.runs()) == [RUN]
    depot.sweep(0)
    assert "README" in disk.names(PACKS)
    assert depot.verify(digest).ok
