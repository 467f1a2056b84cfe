"""Servers over ssh and http: the options we give ssh, tokens, host keys, partial fetches that are not allowed."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from http import server
from pathlib import Path
from typing import ClassVar

import pytest

from reconciler.contracts.ledger import Change, Conflict
from reconciler.contracts.source import Edit, Pushed, Revision, Stale
from reconciler.ledger.repository import RepositoryLedger
from reconciler.seams import clock
from reconciler.seams.git import environment
from reconciler.source import repository
from tests.seams import repositories
from tests.seams.repositories import Person, git

TOKEN = "t0ken-that-nobody-sees"

SSH = """#!/bin/sh
printf '%s\\n' "$*" >> "$HOME/calls"
if [ -f "$HOME/fail" ]; then cat "$HOME/fail" >&2; exit 255; fi
for last; do :; done
exec sh -c "$last"
"""


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    made = repositories.bare(tmp_path / "remote.git")
    person = Person(made, tmp_path / "person")
    person.commit({"a": b"1"})
    person.push()
    return made


@pytest.fixture
def calls(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called ssh that runs the command here, and writes down how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(SSH)
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return home / "calls"


def source(url: str, tmp_path: Path, **access: str) -> repository.RepositorySource:
    return repository.RepositorySource(repositories.mirror_of(url, tmp_path / "data", **access), "main", clock.System())


def test_ssh_reads_and_pushes_with_the_given_key_and_hosts(remote: Path, calls: Path, tmp_path: Path) -> None:
    key, hosts = tmp_path / "key file", tmp_path / "hosts"
    one = source(f"ssh://git@example.invalid{remote}", tmp_path, ssh_key=str(key), known_hosts=str(hosts))
    revision = one.fetch()
    assert isinstance(revision, Revision), revision
    pushed = one.propose(Edit(files={"a": b"2"}, message="m", branch="main"), revision.id)
    assert isinstance(pushed, Pushed)
    assert git(remote, "show", "main:a") == "2"
    said = calls.read_text()
    for part in (
        f"-F /dev/null -i {key}",
        "-o BatchMode=yes",
        "-o StrictHostKeyChecking=yes",
        f'-o UserKnownHostsFile="{hosts}"',
        "git@example.invalid",
        "git-upload-pack",
        "git-receive-pack",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Host key verification failed.", "SourceUnauthorized"),
        ("git@example.invalid: Permission denied (publickey).", "SourceUnauthorized"),
        ("ssh: connect to host example.invalid port 22: Connection refused", "SourceUnreachable"),
        ("ssh: Could not resolve hostname example.invalid", "SourceUnreachable"),
    ],
)
def test_what_ssh_says_is_said(remote: Path, calls: Path, home: Path, tmp_path: Path, text: str, reason: str) -> None:
    one = source(f"git@example.invalid:{remote}", tmp_path)
    assert isinstance(one.fetch(), Revision)
    (home / "fail").write_text(text)
    found = one.fetch()
    assert isinstance(found, Stale)
    assert found.reason == reason
    assert text.rstrip(".") in found.detail
    assert found.last is not None
    assert calls.exists()


class GitHandler(server.BaseHTTPRequestHandler):
    """git-http-backend behind basic authentication."""

    root: ClassVar[Path]
    wanted: ClassVar[str]
    seen: ClassVar[list[str]]

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        authorization = self.headers.get("Authorization", "")
        self.seen.append(authorization)
        if authorization != self.wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.end_headers()
            return
        done = subprocess.run(
            ["git", "http-backend"],
            input=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            capture_output=True,
            check=True,
            env={
                **os.environ,
                "GIT_PROJECT_ROOT": str(self.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REMOTE_USER": "somebody",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
        ).stdout
        head, _, body = done.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(remote: Path) -> Iterator[str]:
    """The address of an HTTP server for the repository."""
    word = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    handler = type("Handler", (GitHandler,), {"root": remote.parent, "wanted": f"Basic {word}", "seen": []})
    with server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/{remote.name}"
        running.shutdown()
        thread.join()


def test_a_token_opens_the_server_and_is_seen_nowhere(site: str, remote: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    one = source(site, tmp_path, token_file=str(token))
    revision = one.fetch()
    assert isinstance(revision, Revision), revision
    pushed = one.propose(Edit(files={"a": b"2"}, message="m", branch="main"), revision.id)
    assert isinstance(pushed, Pushed)
    assert git(remote, "show", "main:a") == "2"
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_a_token_that_is_no_longer_good_keeps_the_last_revision(site: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    one = source(site, tmp_path, token_file=str(token))
    assert isinstance(one.fetch(), Revision)
    token.write_text("rotated")
    found = one.fetch()
    assert isinstance(found, Stale)
    assert found.reason == "SourceUnauthorized"
    assert found.last is not None
    assert "rotated" not in found.detail
    token.write_text(TOKEN)
    assert isinstance(one.fetch(), Revision)


def test_without_a_token_nobody_is_asked(site: str, tmp_path: Path) -> None:
    found = source(site, tmp_path).fetch()
    assert isinstance(found, Stale)
    assert found.reason == "SourceUnauthorized"


def test_a_server_without_partial_fetches_is_fetched_whole_and_it_is_said_once(site: str, remote: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    git(remote, "config", "uploadpack.allowFilter", "false")
    first = source(site, tmp_path, token_file=str(token)).fetch()
    assert isinstance(first, Revision)
    assert "does not allow partial fetches" in first.notice
    person = Person(remote, tmp_path / "other")
    person.git("pull", "--quiet", "origin", "main")
    person.commit({"a": b"2"})
    person.push()
    again = source(site, tmp_path, token_file=str(token))
    second = again.fetch()
    assert isinstance(second, Revision)
    assert second.id != first.id
    assert second.notice == ""
    assert {entry.size for entry in again.tree(second.id).entries()} == {1}


def test_a_server_that_only_hands_out_files_is_fetched_whole(remote: Path, tmp_path: Path) -> None:
    """Git's old HTTP protocol can leave nothing out: neither history nor files, and nothing is fetched again one by one."""
    git(remote, "update-server-info")
    handler = functools.partial(Plain, directory=str(remote.parent))
    with server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        one = source(f"http://127.0.0.1:{running.server_port}/{remote.name}", tmp_path)
        first = one.fetch()
        person = Person(remote, tmp_path / "other")
        person.git("pull", "--quiet", "origin", "main")
        person.commit({"a": b"2"})
        person.push()
        git(remote, "update-server-info")
        second = one.fetch()
        running.shutdown()
        thread.join()
    assert isinstance(first, Revision), first
    assert "the whole history" in first.notice
    assert isinstance(second, Revision), second
    assert second.notice == ""
    [entry] = one.tree(second.id).entries()
    assert one.tree(second.id).read([entry.oid]) == {entry.oid: b"2"}


class Plain(server.SimpleHTTPRequestHandler):
    """Files, and no program of git behind them."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_server_that_only_drips_does_not_count_as_answering(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte arrives, and long before the bound on the whole exchange it is called unreachable; jobs go on meanwhile."""
    monkeypatch.setattr(environment, "PATIENCE", 1)
    dripping = Dripping(remote)
    with dripping.serving() as url:
        one = source(url, tmp_path)
        before = one.fetch()
        assert isinstance(before, Revision), before
        person = Person(remote, tmp_path / "other")
        person.git("pull", "--quiet", "origin", "main")
        person.commit({"large": os.urandom(1 << 18)})
        person.push()
        dripping.slow.set()
        found = one.fetch()
        assert isinstance(found, Stale)
        assert (found.reason, found.last) == ("SourceUnreachable", before)
        assert "too slow" in found.detail
        dripping.slow.clear()
        assert isinstance(one.fetch(), Revision)


class Dripping:
    """A proxy in front of a server for a repository: while `slow` is set, what the server says comes a few bytes at a time."""

    PIECE = 16
    PAUSE = 0.05

    def __init__(self, remote: Path) -> None:
        self.slow = threading.Event()
        self._over = threading.Event()
        self._handler = type("Open", (GitHandler,), {"root": remote.parent, "wanted": "", "seen": []})
        self._path = remote.name

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        with (
            server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler) as behind,
            socket.create_server(("127.0.0.1", 0)) as front,
        ):
            threads = [
                threading.Thread(target=behind.serve_forever, kwargs={"poll_interval": 0.02}),
                threading.Thread(target=self._accept, args=(front, behind.server_port)),
            ]
            for thread in threads:
                thread.start()
            yield f"http://127.0.0.1:{front.getsockname()[1]}/{self._path}"
            self._over.set()
            with socket.create_connection(front.getsockname()):
                pass
            behind.shutdown()
            for thread in threads:
                thread.join()

    def _accept(self, front: socket.socket, port: int) -> None:
        relays = []
        while True:
            client = front.accept()[0]
            if self._over.is_set():
                client.close()
                break
            upstream = socket.create_connection(("127.0.0.1", port))
            relays += [
                threading.Thread(target=self._relay, args=(client, upstream, False)),
                threading.Thread(target=self._relay, args=(upstream, client, True)),
            ]
            for thread in relays[-2:]:
                thread.start()
        for thread in relays:
            thread.join()

    def _relay(self, origin: socket.socket, to: socket.socket, drips: bool) -> None:
        with contextlib.suppress(OSError), origin, to:
            while data := origin.recv(65536):
                for start in range(0, len(data), self.PIECE) if drips and self.slow.is_set() else (0,):
                    if drips and self.slow.is_set():
                        to.sendall(data[start : start + self.PIECE])
                        self._over.wait(self.PAUSE)
                    else:
                        to.sendall(data[start:])
                        break
            to.shutdown(socket.SHUT_RDWR)


def test_a_repository_of_another_format_is_refused_by_name(tmp_path: Path) -> None:
    made = tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", "--object-format=sha256", str(made))
    folder = tmp_path / "person"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "--object-format=sha256", str(folder))
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "m")
    git(folder, "push", "--quiet", str(made), "main")
    for place in (made, folder):
        found = source(str(place), tmp_path / place.name).fetch()
        assert isinstance(found, Stale)
        assert found.reason == "SourceUnsupported"
        assert "names its objects by SHA-256" in found.detail
        assert "--object-format=sha1" in found.detail
    ledger = RepositoryLedger(repositories.mirror_of(made, tmp_path / "ledger"), "default", clock.System())
    answer = ledger.append(ledger.read(), Change(instance={"a": "b"}))
    assert isinstance(answer, Conflict)
    assert "names its objects by SHA-256" in answer.detail
