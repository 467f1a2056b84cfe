"""What a program finds when it starts: its folders, files, environment and command line."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from agent import account as accounts
from agent import codetree, environments, interpreter, places, refusal, setup
from agent.supervisor import program
from reconciler.core import model, spec
from reconciler.engines import folder as folders

SEGMENT = 8 << 20
"""Bytes of one log segment."""
SEGMENTS = 8
"""Most segments kept on the host: 64 MiB an attempt."""


class Workspace:
    """Makes what one attempt needs, from nothing, as often as it is asked to."""

    def __init__(self, about: setup.Setup, trees: codetree.CodeTrees, pythons: environments.Environments) -> None:
        self._setup = about
        self._trees = trees
        self._pythons = pythons

    def prepare(self, what: spec.AttemptSpec) -> None:
        """Make the folders, the working copy, its Python environment and its volumes.

        Only for an attempt whose program was never started. Raises `refusal.CannotStart`, and as code and environments do.
        """
        place = self._setup.places.attempt(what.ref)
        account = self._setup.account
        folders.discard(place.shared)
        place.shared.mkdir(mode=0o700)
        place.shared.chmod(0o700 if account is None else 0o711)  # the agent's umask may take away what jobs need to pass
        for folder in (place.work, place.temporary, place.checkpoint, place.aside):
            folder.mkdir(mode=0o700)
        place.progress.touch(mode=0o600)
        code = what.workload.code
        if code is not None:
            self._trees.copy(code.tree, place.work)
        directory = self._directory(what, place)
        directory.mkdir(parents=True, exist_ok=True)
        for volume in what.workload.volumes:
            _mount(volume, directory)
        for owned in (place.work, place.temporary, place.checkpoint, place.progress):
            accounts.own_tree(owned, account)
        if code is not None and code.requirements:
            self._pythons.get(_below(place.work, code.requirements, "requirements"), place.work)

    def hand_over(self, ref: spec.AttemptRef) -> None:
        """Let the program see the checkpoint that was laid out in `restoring`."""
        place = self._setup.places.attempt(ref)
        accounts.own_tree(place.restoring, self._setup.account)
        place.restoring.rename(place.restore)

    def launch(self, what: spec.AttemptSpec, grace: float, groups: dict[str, str]) -> program.Launch:
        """Return what the supervisor is to start. Raises `refusal.CannotStart`."""
        place = self._setup.places.attempt(what.ref)
        python, path = self._python(what, place)
        closed = [each.source for each in what.workload.volumes if each.read_only and self._setup.closes]
        return self.bounds(what, grace, groups)._replace(
            argv=_command(what.workload, place, python),
            env=self._environment(what, place, path),
            cwd=str(self._directory(what, place)),
            closed=closed,
            open=[str(place.shared), *(each.source for each in what.workload.volumes if not each.read_only)] if closed else [],
        )

    def bounds(self, what: spec.AttemptSpec, grace: float, groups: dict[str, str]) -> program.Launch:
        """Return what a supervisor must know of a program that was started before: enough to watch it, not to start it."""
        account = self._setup.account
        return program.Launch(
            argv=[],
            env={"PERDURE_RUN": what.run, "PERDURE_ATTEMPT": str(what.attempt)},
            cwd="/",
            account=list(account.pair) if account else None,
            timeout=what.timeout,
            grace=grace,
            memory=what.resources.memory,
            groups=groups,
            logs=str(self._setup.places.attempt(what.ref).logs),
            segment=SEGMENT,
            keep=SEGMENTS,
        )

    def remove(self, ref: spec.AttemptRef) -> None:
        """Free what the program saw and left."""
        folders.discard(self._setup.places.attempt(ref).shared)

    def _directory(self, what: spec.AttemptSpec, place: places.Attempt) -> Path:
        return _below(place.work, what.workload.workdir or ".", "workdir")

    def _python(self, what: spec.AttemptSpec, place: places.Attempt) -> tuple[str, str]:
        """Return the Python for the entrypoint, and PATH."""
        code = what.workload.code
        if code is not None and code.requirements:
            environment = self._pythons.get(_below(place.work, code.requirements, "requirements"), place.work) / "venv"
            return str(environment / "bin/python"), f"{environment}/bin:{interpreter.PATH}"
        if code is None or what.workload.command:
            return "", interpreter.PATH
        return interpreter.python(self._setup.account), interpreter.PATH

    def _environment(self, what: spec.AttemptSpec, place: places.Attempt, path: str) -> dict[str, str]:
        """A clean one: nothing of the agent's own, then the Job's, then ours, which the Job cannot change."""
        libraries = str(self._setup.places.contract)
        env = {"PATH": path, "LANG": "C.UTF-8", **what.workload.env}
        if own := what.workload.env.get("PYTHONPATH"):
            libraries = f"{libraries}:{own}"
        env |= {
            "HOME": str(place.work),
            "TMPDIR": str(place.temporary),
            "PYTHONPATH": libraries,
            "PERDURE_RUN": what.run,
            "PERDURE_ATTEMPT": str(what.attempt),
            "PERDURE_TENANT": what.tenant,
            "PERDURE_JOB": what.job,
            "PERDURE_REPLICA": str(what.replica),
            "PERDURE_PROGRESS_FILE": str(place.progress),
        }
        if what.checkpoint.engine is model.EngineName.APPLICATION:
            env["PERDURE_CHECKPOINT_DIR"] = str(place.checkpoint)
            env["PERDURE_REQUEST_FILE"] = str(place.request)
        if what.restore:
            env["PERDURE_RESTORE_DIR"] = str(place.restore)
        return env


def _command(workload: model.Workload, place: places.Attempt, python: str) -> list[str]:
    if workload.command:
        return [*workload.command, *workload.args]
    if workload.code is None or not workload.code.entrypoint:
        raise refusal.CannotStart("the Job has neither a command nor an entrypoint", fatal=True)
    entrypoint = _below(place.work, workload.code.entrypoint, "entrypoint")
    if not entrypoint.is_file():
        raise refusal.CannotStart(f"the entrypoint {workload.code.entrypoint!r} is not among the code's files", fatal=True)
    return [python, "-u", str(entrypoint), *workload.args]


def _below(folder: Path, relative: str, what: str) -> Path:
    """Return a path of the working copy. Neither the text nor a link in the copy may lead out of it."""
    path = Path(os.path.normpath(folder / relative))
    if PurePosixPath(relative).is_absolute() or not path.is_relative_to(folder):
        raise refusal.CannotStart(f"{what} {relative!r} leads out of the working folder", fatal=True)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise refusal.CannotStart(f"{what} {relative!r} is a link out of the working folder", fatal=True)
    return path


def _mount(volume: model.Volume, directory: Path) -> None:
    """Show a folder of the host at a place below the working directory."""
    if PurePosixPath(volume.target).is_absolute():
        raise refusal.CannotStart(
            f"volume target {volume.target!r} is absolute; on a plain host it must lie below the working directory", fatal=True
        )
    target = _below(directory, volume.target, "volume target")
    if not Path(volume.source).is_absolute() or not Path(volume.source).is_dir():
        raise refusal.CannotStart(f"the volume's folder {volume.source!r} does not exist on this host", fatal=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        raise refusal.CannotStart(f"volume target {volume.target!r} is already a file of the code", fatal=True)
    target.symlink_to(volume.source)
