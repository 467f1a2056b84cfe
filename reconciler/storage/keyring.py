"""Keys in use: signatures by Ed25519, and pack keys wrapped by AES-256-GCM.

A key is known by an id that is a digest of the key itself, so that a rotated key stays usable under whatever name it is kept:
`NAME@2024-11` beside a new `NAME`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.ciphers import aead

from reconciler import errors
from reconciler.contracts import store

NONCE = 12
"""Bytes of an AES-GCM nonce (NIST SP 800-38D, 8.2)."""

TAG = 16
"""Bytes that AES-GCM adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """An Ed25519 signature and which key made it."""

    key: str = ""
    """Name of the key when it was made; for people."""
    key_id: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A pack's key, encrypted by a named key."""

    key: str
    """Name of the wrapping key when it was used; for people."""
    key_id: str
    nonce: bytes
    value: bytes


class Keyring:
    """The keys of one process, found by name for writing and by id for reading."""

    def __init__(self, keys: store.Keys) -> None:
        self._folder = keys.folder
        self._signing = {name: ed25519.Ed25519PrivateKey.from_private_bytes(raw) for name, raw in keys.signing.items()}
        public = [key.public_key() for key in self._signing.values()]
        public += [ed25519.Ed25519PublicKey.from_public_bytes(raw) for raw in keys.verify.values()]
        self._verify = {_public_id(key): key for key in public}
        self._wrapping = dict(keys.encryption)
        self._by_id = {_wrapping_id(raw): raw for raw in keys.encryption.values()}

    def sign(self, name: str, message: bytes) -> Signature:
        """Sign with the key `name`. Raises `errors.KeyMissing`."""
        key = self._signing.get(name)
        if key is None:
            raise self._missing("signing", name)
        return Signature(key=name, key_id=_public_id(key.public_key()), value=key.sign(message))

    def verify(self, signature: Signature, message: bytes) -> None:
        """Check a signature. Raises `errors.KeyMissing` for one that is not known, `errors.Damaged` for a wrong one."""
        key = self._verify.get(signature.key_id)
        if key is None:
            known = f"key {signature.key!r} (id {signature.key_id[:12]})"
            remedy = f"If it should be accepted, put its public key into {self._folder}/verify."
            raise errors.KeyMissing(f"signed by {known}, which is not a known key", remedy=remedy)
        try:
            key.verify(signature.value, message)
        except InvalidSignature as error:
            raise errors.Damaged("the signature does not fit: it was altered after it was signed") from error

    def require(self, *, signing: str, encryption: str) -> None:
        """Raise `errors.KeyMissing` unless both named keys are here; an empty name needs none."""
        if signing and signing not in self._signing:
            raise self._missing("signing", signing)
        if encryption and encryption not in self._wrapping:
            raise self._missing("encryption", encryption)

    def wrap(self, name: str, key: bytes, bound: bytes) -> WrappedKey:
        """Encrypt a pack's key under the key `name`; it can be unwrapped only with the same `bound`."""
        wrapping = self._wrapping.get(name)
        if wrapping is None:
            raise self._missing("encryption", name)
        nonce = os.urandom(NONCE)
        value = aead.AESGCM(wrapping).encrypt(nonce, key, bound)
        return WrappedKey(key=name, key_id=_wrapping_id(wrapping), nonce=nonce, value=value)

    def is_current(self, name: str, wrapped: WrappedKey) -> bool:
        """Return whether the key `name` is still the one that wrapped this."""
        return name in self._wrapping and _wrapping_id(self._wrapping[name]) == wrapped.key_id

    def can_unwrap(self, wrapped: WrappedKey) -> bool:
        """Return whether the wrapping key is here."""
        return wrapped.key_id in self._by_id

    def unwrap(self, wrapped: WrappedKey, bound: bytes) -> bytes:
        """Return the pack's key. Raises `errors.KeyMissing`, `errors.Damaged`."""
        wrapping = self._by_id.get(wrapped.key_id)
        if wrapping is None:
            raise errors.KeyMissing(
                f"encrypted with key {wrapped.key!r} (id {wrapped.key_id[:12]}), which is not in the key folder",
                remedy="Put it back; after a rotation keep the old key beside the new, as "
                f"{self._folder}/encryption/{wrapped.key}@OLD.key.",
            )
        try:
            return aead.AESGCM(wrapping).decrypt(wrapped.nonce, wrapped.value, bound)
        except InvalidTag as error:
            raise errors.Damaged("a pack's key does not unwrap: it was altered, or belongs to another run") from error

    def _missing(self, kind: str, name: str) -> errors.KeyMissing:
        return errors.KeyMissing(
            f"the {kind} key {name!r} that the Store names is not in the key folder",
            remedy=f"Put it at {self._folder}/{kind}/{name}.key (mode 0600); a first one is made by `openssl rand -hex 32`.",
        )


def _public_id(key: ed25519.Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(b"perdure signing key\0" + raw).hexdigest()


def _wrapping_id(raw: bytes) -> str:
    return hashlib.sha256(b"perdure wrapping key\0" + raw).hexdigest()[:32]
