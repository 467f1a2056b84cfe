"""A kill at any write of installing or uninstalling: doing it again comes to the same end as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.install import edits, installing, versions
from reconciler.seams import durable
from tests.agent.install.tree import Tree

OPTIONS = installing.Options()
Act = Callable[[Tree, installing.Options], installing.Done]


class Killed(BaseException):
    """The process is gone: nobody takes anything back."""


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says before which write (from 0) the process is killed; -1: before none."""
    left = {"writes": -1}

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **named: Any) -> Any:
            if left["writes"] == 0:
                raise Killed
            left["writes"] -= 1
            return function(*arguments, **named)

        return write

    def take_back(self: edits.Transaction) -> None:
        if left["writes"] != 0:
            original(self)

    original = edits.Transaction.take_back
    monkeypatch.setattr(durable, "write_atomic", counted(durable.write_atomic))
    monkeypatch.setattr(durable, "remove", counted(durable.remove))
    monkeypatch.setattr(versions, "link", counted(versions.link))
    monkeypatch.setattr(edits.Transaction, "take_back", take_back)
    return lambda number: left.update(writes=number)


def machine(root: Path) -> Tree:
    tree = Tree(root)
    tree.docker_engine('{\n  "log-driver": "json-file"\n}\n')
    tree.containerd_engine("# mine\nversion = 2\n")
    tree.podman_engine()
    return tree


def killed_everywhere(tmp_path: Path, kills: Callable[[int], None], prepare: Act | None, act: Act) -> Iterator[Tree]:
    """Yield a machine for each write at which `act` can be killed, right after."""
    for number in range(100):
        tree = machine(tmp_path / str(number))
        if prepare:
            prepare(tree, OPTIONS)
        kills(number)
        try:
            act(tree, OPTIONS)
        except Killed:
            kills(-1)
            yield tree
        else:
            kills(-1)
            assert number > 5, "there were writes to be killed at"
            return


def state(tree: Tree) -> dict[str, str]:
    return {name: digest for name, digest in tree.state().items() if durable.PARTIAL not in name}


def test_installing_again_after_a_kill_ends_as_a_first_time(tmp_path: Path, kills: Callable[[int], None]) -> None:
    whole = machine(tmp_path / "whole")
    before = state(whole)
    installing.install(whole, OPTIONS)
    for tree in killed_everywhere(tmp_path, kills, None, installing.install):
        installing.install(tree, OPTIONS)
        assert state(tree) == state(whole)
        installing.uninstall(tree, OPTIONS)
        assert state(tree) == before


def test_uninstalling_again_after_a_kill_gives_everything_back(tmp_path: Path, kills: Callable[[int], None]) -> None:
    before = state(machine(tmp_path / "whole"))
    for tree in killed_everywhere(tmp_path, kills, installing.install, installing.uninstall):
        installing.uninstall(tree, OPTIONS)
        assert state(tree) == before


def test_after_a_kill_while_installing_uninstalling_gives_everything_back(tmp_path: Path, kills: Callable[[int], None]) -> None:
    before = state(machine(tmp_path / "whole"))
    for tree in killed_everywhere(tmp_path, kills, None, installing.install):
        installing.uninstall(tree, OPTIONS)
        assert state(tree) == before
