"""Upgrades and uninstalling with containers running: what they need stays, and goes when they are gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.install import edits, hostfile, installing, versions
from reconciler import errors
from tests.agent.install.tree import DAEMON_JSON, Tree

OPTIONS = installing.Options()
COMMENTED = '{\n  "log-driver": "json-file",\n  "data-root": "/srv/docker"\n}\n'


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def criu(tree: Tree, content: str) -> None:
    """Another criu makes another version, as another release of ours would."""
    tree.write("/usr/sbin/criu", content, 0o755)


def test_a_version_stays_as_long_as_a_container_of_it_lives(tree: Tree) -> None:
    tree.docker_engine("{}")
    old = installing.install(tree, OPTIONS).version
    tree.container("c1", f"{versions.FOLDER}/{old}/perdure-runc")
    criu(tree, "\x7fELF newer")
    done = installing.install(tree, OPTIONS)
    assert done.version != old
    assert versions.present(tree) == tuple(sorted((old, done.version)))
    assert done.kept == (versions.Use(version=old, holder="container c1"),)
    assert done.said[-1] == f"/usr/local/lib/perdure/{old} stays while it is in use by container c1"
    for file in (tree.root / f"run/containerd/{versions.TASKS}/moby/c1").iterdir():
        file.unlink()
    os.rmdir(tree.root / f"run/containerd/{versions.TASKS}/moby/c1")
    assert versions.sweep(tree, done.version) == ()
    assert versions.present(tree) == (done.version,)


def test_a_version_that_another_engine_is_configured_with_stays(tree: Tree) -> None:
    tree.docker_engine("{}")
    tree.podman_engine()
    old = installing.install(tree, OPTIONS).version
    criu(tree, "\x7fELF newer")
    new = installing.install(tree, installing.Options(engines=("docker",))).version
    assert versions.present(tree) == tuple(sorted((old, new)))


def test_the_agent_tidies_up_when_it_starts(tree: Tree) -> None:
    tree.docker_engine("{}")
    old = installing.install(tree, OPTIONS).version
    bundle = tree.container("c1", f"{versions.FOLDER}/{old}/perdure-runc")
    criu(tree, "\x7fELF newer")
    new = installing.install(tree, OPTIONS).version
    installing.tidy(tree)
    assert versions.present(tree) == tuple(sorted((old, new)))
    (bundle / "runtime").unlink()
    bundle.rmdir()
    installing.tidy(tree)
    assert versions.present(tree) == (new,)
    bundle = tree.container("c2", f"{versions.FOLDER}/{new}/perdure-runc")
    installing.uninstall(tree, OPTIONS)
    installing.tidy(tree)
    assert (versions.present(tree), hostfile.load(tree) is None) == ((new,), False)
    (bundle / "runtime").unlink()
    bundle.rmdir()
    installing.tidy(tree)
    assert (versions.present(tree), hostfile.load(tree)) == ((), None)


def test_without_containers_the_old_version_goes_at_once(tree: Tree) -> None:
    tree.docker_engine("{}")
    installing.install(tree, OPTIONS)
    criu(tree, "\x7fELF newer")
    done = installing.install(tree, OPTIONS)
    assert versions.present(tree) == (done.version,)


def test_uninstalling_leaves_what_a_running_container_needs(tree: Tree) -> None:
    tree.docker_engine(COMMENTED)
    version = installing.install(tree, OPTIONS).version
    bundle = tree.container("c1", f"{versions.FOLDER}/{version}/perdure-runc", state="/run/docker/containerd/daemon")
    done = installing.uninstall(tree, OPTIONS)
    assert tree.read(DAEMON_JSON) == COMMENTED
    assert versions.present(tree) == (version,)
    assert hostfile.load(tree) is not None, "its kill and delete still need the real runtime's path"
    assert done.kept == (versions.Use(version=version, holder="container c1"),)
    (bundle / "runtime").unlink()
    bundle.rmdir()
    installing.uninstall(tree, OPTIONS)
    assert (versions.present(tree), hostfile.load(tree), versions.linked(tree)) == ((), None, "")


def test_a_container_that_is_stopped_can_be_started_after_uninstalling(tree: Tree) -> None:
    tree.docker_engine("{}")
    installing.install(tree, OPTIONS)
    record = tree.made_by_docker("c2", "perdure")
    tree.made_by_docker("c3", "runc")
    done = installing.uninstall(tree, OPTIONS)
    assert json.loads(tree.read(DAEMON_JSON) or "") == {"runtimes": {"perdure": {"path": "/usr/sbin/runc"}}}
    assert done.said[-1].startswith("containers that exist were made with the runtime 'perdure' (1)")
    record.unlink()
    installing.uninstall(tree, OPTIONS)
    assert tree.read(DAEMON_JSON) == "{}"
    assert tree.read(DAEMON_JSON + edits.ORIGINAL) is None


def test_installing_again_over_what_uninstalling_left(tree: Tree) -> None:
    tree.docker_engine(COMMENTED)
    first = installing.install(tree, OPTIONS)
    tree.write("/srv/docker/containers/c2/hostconfig.json", '{"Runtime": "perdure"}')
    installing.uninstall(tree, OPTIONS)
    assert installing.install(tree, OPTIONS).version == first.version
    assert tree.read(DAEMON_JSON + edits.ORIGINAL) == COMMENTED


@pytest.mark.parametrize("where", ["shim's folder", "options", "conmon", "link", "being made"])
def test_ways_in_which_a_version_is_held(tree: Tree, where: str) -> None:
    tree.docker_engine("{}")
    version = installing.install(tree, OPTIONS).version
    program = f"{versions.FOLDER}/{version}/perdure-runc"
    state = "/srv/containerd-state"
    match where:
        case "shim's folder":
            tree.container("c1", program, state=state)
            tree.process(900, ["/usr/bin/containerd-shim-runc-v2", "-id", "c1"], folder=f"{state}/{versions.TASKS}/moby/c1")
        case "options":
            tree.write(f"/run/containerd/{versions.TASKS}/moby/c1/options.json", json.dumps({"binary_name": program}))
        case "conmon":
            tree.process(901, ["conmon", "-c", "abc", "-r", program])
        case "link":
            tree.container("c1", versions.LINK)
        case "being made":
            (tree.root / f"run/containerd/{versions.TASKS}/moby/c1").mkdir(parents=True)
    done = installing.uninstall(tree, OPTIONS)
    assert versions.present(tree) == (version,)
    assert len(done.kept) == 1


def test_shims_that_remember_nothing_do_not_hold_for_ever(tree: Tree) -> None:
    tree.docker_engine("{}")
    installing.install(tree, OPTIONS)
    bundle = tree.root / f"run/containerd/{versions.TASKS}/moby/gvisor"
    bundle.mkdir(parents=True)
    os.utime(bundle, (1, 1))
    assert installing.uninstall(tree, OPTIONS).kept == ()


def test_upgrading_keeps_engines_and_criu(tree: Tree) -> None:
    tree.docker_engine("{}")
    tree.podman_engine()
    installing.install(tree, installing.Options(engines=("docker",)))
    before = tree.state()
    criu(tree, "\x7fELF of the distribution's upgrade")
    done = installing.upgrade(tree, OPTIONS)
    changed = {name for name, digest in tree.state().items() if before.get(name) != digest}
    assert changed == {"/usr/sbin/criu"}
    assert tree.read(f"/usr/local/lib/perdure/{done.version}/criu") == "\x7fELF criu"
    newer = installing.upgrade(tree, installing.Options(criu="/usr/sbin/criu"))
    assert newer.version != done.version
    assert tree.read("/etc/containers/containers.conf.d/90-perdure.conf") is None


def test_a_file_that_was_spoiled_since_is_named(tree: Tree) -> None:
    tree.docker_engine("{}", running=False)
    installing.install(tree, OPTIONS)
    for spoiled in ('{"runtimes": []}', '{"runtimes": null}'):
        tree.write(DAEMON_JSON, spoiled)
        assert installing.uninstall(tree, installing.Options(dry_run=True)).diff == ""
    tree.write(DAEMON_JSON, "{,}")
    with pytest.raises(errors.InvalidInput, match="not valid JSON"):
        installing.uninstall(tree, OPTIONS)


def test_there_is_nothing_to_upgrade(tree: Tree) -> None:
    tree.docker_engine("{}")
    with pytest.raises(errors.UsageError, match="no interposer is installed"):
        installing.upgrade(tree, OPTIONS)


def test_a_damaged_version_is_put_again(tree: Tree) -> None:
    tree.docker_engine("{}")
    done = installing.install(tree, OPTIONS)
    tree.write(f"{versions.FOLDER}/{done.version}/perdure_runc.pyz", "cut")
    assert installing.install(tree, OPTIONS).put
    assert versions.intact(tree, versions.made(b"\x7fELF criu"))


def test_what_stands_in_the_place_of_the_link_is_left_alone(tree: Tree) -> None:
    tree.docker_engine("{}")
    tree.write(versions.LINK, "mine")
    before = tree.state()
    with pytest.raises(errors.Refused, match="no link of ours"):
        installing.install(tree, OPTIONS)
    assert tree.state() == before


def test_one_engine_can_be_uninstalled_alone(tree: Tree) -> None:
    tree.docker_engine("{}")
    tree.podman_engine()
    version = installing.install(tree, OPTIONS).version
    done = installing.uninstall(tree, installing.Options(engines=("podman",)))
    assert done.version == version
    assert versions.present(tree) == (version,)
    assert tree.read("/etc/containers/containers.conf.d/90-perdure.conf") is None
    assert "default-runtime" in (tree.read(DAEMON_JSON) or "")
