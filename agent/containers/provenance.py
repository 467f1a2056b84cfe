"""Which version of its image a container is made of: the one that is named, or that its checkpoint was taken on."""

from __future__ import annotations

from pathlib import Path

from agent import journal, refusal
from agent.containers import books, images, seam
from reconciler import errors
from reconciler.contracts import store
from reconciler.core import spec


class Provenance:
    """Obtains images, and remembers of each attempt which one its container is made of."""

    def __init__(self, docker: seam.Docker, records: books.Books, data: Path) -> None:
        """`data` is the agent's data directory, in which the registries' credentials lie."""
        self._docker = docker
        self._books = records
        self._registries = data / images.REGISTRIES

    def settle(self, ref: spec.AttemptRef, name: str) -> None:
        """Have an image here, pulled where it is missing, and make the attempt's container of it. Raises as `images.obtain`."""
        found = images.obtain(self._docker, name, self._registries)
        self._books.set(ref, image=found.id, digest=images.digest(found, name), stop_signal=found.stop_signal)

    def of(self, entry: journal.Entry) -> str:
        """Return what names the attempt's image and no other."""
        return self._books.get(entry.ref).exactly

    def keep_to(self, entry: journal.Entry, taken: store.Meta) -> None:
        """Continue on the image that the checkpoint was taken on, also where its name means another by now.

        Which image that may be is the manifest's to say: a checkpoint picks a version of the one that is named there, unless
        that is one version. One that was made on its host has no name that tells, and is taken from the run's own checkpoints
        alone.
        Raises `refusal.CannotStart` where it is another image, or cannot be had.
        """
        record, name, was = self._books.get(entry.ref), entry.spec.workload.image, taken.image
        if not was or was.rpartition("@")[2] in (record.image, record.digest.rpartition("@")[2]):
            return
        if "@" in name and (found := self._docker.image(was)) is not None and found.id == record.image:
            return  # registries may know one image by several digests
        named = images.repository(was) == images.repository(name) if "@" in was else taken.run == entry.spec.run
        if not named or "@" in name:
            text = f"the checkpoint was taken on image {was}, and the Job names {name}, which is another one"
            raise refusal.CannotStart(f"{text}. Name the former in `workload.image`, or restore another checkpoint", fatal=True)
        try:
            self.settle(entry.ref, was)
        except errors.Refused as error:
            text = f"the checkpoint was taken on image {was}, {name} is another one here, and"
            raise refusal.CannotStart(f"{text} {error.message}. {error.remedy}".rstrip(". ")) from error
