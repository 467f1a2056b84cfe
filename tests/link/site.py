"""A reconciler's end on loopback, values to send, and a host that can also say what a decent agent never would."""

from __future__ import annotations

import queue
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from agent import identity, join
from reconciler.core import codec, model, observed, spec
from reconciler.link import authority, fake, server, switchboard
from reconciler.wire import agent_pb2, protocol, rpc, token
from tests.conditions import eventually

TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
QUICK = server.Pace(keepalive=1.0, review=0.05, calls=50)


class Clock:
    """Real time, moved by `ahead` seconds for whoever reads the wall clock."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float, until: object = None) -> bool:
        assert until is not None
        return until.wait(seconds)  # type: ignore[attr-defined, no-any-return]


def state(host: str, generation: int = 1, session: int = 1, accepted: int = 0, **more: object) -> observed.HostState:
    return observed.HostState(host=host, session=session, generation=generation, accepted=accepted, **more)  # type: ignore[arg-type]


def attempt(run: str = "r1", number: int = 1, host: str = "a", env: str = "") -> spec.AttemptSpec:
    return spec.AttemptSpec(
        instance="test",
        run=run,
        attempt=number,
        tenant="default",
        job="train",
        replica=0,
        revision="c0ffee",
        workload=model.Workload(command=("true",), env={"TEXT": env} if env else {}),
        host=host,
    )


def assignments(host: str, generation: int, *items: spec.Assignment) -> spec.Assignments:
    return spec.Assignments(host=host, generation=generation, items=items)


class Site:
    """An authority, a join book and a server with a switchboard, in one folder."""

    def __init__(self, folder: Path, pace: server.Pace = QUICK, instance: str = "test") -> None:
        self.clock = Clock()
        self.folder = folder
        self.authority = authority.create(folder / "keys", instance, self.clock)
        self.book = fake.FakeJoinBook(self.clock)
        self.code = fake.FakeCodeServer({TREE: b"x" * (protocol.CHUNK_BYTES + 1)})
        self.board = switchboard.Switchboard(self.clock)
        self.pace = pace
        self.addresses = server.Addresses(agents="127.0.0.1:0", joining="")
        self.start()

    def start(self) -> None:
        """Listen where it listened before, if it did."""
        self.server = server.AgentServer(self.board, self.authority, self.book, self.code, self.clock, self.pace)
        self.addresses = self.server.start(self.addresses.agents)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.stop()

    def token(self, host: str, pool: str = "", seconds: float = 900.0) -> str:
        secret = self.book.create(host, pool, seconds)
        return token.Token(address=self.addresses.joining, pin=self.authority.pin, secret=secret).text()

    def join(self, host: str, pool: str = "") -> identity.Identity:
        return join.join(self.token(host, pool), host, self.folder / f"agent-{host}")


class Raw:
    """A session of one host whose messages the test writes itself."""

    def __init__(self, own: identity.Identity, address: str = "") -> None:
        self.own = own
        self.down: list[agent_pb2.Down] = []
        self._up: queue.Queue[agent_pb2.Up | None] = queue.Queue()
        self._channel = rpc.secure_channel(
            address or own.address, own.authority.encode(), own.key.encode(), own.certificate.encode()
        )
        self.call = rpc.services.AgentStub(self._channel).Session(iter(self._up.get, None))

    def say(self, one: observed.HostState, **fields: object) -> None:
        """Send a state; `fields` replace those of the envelope."""
        envelope: dict[str, object] = {
            "version": protocol.VERSION,
            "oldest": protocol.OLDEST,
            "host": one.host,
            "session": one.session,
            "generation": one.generation,
            "state": codec.encode(one),
        }
        self._up.put(agent_pb2.Up(**{**envelope, **fields}))  # type: ignore[arg-type]

    def next(self) -> agent_pb2.Down:
        """Receive one message."""
        message: agent_pb2.Down = next(self.call)
        self.down.append(message)
        return message

    def refused(self) -> str:
        """Return the reason with which the server ended the session; it must."""
        try:
            for _ in self.call:
                continue
        except rpc.grpc.RpcError as error:
            return str(error.details())
        raise AssertionError("the session ended without a reason")

    def close(self) -> None:
        self._up.put(None)
        self.call.cancel()
        self._channel.close()


def heard(site: Site, host: str, one: observed.HostState) -> None:
    """Wait until the switchboard has accepted that state."""
    eventually(lambda: (now := site.board.hosts().get(host)) is not None and now.state == one, message=f"{host} not heard")
