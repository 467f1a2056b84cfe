"""Addresses, names and paths are refused before any git process sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler import errors
from reconciler.seams.git import address

BASE = Path("/base")


@pytest.mark.parametrize(
    ("text", "url", "protocol"),
    [
        (".", "/base", "file"),
        ("jobs", "/base/jobs", "file"),
        ("/srv/jobs.git", "/srv/jobs.git", "file"),
        ("file:///srv/a%20b", "/srv/a b", "file"),
        ("ssh://git@host:22/jobs", "ssh://git@host:22/jobs", "ssh"),
        ("git@host:jobs.git", "git@host:jobs.git", "ssh"),
        ("https://me@host/jobs", "https://me@host/jobs", "https"),
        ("http://127.0.0.1:8080/jobs", "http://127.0.0.1:8080/jobs", "http"),
        ("http://[::1]:8080/jobs", "http://[::1]:8080/jobs", "http"),
    ],
)
def test_addresses(text: str, url: str, protocol: str) -> None:
    found = address.parse_address(text, BASE)
    assert (found.url, found.protocol) == (url, protocol)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "--upload-pack=touch /tmp/x",
        "ext::sh -c 'touch x'",
        "fd::17",
        "git://host/jobs",
        "ftp://host/jobs",
        "http://host/jobs",
        "ssh://-oProxyCommand=x/jobs",
        "ssh://host/-jobs",
        "ssh://-u@host/jobs",
        "-oProxyCommand=x:jobs",
        "host:-jobs",
        "https://host\n/jobs",
        "jobs\0",
        "file://elsewhere/jobs",
        "https://[::1/jobs",
        "https://host:port/jobs",
        "/" + 5000 * "a",
    ],
)
def test_dangerous_addresses_are_refused(text: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        address.parse_address(text, BASE)
    assert caught.value.remedy


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(errors.UsageError, match="password") as caught:
        address.parse_address("https://me:hunter2@host/jobs", BASE)
    assert "hunter2" not in str(caught.value)


def test_a_token_goes_to_the_site_it_is_for() -> None:
    assert address.parse_address("https://me@host:8443/jobs", BASE).site == "https://host:8443"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-main",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "[a",
        "a\\b",
        "@",
        "a@{1}",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a.lock",
        "a\n",
    ],
)
def test_names_that_git_does_not_allow(name: str) -> None:
    assert address.ref_problem(name)


@pytest.mark.parametrize("name", ["main", "feature/x", "v1.0", "ümläut", "refs/heads/main"])
def test_names_that_git_allows(name: str) -> None:
    assert not address.ref_problem(name)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "a//b",
        "../a",
        "a/../b",
        "./a",
        ".git/config",
        "a/.GIT/hooks",
        "a\0b",
        "a\nb",
        "a/" + 256 * "b",
        3000 * "a/" + "a",
    ],
)
def test_paths_that_cannot_be(path: str) -> None:
    assert address.path_problem(path)


@pytest.mark.parametrize("path", ["a", "a/b c/ü.yaml", ".github/x", "-a", "a/..b", "\udcff"])
def test_paths_that_can_be(path: str) -> None:
    assert not address.path_problem(path)


def test_shown_text_has_no_credentials_and_no_escapes() -> None:
    assert address.shown("https://a:b@c/d and ssh://u@h/p\x1b[31m") == "https://***@c/d and ssh://***@h/p�[31m"


def test_a_repository_is_told_by_its_layout(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / ".git").write_text("gitdir: ../bare\n")
    for name in ("objects", "refs"):
        (tmp_path / "bare" / name).mkdir(parents=True)
        (tmp_path / "normal" / ".git" / name).mkdir(parents=True)
    for place in ("bare", "normal/.git"):
        (tmp_path / place / "HEAD").write_text("ref: refs/heads/main\n")
    assert [address.is_repository(tmp_path / name) for name in ("bare", "normal", "linked", "plain")] == [
        True,
        True,
        True,
        False,
    ]
    for place in ("bare", "normal/.git"):
        (tmp_path / place / "HEAD").unlink()
        (tmp_path / place / "objects" / "pack").mkdir()
        assert address.is_repository(tmp_path / place.removesuffix("/.git")), "without its HEAD it is a damaged one"
    assert address.git_directory(tmp_path / "linked") == (tmp_path / "bare").resolve()
