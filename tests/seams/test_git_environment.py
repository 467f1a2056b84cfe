"""What a git process gets: nothing inherited that steers it, and credentials by file only."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.seams.git import address, environment


def access(url: str, **files: str) -> environment.Access:
    return environment.Access(address=address.parse_address(url, Path("/")), **files)


def settings(variables: dict[str, str]) -> dict[str, str]:
    return {
        variables[f"GIT_CONFIG_KEY_{number}"]: variables[f"GIT_CONFIG_VALUE_{number}"]
        for number in range(int(variables["GIT_CONFIG_COUNT"]))
    }


def test_nothing_that_steers_git_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "GIT_DIR",
        "GIT_SSH_COMMAND",
        "GIT_EXEC_PATH",
        "GIT_CONFIG_PARAMETERS",
        "GIT_EXTERNAL_DIFF",
        "SSH_ASKPASS",
        "LD_PRELOAD",
    ):
        monkeypatch.setenv(name, "evil")
    built = environment.build(access("ssh://host/x"))
    assert "evil" not in built.values()
    assert built["GIT_TERMINAL_PROMPT"] == "0"
    assert built["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert settings(built)["core.hooksPath"] == "/dev/null"
    assert settings(built)["protocol.ext.allow"] == "never"


@pytest.mark.parametrize(
    ("url", "protocol"), [("/srv/x", "file"), ("ssh://h/x", "ssh"), ("https://h/x", "https"), ("http://127.0.0.1/x", "http")]
)
def test_only_the_protocol_of_the_address_is_allowed(url: str, protocol: str) -> None:
    assert environment.build(access(url))["GIT_ALLOW_PROTOCOL"] == protocol


def test_without_an_address_git_talks_to_nobody() -> None:
    assert environment.build(None)["GIT_ALLOW_PROTOCOL"] == "none"


def test_ssh_with_a_key_is_strict_and_quoted(tmp_path: Path) -> None:
    key, hosts = tmp_path / "my key; touch x", tmp_path / "known 100%"
    command = shlex.split(environment.build(access("ssh://h/x", ssh_key=str(key), known_hosts=str(hosts)))["GIT_SSH_COMMAND"])
    assert command[:5] == ["ssh", "-F", "/dev/null", "-i", str(key)]
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "IdentityAgent=none"):
        assert option in command
    assert f'UserKnownHostsFile="{tmp_path}/known 100%%"' in command


def test_ssh_without_a_key_uses_the_users_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    assert environment.build(access("ssh://h/x"))["SSH_AUTH_SOCK"] == "/run/agent"
    assert "SSH_AUTH_SOCK" not in environment.build(access("ssh://h/x", ssh_key="/k"))


def test_a_token_is_read_by_a_helper_for_its_site_only(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    built = environment.build(access("https://me@h:8443/x", token_file=str(token)))
    assert settings(built)["credential.helper"] == ""
    assert settings(built)["credential.https://h:8443.helper"].startswith("!f()")
    assert built["PERDURE_TOKEN_USER"] == "me"
    assert not any("s3cret" in value for value in built.values())


@pytest.mark.parametrize("name", ["missing", "", 'quo"te', "line\nbreak"])
def test_a_credential_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    if name == "":
        access("https://h/x").check()
        return
    with pytest.raises(errors.UsageError, match="token file"):
        access("https://h/x", token_file=str(tmp_path / name)).check()
