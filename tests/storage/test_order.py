"""The order of effects, proven by the trace of the disk: data, manifest, its name, the folder; and backwards when pruning."""

from __future__ import annotations

import pytest

from reconciler.contracts import store
from reconciler.storage.disk import fake
from tests.storage import faults, images
from tests.storage.images import RUN

pytestmark = pytest.mark.usefixtures("small_parts")

PACKS = f"runs/{RUN}/packs"


@pytest.mark.parametrize("threads", [0, 2])
def test_of_a_commit(threads: int) -> None:
    disk, first = faults.with_first_image()
    disk.trace.clear()
    taken = images.put(faults.opened(disk, threads=threads), faults.NEW, images.meta(at=2), first.digest)
    folder = f"runs/{RUN}/checkpoints/{taken.digest[7:]}"
    trace = disk.trace

    packs = {path for what, path in trace if what == "create" and path.startswith(PACKS)}
    assert len(packs) > 1
    last_write = {path: at for at, (what, path) in enumerate(trace) if what == "write"}
    synced = {path: at for at, (what, path) in enumerate(trace) if what == "sync"}
    (aside,) = (path for path in synced if path.startswith(folder))
    renamed = trace.index(("rename", f"{folder}/manifest.json"))
    names_of_packs = trace.index(("sync_folder", PACKS))
    name_of_manifest = trace.index(("sync_folder", folder))

    for pack in packs:
        assert last_write[pack] < synced[pack] < names_of_packs, "a pack is synced once it is full, then its name"
    assert names_of_packs < last_write[aside] < synced[aside] < renamed, "the manifest is written after all it names is safe"
    assert renamed < name_of_manifest
    assert [what for what, _ in trace[name_of_manifest + 1 :]] == ["unlink"], "nothing but the writer's own lock comes after"


def test_of_a_deletion() -> None:
    disk, first = faults.with_first_image()
    images.put(faults.opened(disk), faults.NEW, images.meta(at=2))
    disk.trace.clear()
    faults.opened(disk).prune(store.Prune(run=RUN, digests=(first.digest,), grace=0), 10)
    folder = f"runs/{RUN}/checkpoints/{first.digest[7:]}"
    named = disk.trace.index(("unlink", f"{folder}/manifest.json"))
    assert disk.trace[named + 1] == ("sync_folder", folder), "the name is gone for good before any pack goes"
    gone = [at for at, (what, path) in enumerate(disk.trace) if what == "unlink" and path.startswith(PACKS)]
    assert len(gone) > 1
    assert min(gone) > named + 1


def test_everything_is_read_back_before_it_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, first = faults.with_first_image()
    seen: list[str] = []
    read = fake.FakeFile.read

    def noted(self: fake.FakeFile, offset: int, size: int) -> bytes:
        seen.append(self._path)
        return read(self, offset, size)

    monkeypatch.setattr(fake.FakeFile, "read", noted)
    disk.trace.clear()
    images.put(faults.opened(disk), faults.NEW, images.meta(at=2), first.digest)
    created = {path for what, path in disk.trace if what == "create" and path.startswith((PACKS, f"runs/{RUN}/checkpoints"))}
    assert len(created) == 4
    assert created <= set(seen)
