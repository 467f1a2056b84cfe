"""Addresses of repositories, and names and paths inside them, checked before any git process sees them.

A text that begins with "-" would be an option, one with a newline or a NUL would be two arguments or half of one, and
`ext::` would be a program (CVE-2022-24439 and its kind). A password in an address would show up in lists of processes,
logs and messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib import parse

from reconciler import errors

LONGEST = 4096
"""Bytes of a path or an address: PATH_MAX."""

LONGEST_NAME = 255
"""Bytes of one component of a path: NAME_MAX."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")

_SCP = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w.-]+|\[[\w.:]+\]):(?!//)(?P<path>.+)")
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_OBJECT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

_ORDINARY = re.compile(r"(?:[\w-][\w.-]*/)*[\w-][\w.-]*", re.ASCII)
"""Paths that need no closer look: of ten thousand, nearly all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a repository is."""

    url: str
    """What git is given: an absolute path, or a URL without a password."""
    protocol: str
    """The only protocol that git may use for it: file, ssh, https, or http on this machine."""
    path: Path | None = None
    """Where it is on this machine, for `file`."""
    user: str = ""
    site: str = ""
    """Scheme and host, which a token is given to and nobody else."""

    def __str__(self) -> str:
        return self.url


def parse_address(text: str, base: Path) -> Address:
    """Return the address that `text` means; relative paths are relative to `base`.

    Accepted are paths, file://, ssh:// (also host:path), https://, and http:// on this machine. Raises `errors.UsageError`.
    """
    problem = text_problem(text)
    if problem or not text:
        raise _refused(shown(text), problem or "is empty")
    scheme, separator, _ = text.partition("://")
    if separator:
        return _url(text, scheme.lower())
    if "::" in text.partition("/")[0]:
        raise _refused(shown(text), "names a program (a remote helper), which is never run")
    local = base / Path(text).expanduser()
    match = _SCP.fullmatch(text)
    if match and "/" not in text.partition(":")[0] and not local.exists():
        if match["path"].startswith("-"):
            raise _refused(text, "holds a path that begins with “-”")
        return Address(url=text, protocol="ssh")
    return _local(local)


def _url(text: str, scheme: str) -> Address:
    try:
        parts = parse.urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _refused(shown(text), f"is not a URL ({error})") from error
    if scheme == "file":
        if host not in ("", "localhost"):
            raise _refused(text, "names another machine; use ssh:// for that")
        return _local(Path(parse.unquote(parts.path)))
    if scheme == "http" and host not in LOOPBACK:
        raise _refused(shown(text), "is not encrypted; use https://")
    if scheme not in ("ssh", "https", "http"):
        raise _refused(shown(text), f"uses the protocol “{scheme}”; use a path, file://, ssh:// or https://")
    if parts.password is not None:
        raise _refused(shown(text), "holds a password; put it into a file of its own and name that as the token file")
    if not host or host.startswith("-") or (parts.username or "").startswith("-") or parts.path.startswith("/-"):
        raise _refused(shown(text), "has no usable host, user or path")
    named = f"[{host}]" if ":" in host else host
    site = f"{scheme}://{named}:{port}" if port else f"{scheme}://{named}"
    return Address(url=text, protocol=scheme, user=parts.username or "", site=site)


def _local(path: Path) -> Address:
    absolute = path.absolute()
    return Address(url=str(absolute), protocol="file", path=absolute)


def is_repository(path: Path) -> bool:
    """Return whether `path` is a Git repository (bare or with a working tree), by its layout: git is not run in it.

    One that has lost its HEAD still is one: as a folder without Git it would get another ledger, and run everything again.
    """
    inside = path / ".git"
    if inside.is_file():
        return inside.read_bytes()[:8] == b"gitdir: "
    return any(
        (one / "objects").is_dir() and (one / "refs").is_dir() and ((one / "HEAD").exists() or (one / "objects/pack").is_dir())
        for one in (inside, path)
    )


def git_directory(path: Path) -> Path:
    """Return the folder that holds the refs of the repository at `path`."""
    inside = path / ".git"
    if not inside.exists():
        return path
    if inside.is_dir():
        return inside
    linked = (path / inside.read_text(errors="replace").removeprefix("gitdir: ").strip()).resolve()
    shared = linked / "commondir"
    return (linked / shared.read_text(errors="replace").strip()).resolve() if shared.is_file() else linked


def text_problem(text: str) -> str:
    """Return what forbids `text` as an argument of git; empty: nothing."""
    if text.startswith("-"):
        return "begins with “-”"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        return "holds a control character"
    if len(text.encode(errors="surrogateescape")) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return ""


def ref_problem(name: str) -> str:
    """Return why `name` cannot be the name of a branch or a tag (rules of git-check-ref-format); empty: it can."""
    if not name:
        return "is empty"
    if problem := text_problem(name):
        return problem
    if _REF_FORBIDDEN.search(name) or name == "@" or name.endswith((".", "/")) or name.startswith("/"):
        return "is not a name that git allows"
    if any(part.startswith(".") or part.endswith(".lock") for part in name.split("/")):
        return "has a part that begins with “.” or ends with “.lock”"
    return ""


def path_problem(path: str) -> str:
    """Return why `path` cannot be a file inside a repository; empty: it can."""
    if len(path) <= LONGEST_NAME and _ORDINARY.fullmatch(path):
        return ""
    raw = path.encode(errors="surrogateescape")
    if len(raw) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    if b"\0" in raw or b"\n" in raw:
        return "holds a NUL or a line break"
    for part in raw.split(b"/"):
        if part in (b"", b".", b"..") or part.lower() == b".git":
            return f"has the part “{part.decode(errors='replace')}”"
        if len(part) > LONGEST_NAME:
            return f"has a part longer than {LONGEST_NAME} bytes"
    return ""


def is_object_id(text: str) -> bool:
    """Return whether `text` is a full object id."""
    return _OBJECT.fullmatch(text) is not None


def shown(text: str) -> str:
    """Return `text` with the user and password of every URL in it replaced by ***, and without control characters."""
    hidden = re.sub(r"(?<=://)[^/\s@]+(?:@[^/\s@]+)*@", "***@", text)
    return "".join(letter if letter in "\n\t" or letter.isprintable() else "�" for letter in hidden)


def _refused(text: str, problem: str) -> errors.UsageError:
    return errors.UsageError(
        f"this address of a repository {problem}",
        where=shown(text)[:200] or "source.repository",
        remedy="Give a path, or a file://, ssh:// or https:// URL.",
    )
