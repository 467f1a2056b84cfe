"""Signed and encrypted images (reliability T6 95, 96), and who may see whose."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from reconciler import errors
from reconciler.contracts import store
from reconciler.core import codec
from reconciler.storage import digests, manifest, path
from reconciler.storage.disk.fake import FakeDisk
from tests.storage import images
from tests.storage.images import RUN

SEAL, OTHER_SEAL = bytes(range(32)), bytes(range(1, 33))
LOCK, NEW_LOCK = bytes(range(32, 64)), bytes(range(64, 96))
DATA = {"state": b"The launch code is 0000. " * 3000}


def _open(disk: FakeDisk, keys: store.Keys, **named: str) -> path.PathStore:
    return path.PathStore(images.config(**named), keys, threads=0, open_disk=lambda: disk)


def _signed(disk: FakeDisk, key: bytes = SEAL, **more: bytes) -> path.PathStore:
    return _open(disk, store.Keys(signing={"seal": key}, verify=more), signing="seal")


def _public(key: bytes) -> bytes:
    return ed25519.Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()


def test_an_unsigned_image_is_refused_where_signatures_are_required() -> None:
    disk = FakeDisk()
    digest = images.put(_open(disk, store.Keys()), DATA).digest
    depot = _signed(disk)
    assert depot.list(RUN) == ()
    with pytest.raises(errors.Refused, match="not signed"):
        depot.open(digest)
    said = depot.verify(digest).problems[0]
    assert "not signed" in said
    assert "take a new checkpoint" in said, "what to do is told, too"


def test_a_signature_counts_only_by_a_known_key() -> None:
    disk = FakeDisk()
    digest = images.put(_signed(disk, OTHER_SEAL), DATA).digest
    with pytest.raises(errors.Refused, match="not a known key"):
        _signed(disk).open(digest)
    assert _signed(disk).list(RUN) == ()
    assert images.content_of(_signed(disk, rotated_out=_public(OTHER_SEAL)), digest) == DATA


def test_another_signature_under_the_same_manifest() -> None:
    disk = FakeDisk()
    digest = images.put(_signed(disk), DATA).digest
    other = images.put(_signed(disk), DATA).digest
    name = f"runs/{RUN}/checkpoints/{{}}/manifest.json"
    ours, theirs = (
        codec.decode(disk.open(name.format(one[7:])).read(0, 1 << 20), manifest.Envelope) for one in (digest, other)
    )
    disk.put(name.format(digest[7:]), codec.encode(manifest.Envelope(image=ours.image, signature=theirs.signature)))
    with pytest.raises(errors.Damaged, match="signature"):
        _signed(disk).open(digest)


def test_without_its_private_key_nothing_is_written() -> None:
    depot = _open(FakeDisk(), store.Keys(), signing="seal", encryption="lock")
    depot.claim(images.ALONE, "me")
    with pytest.raises(errors.Refused, match="signing key 'seal'"):
        depot.writer(images.meta())
    assert "signing key 'seal'" in depot.health().detail


def test_a_valid_image_under_another_run_is_refused() -> None:
    disk = FakeDisk()
    depot = _signed(disk)
    digest = images.put(depot, DATA).digest
    images.put(depot, DATA, images.meta(run=images.OTHER_RUN))
    folder = f"runs/{images.OTHER_RUN}/checkpoints/{digest[7:]}"
    disk.folder(folder)
    disk.put(f"{folder}/manifest.json", disk.open(f"runs/{RUN}/checkpoints/{digest[7:]}/manifest.json").read(0, 1 << 20))
    for name in disk.names(f"runs/{RUN}/packs"):
        disk.put(f"runs/{images.OTHER_RUN}/packs/{name}", disk.open(f"runs/{RUN}/packs/{name}").read(0, 1 << 30))
    assert len(depot.list(images.OTHER_RUN)) == 1
    disk.unlink(f"runs/{RUN}/checkpoints/{digest[7:]}/manifest.json")
    with pytest.raises(errors.Refused, match=f"belongs to run {RUN} of job team/train"):
        depot.open(digest)


def test_nothing_readable_lies_in_an_encrypted_store() -> None:
    disk = FakeDisk()
    depot = _open(disk, store.Keys(encryption={"lock": LOCK}), encryption="lock")
    content = {"passwords.txt": DATA["state"], "other": images.noise(1, 5)}
    digest = images.put(depot, content).digest
    for name in disk.names(f"runs/{RUN}/packs"):
        found = disk.open(f"runs/{RUN}/packs/{name}").read(0, 1 << 30)
        assert b"launch code" not in found
        assert b"passwords" not in found
        assert digests.whole(content["other"][:4096]) not in found
        assert content["other"][:64] not in found
    assert images.content_of(depot, digest) == content


def test_without_the_key_it_says_which_one_is_missing() -> None:
    disk = FakeDisk()
    digest = images.put(_open(disk, store.Keys(encryption={"lock": LOCK}), encryption="lock"), DATA).digest
    for keys in (store.Keys(), store.Keys(encryption={"lock": NEW_LOCK})):
        depot = _open(disk, keys, encryption="lock")
        with pytest.raises(errors.KeyMissing, match=r"key 'lock'.*not in the key folder") as caught:
            depot.open(digest)
        assert "encryption/lock@OLD.key" in caught.value.remedy
        assert len(depot.list(RUN)) == 1, "it is there, and whole, for whoever has the key"


def test_a_rotated_key_reads_old_images_and_lends_their_packs_under_the_new_one() -> None:
    disk = FakeDisk()
    old = images.put(_open(disk, store.Keys(encryption={"lock": LOCK}), encryption="lock"), DATA)
    both = _open(disk, store.Keys(encryption={"lock": NEW_LOCK, "lock@2024": LOCK}), encryption="lock")
    assert images.content_of(both, old.digest) == DATA
    more = {**DATA, "new": images.noise(2, 3)}
    sink = both.writer(images.meta(at=2), old.digest)
    images.fill(sink, more)
    new, usage = sink.commit()
    assert usage.reused_units == -(-len(DATA["state"]) // 4096)
    only_new = _open(disk, store.Keys(encryption={"lock": NEW_LOCK}), encryption="lock")
    assert images.content_of(only_new, new.digest) == more
    images.put(only_new, more, images.meta(at=3), old.digest)  # a parent that cannot be read costs room only


def test_a_pack_decrypts_for_no_other_run_or_tenant() -> None:
    """Even one who can rewrite manifests cannot make one run's packs readable under another: the key does not unwrap."""
    disk = FakeDisk()
    depot = _open(disk, store.Keys(encryption={"lock": LOCK}), encryption="lock")
    digest = images.put(depot, DATA).digest
    content = disk.open(f"runs/{RUN}/checkpoints/{digest[7:]}/manifest.json").read(0, 1 << 20)
    for was, now in ((f'"run":"{RUN}"', f'"run":"{images.OTHER_RUN}"'), ('"tenant":"team"', '"tenant":"thieves"')):
        image = bytes(codec.decode(content, manifest.Envelope).image).replace(was.encode(), now.encode())
        forged = hashlib.sha256(image).hexdigest()
        run = images.OTHER_RUN if "run" in was else RUN
        disk.folder(f"runs/{run}/checkpoints/{forged}")
        disk.folder(f"runs/{run}/packs")
        disk.put(f"runs/{run}/checkpoints/{forged}/manifest.json", b'{"image":' + image + b"}")
        for name in disk.names(f"runs/{RUN}/packs"):
            disk.put(f"runs/{run}/packs/{name}", disk.open(f"runs/{RUN}/packs/{name}").read(0, 1 << 30))
        with pytest.raises(errors.Damaged, match="does not unwrap"):
            depot.open(f"sha256:{forged}")


def test_a_store_that_became_encrypted_does_not_lend_plain_packs() -> None:
    disk = FakeDisk()
    plain = images.put(_open(disk, store.Keys()), DATA)
    depot = _open(disk, store.Keys(encryption={"lock": LOCK}), encryption="lock")
    sink = depot.writer(images.meta(at=2), plain.digest)
    images.fill(sink, DATA)
    assert sink.commit()[1].reused_units == 0


def test_keys_never_show_their_values() -> None:
    keys = store.Keys(signing={"seal": SEAL}, encryption={"lock": LOCK})
    assert SEAL.hex() not in repr(keys)
    assert repr(SEAL) not in repr(keys)
