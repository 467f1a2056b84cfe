"""`perdure init`: a desired-state repository to start from, and the settings of one that exists."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from reconciler import data, errors
from reconciler.cli import compose, options, output
from reconciler.load import schemas
from reconciler.seams import durable

KEY = "checkpoints"
"""Name of the keys that `--encrypted` makes."""

NOTES = "+refs/notes/perdure/*:refs/notes/perdure/*"
"""Refspec that brings the notes along with every fetch."""


@click.command(
    epilog=options.examples(
        "perdure init jobs                       a new repository in the folder jobs",
        "perdure init .                          settings and missing files of this one",
        "perdure init jobs --store /mnt/shared/checkpoints",
    )
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--store", metavar="DIR", default=None, help="Where checkpoints are kept. [default: beside the data directory]")
@click.option("--encrypted", is_flag=True, help="Encrypt and sign checkpoints, with keys made here. Jobs with secrets need it.")
@options.common("text", "json", "yaml")
@click.pass_obj
def init(flags: options.Flags, *, directory: Path, store: str | None, encrypted: bool) -> None:
    """Make a desired-state repository: sample manifests, editor schemas, a pre-commit hook, a CI workflow.

    In a folder that exists, what is there stays as it is; only what is missing is added, and git is told to fetch the notes.
    """
    import git

    instance = flags.instance or "default"
    place = directory.expanduser().absolute()
    kept = Path(store).expanduser().absolute() if store else _store()
    values = {"instance": instance, "store": str(kept), "key": KEY if encrypted else ""}
    made = [name for name, content in _files(values) if _write(place / name, content)]
    fresh = not (place / ".git").exists()
    try:
        repository = git.Repo.init(place, initial_branch="main") if fresh else git.Repo(place)
        fetched = _fetch_notes(repository, instance)
    except git.GitError as error:
        raise errors.Refused(f"git does not accept this folder: {error}", where=str(place)) from error
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    if encrypted:
        _make_keys(compose.key_folder(compose.settings(flags)))
    document = {"directory": str(place), "created": made, "repository": "created" if fresh else "kept", "notesFetched": fetched}
    output.show(flags.output, document, lambda: _told(place, made, fetched, instance))


def _make_keys(folder: Path) -> None:
    """Make the store's keys unless they are there: a key that was used once is never replaced."""
    from reconciler.storage import keys

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for kind in ("encryption", "signing"):
        made = keys.create_key(str(folder), kind, KEY)
        output.note(
            f"{kind} key {folder / kind / KEY}.key {'made: keep a copy of it elsewhere' if made else 'was there already'}"
        )


def _store() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/perdure/checkpoints")
    return Path.home() / ".local" / "share" / "perdure" / "checkpoints"


def _files(values: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each file of a new repository."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    templates = importlib.resources.files(data) / "templates" / "init"
    for name, text in _templates(templates, ""):
        if "${{" in text:
            raise errors.Damaged(f"the template {name} mixes two template languages")
        yield name.removesuffix(".j2"), environment.from_string(text).render(values).encode()
    for name in (*schemas.KINDS, schemas.LAYOUT):
        file = f"{name.lower()}.json"
        yield f".schemas/{file}", (importlib.resources.files(data) / "schemas" / file).read_bytes()


def _templates(folder: Traversable, above: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = f"{above}{entry.name}"
        if entry.is_dir():
            yield from _templates(entry, f"{name}/")
        elif name.endswith(".j2"):
            yield name, entry.read_text(encoding="utf-8")


def _write(path: Path, content: bytes) -> bool:
    """Write a file that is not there yet; return whether it was written."""
    if os.path.lexists(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_atomic(path, content, mode=0o644)
    return True


def _fetch_notes(repository: object, instance: str) -> list[str]:
    """Let every remote bring the notes, and `git log` show them; return the remotes."""
    import git

    if not isinstance(repository, git.Repo):
        raise TypeError("not a repository")
    names = [remote.name for remote in repository.remotes]
    for name in names:
        known = repository.git.config("--get-all", f"remote.{name}.fetch").splitlines()
        if NOTES not in known:
            repository.git.config("--add", f"remote.{name}.fetch", NOTES)
    shown = f"refs/notes/perdure/{instance}"
    known_refs = repository.git.config("--get-all", "notes.displayRef", with_exceptions=False).splitlines()
    if shown not in known_refs:
        repository.git.config("--add", "notes.displayRef", shown)
    return names


def _told(place: Path, made: list[str], fetched: list[str], instance: str) -> str:
    lines = [f"{place}: {len(made)} files written." if made else f"{place}: every file was there already."]
    if fetched:
        lines.append(f"`git fetch` from {', '.join(fetched)} brings the notes, and `git log` shows them.")
    else:
        lines.append("There is no remote yet; once there is, `perdure init .` lets `git fetch` bring the notes.")
    lines += [
        "",
        "Next:",
        f"  cd {place}",
        "  perdure validate",
        "  git add . && git commit -m 'First jobs'",
        "  perdure reconcile --repo . " + (f"--instance {instance}" if instance != "default" else ""),
    ]
    return "\n".join(line.rstrip() for line in lines)
