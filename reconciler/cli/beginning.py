"""`perdure init`: a desired-state repository to start from, and the settings of one that exists."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shlex
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler import data, errors, load
from reconciler.cli import compose, options, output
from reconciler.load import paths, schemas
from reconciler.seams import durable
from reconciler.seams.git import address, person, process

if TYPE_CHECKING:
    import git

KEY = "checkpoints"
"""Name of the keys that `--encrypted` makes."""

NOTES = "+refs/notes/perdure/*:refs/notes/perdure/*"
"""Refspec that brings the notes along with every fetch."""

ABOUT_THE_REPOSITORY = (".github/", ".pre-commit-config.yaml", ".schemas/")
"""What helps in a repository that has manifests already. The rest is a first set of them."""

_PLAIN = re.compile(r"/[A-Za-z0-9._/-]*")


@click.command(
    epilog=options.examples(
        "perdure init jobs                       a new repository in the folder jobs",
        "perdure init .                          settings and missing files of this one",
        "perdure init jobs --store /mnt/shared/checkpoints --encrypted",
    )
)
@options.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--store", metavar="DIR", default=None, help="Where checkpoints are kept. [default: beside the data directory]")
@click.option("--encrypted", is_flag=True, help="Encrypt and sign checkpoints, with keys made here. Jobs with secrets need it.")
@options.common("text", "json", "yaml")
@click.pass_obj
def init(flags: options.Flags, *, directory: Path, store: str | None, encrypted: bool) -> None:
    """Make a desired-state repository: sample manifests, editor schemas, a pre-commit hook, a CI workflow.

    In a folder that exists, what is there stays as it is; only what is missing is added, and git is told to fetch the notes.
    Where manifests are found, no sample is added.
    """
    process.require()
    for name in person.STEERING:
        os.environ.pop(name, None)
    instance = compose.settings(flags).instance
    place = Path(os.path.abspath(directory.expanduser()))
    fresh = _checked(place)
    inhabited = _inhabited(place)
    kept = Path(os.path.abspath(Path(store).expanduser())) if store else _store()
    files = dict(_files({"instance": instance, "store": _yaml(str(kept)), "key": KEY if encrypted else ""}))
    if inhabited:
        files = {name: content for name, content in files.items() if name.startswith(ABOUT_THE_REPOSITORY)}
    else:
        _make(kept)
        if encrypted:
            _make_keys(compose.key_folder(compose.settings(flags)))
    repository = _repository(place, fresh=fresh)
    made = [name for name, content in files.items() if _write(place, name, content)]
    fetched = _fetch_notes(repository, instance)
    document = {"directory": str(place), "created": made, "repository": "created" if fresh else "kept", "notesFetched": fetched}
    output.show(flags.output, document, lambda: _told(place, made, fetched, instance))


def _checked(place: Path) -> bool:
    """Return whether a Git repository is to be made. Raises `errors.UsageError` for a folder that cannot hold one."""
    if (place / ".git").exists():
        return False
    if address.is_repository(place):
        raise errors.UsageError(
            "this is a bare repository, which has no files", where=str(place), remedy="Clone it, and run this in the clone."
        )
    around = next((folder for folder in place.parents if (folder / ".git").exists()), None)
    if around is not None:
        raise errors.UsageError(
            f"this folder belongs to the Git repository {around}",
            where=str(place),
            remedy=f"Run `perdure init {around}`, or name a folder outside of it.",
        )
    return True


def _inhabited(place: Path) -> bool:
    """Return whether there are manifests: files of ours beside them, `perdure.yaml` above all, would change what is read."""
    if not place.is_dir():
        return False
    found = [load.revision(tree) for tree in paths.trees((place,))]
    return any(one.problems or one.jobs or one.stores or one.targets or one.pools or one.checkpoints for one in found)


def _store() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/perdure/checkpoints")
    return Path.home() / ".local" / "share" / "perdure" / "checkpoints"


def _make_keys(folder: Path) -> None:
    """Make the store's keys unless they are there: a key that was used once is never replaced."""
    from reconciler.storage import keys

    for kind in ("encryption", "signing"):
        made = keys.create_key(str(folder), kind, KEY)
        output.note(
            f"{kind} key {folder / kind / KEY}.key {'made: keep a copy of it elsewhere' if made else 'was there already'}"
        )


def _make(store: Path) -> None:
    try:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise errors.Unavailable(
            f"the folder for checkpoints cannot be made: {error.strerror}",
            where=str(store),
            remedy="Name another one with --store.",
        ) from error


def _repository(place: Path, *, fresh: bool) -> git.Repo:
    import git  # it cannot be imported where git is missing

    try:
        return git.Repo.init(place, initial_branch="main") if fresh else git.Repo(place)
    except git.GitError as error:
        raise errors.Refused(f"git does not accept this folder: {error}", where=str(place)) from error


def _yaml(text: str) -> str:
    """Return a path as YAML reads it back: quoted unless it is plain."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=not text.isprintable())


def _files(values: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each file of a new repository."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    templates = importlib.resources.files(data) / "templates" / "init"
    for name, text in _templates(templates, ""):
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


def _write(place: Path, name: str, content: bytes) -> bool:
    """Write a file that is not there yet; return whether it was written."""
    path = place / name
    if os.path.lexists(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.resolve() != place.resolve() / Path(name).parent:
        raise errors.Refused("a link leads there", where=str(path.parent), remedy="Replace it by a folder.")
    durable.write_atomic(path, content, mode=0o644)
    return True


def _fetch_notes(repository: git.Repo, instance: str) -> list[str]:
    """Let every remote bring the notes, and `git log` show them; return the remotes."""
    names = [remote.name for remote in repository.remotes]
    for name in names:
        _add(repository, f"remote.{name}.fetch", NOTES)
    _add(repository, "notes.displayRef", f"refs/notes/perdure/{instance}")
    return names


def _add(repository: git.Repo, setting: str, value: str) -> None:
    """Add a value to one of the repository's own settings that may have several, unless it has it."""
    known = repository.git.config("--local", "--get-all", setting, with_exceptions=False).splitlines()
    if value not in known:
        repository.git.config("--local", "--add", setting, value)


def _told(place: Path, made: list[str], fetched: list[str], instance: str) -> str:
    lines = [f"{place}: {len(made)} files written." if made else f"{place}: every file was there already."]
    if fetched:
        lines.append(f"`git fetch` from {', '.join(fetched)} brings the notes, and `git log` shows them.")
    else:
        lines.append("There is no remote yet; once there is, `perdure init .` lets `git fetch` bring the notes.")
    chosen = f" --instance {instance}" if instance != "default" else ""
    steps = ["perdure validate", "git add . && git commit -m 'First jobs'", f"perdure reconcile --repo .{chosen}"]
    if "jobs/count.yaml" not in made:
        steps = steps[:1]
    return "\n".join([*lines, "", "Next:", f"  cd {shlex.quote(str(place))}", *(f"  {step}" for step in steps)])
