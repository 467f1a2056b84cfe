"""The text a person copies to a new host: where the reconciler is, how to recognise it, and a secret that works once.

    perdure.HOST:PORT.PIN.SECRET

PIN is the SHA-256 of the authority's certificate (DER), SECRET 32 random bytes, both in base64url without padding. The host
checks the pin before it sends the secret, so whoever sits between the two learns nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

from reconciler import errors

PREFIX = "perdure."
BYTES = 32
"""Length of pin and secret before encoding."""

ADDRESS = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
"""HOST:PORT, where HOST is a name, an IPv4 address or an IPv6 address in brackets."""

PART = re.compile(r"[A-Za-z0-9_-]{43}")
"""Pin and secret as they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The three parts of a token's text."""

    address: str
    """HOST:PORT of the port for joining."""
    pin: str
    secret: str = field(repr=False)

    def text(self) -> str:
        """Return the one string to copy."""
        return f"{PREFIX}{self.address}.{self.pin}.{self.secret}"


def secret() -> str:
    """Return a new random secret."""
    return _encode(secrets.token_bytes(BYTES))


def digest(secret: str) -> str:
    """Return the hex SHA-256 by which the ledger knows a secret (`record.Join.token`)."""
    return hashlib.sha256(secret.encode()).hexdigest()


def pin(certificate: bytes) -> str:
    """Return the pin of an authority's certificate, given in DER."""
    return _encode(hashlib.sha256(certificate).digest())


def parse(text: str) -> Token:
    """Return the parts of a token. Raises `errors.InvalidInput` without repeating the text, which is a secret."""
    head, _, rest = text.strip().partition(PREFIX)
    parts = rest.rsplit(".", 2)
    if head or len(parts) != 3 or not ADDRESS.fullmatch(parts[0]) or not all(map(PART.fullmatch, parts[1:])):
        raise errors.InvalidInput(
            "this is not a join token",
            where="TOKEN",
            remedy="Copy the whole line that `perdure token create` printed; it begins with `perdure.`.",
        )
    return Token(address=parts[0], pin=parts[1], secret=parts[2])


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
