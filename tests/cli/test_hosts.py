"""Hosts from the command line: tokens, joining, the list, and being refused."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from reconciler.cli import hosts, view
from reconciler.core import observed
from reconciler.wire import token
from tests.cli.site import Site
from tests.conditions import eventually

AGENT = [sys.executable, "-c", "from agent.cli import main; main()"]

POOLS = """
apiVersion: perdure.dev/v1alpha1
kind: Pool
metadata: {name: large}
spec: {provider: static, hosts: [berlin]}
"""


def configure(site: Site, listen: str) -> None:
    site.config.write_text(
        f"loop: {{poll: 500ms, backoff: 500ms, lostAfter: 3s, lostTries: 2, drift: 2s}}\n"
        f"agents: {{embedded: false{f', listen: {json.dumps(listen)}' if listen else ''}}}\n"
    )


def pair() -> int:
    """Return a port that is free, with the one after it."""
    while True:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture
def listening(site: Site) -> Site:
    """A site whose reconciler listens, with a job that waits at its gate."""
    configure(site, f"127.0.0.1:{pair()}")
    site.job(more="onLost: replace")
    site.push()
    return site


@pytest.fixture
def start(site: Site) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts the agent of a host that has joined; at the end its jobs go to theirs."""
    started: list[tuple[Path, subprocess.Popen[bytes]]] = []

    def run(host: str) -> subprocess.Popen[bytes]:
        log = open(site.root / f"{host}.log", "ab")  # noqa: SIM115 - the process has it until it ends
        data = site.root / host
        process = subprocess.Popen([*AGENT, "run", "--data", str(data), "--cpu", "500m", "--memory", "1Gi"], stderr=log)
        log.close()
        started.append((data, process))
        return process

    yield run
    site.gate.touch()
    for data, process in started:
        process.terminate()
        process.wait(30)
        site.data, kept = data.parent, site.data
        (site.root / "agent").symlink_to(data)
        eventually(lambda: not site.living(), timeout=60)
        (site.root / "agent").unlink()
        site.data = kept


def join(site: Site, text: str, host: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AGENT, "join", "-", "--name", host, "--data", str(site.root / host)],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def states(site: Site) -> dict[str, str]:
    return {each["host"]: each["state"] for each in site.json("host", "list")["hosts"]}


def test_a_token_is_all_that_is_printed_and_its_secret_is_nowhere(listening: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = listening.root / "bin" / "git"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\n{{ echo "$@"; env; }} >> {listening.root}/spied\nexec {shutil.which("git")} "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent), prepend=os.pathsep)
    done = listening.run("token", "create", "berlin")
    assert done.stdout.count("\n") == 1
    assert "an authority was made in" in done.stderr
    made = token.parse(done.stdout)
    assert made.address.startswith("127.0.0.1:")
    written = b"".join(path.read_bytes() for path in listening.root.rglob("*") if path.is_file() and not path.is_symlink())
    assert b"push" in written, "what git was called with is looked at"
    assert made.secret.encode() not in written
    for repository in (listening.repository, next(listening.data.glob("repo-*.git"))):
        dump = ["git", "cat-file", "--batch-all-objects", "--batch"]
        objects = subprocess.run(dump, cwd=repository, capture_output=True, check=True, timeout=60).stdout
        assert token.digest(made.secret).encode() in objects
        assert made.secret.encode() not in objects
    assert made.secret not in done.stderr


def test_what_is_missing_on_hosts_stands_below_the_list() -> None:
    world = types.SimpleNamespace(running=lambda name: 0)
    seen = cast(view.View, types.SimpleNamespace(now=100.0, world=world))
    why = "checkpoints of containers: criu is not there"
    state = observed.HostState(host="berlin", conditions=(why,))
    ready = observed.HostView(state=state, seen_at=100.0)
    silent = observed.HostView(state=state, seen_at=10.0, silent_since=10.0)
    text = hosts._table([("berlin", "", "ready", ready), ("oslo", "", "silent", silent), ("rome", "", "joined", None)], seen)
    assert text.splitlines()[4:] == ["", f"berlin: {why}"], "what a silent one has said is old"
    assert len(hosts._table([("rome", "", "joined", None)], seen).splitlines()) == 2


def test_a_host_joins_serves_is_revoked_and_its_work_goes_on_elsewhere(
    listening: Site, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    site = listening
    site.start("reconcile")
    eventually(lambda: "reconciling" in site.loop(), timeout=60)
    text = site.run("token", "create", "berlin").stdout
    assert states(site) == {"berlin": "invited"}
    assert "this token is for another host than paris" in join(site, text, "paris").stderr
    joined = join(site, text, "berlin")
    assert joined.returncode == 0, joined.stderr
    assert "used before" in join(site, text, "berlin").stderr
    assert states(site) == {"berlin": "joined"}
    start("berlin")
    site.run("wait", "count", "--for", "running", "--timeout", "60s")
    eventually(lambda: states(site) == {"berlin": "ready"}, timeout=60)
    eventually(lambda: [each["attempts"] for each in site.json("host", "list")["hosts"]] == [1], timeout=60)
    [berlin] = site.json("host", "list")["hosts"]
    assert (berlin["cpu"], berlin["memory"]) == (500, 1 << 30)
    row = site.run("host", "list").stdout.splitlines()[1].split()
    assert row == ["berlin", "ready", "0.5", "1.0", "GiB", "1"]

    join(site, site.run("token", "create", "paris").stdout, "paris")
    start("paris")
    eventually(lambda: states(site).get("paris") == "ready", timeout=60)
    revoked = site.run("host", "revoke", "berlin").stdout
    assert revoked.startswith("berlin is revoked.\n1 attempt there: silent from now on")
    site.json("host", "revoke", "berlin")
    assert states(site)["berlin"] == "revoked"
    eventually(lambda: "berlin is revoked" in (site.root / "berlin.log").read_text(), timeout=60)
    site.says("attempt 2")
    [standing] = site.json("status")["jobs"]
    assert (standing["attempt"], standing["host"]) == (2, "paris")
    assert "host berlin is revoked" in site.run("token", "create", "berlin", code=2).stderr
    [_, gone, _] = site.run("host", "list").stdout.splitlines()
    assert gone.split()[:2] == ["berlin", "revoked"]
    assert "revoked for" not in gone, "how long it is not heard is of no interest any more"
    assert "hosts: berlin is revoked" in site.run("doctor").stdout
    site.gate.touch()
    site.says("count finished in attempt 2")


def test_two_tokens_at_once_are_both_good(listening: Site) -> None:
    site = listening

    def create(number: int) -> subprocess.CompletedProcess[str]:
        data = site.data if number % 2 else site.root / "elsewhere"
        arguments = [*site.arguments("token", "create", f"host-{number}"), "--data", str(data)]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=120, cwd=site.root, check=False)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(create, range(4)))
    assert [each.returncode for each in done] == [0] * 4, [each.stderr for each in done]
    assert set(states(site)) == {f"host-{number}" for number in range(4)}
    pins = [token.parse(each.stdout).pin for each in done]
    assert pins[0] == pins[2] != pins[1] == pins[3]


def test_a_host_of_a_pool_is_invited_to_it(listening: Site) -> None:
    listening.write("pools.yaml", POOLS)
    listening.push()
    assert listening.json("token", "create", "berlin", "--pool", "large")["pool"] == "large"
    [berlin] = listening.json("host", "list")["hosts"]
    assert (berlin["host"], berlin["pool"], berlin["state"]) == ("berlin", "large", "invited")


def test_what_a_pool_declares_holds_when_a_host_joins_and_when_jobs_are_placed(
    listening: Site, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    site = listening
    labelled = POOLS.replace("[berlin]", "[berlin], labels: {disk: ssd}")
    site.write("pools.yaml", labelled)
    site.job(more="placement: {labels: {disk: ssd}}")
    site.push()
    text = site.run("token", "create", "berlin", "--pool", "large").stdout
    site.write("pools.yaml", labelled.replace("berlin", "paris"))
    site.push()
    site.start("reconcile")
    denied = eventually(lambda: refused(join(site, text, "berlin")), timeout=60)
    assert "berlin is not among the hosts of Pool large" in denied

    site.write("pools.yaml", labelled)
    site.push()
    eventually(lambda: join(site, text, "berlin").returncode == 0, timeout=60)
    start("berlin")
    site.gate.touch()
    site.says("count finished in attempt 1")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return why a host was not let in; nothing while that is not known yet."""
    return done.stderr if "not among" in done.stderr else ""


def test_a_token_expires(listening: Site) -> None:
    site = listening
    site.start("reconcile")
    eventually(lambda: "reconciling" in site.loop(), timeout=60)
    text = site.run("token", "create", "berlin", "--expires", "1ms").stdout
    assert "this token has expired" in join(site, text, "berlin").stderr
    assert states(site) == {}
    assert site.run("host", "list").stdout == "No host was heard or may join.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a b"], "'a b' cannot be the name of a host"),
        (["-x"], "no such option"),
        (["x" * 64], "63 characters at most"),
        (["berlin", "--expires", "soon"], "'soon' is not a duration"),
        (["berlin", "--expires", "0s"], "'0s' is not a duration"),
        (["berlin", "--address", "a b"], "'a b' is not an address"),
        (["berlin", "--pool", "small"], "there is no Pool 'small'\n  Declared: large."),
        (["paris", "--pool", "large"], "paris is not among the hosts of Pool large\n  Add paris to its `hosts`."),
    ],
    ids=lambda value: value[-1][:8] if isinstance(value, list) else "",
)
def test_what_cannot_be_a_token_is_refused(listening: Site, arguments: list[str], said: str) -> None:
    listening.write("pools.yaml", POOLS)
    listening.push()
    refused = listening.run("token", "create", *arguments, code=2)
    assert said in refused.stderr
    assert refused.stdout == ""
    assert not (listening.data / "keys").exists()


@pytest.mark.parametrize(
    ("listen", "address", "said"),
    [
        ("", "", "agents.listen is not set"),
        ("0.0.0.0:7443", "", "--address HOST:PORT"),
        ("127.0.0.1:0", "", "--address HOST:PORT"),
        ("127.0.0.1:0", "berlin", "--address HOST:PORT"),
        ("nowhere", "", "agents.listen: expected an address with a port"),
        ("0.0.0.0:7443", "reconciler.example", "reconciler.example:7444"),
        ("[::]:7443", "[2001:db8::1]", "[2001:db8::1]:7444"),
        ("", "reconciler.example:9000", "reconciler.example:9000"),
    ],
)
def test_the_address_in_a_token_is_one_that_hosts_can_dial(site: Site, listen: str, address: str, said: str) -> None:
    configure(site, listen)
    site.push("nothing yet")
    good = said.endswith(("7444", "9000"))
    arguments = ["token", "create", "berlin", *(["--address", address] if address else [])]
    done = site.run(*arguments, code=0 if good else 2)
    if good:
        assert token.parse(done.stdout).address == said
    else:
        assert said in done.stderr


def test_the_agent_inside_the_reconciler_has_no_token_and_no_certificate(site: Site) -> None:
    site.config.write_text("agents: {name: here, listen: '127.0.0.1:7443'}\n")
    site.push("nothing yet")
    assert "inside `perdure reconcile`" in site.run("token", "create", "here", code=2).stderr
    assert "inside `perdure reconcile`" in site.run("host", "revoke", "here", code=2).stderr
    assert "there is no host 'berlin'" in site.run("host", "revoke", "berlin", code=2).stderr
    site.json("token", "create", "berlin", "--expires", "1h")
    assert json.loads(site.run("host", "revoke", "berlin", "-o", "json").stdout)["state"] == "revoked"


def test_what_is_no_token_is_told_by_the_agent(site: Site) -> None:
    for text in ("", "\n", "not a token\n"):
        done = join(site, text, "berlin")
        assert done.returncode == 2
        assert "this is not a join token" in done.stderr
