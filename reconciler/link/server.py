"""The gRPC server agents dial: joining on one port, everything else on another under mutual TLS.

gRPC for Python decides per port whether a client certificate is demanded, and where it demands none it asks for none. So a host
without a certificate is served on a port of its own, by a service that can do nothing but join; the other port completes no
handshake without a certificate of this instance's authority.
"""

from __future__ import annotations

import contextlib
from concurrent import futures
from dataclasses import dataclass

from reconciler import errors
from reconciler.contracts import clock, link
from reconciler.link import authority, joining, sessions, switchboard
from reconciler.wire import protocol, rpc

JOINS_AT_ONCE = 8
"""Strangers served at the same time; more are turned away."""

JOIN_SECONDS = 2.0
"""What a stopping server gives to those that are joining: a token is used up before the answer leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient the server is."""

    keepalive: float = 10.0
    """Seconds between pings; an agent that answers none for twice as long is disconnected."""
    review: float = 10.0
    """Seconds between checks whether a connected host is revoked."""
    calls: int = 1000
    """Calls served at once, each on a thread of its own: every connected host has one open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the server listens, as HOST:PORT."""

    agents: str
    joining: str


class AgentServer:
    """Serves one switchboard over gRPC. A context manager; `stop` ends every connection."""

    def __init__(
        self,
        board: switchboard.Switchboard,
        own: authority.Authority,
        book: link.JoinBook,
        code: link.CodeServer,
        time: clock.Clock,
        pace: Pace = Pace(),
    ) -> None:
        self._board = board
        self._authority = own
        self._book = book
        self._code = code
        self._clock = time
        self._pace = pace
        self._open = contextlib.ExitStack()

    def start(self, listen: str) -> Addresses:
        """Listen on `listen` (HOST:PORT) for agents and on the port after it for joining; port 0 takes any two.

        Raises `errors.UsageError` for no such address and `errors.Unavailable` when it cannot be had.
        """
        join_at = protocol.join_address(listen)
        key, chain = self._authority.serve()
        grpc = rpc.grpc
        mutual = grpc.ssl_server_credentials([(key, chain)], self._authority.certificate, require_client_auth=True)
        one_sided = grpc.ssl_server_credentials([(key, chain)])
        with contextlib.ExitStack() as undo:
            agents, agents_port = _bind(listen, mutual, self._pace.calls, rpc.options(self._pace.keepalive))
            undo.callback(_stop, agents, 0.0)
            strict = rpc.options(self._pace.keepalive, protocol.JOIN_BYTES)
            strangers, joining_port = _bind(join_at, one_sided, JOINS_AT_ONCE, strict)
            undo.callback(_stop, strangers, JOIN_SECONDS)
            certified = sessions.Sessions(self._board, self._authority, self._book, self._code, self._clock, self._pace.review)
            rpc.services.add_AgentServicer_to_server(certified, agents)
            rpc.services.add_JoiningServicer_to_server(joining.Joining(self._authority, self._book, agents_port), strangers)
            agents.start()
            strangers.start()
            self._open = undo.pop_all()
        host = listen.rpartition(":")[0]
        return Addresses(agents=f"{host}:{agents_port}", joining=f"{host}:{joining_port}")

    def stop(self) -> None:
        """End every connection and free both ports."""
        self._open.close()


def _bind(
    address: str, credentials: rpc.grpc.ServerCredentials, calls: int, options: rpc.Options
) -> tuple[rpc.grpc.Server, int]:
    threads = futures.ThreadPoolExecutor(max_workers=calls, thread_name_prefix="agents")
    server = rpc.grpc.server(threads, options=options, maximum_concurrent_rpcs=calls)
    try:
        return server, server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise errors.Unavailable(
            "this address cannot be listened on: it is in use or not this machine's",
            where=address,
            remedy="Set agents.listen to a free address; its port and the one after it are used.",
        ) from error


def _stop(server: rpc.grpc.Server, grace: float) -> None:
    server.stop(grace).wait()
