"""The thin part over unix sockets: which manager is asked, what answers mean, whose credentials go where."""

from __future__ import annotations

import base64
import http.server
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.contracts import swarm
from reconciler.core import model, spec
from reconciler.targets.swarm import api, wire
from tests.link.site import attempt
from tests.targets.hands import Clock

Answer = tuple[int, Any]
EMPTY: dict[str, Answer] = {
    "GET swarm": (200, {"ID": "s1"}),
    **{f"GET {kind}": (200, []) for kind in ("nodes", "services", "tasks")},
}


class Manager:
    """A manager's API that answers as it is told, and keeps what it was asked."""

    def __init__(self, path: Path) -> None:
        self.answers: dict[str, Answer | None] = dict(EMPTY)
        """By "METHOD path"; None: no answer, the connection is closed."""
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.wait: Callable[[], None] = lambda: None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                what = f"{self.command} {self.path.removeprefix('/v1.44/').partition('?')[0]}"
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((what, dict(self.headers), body))
                outer.wait()
                answer = outer.answers.get(what, (404, {"message": "not here"}))
                if answer is None:
                    return
                data = answer[1].encode() if isinstance(answer[1], str) else json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

            def address_string(self) -> str:
                return ""

        self.address = f"unix://{path}"
        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Manager]]:
    made: list[Manager] = []

    def one() -> Manager:
        made.append(Manager(tmp_path / f"{len(made)}.sock"))
        return made[-1]

    yield one
    for each in made:
        each.close()


def over(keys: Path, *made: Manager, clock: Clock | None = None) -> api.Managers:
    declared = model.SwarmSpec(host=made[0].address, others=tuple(each.address for each in made[1:]))
    return api.Managers(declared, keys, clock or Clock())


def body(image: str = "train:1") -> dict[str, Any]:
    given = spec.AttemptSpec(
        instance="test",
        run="r1",
        attempt=1,
        tenant="default",
        job="train",
        replica=0,
        revision="",
        workload=model.Workload(image=image),
    )
    assert given.ref == attempt().ref
    return wire.service(given, "n1", wire.Known())


def test_the_manager_that_answers_is_asked_first_from_then_on(make: Callable[[], Manager], tmp_path: Path) -> None:
    first, second = make(), make()
    first.answers["GET swarm"] = (503, {"message": "This node is not a swarm manager."})
    both = over(tmp_path, first, second)
    assert both.look().cluster == "s1"
    assert both.look().cluster == "s1"
    assert len(first.asked) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, {"message": "rpc error: The swarm does not have a leader."}), "does not have a leader"),
        ((500, {"message": "rpc error: code = DeadlineExceeded"}), "DeadlineExceeded"),
        ((200, "<html>"), "not a manager's"),
        ((200, {"unexpected": []}), "not a manager's"),
        ((403, {"message": "forbidden"}), "forbidden"),
        (None, "no answer"),
    ],
    ids=["leaderless", "deadline", "web-page", "other-form", "forbidden", "closed"],
)
def test_what_is_no_answer_is_unavailable(
    make: Callable[[], Manager], tmp_path: Path, answer: Answer | None, said: str
) -> None:
    one = make()
    one.answers["GET swarm"] = answer
    with pytest.raises(errors.Unavailable, match=said):
        over(tmp_path, one).look()


def test_not_every_manager_is_waited_for(make: Callable[[], Manager], tmp_path: Path) -> None:
    slow, clock = make(), Clock()
    slow.answers["GET swarm"] = (500, {"message": "deadline"})
    slow.wait = lambda: clock.pass_(api.SECONDS * 2)
    others = [make() for _ in range(3)]
    for each in others:
        each.answers, each.wait = slow.answers, slow.wait
    with pytest.raises(errors.Unavailable):
        over(tmp_path, slow, *others, clock=clock).look()
    assert sum(len(each.asked) for each in (slow, *others)) == 2


def test_a_manager_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    declared = model.SwarmSpec(host=f"unix://{tmp_path}/none.sock")
    with pytest.raises(errors.Unavailable, match="no manager of the Swarm answers"):
        api.Managers(declared, tmp_path, Clock()).look()


def test_after_nobody_answered_nobody_is_asked_for_a_while(make: Callable[[], Manager], tmp_path: Path) -> None:
    one, clock = make(), Clock()
    one.answers["GET swarm"] = (500, {"message": "no leader"})
    alone = over(tmp_path, one, clock=clock)
    for _ in range(3):
        with pytest.raises(errors.Unavailable, match="no leader"):
            alone.look()
    assert len(one.asked) == 1
    one.answers = dict(EMPTY)
    clock.pass_(api.PAUSE + 1)
    assert alone.look().cluster == "s1"


@pytest.mark.parametrize(
    ("answer", "created"), [((201, {"ID": "x"}), True), ((409, {"message": "name conflicts with an existing object"}), False)]
)
def test_a_name_that_is_taken_is_told(make: Callable[[], Manager], tmp_path: Path, answer: Answer, created: bool) -> None:
    one = make()
    one.answers["POST services/create"] = answer
    assert over(tmp_path, one).create(body()) is created
    assert json.loads(one.asked[0][2])["Name"] == "perdure-r1-1"


def test_a_no_is_final_and_said(make: Callable[[], Manager], tmp_path: Path) -> None:
    one = make()
    one.answers["POST services/create"] = (400, {"message": "invalid mount config"})
    with pytest.raises(errors.Refused, match="invalid mount config"):
        over(tmp_path, one).create(body())


def test_credentials_go_with_images_of_their_registry_only(make: Callable[[], Manager], tmp_path: Path) -> None:
    one = make()
    one.answers["POST services/create"] = (201, {"ID": "x"})
    path = tmp_path / api.REGISTRIES
    secret = base64.b64encode(b"ada:s3cret").decode()
    path.write_text(json.dumps({"auths": {"registry.example.org": {"auth": secret}}, "credsStore": "must-never-run"}))
    path.chmod(0o600)
    asker = over(tmp_path, one)
    asker.create(body("registry.example.org/team/train:1"))
    sent = json.loads(base64.urlsafe_b64decode(one.asked[-1][1]["X-Registry-Auth"]))
    assert (sent["username"], sent["password"]) == ("ada", "s3cret")
    asker.create(body("elsewhere.example.org/train:1"))
    assert "X-Registry-Auth" not in one.asked[-1][1]


@pytest.mark.parametrize("text", ["{", "{}", '{"auths": {"a": {"auth": "%"}}}', '{"auths": 7}'])
def test_unreadable_credentials_are_refused_without_showing_them(
    make: Callable[[], Manager], tmp_path: Path, text: str
) -> None:
    path = tmp_path / api.REGISTRIES
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(errors.Refused, match="credentials of registries") as told:
        over(tmp_path, make()).create(body())
    assert str(path) in str(told.value)


def test_credentials_that_others_can_read_are_not_used(make: Callable[[], Manager], tmp_path: Path) -> None:
    path = tmp_path / api.REGISTRIES
    path.write_text("{}")
    path.chmod(0o644)
    with pytest.raises(errors.Refused, match="can be read by others"):
        over(tmp_path, make()).create(body())


def test_output_is_never_asked_of_the_managers() -> None:
    """`service logs` may never return: output comes from agents, by way of the store."""
    source = Path(api.__file__).read_text(encoding="utf-8")
    assert "/logs" not in source


def test_answers_are_read_as_docker_writes_them() -> None:
    node = wire.node(
        {
            "ID": "n1",
            "Spec": {"Labels": {"zone": "x"}, "Role": "manager", "Availability": "drain"},
            "Description": {"Hostname": "one", "Resources": {"NanoCPUs": 2_000_000_000, "MemoryBytes": 2**30}},
            "Status": {"State": "down"},
            "ManagerStatus": {"Leader": True},
        }
    )
    assert node == swarm.Node(
        id="n1", name="one", labels={"zone": "x"}, cpu=2000, memory=2**30, state="down", availability="drain", leads=True
    )
    bare = wire.task({"ID": "t1", "ServiceID": "s1", "Status": {"State": "rejected", "Err": "No such image", "Message": "x"}})
    assert (bare.state, bare.said, bare.node, bare.cpu) == ("rejected", "No such image", "", 0)


def test_keys_are_asked_for_before_anything_is_sent(tmp_path: Path) -> None:
    declared = model.SwarmSpec(host="tcp://manager-1:2376", tls="swarm")
    with pytest.raises(errors.Refused, match="does not exist") as told:
        api.Managers(declared, tmp_path, Clock()).look()
    assert str(tmp_path / "tls" / "swarm" / "ca.pem") in str(told.value)
    (tmp_path / "tls" / "swarm").mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / "tls" / "swarm" / name).write_text("")
    (tmp_path / "tls" / "swarm" / "key.pem").chmod(0o644)
    with pytest.raises(errors.Refused, match="can be read by others"):
        api.Managers(declared, tmp_path, Clock()).look()
