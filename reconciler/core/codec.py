"""One encoding for everything we write and read back ourselves: ledger, journals, wire, saved plans.

Canonical JSON: UTF-8, keys sorted, no spaces, so that equal values are equal bytes and digests are stable. Unknown members are
ignored on decoding, so that a newer writer does not stop an older reader.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec

from reconciler import errors

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="sorted")
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def encode(value: object) -> bytes:
    """Return the canonical JSON of a dataclass, enum, mapping, sequence or scalar."""
    return _encoder.encode(value)


def decode(data: bytes | str, kind: type[T]) -> T:
    """Return the value of type `kind` that `data` encodes.

    Raises `errors.Damaged` when the bytes are not JSON or do not fit the type; the message names the member.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(data)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.Damaged(f"not a valid {getattr(kind, '__name__', kind)}: {error}") from error
    except RecursionError as error:  # members that we do not know are passed over, however deep they are
        raise errors.Damaged(f"not a valid {getattr(kind, '__name__', kind)}: it is nested too deep") from error


def plain(value: object) -> Any:
    """Return `value` as dicts, lists and scalars (what `json.loads(encode(value))` would give)."""
    return msgspec.to_builtins(value, order="sorted")


def digest(value: object) -> str:
    """Return "sha256:" and the hex SHA-256 of the canonical JSON of `value`."""
    return "sha256:" + hashlib.sha256(encode(value)).hexdigest()
