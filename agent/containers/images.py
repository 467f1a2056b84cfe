"""Images on this host: there, or pulled with the credentials of a file that only root can read."""

from __future__ import annotations

import base64
import binascii
import json
import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from agent.containers import seam
from reconciler import errors

REGISTRIES = "registries.json"
"""File of credentials in the agent's data directory; what `docker login` writes: {"auths": {HOST: {"auth": BASE64}}}."""
HUB = ("docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io")
"""Names of the one registry that image names leave out."""


def obtain(docker: seam.Docker, name: str, registries: Path) -> seam.Image:
    """Return an image of this host, pulled first where it is missing.

    Raises `errors.Refused` for one that no registry has or gives, `errors.Unavailable`.
    """
    found = docker.image(name)
    if found is None:
        host = registry(name)
        known = credentials(registries, host)
        try:
            docker.pull(name, known)
        except seam.Denied as error:
            raise _denied(name, host, registries, known=known is not None) from error
        found = docker.image(name)
    if found is None:
        raise errors.Unavailable(f"image {name} was pulled and is gone again", remedy="Is something pruning images?")
    return found


def _denied(name: str, host: str, registries: Path, *, known: bool) -> errors.Refused:
    """Say what a person can do. The user is not named: with some registries it is the secret."""
    said = "does not accept the user and password that this host has for it" if known else "wants a user and a password"
    do = "Correct" if known else "Add"
    return errors.Refused(
        f"registry {host} {said}: image {name} cannot be pulled, or is not there",
        where=str(registries),
        remedy=f'{do} {{"auths": {{"{host}": {{"auth": …}}}}}} there, as `docker login {host}` writes it.',
    )


def digest(image: seam.Image, name: str) -> str:
    """Return how registries know the image, preferring the repository it was asked for by; "" for one made here."""
    wanted = repository(name)
    return next((each for each in image.digests if repository(each) == wanted), next(iter(image.digests), ""))


def repository(name: str) -> str:
    """Return an image's name without its tag and digest, as short as engines have it."""
    folder, slash, last = name.partition("@")[0].rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}".removeprefix(f"{HUB[0]}/").removeprefix("library/")


def registry(name: str) -> str:
    """Return the host that an image name means, by the rules of the distribution reference: a first part with a dot, a colon
    or the name localhost is a host."""
    first, slash, _ = name.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB[0]


def credentials(path: Path, host: str) -> Mapping[str, str] | None:
    """Return user name and password for a registry; None where the file has none, or is not there.

    Raises `errors.Refused` for a file that others could read or change.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.Refused(f"the registries' credentials cannot be read: {error.strerror}", where=str(path)) from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o077:
            raise errors.Refused(
                "the registries' credentials must belong to root, and to nobody else",
                where=str(path),
                remedy="chown root {0} && chmod 600 {0}".format(shlex.quote(str(path))),
            )
        data = file.read()
    try:
        known = json.loads(data)["auths"]
        entry = next((known[each] for each in (HUB if host == HUB[0] else (host, f"https://{host}")) if each in known), None)
        if entry is None:
            return None
        user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        if not colon:
            raise ValueError(host)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise errors.Refused(
            f"the credentials of registry {host} cannot be understood",
            where=str(path),
            remedy='Write {"auths": {HOST: {"auth": BASE64 of USER:PASSWORD}}}, as `docker login` does.',
        ) from error
    return {"username": user, "password": password}
