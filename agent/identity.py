"""Who this host is: its name, key and certificate, and where its reconciler is.

One file, because a key without its certificate is worth nothing: joining and renewing replace all of it in one rename.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reconciler import errors
from reconciler.core import codec
from reconciler.seams import durable
from reconciler.wire import certificates

FILE = "identity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What joining gives a host."""

    instance: str
    host: str
    pool: str
    address: str
    """HOST:PORT of the reconciler."""
    authority: str
    """Certificate (PEM) of the only authority this host believes."""
    certificate: str
    """This host's own (PEM)."""
    key: str = field(repr=False)
    """Private key (PEM). Made here and never sent anywhere."""

    @property
    def bearer(self) -> certificates.Bearer:
        """What the certificate says."""
        return certificates.read(self.certificate.encode())


def load(data: Path) -> Identity:
    """Return the identity kept in an agent's data directory.

    Raises `errors.UsageError` when the host has not joined, `errors.Damaged` when the file is not what was written.
    """
    path = data / FILE
    content = durable.read(path)
    if content is None:
        raise errors.UsageError(
            "this host has not joined yet",
            where=str(data),
            remedy="Run `perdure token create HOST` on the reconciler, then `perdure-agent join TOKEN` here.",
        )
    try:
        identity = codec.decode(content, Identity)
        if identity.bearer.host != identity.host:
            raise errors.Damaged("the certificate is for another host")
    except errors.PerdureError as error:
        raise errors.Damaged(
            f"the identity cannot be used: {error.message}", where=str(path), remedy="Join again with a new token."
        ) from error
    return identity


def save(data: Path, identity: Identity) -> None:
    """Replace the identity in an agent's data directory, which exists. Raises `errors.Unavailable`."""
    durable.write_atomic(data / FILE, codec.encode(identity), mode=0o600)


@contextlib.contextmanager
def place(data: Path) -> Iterator[None]:
    """Make an agent's data directory, proven to be writable, for the block. What was made goes again when the block fails.

    Raises `errors.Unavailable`.
    """
    missing = [folder for folder in (data, *data.parents) if not folder.exists()]
    failed = "created"
    try:
        try:
            durable.make_folder(data, 0o700)
            failed = "written"
            with tempfile.TemporaryFile(dir=data):
                pass
        except OSError as error:
            raise errors.Unavailable(
                f"cannot be {failed}: {error.strerror or error}", where=str(data), remedy="Choose another folder with --data."
            ) from error
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
