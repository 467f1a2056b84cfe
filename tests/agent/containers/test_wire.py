"""What comes from dockerd, as it is read."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import pytest

from agent.containers import dockerd, images, seam
from reconciler import errors

FRAMES = [b"one\n", b"", b"x" * 100_000, b"two"]
STREAM = b"".join(struct.pack(">BxxxL", 1 + n % 2, len(frame)) + frame for n, frame in enumerate(FRAMES))


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_frames_come_whole_however_they_are_cut(size: int) -> None:
    assert list(dockerd.frames(STREAM[at : at + size] for at in range(0, len(STREAM), size))) == FRAMES


def test_a_frame_that_was_cut_off_is_none() -> None:
    assert list(dockerd.frames([STREAM[:-1]])) == FRAMES[:-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T01:00:00.000000001+01:00", 1),
        ("0001-01-01T00:00:00Z", 0),
        ("rubbish", 0),
    ],
)
def test_moments(text: str, expected: int) -> None:
    assert dockerd.nanoseconds(text) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", "docker.io"),
        ("library/train:1", "docker.io"),
        ("ghcr.io/a/b", "ghcr.io"),
        ("localhost/a", "localhost"),
        ("registry:5000/a@sha256:x", "registry:5000"),
    ],
)
def test_the_registry_of_an_image(name: str, expected: str) -> None:
    assert images.registry(name) == expected


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (500, 'Head "http://r:5000/v2/a/manifests/1": no basic auth credentials', seam.Denied),
        (500, "unauthorized: authentication required", seam.Denied),
        (404, "pull access denied for a/b, repository does not exist or may require 'docker login': denied: …", seam.Denied),
        (404, "manifest for r:5000/a:2 not found: manifest unknown: manifest unknown", errors.Refused),
        (0, "no matching manifest for linux/arm64 in the manifest list entries", errors.Refused),
        (
            500,
            'Get "https://r/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority',
            errors.Refused,
        ),
        (500, 'Get "http://r:5000/v2/": dial tcp 10.0.0.1:5000: connect: connection refused', errors.Unavailable),
        (500, "toomanyrequests: You have reached your pull rate limit", errors.Unavailable),
        (0, "failed to register layer: mkdir /var/lib/docker/x: permission denied", errors.Unavailable),
    ],
)
def test_what_a_registry_says(status: int, said: str, kind: type[errors.PerdureError]) -> None:
    assert dockerd.of_a_registry(status, said) is kind


@pytest.mark.parametrize(
    ("status", "error", "remembered", "expected"),
    [
        (128, "perdure: granted already", (0,), (0, True)),
        (127, "no such file", (137,), (137, True)),
        (128, "perdure: granted already", (), (128, False)),
        (128, "", (), (128, True)),
        (255, "", (), (255, False)),
        (255, "", (255,), (255, True)),
        (3, "", (), (3, True)),
    ],
)
def test_how_a_container_ended_whatever_a_later_start_came_to(
    monkeypatch: pytest.MonkeyPatch, status: int, error: str, remembered: tuple[int, ...], expected: tuple[int, bool]
) -> None:
    state = {"Running": False, "ExitCode": status, "Error": error, "FinishedAt": "2026-01-01T00:00:00Z"}
    ends = tuple(seam.End(id=name, at=0.0, code=code) for name, code in (("other", 9), *(("c", each) for each in remembered)))

    class Client:
        def inspect_container(self, container: str) -> dict[str, object]:
            return {"State": state}

    engine = dockerd.Dockerd("/nowhere")
    monkeypatch.setattr(engine, "_told", lambda what: contextlib.nullcontext(Client()))
    monkeypatch.setattr(engine, "ends", lambda since, until: ends)
    found = engine.inspect("c")
    assert (found.code, found.witnessed) == expected


def registries(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "registries.json"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_credentials_by_registry(tmp_path: Path) -> None:
    path = registries(tmp_path, json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}, "r": {"auth": "Yzpk"}}}))
    assert images.credentials(path, "docker.io") == {"username": "a", "password": "b"}
    assert images.credentials(path, "r") == {"username": "c", "password": "d"}
    assert images.credentials(path, "other") is None
    assert images.credentials(tmp_path / "none", "r") is None


@pytest.mark.parametrize(
    "text", ["", "[]", '{"auths": {"r": {}}}', '{"auths": {"r": {"auth": "!"}}}', '{"auths": {"r": {"auth": "YQ=="}}}']
)
def test_credentials_that_cannot_be_understood(tmp_path: Path, text: str) -> None:
    with pytest.raises(errors.Refused, match="cannot be understood"):
        images.credentials(registries(tmp_path, text), "r")


def test_credentials_that_others_can_read(tmp_path: Path) -> None:
    with pytest.raises(errors.Refused, match="belong to root"):
        images.credentials(registries(tmp_path, "{}", 0o644), "r")


def test_the_digest_is_of_the_repository_that_was_asked_for() -> None:
    image = seam.Image(id="sha256:1", digests=("other@sha256:2", "mine@sha256:3"))
    assert images.digest(image, "mine:1") == "mine@sha256:3"
    assert images.digest(image, "elsewhere:1") == "other@sha256:2"
    assert images.digest(seam.Image(id="sha256:1"), "mine:1") == ""
