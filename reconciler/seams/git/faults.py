"""What git says when something goes wrong, and what it means: one ordered table, the first row that matches counts.

The texts are those of git 2.32 to 2.5x in English (git runs with LC_ALL=C) and of the large forges.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from reconciler import errors
from reconciler.seams.git import address


class Kind(enum.Enum):
    """Meanings of a failure. UNREACHABLE and TIMEOUT may pass; a REJECTED push may be repeated after reading again."""

    CHECKED_OUT = "checked-out"
    DECLINED = "declined"
    REJECTED = "rejected"
    HOST_KEY = "host-key"
    UNAUTHORIZED = "unauthorized"
    FOREIGN = "foreign"
    UNSUPPORTED = "unsupported"
    ALGORITHM = "algorithm"
    MISSING = "missing"
    FULL = "full"
    CERTIFICATE = "certificate"
    UNREACHABLE = "unreachable"
    DAMAGED = "damaged"
    TIMEOUT = "timeout"
    KILLED = "killed"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row: texts that mean `kind`."""

    pattern: str
    kind: Kind
    message: str
    remedy: str
    complete: bool = False
    """Whether nothing is missing without git's own words."""


TABLE = (
    Fault(
        kind=Kind.CHECKED_OUT,
        pattern=r"refusing to update checked out branch|branch is currently checked out",
        message="that branch is checked out in the repository, so it cannot be pushed to",
        remedy="Push to a bare repository (git clone --bare), or check out another branch there.",
        complete=True,
    ),
    Fault(
        kind=Kind.DECLINED,
        pattern=r"hook declined|protected branch|GH006|GH013|not allowed to push|deny updating a hidden ref"
        r"|prohibited by Gerrit|TF40\d{4}|denied by|deletion prohibited",
        message="the server declined the push",
        remedy="Read the server's text, and let this user push that ref.",
    ),
    Fault(
        kind=Kind.DAMAGED,
        pattern=r"reference broken|bad shallow (line|file)",  # what a power cut leaves of a ref; git says that it is locked
        message="a reference that should be there is missing or damaged",
        remedy="Try again; if it stays, compare with `git fsck` in that repository.",
    ),
    Fault(
        kind=Kind.REJECTED,  # whose lock it is cannot be told: a push beside ours has gone the next time
        pattern=r"unable to create '[^']*\.lock': File exists",
        message="a process of git holds a lock there, or one that was killed has left it",
        remedy="If it stays although no process of git works there, remove that file.",
    ),
    Fault(
        kind=Kind.REJECTED,
        pattern=r"fetch first|non-fast-forward|cannot lock ref|incorrect old value|reference already exists|\(already exists\)"
        r"|failed to update ref|stale info|remote contains work|atomic (push|transaction) fail|unable to (create|lock).*\.lock"
        r"|failed to lock|needs update|remote ref updated since",
        message="somebody else was first",
        remedy="Read again and repeat.",
    ),
    Fault(
        kind=Kind.HOST_KEY,
        pattern=r"Host key verification failed|HOST IDENTIFICATION HAS CHANGED|host key is known",
        message="the server's host key is not the known one",
        remedy="Compare the key with the server's administrator, then put it into the known_hosts file.",
    ),
    Fault(
        kind=Kind.OTHER,
        pattern=r"(unable to (access|open|read)|(could not|cannot) open|error opening) (loose object |object )?'?/[^:]*: Perm",
        message="a file on this machine may not be read",
        remedy="See its owner and permissions: the account that runs this command must be able to read and write there.",
    ),
    Fault(
        kind=Kind.UNAUTHORIZED,
        pattern=r"Authentication failed|could not read (Username|Password)|terminal prompts disabled|Permission denied"
        r"|returned error: 40[13]|invalid credentials|Access denied|Load key |HTTP Basic",
        message="the server refused the credentials",
        remedy="Check the key file (without a passphrase: nobody is asked) or the token file, and that its owner may read "
        "(and push to) this repository.",
    ),
    Fault(
        kind=Kind.FOREIGN,
        pattern=r"dubious ownership",
        message="the repository belongs to another user of this machine, so git does not open it",
        remedy="Run as its owner, give it to this user (chown -R), or reach it by ssh://.",
    ),
    Fault(
        kind=Kind.UNSUPPORTED,
        pattern=r"does not support (shallow|--shallow|--deepen|filter)|filtering not recognized|shallow capabilities"
        r"|not allow(ing)? request|unadvertised object",
        message="the server does not allow this kind of fetch",
        remedy="Allow it there (uploadpack.allowFilter, uploadpack.allowAnySHA1InWant).",
    ),
    Fault(
        kind=Kind.ALGORITHM,
        pattern=r"mismatched (algorithms|object format)"
        r"|(unknown|unsupported|support this repository's) (object format|hash algorithm)",
        message="the repository names its objects by SHA-256, and this version reads only those that use SHA-1",
        remedy="Use a repository with git's default format (git init --object-format=sha1).",
    ),
    Fault(
        kind=Kind.MISSING,
        pattern=r"couldn't find remote ref|Remote branch .* not found|not our ref|no such remote ref",
        message="the repository does not have what was asked for",
        remedy="Check the branch, tag or commit.",
    ),
    Fault(
        kind=Kind.FULL,
        pattern=r"No space left on device|Disk quota exceeded|Out of diskspace",
        message="there is no space left on a disk",
        remedy="Free some space and try again.",
    ),
    Fault(
        kind=Kind.OTHER,
        pattern=r"Read-only file system",
        message="a file system is mounted read-only",
        remedy="Mount it for writing; where the kernel has taken that back, its log (dmesg) says why.",
    ),
    Fault(
        kind=Kind.UNREACHABLE,
        pattern=r"non-properly terminated|recv error|SSL_(read|write)|SSL_ERROR_SYSCALL",
        message="the connection to the server broke off",
        remedy="Try again; if it stays, look at the server, and at what stands between it and this machine.",
    ),
    Fault(
        kind=Kind.CERTIFICATE,
        pattern=r"SSL certificate|certificate verif|SSL CA cert|gnutls_handshake|SSL_|TLS",
        message="no trusted TLS connection to the server",
        remedy="Check the server's certificate; the variable SSL_CERT_FILE names a file with an authority of your own.",
    ),
    Fault(
        kind=Kind.DAMAGED,
        pattern=r"object file .* is empty|loose object .* (is corrupt|is garbage)|bad object|missing (blob|tree|commit)"
        r"|unable to read (tree|[0-9a-f]{40})|data stream error|bad tree object|unknown revision|not a valid object"
        r"|packfile .* (cannot|invalid|is far too short|does not match)|invalid sha1 pointer|not a git repository: "
        r"|bad config|Failed to traverse parents|did not send all necessary objects|could not fetch [0-9a-f]{40}"
        r"|bad signature|broken ref|not a (tree|commit) object|mmap failed: No such device"
        r"|unknown error occurred while reading the configuration",
        message="an object that should be there is missing or damaged",
        remedy="Try again; if it stays, compare with `git fsck` in that repository.",
    ),
    Fault(
        kind=Kind.UNREACHABLE,
        pattern=r"",
        message="the repository does not answer",
        remedy="Check the address, that the repository exists, and the network.",
    ),
)

LOCAL = Fault(kind=Kind.OTHER, pattern="", message="git failed", remedy="Read git's text.")
"""A command that talks to no server failed, and no row says why."""

LATE = Fault(
    kind=Kind.TIMEOUT,
    pattern="",
    message="the repository did not answer in time",
    remedy="Check the network, or give it more time (source.timeout).",
)
KILLED = Fault(kind=Kind.KILLED, pattern="", message="git was killed before it had answered", remedy="Try again.")


class Failed(Exception):
    """A git process did not do what it was asked. Never leaves the adapters: they turn it into a value or an error of ours."""

    def __init__(self, fault: Fault, text: str, where: str) -> None:
        super().__init__(f"{where}: {fault.message}: {text}")
        self.fault = fault
        self.text = "" if fault.complete else text
        """What git (and the server's hooks) said, safe to show."""
        self.where = where

    @property
    def kind(self) -> Kind:
        """The meaning of the failure."""
        return self.fault.kind

    @property
    def detail(self) -> str:
        """One paragraph for people: what it means, what git said, what to do."""
        said = f": {self.text.removesuffix('.')}" if self.text else ""
        return f"{self.where}: {self.fault.message}{said}. {self.fault.remedy}"

    def error(self) -> errors.PerdureError:
        """Return the error of ours that means the same."""
        said = f": {self.text}" if self.text else ""
        return ERRORS.get(self.kind, errors.Unavailable)(
            f"{self.fault.message}{said}", where=self.where, remedy=self.fault.remedy
        )


ERRORS: dict[Kind, type[errors.PerdureError]] = {
    Kind.CHECKED_OUT: errors.Refused,
    Kind.DECLINED: errors.Refused,
    Kind.HOST_KEY: errors.Refused,
    Kind.UNAUTHORIZED: errors.Refused,
    Kind.FOREIGN: errors.Refused,
    Kind.UNSUPPORTED: errors.Refused,
    Kind.ALGORITHM: errors.Refused,
    Kind.DAMAGED: errors.Damaged,
}
"""Everything else may pass: `errors.Unavailable`."""


def classify(text: str, code: int, *, remote: bool) -> Fault:
    """Return the row that fits what git said before it ended with `code` (negative: by that signal)."""
    if code < 0:
        return KILLED
    for row in TABLE:
        if row.pattern and re.search(row.pattern, text, re.IGNORECASE):
            return row
    return TABLE[-1] if remote else LOCAL


_RESULT = re.compile(r"^!\s+[0-9a-f]+:(?P<ref>\S+)\s+")
"""What `push --porcelain` says of a ref. The id before it differs with every attempt, and what stays the same is said once."""

_IDLE = (
    "hint:",
    "@@@",  # the frame that ssh draws around a warning
    "@    WARNING",
    "To ",
    "Done",
    "Could not read from remote repository",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
    "failed to push some refs to",
    "Another git process seems to be running",  # and the rest of its five lines about a lock
    "an editor opened by",
    "are terminated then try again",
    "may have crashed in this repository",
    "remove the file manually",
)
"""Beginnings of lines that git adds to whatever has failed; the remedies of the table say it better."""


def readable(raw: bytes) -> str:
    """Return what git said without prefixes, credentials, control characters and repetition; at most 2,000 characters."""
    lines: list[str] = []
    for line in address.shown(raw.decode(errors="replace").replace("\r", "\n")).splitlines():
        plain = re.sub(r"^((remote|fatal|error|warning): *)+", "", _RESULT.sub(r"\g<ref> ", line)).strip()
        if plain and plain not in lines and not plain.startswith(_IDLE):
            lines.append(plain)
    return "; ".join(lines)[:2000]
