"""Key files: `signing/NAME.key` and `encryption/NAME.key` are secret, `verify/NAME.pub` is not.

A file holds 32 raw bytes, their hex digits, or (Ed25519) PEM. A key that was rotated out stays as `encryption/NAME@OLD.key`
(any text for OLD) for as long as images need it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from reconciler import errors
from reconciler.contracts import store

SIZE = 32
"""Bytes of every key here: an Ed25519 seed or public key (RFC 8032), an AES-256 key."""

ENDINGS = {"signing": ".key", "verify": ".pub", "encryption": ".key"}
"""Folders of key files, and how the names of the files end."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_LARGEST = 16384


def read_keys(folder: str) -> store.Keys:
    """Return every key below `folder`; a folder that does not exist holds none.

    Raises `errors.Refused` for a secret that others may read, `errors.InvalidInput` for a file that holds no key, and
    `errors.Unavailable` for one that cannot be read.
    """
    return store.Keys(
        folder=folder,
        signing={name: _private(path) for name, path in _files(folder, "signing")},
        verify={name: _public(path) for name, path in _files(folder, "verify")},
        encryption={name: _symmetric(path) for name, path in _files(folder, "encryption")},
    )


Marks = tuple[tuple[object, ...], ...]


def marks(folder: str) -> Marks:
    """Return what differs once a key below `folder` was added, taken away, replaced or given another mode.

    Raises `errors.Unavailable`.
    """
    return tuple(mark for kind in ENDINGS for _, path in _files(folder, kind) for mark in _mark(path))


def _mark(path: Path) -> Iterator[tuple[object, ...]]:
    with contextlib.suppress(OSError):  # what has gone since is as good as never there
        found = path.stat()
        yield (str(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def create_key(folder: str, kind: Literal["signing", "encryption"], name: str) -> bool:
    """Make a key unless one of that name is there; return whether it was made. A public half goes to `verify/`."""
    if not _NAME.fullmatch(name):
        raise errors.InvalidInput(f"{name!r} is not a name for a key", remedy="Use letters, digits, '.', '_', '-'.")
    secret = os.urandom(SIZE)
    made = _create(Path(folder) / kind / f"{name}.key", secret, 0o600)
    if made and kind == "signing":
        public = ed25519.Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        _create(Path(folder) / "verify" / f"{name}.pub", public, 0o644)
    return made


def _create(path: Path, content: bytes, mode: int) -> bool:
    """Write a new file whole: a reader that comes too early finds none rather than half a key."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "wb") as file:
            file.write(content.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        finally:
            os.unlink(aside)
    except OSError as error:
        raise errors.Unavailable(f"the key cannot be written: {error.strerror}", where=str(path)) from error
    return True


def _files(folder: str, kind: str) -> list[tuple[str, Path]]:
    ending = ENDINGS[kind]
    try:
        found = sorted((Path(folder) / kind).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise errors.Unavailable(f"the keys cannot be read: {error.strerror}", where=str(Path(folder) / kind)) from error
    return [
        (path.name.removesuffix(ending), path)
        for path in found
        if path.name.endswith(ending) and _NAME.fullmatch(path.name.removesuffix(ending))
    ]


def _read(path: Path, *, secret: bool) -> bytes:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if secret and stat.S_IMODE(found.st_mode) & 0o077:
                raise errors.Refused(
                    "others may read this secret key", where=str(path), remedy=f"chmod 600 {shlex.quote(str(path))}"
                )
            content = file.read(_LARGEST)
    except OSError as error:
        remedy = "A plain file that this account can read belongs there."
        raise errors.Unavailable(f"the key cannot be read: {error.strerror}", where=str(path), remedy=remedy) from error
    text = content.strip()
    if re.fullmatch(rb"[0-9a-fA-F]{1,63}", text):
        raise _no_key(path, "it ends in the middle of its 64 hex digits: put the whole key back")
    if len(content) == SIZE:
        return content
    if re.fullmatch(rb"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text.decode("ascii"))
    return content


def _symmetric(path: Path) -> bytes:
    content = _read(path, secret=True)
    if len(content) != SIZE:
        raise _no_key(path, "an encryption key is 32 raw bytes or 64 hex digits")
    return content


def _private(path: Path) -> bytes:
    content = _read(path, secret=True)
    if len(content) == SIZE:
        return content
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        raise _no_key(path, "a signing key is 32 raw bytes, 64 hex digits, or Ed25519 PEM without password") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _no_key(path, "a signing key must be Ed25519")
    return key.private_bytes_raw()


def _public(path: Path) -> bytes:
    content = _read(path, secret=False)
    if len(content) == SIZE:
        return content
    try:
        key = serialization.load_pem_public_key(content)
    except ValueError as error:
        raise _no_key(path, "a public key is 32 raw bytes, 64 hex digits, or Ed25519 PEM") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise _no_key(path, "a public key must be Ed25519")
    return key.public_bytes_raw()


def _no_key(path: Path, rule: str) -> errors.InvalidInput:
    return errors.InvalidInput(
        "this file holds no key", where=str(path), remedy=f"{rule[0].upper()}{rule[1:]}; `openssl rand -hex 32` makes one."
    )
