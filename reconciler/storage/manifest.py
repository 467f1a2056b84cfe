"""The manifest: what an image says about itself, in canonical JSON, signed where the store asks for it.

The digest of an image is that of these bytes. They name the table of contents by digest, it names every section of the index, a
section every frame and every unit: so the digest stands for every byte of the image.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import codec, observed
from reconciler.storage import digests, keyring, layout
from reconciler.storage.packs import Frame, Pack

FORMAT = 2
LARGEST = 64 << 20
"""Bytes of the largest manifest; one names a pack in some 400."""

DEEPEST = 32
"""Parents an image may build upon; the next one is stored in full, so that a restore never opens more packs at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The signed part."""

    format: int = FORMAT
    meta: store.Meta
    parent: str = ""
    depth: int = 0
    """How many images of its line lend it packs at most."""
    salt: int
    """Of its units' digests (see `digests`): that of its line."""
    files: int
    logical_bytes: int
    stored_bytes: int
    """Bytes written for this image; what it shares with its parent is not counted again."""
    packs: tuple[Pack, ...]
    """Every pack that holds a unit of it, also those its parents wrote."""
    index: Pack
    contents: tuple[Frame, ...]
    """Frames of the index that hold the table of contents."""

    def taken(self, digest: str) -> observed.Taken:
        """Return what the store reports about the image."""
        return observed.Taken(
            digest=digest,
            attempt=self.meta.attempt,
            number=self.meta.number,
            taken_at=self.meta.taken_at,
            purpose=self.meta.purpose,
            request=self.meta.request,
            step=self.meta.step,
            logical_bytes=self.logical_bytes,
            stored_bytes=self.stored_bytes,
            parent=self.parent,
            processor=self.meta.processor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The whole file."""

    image: msgspec.Raw
    signature: keyring.Signature | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest as it was read: its digest fits its bytes; whose signature it bears has yet to be asked."""

    digest: str
    body: Body
    signature: keyring.Signature | None
    canonical: bytes

    def check_signature(self, ring: keyring.Keyring) -> None:
        """Raise `errors.Refused` when it is unsigned or signed by a key that is not known, `errors.Damaged` when altered."""
        if self.signature is None:
            raise errors.Refused(
                "the checkpoint is not signed, and this store accepts only signed ones",
                where=self.digest,
                remedy="It was written without the key that the Store names; take a new checkpoint.",
            )
        ring.verify(self.signature, _message(self.canonical))


def encode(body: Body, ring: keyring.Keyring, signing: str) -> tuple[str, bytes]:
    """Return the digest and the file's content."""
    canonical = codec.encode(body)
    signature = ring.sign(signing, _message(canonical)) if signing else None
    return _digest(canonical), codec.encode(Envelope(image=msgspec.Raw(canonical), signature=signature))


def decode(content: bytes, digest: str) -> Manifest:
    """Return the manifest. Raises `errors.Damaged` unless it is the one that `digest` names, and well formed."""
    try:
        envelope = codec.decode(content, Envelope)
    except errors.Damaged as error:
        raise errors.Damaged("its manifest was altered or cut short", where=digest) from error
    canonical = bytes(envelope.image)
    if _digest(canonical) != digest:
        raise errors.Damaged("the manifest is not the one its digest names", where=digest)
    body = codec.decode(canonical, Body)
    if body.format != FORMAT:
        raise errors.Refused(
            f"the checkpoint has format {body.format}, this version reads {FORMAT}",
            where=digest,
            remedy="Use the version of perdure that wrote it, or a newer one.",
        )
    for pack in (*body.packs, body.index):
        if not layout.PACK.fullmatch(pack.name) or pack.size < 0:
            raise errors.Damaged(f"{pack.name!r} is not the name of a pack", where=digest)
    if min(body.files, body.logical_bytes, body.stored_bytes, body.depth, body.salt) < 0 or body.salt >> digests.SALT_BITS:
        raise errors.Damaged("a negative count", where=digest)
    return Manifest(digest=digest, body=body, signature=envelope.signature, canonical=canonical)


def _digest(canonical: bytes) -> str:
    return "sha256:" + hashlib.sha256(canonical).hexdigest()


def _message(canonical: bytes) -> bytes:
    return b"perdure image 1\n" + canonical
