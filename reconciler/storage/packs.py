"""Pack files: frames of up to 1 MiB, each compressed (zstd), then encrypted (AES-256-GCM) where the store asks for it.

A frame is known by pack, offset and the digest of its stored bytes, so that nothing is decrypted or unpacked before it is
known to be what was written. Every pack has a random key of its own; a frame's number in its pack is its nonce.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import threading
from concurrent import futures
from dataclasses import dataclass

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import aead

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import codec
from reconciler.storage import digests, keyring, layout
from reconciler.storage.disk import Disk, File

UNITS = 256
"""Units in the largest frame."""

LARGEST = UNITS * store.UNIT
"""Bytes of the largest frame, unpacked."""

PACK = 32 << 20
"""Bytes after which a pack is closed: small enough that syncing one overlaps with filling the next."""

OPEN_FILES = 48
CACHED_FRAMES = 48

_Key = bytes | None


@dataclass(frozen=True, slots=True)
class Frame:
    """Where some bytes lie. `digest` is that of the stored bytes; stored raw where compressing did not help."""

    pack: str
    number: int
    offset: int
    stored: int
    plain: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A pack file and, where it is encrypted, its key under the store's key."""

    name: str
    size: int
    key: keyring.WrappedKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """What a pack's bytes are bound to: they decrypt for no other tenant, run or pack."""

    tenant: str
    run: str

    def to(self, pack: str) -> bytes:
        """Return the associated data of everything encrypted in a pack."""
        return codec.encode(["perdure pack 1", self.tenant, self.run, pack])


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where packs are written, and under which key (empty name: not encrypted)."""

    disk: Disk
    keyring: keyring.Keyring
    encryption: str
    bond: Bond

    def path(self, pack: str) -> str:
        """Return the path of a pack file."""
        return f"{layout.packs(self.bond.run)}/{pack}"

    def rewrapped(self, pack: Pack) -> Pack:
        """Return a pack of the parent with its key under the key in use now, so that a rotated one can be given up in time."""
        if pack.key is None or self.keyring.is_current(self.encryption, pack.key):
            return pack
        bound = self.bond.to(pack.name)
        return dataclasses.replace(pack, key=self.keyring.wrap(self.encryption, self.keyring.unwrap(pack.key, bound), bound))


class PackWriter:
    """One pack file being filled. `append` is called by one thread at a time."""

    def __init__(self, place: Place, name: str) -> None:
        self.name = name
        self.size = 0
        self._place = place
        self._bound = place.bond.to(name)
        key = os.urandom(32) if place.encryption else b""
        self._wrapped = place.keyring.wrap(place.encryption, key, self._bound) if key else None
        self._cipher = aead.AESGCM(key) if key else None
        self._frames: list[Frame] = []
        self._file: File = place.disk.create(place.path(name))

    def append(self, payload: bytes, plain: int) -> Frame:
        """Write one frame of `plain` bytes, compressed to `payload`."""
        number = len(self._frames)
        if self._cipher is not None:
            payload = self._cipher.encrypt(_nonce(number), payload, self._bound)
        self._file.write(payload)
        frame = Frame(self.name, number, self.size, len(payload), plain, digests.whole(payload))
        self._frames.append(frame)
        self.size += len(payload)
        return frame

    def seal(self) -> Pack:
        """Make it durable, read all of it back by a fresh descriptor and compare. Raises `errors.Damaged`."""
        self._file.sync()
        self.close()
        where = self._place.path(self.name)
        file = self._place.disk.open(where)
        try:
            if file.size() != self.size:
                raise errors.Damaged(f"{file.size()} bytes read back, {self.size} written", where=where)
            for frame in self._frames:
                _compare(file.read(frame.offset, frame.stored), frame, where)
        finally:
            file.close()
        return Pack(name=self.name, size=self.size, key=self._wrapped)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class FrameReader:
    """Reads frames of one image's packs. Nothing is returned that was not checked. May be asked by several threads."""

    def __init__(self, place: Place, packs: dict[str, Pack]) -> None:
        self._place = place
        self._packs = packs
        self._files: collections.OrderedDict[str, tuple[File, aead.AESGCM | None]] = collections.OrderedDict()
        self._frames: collections.OrderedDict[tuple[str, int], futures.Future[bytes]] = collections.OrderedDict()
        self._one = threading.Lock()

    def read(self, frame: Frame) -> bytes:
        """Return a frame's bytes. Raises `errors.Damaged` or `errors.Refused` (key missing)."""
        name = (frame.pack, frame.offset)
        with self._one:
            found = self._frames.get(name)
            first = found is None
            if found is None:  # whoever asks for it meanwhile waits, rather than unpacks it as well
                found = self._frames[name] = futures.Future()
                if len(self._frames) > CACHED_FRAMES:
                    self._frames.popitem(last=False)
            else:
                self._frames.move_to_end(name)
        if first:
            try:
                found.set_result(self._load(frame))
            except BaseException as error:
                found.set_exception(error)
                with self._one:
                    self._frames.pop(name, None)
                raise
        return found.result()

    def check(self, frame: Frame) -> None:
        """Read a frame's stored bytes and compare them with its digest. Raises `errors.Damaged`."""
        self._payload(frame)

    def close(self) -> None:
        """Close every file."""
        for file, _ in self._files.values():
            file.close()
        self._files.clear()
        self._frames.clear()

    def _load(self, frame: Frame) -> bytes:
        where = self._place.path(frame.pack)
        payload, cipher = self._payload(frame)
        if cipher is not None:
            try:
                payload = cipher.decrypt(_nonce(frame.number), payload, self._place.bond.to(frame.pack))
            except InvalidTag as error:
                raise errors.Damaged(
                    "a frame does not decrypt: altered, or of another pack, run or tenant", where=where
                ) from error
        return expand(payload, frame.plain, where)

    def _payload(self, frame: Frame) -> tuple[bytes, aead.AESGCM | None]:
        with self._one:  # a file must not be closed for another one while it is read
            file, cipher = self._file(frame.pack)
            payload = file.read(frame.offset, frame.stored)
        _compare(payload, frame, self._place.path(frame.pack))
        return payload, cipher

    def _file(self, name: str) -> tuple[File, aead.AESGCM | None]:
        found = self._files.get(name)
        if found is None:
            wrapped = self._packs[name].key
            cipher = aead.AESGCM(self._place.keyring.unwrap(wrapped, self._place.bond.to(name))) if wrapped else None
            found = self._files[name] = (self._place.disk.open(self._place.path(name)), cipher)
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1][0].close()
        else:
            self._files.move_to_end(name)
        return found


_threads = threading.local()


def compress(plain: bytes | bytearray) -> bytes:
    """Return `plain` compressed, or itself where that does not make it smaller."""
    compressor: zstandard.ZstdCompressor | None = getattr(_threads, "compressor", None)
    if compressor is None:  # one a thread: a compressor keeps state while it works
        compressor = _threads.compressor = zstandard.ZstdCompressor(compression_params=_QUICK)
    packed = compressor.compress(plain)
    return packed if len(packed) < len(plain) else bytes(plain)


_QUICK = zstandard.ZstdCompressionParameters(
    window_log=20, hash_log=12, chain_log=13, search_log=1, min_match=7, target_length=0, strategy=zstandard.STRATEGY_FAST
)
"""About level 1 in size, but memory's repeats are long and aligned: looking for 7 bytes and more is quicker and finds more; and
its table of 16 KiB leaves room in a core's first cache for whatever else hashes and copies there."""


def expand(payload: bytes, plain: int, where: str) -> bytes:
    """Return what `compress` was given. A frame that claims to become larger than it was announced is refused unopened."""
    if len(payload) == plain:
        return payload
    try:
        if plain > LARGEST or zstandard.frame_content_size(payload) != plain:
            raise errors.Damaged("a frame unpacks to another size than announced", where=where)
        found = zstandard.ZstdDecompressor().decompress(payload)
    except zstandard.ZstdError as error:
        raise errors.Damaged(f"a frame does not unpack: {error}", where=where) from error
    if len(found) != plain:
        raise errors.Damaged("a frame unpacks to another size than announced", where=where)
    return found


def _nonce(number: int) -> bytes:
    return number.to_bytes(keyring.NONCE, "big")


def _compare(payload: bytes, frame: Frame, where: str) -> None:
    if digests.whole(payload) != frame.digest:
        raise errors.Damaged(f"the bytes at {frame.offset} are not what was written", where=where)
