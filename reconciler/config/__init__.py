"""The effective configuration as values. Reading files, environment and flags into them is `reconciler.load.settings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """Where desired state is read."""

    repository: str = "."
    """Path, file://, ssh:// or https:// URL; a folder without Git is a working folder."""
    ref: str = "main"
    """Branch, tag or commit."""
    ssh_key: str = ""
    """Path of a private key file."""
    known_hosts: str = ""
    """Path of a known_hosts file; without it the user's own is used, strictly."""
    token_file: str = ""
    """Path of a file holding an HTTPS token."""
    timeout: float = 60.0
    """Seconds for one exchange with the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How often the loop looks, and when it gives a host up."""

    poll: float = 30.0
    """Seconds between looks at the repository."""
    drift: float = 600.0
    """Seconds between passes when nothing happens; jittered by a tenth."""
    lost_after: float = 300.0
    """Seconds of silence after which a host may be given up (time budget)."""
    lost_tries: int = 5
    """Observations in silence after which a host may be given up (tries budget). Both must be spent."""
    backoff: float = 10.0
    """Seconds before the first retry; doubles each time."""
    backoff_cap: float = 900.0
    """Longest seconds between retries."""
    launches: int = 100
    """Most attempts begun per pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """The embedded agent, or the address agents dial."""

    embedded: bool = True
    """Run an agent inside the reconciler's process."""
    listen: str = ""
    """Address agents dial (mutual TLS), e.g. "127.0.0.1:7443"; empty: none."""
    name: str = ""
    """Host name of the embedded agent; empty: this machine's."""
    cpu: int | None = None
    """Thousandths of a core the embedded agent offers; None: all."""
    memory: int | None = None
    """Bytes the embedded agent offers; None: all."""
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    """User that runs jobs when the agent is root; empty: "nobody"."""
    docker: str = ""
    """Socket of the embedded agent's container engine; empty: dockerd's, if it is there; "none": no containers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """Folders of mounted key files; values are never printed."""

    directory: str = ""
    """Folder with ca.key, ca.crt, signing/NAME.key, verify/NAME.pub, encryption/NAME.key; empty: DATA/keys."""
    secrets: str = ""
    """Root-only folder with one file per job secret; empty: DATA/secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything `perdure` can be told, with where each value came from."""

    instance: str = "default"
    """Name of this reconciler: part of every ref, label and run identity."""
    data: str = ""
    """Data directory; empty: ~/.local/share/perdure/INSTANCE."""
    source: SourceSettings = field(default_factory=SourceSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    agents: AgentSettings = field(default_factory=AgentSettings)
    keys: KeySettings = field(default_factory=KeySettings)
    origins: Mapping[str, str] = field(default_factory=dict)
    """Dotted path of a value → "default", "FILE:LINE", "PERDURE_…" or "--flag"."""
