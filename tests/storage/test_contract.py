"""The contract of a store, kept by the fake one, the real one, and the real one on a disk in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.contracts import store
from reconciler.storage import fake, path
from reconciler.storage.disk.fake import FakeDisk
from tests.storage import contract, images

KEYS = store.Keys(signing={"seal": bytes(range(32))}, encryption={"lock": bytes(range(32, 64))})


def _sealed(root: Path) -> store.Store:
    return path.PathStore(images.config(str(root), signing="seal", encryption="lock"), KEYS)


def _on_fake_disk(_: Path) -> store.Store:
    disk = FakeDisk()
    return path.PathStore(images.config(), store.Keys(), threads=0, open_disk=lambda: disk)


STORES: dict[str, Callable[[Path], store.Store]] = {
    "fake": lambda _: fake.FakeStore(),
    "path": lambda root: path.PathStore(images.config(str(root)), store.Keys()),
    "path-signed-encrypted": _sealed,
    "path-on-fake-disk": _on_fake_disk,
}


@pytest.fixture(params=STORES)
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> store.Store:
    return STORES[request.param](tmp_path / "store")


class TestClaims(contract.Claims):
    pass


class TestImages(contract.Images):
    pass


class TestParents(contract.Parents):
    pass


class TestPruning(contract.Pruning):
    pass


class TestExport(contract.Export):
    pass


class TestLogs(contract.Logs):
    pass


class TestHealth(contract.Health):
    pass
