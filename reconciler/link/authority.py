"""The instance's certificate authority: vouches for the server and for hosts, and for nothing else.

Its key lies in the key folder (`ca.key`, `ca.crt`) and never in Git. Certificates of hosts live for a day and are renewed by
their hosts, so a revoked one is worthless soon even where nobody checks. The server's key is made anew at each start and never
written.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import oid

from reconciler import errors
from reconciler.contracts import clock
from reconciler.seams import durable
from reconciler.wire import certificates, token

KEY_FILE = "ca.key"
CERTIFICATE_FILE = "ca.crt"

DAY = 86400.0
AUTHORITY_LIFE = 3650 * DAY
HOST_LIFE = DAY


class Authority:
    """Signs certificates with the instance's key."""

    def __init__(
        self,
        instance: str,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        time: clock.Clock,
        life: float = HOST_LIFE,
    ) -> None:
        self.instance = instance
        self._key = key
        self._certificate = certificate
        self._clock = time
        self._life = life

    @property
    def certificate(self) -> bytes:
        """The authority's own certificate (PEM). Public."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pin(self) -> str:
        """What tokens carry, so that a new host recognises this authority."""
        return token.pin(self._certificate.public_bytes(serialization.Encoding.DER))

    def serve(self) -> tuple[bytes, bytes]:
        """Return a new key and certificate chain (PEM) for the server, good for as long as the authority itself.

        Also before now: hosts have clocks of their own, and ours may be set back while we serve.
        """
        key, pem = certificates.new_key()
        begins = self._certificate.not_valid_before_utc.timestamp()
        builder = _builder(key.public_key(), self._certificate.subject, begins)
        chain = (
            builder.not_valid_after(self._certificate.not_valid_after_utc)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(certificates.SERVER_NAME)]), critical=True)
            .add_extension(x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
        )
        return pem, self._sign(chain) + self.certificate

    def certify(self, request: bytes, host: str, pool: str) -> bytes:
        """Return a certificate (PEM) that binds the key of a signing request to `host`. Raises `errors.InvalidInput`."""
        key = certificates.requested_key(request)
        if not certificates.NAME.fullmatch(host):
            raise errors.InvalidInput(
                f"{host!r} cannot be the name of a host", remedy="Letters, digits, dots, dashes and underscores; 63 at most."
            )
        now = self._clock.now()
        name = x509.UniformResourceIdentifier(certificates.uri(self.instance, host, pool))
        return self._sign(
            _builder(key, self._certificate.subject, now - self._life)  # see `certificates.Bearer.renew_at`
            .not_valid_after(_moment(now + self._life))
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        public = self._key.public_key()
        signed = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signing_certificates=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return signed.public_bytes(serialization.Encoding.PEM)


def create(directory: Path, instance: str, time: clock.Clock) -> Authority:
    """Make an authority in the key folder, or return the one that is there; of several processes at once, one makes it."""
    durable.make_folder(directory, 0o700)
    with durable.exclusively(directory):
        return load(directory, instance, time) if exists(directory) else _made(directory, instance, time)


def exists(directory: Path) -> bool:
    """Return whether the key folder has an authority. Its certificate is written last: a key alone is what a crash left."""
    return (directory / CERTIFICATE_FILE).exists()


def _made(directory: Path, instance: str, time: clock.Clock) -> Authority:
    """Make what is missing. A key that is there is kept: hosts that it has certified know it by any of its certificates."""
    before = durable.read(directory / KEY_FILE)
    if before is None:
        key, pem = certificates.new_key()
        durable.write_atomic(directory / KEY_FILE, pem, mode=0o600)
    else:
        key = _key(directory, before)
    name = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, f"Perdure {instance}"[:64])])
    now = time.now()
    certificate = (
        _builder(key.public_key(), name, now - DAY, name)
        .not_valid_after(_moment(now + AUTHORITY_LIFE))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signing_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    durable.write_atomic(directory / CERTIFICATE_FILE, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return Authority(instance, key, certificate, time)


def load(directory: Path, instance: str, time: clock.Clock, life: float = HOST_LIFE) -> Authority:
    """Return the authority of a key folder.

    Raises `errors.UsageError` when there is none, `errors.Damaged` when its files do not belong together.
    """
    key_pem, certificate_pem = durable.read(directory / KEY_FILE), durable.read(directory / CERTIFICATE_FILE)
    if key_pem is None or certificate_pem is None:
        raise errors.UsageError(
            f"the key folder has no {KEY_FILE if key_pem is None else CERTIFICATE_FILE}",
            where=str(directory),
            remedy="Mount the folder that holds the instance's own (keys.directory), or restore the file from your backup.",
        )
    key = _key(directory, key_pem)
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise errors.Damaged(
            "this file holds no certificate of an authority",
            where=str(directory / CERTIFICATE_FILE),
            remedy=f"Restore it from your backup, or remove it: it is made anew from {KEY_FILE}, and hosts stay joined.",
        ) from error
    if certificate.public_key() != key.public_key():
        raise errors.Damaged(
            f"{KEY_FILE} and {CERTIFICATE_FILE} are not an authority: the certificate is for another key",
            where=str(directory),
            remedy="Restore both files from your backup. A new authority means that every host joins again.",
        )
    return Authority(instance, key, certificate, time, life)


def _key(directory: Path, pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise errors.Damaged(
            "this file holds no key of an authority",
            where=str(directory / KEY_FILE),
            remedy=f"Restore it from your backup. Without it, remove it and {CERTIFICATE_FILE}: every host must join again.",
        )
    return key


NOBODY = x509.Name([])
"""The subject of all but the authority: whom a certificate names stands in its alternative name."""


def _builder(
    key: ec.EllipticCurvePublicKey, issuer: x509.Name, begins: float, subject: x509.Name = NOBODY
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(begins))
    )


def _usage(*, signing_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signing_certificates,
        key_cert_sign=signing_certificates,
        crl_sign=signing_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
