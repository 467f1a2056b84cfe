"""dockerd as an engine that may be another: what it answers is read, or is trouble, and never the end of looking."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.containers import dockerd, seam, view
from reconciler import errors
from reconciler.core import container
from reconciler.seams import clock
from tests.conditions import eventually

LISTED = {"Id": "c1", "State": "running", "Created": 1, "Labels": {container.ATTEMPT: "1"}, "ImageID": "sha256:1"}


class Engine:
    """Answers at a unix socket. A test sets what."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Any] = {"version": {"ApiVersion": "1.44", "MinAPIVersion": "1.24"}, "info": {}}
        self.answers["containers/json"] = [LISTED]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = Engine(tmp_path / "docker.sock")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.partition("?")[0].rpartition("/v1.44/")[2].lstrip("/")
            body = json.dumps(found.answers[name]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody wants to know."""

    with socketserver.ThreadingUnixStreamServer(str(found.path), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture
def docker(engine: Engine) -> Iterator[dockerd.Dockerd]:
    found = dockerd.Dockerd(str(engine.path))
    yield found
    found.close()


def test_what_is_listed(docker: dockerd.Dockerd) -> None:
    (one,) = docker.list(container.ATTEMPT)
    assert (one.id, one.state, one.image) == ("c1", seam.State.RUNNING, "sha256:1")


STRANGE: dict[str, Any] = {
    "a state that dockerd does not have": [{**LISTED, "State": "stopping"}],
    "a container without a state": [{"Id": "c1"}],
    "an object": {"message": "hello"},
    "nothing": None,
}


@pytest.mark.parametrize("answer", STRANGE.values(), ids=STRANGE)
def test_a_list_that_cannot_be_read_is_no_list(engine: Engine, docker: dockerd.Dockerd, answer: object) -> None:
    engine.answers["containers/json"] = answer
    with pytest.raises(errors.Unavailable, match="its containers cannot be listed: the container engine's answer"):
        docker.list(container.ATTEMPT)


@pytest.mark.parametrize("ask", [lambda docker: docker.about(), lambda docker: docker.inspect("c1")], ids=["about", "inspect"])
def test_other_answers_that_cannot_be_read(
    engine: Engine, docker: dockerd.Dockerd, ask: Callable[[dockerd.Dockerd], object]
) -> None:
    engine.answers |= {"info": {"Runtimes": [1]}, "containers/c1/json": {"State": {"Running": True, "Pid": "many"}}}
    with pytest.raises(errors.Unavailable, match="the container engine's answer is not one of dockerd's"):
        ask(docker)


def test_looking_goes_on_once_the_answers_can_be_read(engine: Engine, docker: dockerd.Dockerd) -> None:
    watching = view.View(docker, clock.System())
    engine.answers["containers/json"] = STRANGE["a state that dockerd does not have"]
    watching.look()
    assert "'stopping' is not a valid State" in watching.trouble
    engine.answers["containers/json"] = [LISTED]
    watching.look()
    assert (watching.trouble, list(watching.recent().containers)) == ("", ["c1"])


def test_what_is_known_of_a_container_goes_with_it_whoever_removes_it(engine: Engine, docker: dockerd.Dockerd) -> None:
    watching = view.View(docker, clock.System())
    engine.answers |= {"containers/c1/json": {"State": {"Running": True, "Pid": 1}}}
    (found,) = watching.now().containers.values()
    eventually(lambda: watching.detail(found) is not None)
    engine.answers["containers/json"] = []
    del engine.answers["containers/c1/json"]  # whoever asks is answered in the background, and at once where that is quick
    watching.now()
    assert watching.detail(found) is None
