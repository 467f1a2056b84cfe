"""What the how-to guides let people type does what they say."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from agent import cli, secretfiles
from reconciler.cli import main
from reconciler.core import model, observed, reasons, spec
from reconciler.storage.opened import Opened
from tests.agent.host import Host, archive, python
from tests.docs import pages, session
from tests.storage import images

GUIDES = pages.ROOT / "docs" / "how-to"
UNITS = pages.ROOT / "manifests" / "systemd"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


GUIDE = GUIDES / "write-a-job-that-checkpoints.md"
COMPILED = ["sh", "-c", "cc -O2 -Wall -Wextra -Werror -o count count.c && exec ./count"]
BUILT = ["BUILT"]
"""Stands for what `built` returns."""


def needs(compiler: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(compiler) is None, reason=f"there is no {compiler} here")


def built(host: Host, program: str) -> str:
    """Build a program in Go where the jobs' user finds it: a job has no cache to build in."""
    folder = host.folder / "go"
    folder.mkdir()
    (folder / "count.go").write_text(program)
    environment = {**os.environ, "GOCACHE": str(folder / "cache"), "GO111MODULE": "off", "GOFLAGS": "", "GOTOOLCHAIN": "local"}
    target = host.jobs / "count"
    subprocess.run(["go", "build", "-o", str(target), "count.go"], cwd=folder, env=environment, check=True, timeout=600)
    return str(target)


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("count.py", [python(), "count.py"]),
        ("count.sh", ["sh", "count.sh"]),
        pytest.param("count.c", COMPILED, marks=needs("cc")),
        pytest.param("count.go", BUILT, marks=needs("go")),
    ],
)
def test_the_programs_are_saved_and_restored(host: Host, file: str, command: list[str]) -> None:
    [program] = [block.text for block in pages.blocks(GUIDE) if block.options.get("file") == file]
    if command is BUILT:
        command = [built(host, program)]
    host.link.trees["a"] = archive({file: program})
    workload = {"code": model.Code(path="code", tree="a")}
    asked = spec.Request(id="first", purpose=spec.Purpose.SUSPEND, then_stop=True)
    with host.up():
        first = host.assign(host.attempt(command, workload=workload))
        host.until(first, lambda item: item.progress is not None and item.progress.step > 2)
        host.change(first, request=asked)
        host.ended(first)
        [taken] = host.store.list(first.run)
        assert taken.step is None or taken.step > 2
        second = host.assign(host.attempt(command, number=2, workload=workload, restore=taken.digest))
        found = host.until(second, lambda item: item.progress is not None and item.state is observed.ItemState.RUNNING)
        host.logged(second, "from ")
        assert b"from 0" not in host.log(second)
        assert found.first_step is not None
        assert found.first_step > 2
        host.change(second, want=spec.Want.STOP)
        host.ended(second)


def test_the_shell_program_is_tried_as_told(tmp_path: Path) -> None:
    [program] = [block for block in pages.blocks(GUIDE) if block.options.get("file") == "count.sh"]
    [block] = [block for block in pages.blocks(GUIDE) if "try" in block.options]
    (tmp_path / "count.sh").write_text(program.text)
    typed = block.text.replace("/tmp/try", str(tmp_path / "try"))
    done = subprocess.run(["sh", "-eu", "-c", typed], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout.splitlines()[-1]) > 0


def test_keys_are_made_and_rotated_as_told(tmp_path: Path) -> None:
    """Under processes that run: a checkpoint written with the old keys is still good, and a new one uses the new keys.

    A host that has not come to the second step yet reads what one that has wrote.
    """
    folder, behind = tmp_path / "keys", tmp_path / "behind"
    config = model.StoreSpec(name="main", root=str(tmp_path / "store"), encryption="main", signing="main")
    (tmp_path / "store").mkdir()
    opened, digests = Opened(folder), list[str]()
    for block in (block for block in pages.blocks(GUIDES / "keys.md") if "run" in block.options):
        if folder.exists():
            shutil.copytree(folder, behind, dirs_exist_ok=True)
        _typed(block, tmp_path)
        digests.append(images.put(opened(config), {"a": images.noise(len(digests), 3)}, images.meta(len(digests) + 1)).digest)
        assert [opened(config).verify(digest).problems for digest in digests] == [()] * len(digests)
    assert len(digests) == 3
    assert [Opened(behind)(config).verify(digest).ok for digest in digests] == [True] * 3
    for old in folder.glob("*/main@*.key"):
        old.unlink()
    assert [opened(config).verify(digest).ok for digest in digests] == [False, False, True]


def test_a_secret_is_put_where_the_agent_reads_it(tmp_path: Path) -> None:
    [block] = [block for block in pages.blocks(GUIDES / "secrets.md") if "run" in block.options]
    _typed(block, tmp_path)
    assert secretfiles.read(tmp_path / "secrets", "default", ["DATASET_TOKEN"]) == {"DATASET_TOKEN": "the value"}


def _typed(block: pages.Block, folder: Path) -> None:
    """Run one block of a guide with its own /etc/perdure."""
    shell = session.Session(folder, folder, os.environ, {"/etc/perdure": str(folder)})
    try:
        shell.perform(block, None)
    finally:
        shell.close()


@pytest.mark.parametrize("unit", [pytest.param(path, id=path.name) for path in sorted(UNITS.iterdir())])
def test_the_units_start_commands_that_exist(unit: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    service = parser["Service"]
    program, name, *flags = service["ExecStart"].split()
    group: click.Group = cli.cli if program.endswith("-agent") else main.cli
    command = group.get_command(click.Context(group), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {flag for flag in flags if flag.startswith("--")} <= known
    assert service["KillMode"] == "process", "jobs outlive their agent"


def test_an_agent_ends_after_the_engines_whose_containers_it_saves() -> None:
    """systemd stops in the opposite order of the start; what is not ordered it stops at once."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(UNITS / "perdure-agent.service")
    assert {"docker.service", "containerd.service"} <= set(parser["Unit"]["before"].split())
    assert {"network-online.target", "remote-fs.target"} <= set(parser["Unit"]["after"].split()), "stores are elsewhere"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_knows_what_the_units_say(tmp_path: Path) -> None:
    for unit in sorted(UNITS.iterdir()):
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text().replace("/opt/perdure/bin/", "/bin/true /"))
        done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False, timeout=60)
        said = [line for line in done.stderr.splitlines() if unit.name in line and "DelegateSubgroup" not in line]
        assert said == []


def test_every_reason_with_a_remedy_is_told() -> None:
    told = (GUIDES / "troubleshoot.md").read_text()
    passing = {"Finished", "Suspended", "Stopped", "Removed"}
    assert {row.name for row in reasons.TABLE.values() if row.remedy and f"| `{row.name}` |" not in told} <= passing
    named = {line.split("`")[1] for line in told.splitlines() if line.startswith("| `") and line.split("`")[1].isidentifier()}
    assert named <= set(reasons.TABLE)
