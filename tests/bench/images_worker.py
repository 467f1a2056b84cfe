"""The processes of `images`: one that generates files, and the one that stores them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler.contracts import store
from reconciler.core import model, spec
from reconciler.engines import folder
from reconciler.storage.path import PathStore
from tests.bench import commands, image_data

FILES = 8
SHARE = 0.05
ATTEMPT = spec.AttemptRef(run="5f0c" * 8, attempt=1)


def generate(into: Path, seed: int, size: int) -> None:
    """Write an image's content, of the kind that the folder is named after, as files of equal size."""
    into.mkdir()
    blocks = _blocks(into.name, seed, size)
    for number in range(FILES):
        with (into / f"pages-{number}").open("wb") as file:
            for _ in range(size // FILES // image_data.BLOCK):
                file.write(next(blocks))
            file.flush()
            os.fsync(file.fileno())


def _blocks(kind: str, seed: int, size: int) -> Iterator[bytes]:
    if kind == "unique":
        return image_data.unique(seed, size)
    if kind == "repeated":
        return image_data.repeated(seed, size)
    return image_data.changed(seed, size, share=SHARE, scattered=kind == "scattered")


def put(root: Path, data: Path, parent: str) -> None:
    """Store the files as one image and print how long that took, as a running agent would do it."""
    to = PathStore(model.StoreSpec(name="bench", root=str(root)), store.Keys())
    to.claim(ATTEMPT, "bench")
    meta = store.Meta(
        instance="bench",
        tenant="default",
        job="bench",
        run=ATTEMPT.run,
        attempt=ATTEMPT.attempt,
        engine=model.EngineName.APPLICATION.value,
        taken_at=time.time(),
    )
    began = time.perf_counter()
    sink = to.writer(meta, parent)
    folder.send(data, sink, owner=None)
    taken, usage = sink.commit()
    seconds = time.perf_counter() - began
    result = {
        "seconds": seconds,
        "peak": commands.own_peak(),
        "digest": taken.digest,
        "logical": usage.logical_bytes,
        "stored": usage.stored_bytes,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1] == "generate":
        generate(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        put(Path(sys.argv[2]), Path(sys.argv[3]), "" if sys.argv[4] == "-" else sys.argv[4])
