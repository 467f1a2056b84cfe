"""Podman: a drop-in, and what other files say."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from agent.install import installing, podman, versions
from reconciler import errors
from tests.agent.install.tree import Tree

OPTIONS = installing.Options(engines=("podman",))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.podman_engine()
    return tree


def test_runc_is_found_at_the_interposer(tree: Tree) -> None:
    tree.write("/usr/share/containers/containers.conf", '[engine]\nruntime = "crun"\n')
    done = installing.install(tree, OPTIONS)
    program = f"{versions.FOLDER}/{done.version}/perdure-runc"
    assert tomllib.loads(tree.read(podman.DROP_IN) or "") == {"engine": {"runtime": "runc", "runtimes": {"runc": [program]}}}
    assert done.said == (f"podman: podman uses {program}",)
    assert podman.Podman().installed(tree) == program


@pytest.mark.parametrize("where", [*podman.FILES, f"{podman.FOLDER}/10-kata.conf"])
def test_another_runtime_is_refused(tree: Tree, where: str) -> None:
    tree.write(where, '[engine]\nruntime = "kata"\n')
    with pytest.raises(errors.Refused, match="the runtime is 'kata'") as caught:
        installing.install(tree, OPTIONS)
    assert caught.value.where == where
    assert tree.read(podman.DROP_IN) is None


def test_a_file_that_overrides_ours_is_found(tree: Tree) -> None:
    tree.programs["podman"] = lambda words: type(tree.run(["none"]))(status=0, out="/usr/bin/crun\n")
    before = tree.state()
    with pytest.raises(errors.Unavailable, match="podman would use /usr/bin/crun"):
        installing.install(tree, OPTIONS)
    assert tree.state() == before


def test_a_file_that_is_no_toml_is_named(tree: Tree) -> None:
    tree.write(f"{podman.FOLDER}/10.conf", "engine = [\n")
    with pytest.raises(errors.InvalidInput, match="not valid TOML") as caught:
        installing.install(tree, OPTIONS)
    assert caught.value.where == f"{podman.FOLDER}/10.conf"
