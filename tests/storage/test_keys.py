"""Key files: what is read, what is refused, what is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

from reconciler import errors
from reconciler.core import model
from reconciler.storage import keys
from reconciler.storage.opened import Opened
from tests.storage import images

RAW = bytes(range(32))


def _put(folder: Path, name: str, content: bytes, mode: int = 0o600) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def _pem(key: ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey) -> bytes:
    encoding = serialization.Encoding.PEM
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def test_every_form_of_a_key(tmp_path: Path) -> None:
    pair = ed25519.Ed25519PrivateKey.from_private_bytes(RAW)
    public = pair.public_key()
    _put(tmp_path, "signing/raw.key", RAW)
    _put(tmp_path, "signing/hex.key", RAW.hex().encode() + b"\n")
    _put(tmp_path, "signing/pem.key", _pem(pair))
    _put(tmp_path, "encryption/lock.key", RAW)
    _put(tmp_path, "encryption/lock@2024-11.key", RAW.hex().upper().encode())
    _put(tmp_path, "verify/raw.pub", public.public_bytes_raw(), 0o644)
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _put(tmp_path, "verify/pem.pub", pem, 0o644)
    _put(tmp_path, "verify/README", b"not a key")
    found = keys.read_keys(str(tmp_path))
    assert found.signing == {"raw": RAW, "hex": RAW, "pem": RAW}
    assert found.encryption == {"lock": RAW, "lock@2024-11": RAW}
    assert found.verify == {"raw": public.public_bytes_raw(), "pem": public.public_bytes_raw()}


def test_no_folder_holds_no_keys(tmp_path: Path) -> None:
    found = keys.read_keys(str(tmp_path / "none"))
    assert not found.signing
    assert not found.verify
    assert not found.encryption


@pytest.mark.parametrize("kind", ["signing", "encryption"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, kind: str, mode: int) -> None:
    path = _put(tmp_path, f"{kind}/lock.key", RAW, mode)
    with pytest.raises(errors.Refused, match="others may read") as caught:
        keys.read_keys(str(tmp_path))
    assert caught.value.where == str(path)
    assert caught.value.remedy == f"chmod 600 {path}"


def test_what_is_no_key(tmp_path: Path) -> None:
    cases = {
        "signing/a.key": b"hello",
        "encryption/a.key": RAW + b"!",
        "verify/a.pub": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "encryption/b.key": RAW.hex().encode()[:32],  # half of its digits is as long as a raw key
        "signing/c.key": RAW.hex().encode()[:32],
        "signing/b.key": _pem(x25519.X25519PrivateKey.generate()),
    }
    for name, content in cases.items():
        path = _put(tmp_path / name.replace("/", "-"), name, content)
        with pytest.raises(errors.InvalidInput) as caught:
            keys.read_keys(str(tmp_path / name.replace("/", "-")))
        assert caught.value.where == str(path)
        assert content[:5].decode() not in caught.value.message


def test_keys_are_made_once(tmp_path: Path) -> None:
    assert keys.create_key(str(tmp_path), "signing", "seal")
    assert keys.create_key(str(tmp_path), "encryption", "lock")
    first = keys.read_keys(str(tmp_path))
    assert not keys.create_key(str(tmp_path), "signing", "seal")
    assert keys.read_keys(str(tmp_path)) == first
    public = ed25519.Ed25519PrivateKey.from_private_bytes(first.signing["seal"]).public_key().public_bytes_raw()
    assert first.verify == {"seal": public}
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"seal.key", "seal.pub", "lock.key"}
    assert (tmp_path / "signing" / "seal.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["", "../lock", "a/b", ".hidden", "x" * 200])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.InvalidInput):
        keys.create_key(str(tmp_path), "encryption", name)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "signing").write_text("in the way")
    with pytest.raises(errors.Unavailable):
        keys.create_key(str(tmp_path), "signing", "seal")
    assert keys.read_keys(str(tmp_path)).signing == {}


SEALED = model.StoreSpec(name="main", root="/nowhere", signing="seal")


def test_a_key_counts_as_soon_as_it_is_there(tmp_path: Path) -> None:
    """Who follows the remedy need not start anything anew."""
    store = Opened(tmp_path)
    with pytest.raises(errors.Refused) as caught:
        store(SEALED).writer(images.meta())
    path = tmp_path / "signing" / "seal.key"
    assert str(path) in caught.value.remedy
    _put(tmp_path, "signing/seal.key", RAW)
    assert "keys" not in store(SEALED).health().detail
    found = store(SEALED)
    assert store(SEALED) is found, "nothing has changed, and what it remembers is worth something"
    path.replace(path.with_name("seal@old.key"))
    _put(tmp_path, "signing/seal.key", RAW[::-1])
    assert store(SEALED) is not found


def test_a_key_that_became_readable_by_others_is_noticed(tmp_path: Path) -> None:
    store, path = Opened(tmp_path), _put(tmp_path, "signing/seal.key", RAW)
    store(SEALED)
    path.chmod(0o644)
    with pytest.raises(errors.Refused, match="others may read"):
        store(SEALED)
    path.chmod(0o600)
    assert store(SEALED).health() is not None
