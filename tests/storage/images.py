"""Small images for tests: content by file, written through any store and read back."""

from __future__ import annotations

import random
from collections.abc import Mapping

from reconciler.contracts import store
from reconciler.core import model, observed, spec

RUN = "5f0c" * 8
OTHER_RUN = "77aa" * 8
UNIT = store.UNIT
Content = Mapping[str, bytes]

ALONE = spec.AttemptRef(run=RUN, attempt=1)


def meta(
    attempt: int = 1,
    *,
    run: str = RUN,
    tenant: str = "team",
    at: float = 0.0,
    purpose: spec.Purpose | None = None,
    number: int = 0,
) -> store.Meta:
    return store.Meta(
        instance="test",
        tenant=tenant,
        job="train",
        run=run,
        attempt=attempt,
        number=number,
        engine="application",
        taken_at=at or float(attempt),
        purpose=purpose or spec.Purpose.TIMER,
        step=attempt * 10,
    )


def config(root: str = "/store", **more: object) -> model.StoreSpec:
    return model.StoreSpec(name="main", root=root, **more)  # type: ignore[arg-type]


def noise(seed: object, units: int) -> bytes:
    return random.Random(str(seed)).randbytes(units * UNIT)


def fill(sink: store.Sink, content: Content) -> None:
    for path, data in content.items():
        sink.file(store.FileEntry(path=path, size=len(data), mtime_ns=1_000_000_000))
        for offset in range(0, len(data), 64 * UNIT):
            sink.extent(path, offset, data[offset : offset + 64 * UNIT])


def put(into: store.Store, content: Content, about: store.Meta | None = None, parent: str = "") -> observed.Taken:
    """Claim the attempt and store one image."""
    about = about or meta()
    into.claim(spec.AttemptRef(run=about.run, attempt=about.attempt), "me")
    sink = into.writer(about, parent)
    try:
        fill(sink, content)
        return sink.commit()[0]
    except BaseException:
        sink.abort()
        raise


def read(image: store.Image) -> dict[str, bytes]:
    """The content of an image's files."""
    found = {}
    for entry in image.entries():
        if entry.kind == "file":
            data = bytearray(entry.size)
            for offset, part in image.extents(entry.path):
                data[offset : offset + len(part)] = part
            found[entry.path] = bytes(data)
    return found


def content_of(source: store.Store, digest: str) -> dict[str, bytes]:
    image = source.open(digest)
    try:
        return read(image)
    finally:
        image.close()
