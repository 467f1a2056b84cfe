"""Where everything of an agent lies on its host.

DATA/                       entered by the agent alone, except where jobs must pass
  lock  host.json  agent.sock
  attempts/RUN-N/           the journal's half: entry.json, shipped.json, supervisor/, logs/
  logs/RUN-N/               output of attempts that are gone and that no store has (see `agent.kept`)
  code/TREE/  code/TREE.seal program files as they came from the repository, and the digest of all of them
JOBS/                       what jobs see; DATA/jobs where their user can reach that
  contract/perdure_job.py
  environments/DIGEST/      Python environments, by their requirements
  attempts/RUN-N/           work/ tmp/ checkpoint/ restore/ request.json progress.jsonl; root-only: aside/ restoring/
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from agent import account as accounts
from reconciler import errors
from reconciler.core import spec
from reconciler.seams import durable

KEPT = "logs"
"""Folder of the data directory with the output of attempts that are gone."""
ROOT_DATA = "/var/lib/perdure/agent"
USER_DATA = "~/.local/share/perdure-agent"
FALLBACK = Path("/var/lib/perdure/jobs")
"""Where root's agent keeps what jobs see when their user cannot reach the data directory (say, below /root)."""
OWNER = "data-directory"
"""File below a fallback folder that names the data directory it belongs to."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The folders of one attempt."""

    private: Path
    """Below DATA."""
    shared: Path
    """Below JOBS."""

    @property
    def entry(self) -> Path:
        """Its journal."""
        return self.private / "entry.json"

    @property
    def shipped(self) -> Path:
        """How much of its output is in the store."""
        return self.private / "shipped.json"

    @property
    def supervisor(self) -> Path:
        """The supervisor's files (see `agent.supervisor`)."""
        return self.private / "supervisor"

    @property
    def logs(self) -> Path:
        """Its output, in segments."""
        return self.private / "logs"

    @property
    def kept(self) -> Path:
        """Its output once it is gone, where no store has that."""
        return self.private.parent.parent / KEPT / self.private.name

    @property
    def work(self) -> Path:
        """The working copy of the program, and the program's HOME."""
        return self.shared / "work"

    @property
    def temporary(self) -> Path:
        """TMPDIR."""
        return self.shared / "tmp"

    @property
    def checkpoint(self) -> Path:
        """PERDURE_CHECKPOINT_DIR."""
        return self.shared / "checkpoint"

    @property
    def aside(self) -> Path:
        """What the program has saved, out of its reach."""
        return self.shared / "aside"

    @property
    def restore(self) -> Path:
        """PERDURE_RESTORE_DIR; exists once it is complete."""
        return self.shared / "restore"

    @property
    def restoring(self) -> Path:
        """Where a checkpoint is laid out before the program may see it."""
        return self.shared / "restoring"

    @property
    def request(self) -> Path:
        """PERDURE_REQUEST_FILE."""
        return self.shared / "request.json"

    @property
    def progress(self) -> Path:
        """PERDURE_PROGRESS_FILE."""
        return self.shared / "progress.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The folders of one agent."""

    data: Path
    jobs: Path

    @property
    def host(self) -> Path:
        """The journal of the host."""
        return self.data / "host.json"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.data / "agent.sock"

    @property
    def code(self) -> Path:
        """Program files by Git tree."""
        return self.data / "code"

    @property
    def kept(self) -> Path:
        """Output of attempts that are gone."""
        return self.data / KEPT

    @property
    def contract(self) -> Path:
        """The folder on every job's PYTHONPATH."""
        return self.jobs / "contract"

    @property
    def environments(self) -> Path:
        """Python environments by digest."""
        return self.jobs / "environments"

    def attempt(self, ref: spec.AttemptRef) -> Attempt:
        """Return the folders of an attempt. Raises `errors.InvalidInput` for a name that cannot be a folder's."""
        name = str(ref)
        if not NAME.fullmatch(name):
            raise errors.InvalidInput(f"{name!r} cannot be the name of an attempt")
        return Attempt(private=self.data / "attempts" / name, shared=self.jobs / "attempts" / name)

    def has(self, ref: spec.AttemptRef) -> bool:
        """Whether anything of an attempt is remembered; nothing is of a name that cannot be a folder's."""
        with contextlib.suppress(errors.InvalidInput):
            return self.attempt(ref).private.is_dir()
        return False


def default() -> Path:
    """Return where an agent of this user has its data directory unless it is told otherwise."""
    return Path(ROOT_DATA if os.geteuid() == 0 else USER_DATA).expanduser()


def lay_out(data: Path, account: accounts.Account | None, jobs: Path | None = None) -> Places:
    """Make the folders and return them. `jobs` overrides where the part that jobs see lies."""
    data = data.resolve()
    places = Places(data=data, jobs=jobs.resolve() if jobs else _jobs(data, account))
    passable = 0o700 if account is None else 0o711
    for folder in (places.jobs, places.jobs / "attempts", places.contract, places.environments):
        durable.make_folder(folder, passable)
        folder.chmod(passable)
    if places.jobs.is_relative_to(data):
        data.chmod(passable)
    for folder in (data / "attempts", places.code, places.kept):
        folder.mkdir(exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    helper = (Path(__file__).parent / "contract" / "perdure_job.py").read_bytes()
    durable.write_atomic(places.contract / "perdure_job.py", helper, mode=0o644)  # jobs that run may be about to read it
    places.contract.chmod(0o755)
    return places


def _jobs(data: Path, account: accounts.Account | None) -> Path:
    if accounts.can_enter(data.parent, account):
        return data / "jobs"
    _sweep_fallback()
    folder = FALLBACK / _folder(os.fsencode(data))
    durable.make_folder(folder, 0o711)
    for each in (FALLBACK.parent, FALLBACK):
        each.chmod(0o711)
    (folder / OWNER).write_bytes(os.fsencode(data))
    (folder / OWNER).chmod(0o600)
    return folder


def _sweep_fallback() -> None:
    """Remove what belongs to data directories that exist no more."""
    for owner in FALLBACK.glob(f"*/{OWNER}"):
        with contextlib.suppress(OSError):
            data = owner.read_bytes()
            # Only a name that is whole: half of one would have the jobs of a living agent removed.
            if owner.parent.name == _folder(data) and not os.path.lexists(data):
                shutil.rmtree(owner.parent, ignore_errors=True)


def _folder(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
