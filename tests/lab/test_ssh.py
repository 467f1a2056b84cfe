"""A real sshd: keys, host keys, pushes and their order, a server that goes away or stops answering in the middle."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.contracts.ledger import Change, Committed, Conflict
from reconciler.contracts.source import Edit, Pushed, Revision, Stale
from reconciler.core import record
from reconciler.ledger.repository import RepositoryLedger
from reconciler.seams import clock
from reconciler.seams.git import address, environment, mirror
from reconciler.source import repository
from tests import conditions
from tests.lab.lab import Lab
from tests.lab.node import Daemon, Node

PORT = 2222
REPOSITORY = "/srv/jobs.git"
HOST_KEY = "/etc/ssh/test_host"
JOIN = record.Join(token="0" * 64, host="a", pool="", expires_at=1.0)


class Server:
    """A node with a repository of user git, and an sshd that lets in who has the key."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self._starts = 0
        self.key = folder / "key of git"
        self.stranger = folder / "stranger"
        self.known = folder / "known hosts"
        for path in (self.key, self.stranger):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        node.run(["useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", "git"])
        node.write("/home/git/.ssh/authorized_keys", Path(f"{self.key}.pub").read_text(), mode=0o600)
        node.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", REPOSITORY])
        node.run(["chown", "-R", "git:", "/home/git/.ssh", REPOSITORY])
        node.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", HOST_KEY])
        self.trust(node.path(f"{HOST_KEY}.pub").read_text())
        self.daemon = self.start()

    def trust(self, public: str) -> None:
        """Have the known_hosts file say that this is the server's key."""
        self.known.write_text(f"[{self.node.address}]:{PORT} {public}")

    def start(self) -> Daemon:
        self.node.run(["mkdir", "-p", "/run/sshd"])
        options = ["-p", str(PORT), "-h", HOST_KEY, "-o", f"ListenAddress={self.node.address}", "-o", "UsePAM=no"]
        self._starts += 1  # a log of its own: what an earlier one said is no sign of life
        daemon = self.node.daemon(["/usr/sbin/sshd", "-D", "-e", *options], log=f"/var/log/sshd-{self._starts}.log")
        conditions.eventually(lambda: "Server listening" in daemon.output(), message=daemon.output)
        return daemon

    def git(self, *arguments: str) -> str:
        """Run git where the repository is."""
        return self.node.run(["su", "git", "-c", 'exec git "$@"', "--", "git", "-C", REPOSITORY, *arguments]).stdout.rstrip(
            "\n"
        )

    def mirror(self, data: Path, timeout: float = 60.0, key: Path | None = None) -> mirror.Mirror:
        place = address.parse_address(f"ssh://git@{self.node.address}:{PORT}{REPOSITORY}", Path("/"))
        access = environment.Access(address=place, ssh_key=str(key or self.key), known_hosts=str(self.known))
        return mirror.Mirror(data / "repo.git", access, timeout=timeout)

    def source(self, data: Path, timeout: float = 60.0, key: Path | None = None) -> repository.RepositorySource:
        return repository.RepositorySource(self.mirror(data, timeout, key), "main", clock.System())


@pytest.fixture
def server(node: Node, tmp_path: Path) -> Server:
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("the tests need ssh: install openssh-client")
    one = Server(node, tmp_path)
    tree = one.git("mktree")
    commit = one.git("-c", "user.name=a", "-c", "user.email=a@example", "commit-tree", "-m", "first", tree)
    one.git("update-ref", "refs/heads/main", commit)
    return one


def test_what_is_read_and_pushed_arrives(server: Server, tmp_path: Path) -> None:
    one = server.source(tmp_path / "data")
    revision = one.fetch()
    assert isinstance(revision, Revision), revision
    pushed = one.propose(Edit(files={"jobs.yaml": b"2"}, message="m", branch="main"), revision.id)
    assert isinstance(pushed, Pushed), pushed
    assert server.git("show", "main:jobs.yaml") == "2"
    found = one.fetch()
    assert isinstance(found, Revision)
    assert found.id != revision.id


def test_two_ledgers_race_for_the_same_ref(server: Server, tmp_path: Path) -> None:
    ours = RepositoryLedger(server.mirror(tmp_path / "ours"), "lab", clock.System())
    rival = RepositoryLedger(server.mirror(tmp_path / "rival"), "lab", clock.System())
    seen = rival.read()
    assert isinstance(ours.append(ours.read(), Change(joins=(JOIN,))), Committed)
    other = replace(JOIN, token="1" * 64)
    assert isinstance(rival.append(seen, Change(joins=(other,))), Conflict), "whoever is second reads again"
    assert isinstance(rival.append(rival.read(), Change(joins=(other,))), Committed)
    assert list(ours.read().joins) == [JOIN.token, other.token]
    assert "refs/perdure/state/lab" in server.git("for-each-ref", "--format=%(refname)")


def test_a_stranger_is_not_let_in_and_a_strange_server_is_not_believed(server: Server, tmp_path: Path) -> None:
    refused = server.source(tmp_path / "data", key=server.stranger).fetch()
    assert isinstance(refused, Stale)
    assert (refused.reason, "Permission denied" in refused.detail) == ("SourceUnauthorized", True)
    good = server.source(tmp_path / "data")
    assert isinstance(good.fetch(), Revision)
    server.trust(Path(f"{server.stranger}.pub").read_text())
    doubted = good.fetch()
    assert isinstance(doubted, Stale)
    assert doubted.reason == "SourceUnauthorized"
    assert "the server's host key is not the known one" in doubted.detail
    assert doubted.last is not None
    server.known.write_text("")
    assert isinstance(good.fetch(), Stale), "nor is one that nobody knows"


def test_a_server_that_goes_away_and_comes_back(server: Server, tmp_path: Path) -> None:
    one = server.source(tmp_path / "data")
    before = one.fetch()
    assert isinstance(before, Revision)
    server.daemon.stop()
    gone = one.fetch()
    assert isinstance(gone, Stale)
    assert (gone.reason, gone.last) == ("SourceUnreachable", before)
    server.daemon = server.start()
    assert isinstance(one.fetch(), Revision)


def test_a_server_that_is_cut_off_and_heard_again(lab: Lab, server: Server, tmp_path: Path) -> None:
    assert isinstance(server.source(tmp_path / "data").fetch(), Revision)
    one = server.source(tmp_path / "data", timeout=3.0)
    lab.partition(server.node)
    try:
        cut = one.fetch()
    finally:
        lab.heal(server.node)
    assert isinstance(cut, Stale)
    assert cut.reason == "SourceUnreachable"
    again = server.source(tmp_path / "data")
    conditions.eventually(lambda: isinstance(again.fetch(), Revision), timeout=60)


def test_a_push_whose_answer_is_lost_is_told_from_one_that_did_not_arrive(server: Server, tmp_path: Path) -> None:
    """The server's sshd dies after the branch has moved: what was pushed is looked up, and not pushed again."""
    one = server.source(tmp_path / "data")
    revision = one.fetch()
    assert isinstance(revision, Revision)
    hook = f"{REPOSITORY}/hooks/post-receive"
    server.node.write(hook, "#!/bin/sh\nkill -KILL $(ps -o ppid= -p $PPID)\nexec cat > /dev/null\n", mode=0o755)
    pushed = one.propose(Edit(files={"jobs.yaml": b"3"}, message="m", branch="main"), revision.id)
    server.node.run(["rm", hook])
    assert isinstance(pushed, Pushed), pushed
    assert server.git("show", "main:jobs.yaml") == "3"
    assert server.git("rev-list", "--count", "main") == "2"
