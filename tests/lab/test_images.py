"""Images are packed as engines read them, deletions of upper layers included."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.lab import images


@pytest.fixture
def archive(tmp_path: Path) -> tarfile.TarFile:
    if os.geteuid() != 0:
        pytest.skip("making a whiteout wants root")
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for folder in (lower / "bin", lower / "etc", lower / "var/cache", upper / "etc/new"):
        folder.mkdir(parents=True)
    (lower / "bin" / "tool").write_text("#!/bin/sh\n")
    (lower / "etc" / "gone").write_text("old")
    (lower / "var/cache" / "download").write_text("large")
    os.mknod(upper / "etc" / "gone", 0o20000, os.makedev(0, 0))
    os.setxattr(upper / "etc/new", "trusted.overlay.opaque", b"y")
    images.write(tmp_path / "image.tar", "some/image:1", [lower, upper], ["/bin/tool"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tar", "lower", "upper"]
    return tarfile.open(tmp_path / "image.tar")


def test_an_archive_says_what_docker_load_wants(archive: tarfile.TarFile) -> None:
    with archive:
        (index,) = json.loads(content(archive, "manifest.json"))
        config = content(archive, index["Config"])
        assert index["RepoTags"] == ["some/image:1"]
        assert index["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
        digests = [f"sha256:{hashlib.sha256(content(archive, layer)).hexdigest()}" for layer in index["Layers"]]
        assert json.loads(config)["rootfs"]["diff_ids"] == digests
        assert json.loads(config)["config"]["Cmd"] == ["/bin/tool"]


def test_layers_hold_what_a_container_needs_and_what_was_deleted(archive: tarfile.TarFile) -> None:
    with archive:
        (index,) = json.loads(content(archive, "manifest.json"))
        names = []
        for layer in index["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                names.append(sorted(files.getnames()))
    assert names == [
        ["bin", "bin/tool", "etc", "etc/gone", "var", "var/cache"],
        ["etc", "etc/.wh.gone", "etc/new", "etc/new/.wh..wh..opq"],
    ]


def content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file
    return file.read()
