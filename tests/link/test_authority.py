"""The instance's authority: whom it certifies, for how long, and what it makes of a damaged key folder."""

from __future__ import annotations

import base64
import concurrent.futures
import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import oid

from reconciler import errors
from reconciler.link import authority
from reconciler.wire import certificates, token
from tests.link.site import Clock


@pytest.fixture
def own(tmp_path: Path) -> authority.Authority:
    return authority.create(tmp_path / "keys", "test", Clock())


def certified(own: authority.Authority, host: str = "a", pool: str = "spot") -> bytes:
    key, _ = certificates.new_key()
    return own.certify(certificates.request(key), host, pool)


def test_the_key_is_for_its_owner_alone(tmp_path: Path, own: authority.Authority) -> None:
    assert (tmp_path / "keys" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert own.certificate == (tmp_path / "keys" / "ca.crt").read_bytes()


def test_it_is_made_once(tmp_path: Path, own: authority.Authority) -> None:
    assert authority.create(tmp_path / "keys", "test", Clock()).pin == own.pin
    assert authority.load(tmp_path / "keys", "test", Clock()).pin == own.pin


def test_of_many_at_once_one_makes_it(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: authority.create(tmp_path / "keys", "test", Clock()).pin, range(8)))
    assert len(set(made)) == 1
    assert authority.load(tmp_path / "keys", "test", Clock()).pin == made[0]


def test_a_crash_between_key_and_certificate_is_healed(tmp_path: Path, own: authority.Authority) -> None:
    (tmp_path / "keys" / "ca.crt").unlink()
    assert authority.create(tmp_path / "keys", "test", Clock()).pin != own.pin


def test_a_lost_certificate_is_made_anew_and_the_key_kept(tmp_path: Path, own: authority.Authority) -> None:
    before, key = certified(own), (tmp_path / "keys" / "ca.key").read_bytes()
    old = x509.load_pem_x509_certificate(own.certificate)
    (tmp_path / "keys" / "ca.crt").unlink()
    again = authority.create(tmp_path / "keys", "test", Clock())
    assert (tmp_path / "keys" / "ca.key").read_bytes() == key
    host = x509.load_pem_x509_certificate(before)
    host.verify_directly_issued_by(x509.load_pem_x509_certificate(again.certificate))
    x509.load_pem_x509_certificates(again.serve()[1])[0].verify_directly_issued_by(old)


def test_a_key_by_halves_is_not_replaced(tmp_path: Path, own: authority.Authority) -> None:
    assert own.pin
    (tmp_path / "keys" / "ca.crt").unlink()
    path = tmp_path / "keys" / "ca.key"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(errors.Damaged, match="this file holds no key of an authority"):
        authority.create(tmp_path / "keys", "test", Clock())
    assert path.stat().st_size == 60


def test_a_host_certificate_names_host_instance_and_pool_for_a_day(own: authority.Authority) -> None:
    bearer = certificates.read(certified(own))
    assert (bearer.instance, bearer.host, bearer.pool) == ("test", "a", "spot")
    now = Clock().now()
    assert bearer.expires_at == pytest.approx(now + 24 * 3600, abs=60)
    assert bearer.renew_at == pytest.approx(now + 16 * 3600, abs=60)


def test_a_clock_that_is_set_back_a_day_keeps_neither_hosts_nor_the_server_out(own: authority.Authority) -> None:
    """A host that had joined while the clock was an hour ahead stayed out for that hour, and so did one with a slow clock."""
    back = Clock().now() - 23 * 3600
    server = x509.load_pem_x509_certificates(own.serve()[1])[0]
    assert server.not_valid_before_utc.timestamp() <= back
    assert certificates.read(certified(own)).starts_at <= back


def test_a_certificate_is_for_one_use(own: authority.Authority) -> None:
    _, chain = own.serve()
    for pem, use in ((certified(own), oid.ExtendedKeyUsageOID.CLIENT_AUTH), (chain, oid.ExtendedKeyUsageOID.SERVER_AUTH)):
        certificate = x509.load_pem_x509_certificates(pem)[0]
        assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [use]
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_server_certificate_is_not_a_hosts(own: authority.Authority) -> None:
    with pytest.raises(errors.Refused, match="not the certificate of a host"):
        certificates.read(own.serve()[1])


@pytest.mark.parametrize("name", ["", "a/b", "..", "-a", "a" * 64, "a b", "a?pool=x", "a\n"])
def test_odd_names_are_not_certified(own: authority.Authority, name: str) -> None:
    with pytest.raises(errors.InvalidInput):
        certified(own, host=name)


def test_a_pool_cannot_forge_a_name(own: authority.Authority) -> None:
    bearer = certificates.read(certified(own, pool="x/host/b?pool=y"))
    assert (bearer.host, bearer.pool) == ("a", "x/host/b?pool=y")


def _request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


@pytest.mark.parametrize(
    "request_pem",
    [
        b"",
        b"\xff\x00",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        _request(ec.generate_private_key(ec.SECP384R1())),
        _request(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    ],
    ids=["empty", "bytes", "broken", "other-curve", "rsa"],
)
def test_bad_requests_are_refused(own: authority.Authority, request_pem: bytes) -> None:
    with pytest.raises(errors.InvalidInput):
        own.certify(request_pem, "a", "")


def test_a_request_must_be_signed_by_its_own_key(own: authority.Authority) -> None:
    key, _ = certificates.new_key()
    der = bytearray(x509.load_pem_x509_csr(certificates.request(key)).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    text = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.b64encode(der) + b"\n-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(errors.InvalidInput):
        own.certify(text, "a", "")


def test_a_missing_authority_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match=r"ca\.key"):
        authority.load(tmp_path, "test", Clock())
    (tmp_path / "ca.key").touch()
    with pytest.raises(errors.UsageError, match=r"ca\.crt"):
        authority.load(tmp_path, "test", Clock())


@pytest.mark.parametrize("file", ["ca.key", "ca.crt"])
def test_half_written_files_are_damaged(tmp_path: Path, own: authority.Authority, file: str) -> None:
    assert own.pin
    path = tmp_path / "keys" / file
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(errors.Damaged, match="this file holds no") as caught:
        authority.load(tmp_path / "keys", "test", Clock())
    assert caught.value.where == str(path)
    assert "https" not in str(caught.value)


def test_the_key_of_another_authority_is_noticed(tmp_path: Path, own: authority.Authority) -> None:
    assert own.pin
    authority.create(tmp_path / "other", "test", Clock())
    (tmp_path / "keys" / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(errors.Damaged, match="another key"):
        authority.load(tmp_path / "keys", "test", Clock())


def test_the_pin_is_the_digest_of_the_certificate(own: authority.Authority) -> None:
    der = x509.load_pem_x509_certificate(own.certificate).public_bytes(serialization.Encoding.DER)
    assert own.pin == token.pin(der)


def test_the_authority_outlives_its_servers_key(own: authority.Authority) -> None:
    leaf, root = x509.load_pem_x509_certificates(own.serve()[1])
    assert leaf.not_valid_after_utc == root.not_valid_after_utc
    assert root.not_valid_after_utc - root.not_valid_before_utc > datetime.timedelta(days=3650)
