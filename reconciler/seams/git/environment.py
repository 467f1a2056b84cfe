"""The environment of a git process: nothing inherited that could steer git, and credentials that no list of processes shows."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reconciler import errors
from reconciler.seams.git import address

PASSED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "SUDO_UID",  # lets git open the repository of the person who has called sudo
    *(
        name
        for pair in (("http_proxy", "HTTP_PROXY"), ("https_proxy", "HTTPS_PROXY"), ("no_proxy", "NO_PROXY"))
        for name in pair
    ),
)
"""All that a git process inherits."""

AUTHORITIES = {"SSL_CERT_FILE": "http.sslCAInfo", "SSL_CERT_DIR": "http.sslCAPath"}
"""Variables by which people name certificate authorities to every program, and the settings by which git takes them."""

FIXED = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_NO_REPLACE_OBJECTS": "1",
}

OFFLINE = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
"""For commands that only read what is here: a partial repository would fetch missing objects one by one."""

SETTINGS = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", os.devnull),
    ("core.excludesFile", os.devnull),
    ("core.askPass", ""),
    ("core.autocrlf", "false"),
    ("credential.helper", ""),
    ("protocol.ext.allow", "never"),
    ("transfer.credentialsInUrl", "die"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("push.recurseSubmodules", "no"),
    ("push.negotiate", "false"),
    ("gc.auto", "0"),  # tidied at a time of our choosing, see `mirror.Mirror.tidy`
    ("maintenance.auto", "false"),
    ("pack.threads", "1"),  # what one pass sends is tiny, and starting threads is not
    ("core.compression", "1"),  # a pass waits for it; `mirror.Mirror.tidy` packs again what stays
    ("core.bigFileThreshold", "1m"),  # no search for likenesses in what the next pass replaces: an observation of many jobs
)
"""Settings of every command. They travel in the environment, so that no argument list shows an address."""

SLOW = 1000
"""Bytes per second below which a server over http does not count as answering; over ssh only `source.timeout` bounds it."""
PATIENCE = 30
"""Seconds for which it may be as slow as that."""

TOKEN_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$PERDURE_TOKEN_USER" "$(cat "$PERDURE_TOKEN_FILE")"; }; f'
)
"""Reads the token's file when the server asks; `printf` is part of the shell, so no argument list shows the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One repository elsewhere and how to get in."""

    address: address.Address
    ssh_key: str = ""
    """Path of a private key; empty: the user's own keys, agent and configuration."""
    known_hosts: str = ""
    """Path of a known_hosts file; empty: the user's own, strictly."""
    token_file: str = ""
    """Path of a file that holds an HTTPS token."""

    def check(self) -> None:
        """Raise `errors.UsageError` when a file named here cannot be read."""
        for what, name in (("ssh key", self.ssh_key), ("known_hosts", self.known_hosts), ("token", self.token_file)):
            if not name:
                continue
            if '"' in name or address.text_problem(name):
                raise errors.UsageError(f"the {what} file has a name that ssh cannot be given", where=name, remedy="Rename it.")
            if not os.access(name, os.R_OK) or not Path(name).is_file():
                raise errors.UsageError(
                    f"the {what} file cannot be read", where=name, remedy="Check the path and the file's permissions."
                )


def build(access: Access | None, more: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """Return the environment of a command: with `access` it may talk to that repository (as remote "origin"), else to nobody.

    `more` are further settings of git.
    """
    environment = {name: os.environ[name] for name in PASSED if name in os.environ} | FIXED
    settings = [*SETTINGS, *more]
    if access is None:
        environment |= OFFLINE
    else:
        remote = access.address
        environment["GIT_ALLOW_PROTOCOL"] = remote.protocol
        settings.append(("remote.origin.url", remote.url))
        if remote.protocol == "ssh":
            environment |= _ssh(access)
        elif remote.protocol in ("https", "http"):
            settings += [("http.lowSpeedLimit", str(SLOW)), ("http.lowSpeedTime", str(PATIENCE))]
            settings += [(key, os.environ[name]) for name, key in AUTHORITIES.items() if name in os.environ]
            if access.token_file:
                environment["PERDURE_TOKEN_FILE"] = os.path.abspath(access.token_file)
                environment["PERDURE_TOKEN_USER"] = remote.user or "x-access-token"
                settings.append((f"credential.{remote.site}.helper", TOKEN_HELPER))
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for index, (key, value) in enumerate(settings):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment


def _ssh(access: Access) -> dict[str, str]:
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "15",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "3",
        "PermitLocalCommand": "no",
        "ForwardAgent": "no",
        "ForwardX11": "no",
    }
    command = ["ssh"]
    passed = {}
    if access.ssh_key:
        command += ["-F", os.devnull, "-i", _token(access.ssh_key)]
        options |= {"IdentitiesOnly": "yes", "IdentityAgent": "none", "PreferredAuthentications": "publickey"}
    elif "SSH_AUTH_SOCK" in os.environ:
        passed["SSH_AUTH_SOCK"] = os.environ["SSH_AUTH_SOCK"]
    if access.known_hosts:
        options |= {"UserKnownHostsFile": f'"{_token(access.known_hosts)}"', "GlobalKnownHostsFile": os.devnull}
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    return {**passed, "GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}


def _token(path: str) -> str:
    """Return a path as ssh's options want it: absolute, and "%" doubled, which would begin a placeholder."""
    return os.path.abspath(path).replace("%", "%%")
