"""A repository made by an enemy: reading it, proposing to it and archiving it runs nothing and writes nowhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts.source import Edit, Pushed, Revision, Stale
from reconciler.seams import clock
from reconciler.seams.git import mirror
from reconciler.source import folder, repository
from tests.seams import repositories
from tests.seams.repositories import Person, git

CLIENT_HOOKS = (
    "applypatch-msg",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-rewrite",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "prepare-commit-msg",
    "sendemail-validate",
)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that appears when anything of the enemy's runs."""
    return tmp_path / "canary"


@pytest.fixture
def enemy(canary: Path, tmp_path: Path) -> Person:
    """A repository with a working tree full of traps: in its content, its configuration and its hooks."""
    person = Person(tmp_path / "none", tmp_path / "enemy")
    evil = f"touch {canary}"
    person.commit(
        {
            ".gitattributes": b"* filter=evil diff=evil merge=evil ident export-subst\n",
            ".gitmodules": f'[submodule "m"]\n\tpath = m\n\turl = ext::sh -c "{evil}"\n\tupdate = !{evil}\n'.encode(),
            ".lfsconfig": b"[lfs]\n\turl = http://127.0.0.1:1/\n",
            "jobs/a.yaml": b"kind: Job\n",
            "-option": b"x",
            "--upload-pack=x": b"x",
        }
    )
    (person.folder / "outside").symlink_to("/etc/passwd")
    (person.folder / "loop").symlink_to("loop")
    person.commit({})
    module = person.git("rev-parse", "HEAD")
    person.git("update-index", "--add", "--cacheinfo", f"160000,{module},m")
    person.git("commit", "--quiet", "--message", "a submodule")
    for hook in CLIENT_HOOKS:
        repositories.hook(person.folder / ".git", hook, evil)
    for key, value in (
        ("core.fsmonitor", evil),
        ("core.sshCommand", evil),
        ("core.pager", evil),
        ("core.editor", evil),
        ("core.askPass", evil),
        ("credential.helper", f"!{evil}"),
        ("filter.evil.clean", evil),
        ("filter.evil.smudge", evil),
        ("filter.evil.process", evil),
        ("diff.evil.textconv", evil),
        ("diff.external", evil),
        ("merge.evil.driver", evil),
        ("gc.recentObjectsHook", evil),
        ("uploadpack.packObjectsHook", evil),
        ("remote.origin.uploadpack", evil),
        ("protocol.ext.allow", "always"),
        ("alias.ls-tree", f"!{evil}"),
    ):
        person.git("config", key, value)
    canary.unlink(missing_ok=True)
    return person


def test_nothing_of_the_enemys_runs(enemy: Person, canary: Path, tmp_path: Path) -> None:
    # Switched off for the set-up's own git only: reading must not need that.
    assert subprocess.run(["git", "status"], cwd=enemy.folder, capture_output=True, check=False).returncode in (0, 128)
    assert canary.exists(), "the trap works"
    canary.unlink()
    one = repository.RepositorySource(repositories.mirror_of(enemy.folder, tmp_path / "data"), "main", clock.System())
    revision = one.fetch()
    assert isinstance(revision, Revision), revision
    tree = one.tree(revision.id)
    entries = {entry.path: entry for entry in tree.entries()}
    assert entries["m"].mode == "160000"
    assert entries["outside"].mode == "120000"
    assert tree.read([entries["outside"].oid])[entries["outside"].oid] == b"/etc/passwd"
    assert tree.read([entries["-option"].oid])[entries["-option"].oid] == b"x"
    assert b"".join(one.archive(tree.tree_id("jobs") or ""))
    edit = Edit(files={"jobs/a.yaml": b"kind: Store\n", "-option": b"y"}, message="--amend", branch="topic")
    assert isinstance(one.propose(edit, revision.id), Pushed)
    with pytest.raises(errors.InvalidInput, match="leads out") as caught:
        b"".join(one.archive(tree.tree_id("") or ""))
    assert caught.value.where == "outside"
    assert not canary.exists()
    assert not (tmp_path / "data" / "repo.git" / "modules").exists()


@pytest.mark.parametrize("url", ["ext::sh -c 'touch CANARY'", "--upload-pack=touch CANARY", "-oProxyCommand=touch CANARY:x"])
def test_an_address_that_is_a_program_is_refused(url: str, canary: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError):
        repositories.mirror_of(url.replace("CANARY", str(canary)), tmp_path / "data").listing()
    assert not canary.exists()


def test_a_tree_with_names_that_climb_out_is_refused(tmp_path: Path) -> None:
    remote = repositories.bare(tmp_path / "remote.git")
    blob = git(remote, "hash-object", "-w", "--stdin", feed=b"evil")
    for name in (b"..", b".git", b"a/b"):
        raw = b"100644 %s\0%s" % (name, bytes.fromhex(blob))
        tree = git(remote, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", feed=raw)
        commit = git(remote, "commit-tree", tree, "-m", "evil")
        git(remote, "update-ref", "refs/heads/main", commit)
        one = repository.RepositorySource(
            repositories.mirror_of(remote, tmp_path / f"data-{name.hex()}"), "main", clock.System()
        )
        revision = one.fetch()
        if isinstance(revision, Stale) or name == b"a/b":
            continue
        with pytest.raises(errors.InvalidInput, match="has the part"):
            list(one.tree(revision.id).entries())
        with pytest.raises(errors.InvalidInput):
            b"".join(one.archive(tree))


def test_a_working_folder_with_traps_is_only_read(canary: Path, tmp_path: Path) -> None:
    place = tmp_path / "folder"
    nested = place / "nested"
    nested.mkdir(parents=True)
    (place / "a").write_bytes(b"$Id$\r\n")
    (place / ".gitattributes").write_text("* filter=evil text ident\n")
    git(nested, "init", "--quiet")
    (nested / "inner").write_bytes(b"x")
    git(nested, "config", "core.fsmonitor", f"touch {canary}")
    git(nested, "config", "filter.evil.clean", f"touch {canary}")
    one = folder.FolderSource(mirror.Mirror(tmp_path / "data" / "folder.git"), place, clock.System())
    revision = one.fetch()
    assert isinstance(revision, Revision), revision
    tree = one.tree(revision.id)
    assert [entry.path for entry in tree.entries()] == [".gitattributes", "a"]
    assert b"$Id$\r\n" in tree.read(entry.oid for entry in tree.entries()).values()
    assert not canary.exists()
