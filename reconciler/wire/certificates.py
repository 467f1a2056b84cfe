"""Whom a certificate names, and the request with which a host asks for one.

A host's certificate carries `perdure://INSTANCE/host/NAME?pool=POOL` as its only subject alternative name. The server's carries
a fixed DNS name: the authority belongs to one instance and vouches for its servers and hosts alone, each for its own use, so a
host cannot pose as the server. Keys are ECDSA on P-256, which every TLS library takes.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler import errors

SERVER_NAME = "reconciler.perdure.internal"
"""DNS name in the server's certificate, whatever address it listens on."""

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""Names of hosts: what may be part of a path, a label and a URI as it is."""

_URI = re.compile(r"perdure://([^/?#]+)/host/([^/?#]+)\?pool=([^&#]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """What a host's certificate says about it."""

    instance: str
    host: str
    pool: str
    starts_at: float
    """POSIX time in seconds, as `expires_at`: as long before it was issued as it lives afterwards."""
    expires_at: float
    serial: str
    """Hexadecimal."""

    @property
    def renew_at(self) -> float:
        """POSIX time from which it is to be renewed: two thirds of its life.

        It lives from the middle of its time. The half before is for clocks that are set back after it was issued: a certificate
        that is not good yet would keep its host out until then, and another one could not be had.
        """
        issued = (self.starts_at + self.expires_at) / 2
        return issued + (self.expires_at - issued) * 2 / 3


def uri(instance: str, host: str, pool: str) -> str:
    """Return the subject alternative name of a host's certificate."""
    return f"perdure://{quote(instance, safe='')}/host/{quote(host, safe='')}?pool={quote(pool, safe='')}"


def read(pem: bytes) -> Bearer:
    """Return what a host's certificate says. Raises `errors.Refused` when it is no certificate of a host."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [_URI.fullmatch(each) for each in names.get_values_for_type(x509.UniformResourceIdentifier)]
    except (ValueError, x509.ExtensionNotFound) as error:
        raise errors.Refused(f"not the certificate of a host: {error}") from error
    if len(found) != 1 or found[0] is None or len(list(names)) != 1:
        raise errors.Refused("not the certificate of a host: it names none")
    instance, host, pool = map(unquote, found[0].groups())
    return Bearer(
        instance=instance,
        host=host,
        pool=pool,
        starts_at=certificate.not_valid_before_utc.timestamp(),
        expires_at=certificate.not_valid_after_utc.timestamp(),
        serial=f"{certificate.serial_number:x}",
    )


def term(starts_at: float, expires_at: float, now: float) -> str:
    """Return from when until when a certificate is good and what the clock here says, as a message tells it; POSIX seconds."""
    begin, end, here = (
        datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="seconds") for at in (starts_at, expires_at, now)
    )
    return f"good from {begin} until {end}, and by this machine's clock it is {here}"


def new_key() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """Return a new private key, and the same as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key, pem


def request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a signing request (PEM) for `key`. It names nobody: the authority decides whom it certifies."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def requested_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key of a signing request whose sender holds the private part.

    Raises `errors.InvalidInput` for anything else than a P-256 key signed by itself.
    """
    try:
        asked = x509.load_pem_x509_csr(pem)
        valid, key = asked.is_signature_valid, asked.public_key()
    except (ValueError, TypeError) as error:
        raise errors.InvalidInput("the signing request cannot be read") from error
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise errors.InvalidInput("the signing request is not for a P-256 key that its sender holds")
    return key
