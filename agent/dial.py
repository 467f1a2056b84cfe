"""The agent's connection to the reconciler over gRPC: dialled from here, mended here, its certificate renewed here.

The agent listens on no port. One thread keeps the certificate fresh, another keeps one session: it sends the newest state,
receives the newest assignments, and when the connection ends it dials again, after a pause that doubles and is jittered, so
that a returning reconciler is not met by all of its agents at once.

A host is heard when its agent's loop says something: a state that equals the one before travels as a mere sign of life. This
module makes none up, so a loop that hangs falls silent.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import identity
from reconciler import errors
from reconciler.contracts import clock
from reconciler.core import codec, observed, spec
from reconciler.wire import agent_pb2, certificates, protocol, rpc

_log = logging.getLogger("perdure.agent")

RENEW_SECONDS = 30.0
"""Longest wait for a new certificate."""


STOP_SECONDS = 5.0
"""Longest wait for a thread to end; it dies with the process in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How eager the connection is; all in seconds."""

    keepalive: float = 10.0
    """Between pings; a reconciler that answers none for twice as long is given up."""
    backoff: float = 0.5
    """Longest pause before the first new try; doubles each time."""
    backoff_cap: float = 30.0
    renewal: float = 60.0
    """Between looks whether the certificate is to be renewed."""
    refused: float = 10.0
    """Shortest pause after the reconciler said no."""


class Dial:
    """`agent.uplink.Uplink` over gRPC, by the identity in an agent's data directory."""

    def __init__(self, data: Path, time: clock.Clock, pace: Pace = Pace()) -> None:
        self._data = data
        self._clock = time
        self._pace = pace
        self._host = ""
        self._changed = threading.Condition()
        self._state: observed.HostState | None = None
        self._assignments: spec.Assignments | None = None
        self._wakes: list[Callable[[], None]] = []
        self._stop = threading.Event()
        self._call: rpc.grpc.Call | None = None
        self._threads = [
            threading.Thread(target=self._run, name="dial", daemon=True),
            threading.Thread(target=self._stay_certified, name="renew", daemon=True),
        ]
        self._trouble = "not connected yet"
        self._unsaid = ""

    def start(self) -> None:
        """Begin to dial. Raises as `identity.load` when this host has not joined."""
        self._host = identity.load(self._data).host
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Hang up. The reconciler sees a closed connection, which is evidence of nothing."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._hang_up()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_SECONDS)

    @property
    def trouble(self) -> str:
        """Why there is no connection now, or why the newest state cannot be sent; empty while all is well."""
        return self._trouble or self._unsaid

    def send(self, state: observed.HostState) -> None:
        """Keep `state` as the newest and pass it on as soon as the connection stands."""
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def newest(self) -> spec.Assignments | None:
        """Return the newest assignments received by this process; None before the first."""
        with self._changed:
            return self._assignments

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever newer assignments have come."""
        self._wakes.append(wake)

    def archive(self, tree: str) -> Iterator[bytes]:
        """Yield a tar archive of the Git object `tree`. Raises `errors.Unavailable`."""
        with self._channel(identity.load(self._data)) as channel:
            try:
                for chunk in rpc.services.AgentStub(channel).Code(agent_pb2.CodeRequest(tree=tree)):
                    yield chunk.data
            except rpc.grpc.RpcError as error:
                raise errors.Unavailable(f"the code could not be fetched: {error.details()}", where=f"tree {tree}") from error

    def _run(self) -> None:
        tries = 0
        while not self._stop.is_set():
            pause = self._pace.backoff
            own = None
            try:
                own = self._current()
                tries = 0 if self._session(own) else tries
            except errors.PerdureError as error:
                self._tell(error.message)
                pause = self._pace.refused
            except rpc.grpc.RpcError as error:
                self._tell(f"the reconciler cannot be reached: {error.details()}{_hint(own, error, self._clock.now())}")
            tries += 1
            longest = min(max(self._pace.backoff_cap, pause), pause * 2 ** min(tries - 1, 16))
            self._clock.wait(longest * random.uniform(0.5, 1.0), self._stop)

    def _current(self) -> identity.Identity:
        """Return the identity to dial with; read anew, for it may have been renewed, or a person may have joined again."""
        own = identity.load(self._data)
        if own.host != self._host:
            raise errors.Refused(f"this machine has joined again as host {own.host}: start the agent of {self._host} anew")
        now, bearer = self._clock.now(), own.bearer
        if now >= bearer.expires_at:
            raise errors.Refused(
                f"the certificate of host {own.host} has expired ({_term(own, now)}): "
                "join again with a new token, or set the clock if it is wrong"
            )
        if now < bearer.starts_at:
            raise errors.Refused(
                f"the certificate of host {own.host} is not valid yet ({_term(own, now)}): "
                "set the clock of this machine, or, if the reconciler's was wrong, join again with a new token"
            )
        return own

    def _stay_certified(self) -> None:
        """Renew the certificate when it is time. The session goes on meanwhile, and is begun anew with the new one."""
        while not self._stop.is_set():
            try:
                own = identity.load(self._data)
                if own.bearer.renew_at <= self._clock.now() < own.bearer.expires_at:
                    self._renew(own)
                    _log.info("the certificate of host %s was renewed", own.host)
                    self._hang_up()
            except errors.PerdureError as error:
                _log.warning("the certificate could not be renewed yet: %s", error.message)
            self._clock.wait(self._pace.renewal, self._stop)

    def _renew(self, own: identity.Identity) -> None:
        """Replace key and certificate by new ones, together."""
        key, pem = certificates.new_key()
        request = agent_pb2.RenewRequest(version=protocol.VERSION, oldest=protocol.OLDEST, request=certificates.request(key))
        with self._channel(own) as channel:
            try:
                reply = rpc.services.AgentStub(channel).Renew(request, timeout=RENEW_SECONDS)
            except rpc.grpc.RpcError as error:
                raise errors.Unavailable(str(error.details())) from error
        renewed = dataclasses.replace(own, key=pem.decode(), certificate=reply.certificate.decode())
        if renewed.bearer.host != own.host:
            raise errors.Refused(f"the reconciler certified host {renewed.bearer.host} instead of {own.host}")
        if identity.load(self._data) == own:  # else a person has joined again meanwhile
            identity.save(self._data, renewed)

    def _session(self, own: identity.Identity) -> bool:
        """Talk until the connection ends. Return whether the reconciler answered at all."""
        over = threading.Event()
        answered = False
        with self._channel(own) as channel:
            call = rpc.services.AgentStub(channel).Session(self._speak(own, over))
            with self._changed:
                self._call = call
            try:
                if self._stop.is_set():
                    call.cancel()
                for message in call:
                    if not answered:
                        self._tell("")
                    answered = True
                    self._hear(own, message)
            except rpc.grpc.RpcError as error:
                if self._stop.is_set():
                    return answered
                if not rpc.unavailable(error):
                    raise errors.Refused(f"the reconciler refused: {error.details()}") from error
                if not answered:
                    raise
            finally:
                over.set()
                with self._changed:
                    self._call = None
                    self._changed.notify_all()
        self._trouble = "the connection has ended"
        return answered

    def _speak(self, own: identity.Identity, over: threading.Event) -> Iterator[agent_pb2.Up]:
        """Yield the newest state, of those sent meanwhile. gRPC asks for the next one when the last has left."""
        sent: observed.HostState | None = None
        seen: observed.HostState | None = None

        def news() -> bool:
            return over.is_set() or self._stop.is_set() or self._state is not seen

        while True:
            with self._changed:
                self._changed.wait_for(news)
                state = seen = self._state
            if over.is_set() or self._stop.is_set():
                return
            if state is None:
                continue
            if sent is not None and dataclasses.replace(state, generation=sent.generation) == sent:
                yield _up(own, state)
                continue
            data = codec.encode(state)
            self._unsaid = _too_long(data)
            if self._unsaid:
                _log.warning("%s", self._unsaid)
                continue
            yield _up(own, state, data)
            sent = state

    def _hear(self, own: identity.Identity, message: agent_pb2.Down) -> None:
        if unfit := protocol.mismatch(message.version, message.oldest, "this agent", "the reconciler"):
            raise errors.Refused(unfit)
        if not message.assignments:
            return
        assignments = codec.decode(message.assignments, spec.Assignments)
        if not message.host == assignments.host == own.host:
            raise errors.Refused(f"the reconciler sent the assignments of host {assignments.host}")
        with self._changed:
            newer = self._assignments is None or assignments.generation > self._assignments.generation
            if newer:
                self._assignments = assignments
        for wake in self._wakes if newer else ():
            wake()

    def _channel(self, own: identity.Identity) -> rpc.grpc.Channel:
        return rpc.secure_channel(
            own.address, own.authority.encode(), own.key.encode(), own.certificate.encode(), self._pace.keepalive
        )

    def _hang_up(self) -> None:
        with self._changed:
            call = self._call
        if call is not None:
            call.cancel()

    def _tell(self, trouble: str) -> None:
        """Note what stands in the way; each new trouble is logged once."""
        if trouble and trouble != self._trouble:
            _log.warning("%s", trouble)
        elif not trouble:
            _log.info("connected to the reconciler")
        self._trouble = trouble


def _term(own: identity.Identity, now: float) -> str:
    return certificates.term(own.bearer.starts_at, own.bearer.expires_at, now)


def _hint(own: identity.Identity | None, error: rpc.grpc.RpcError, now: float) -> str:
    """Return what else may be in the way: a server refuses a certificate without a word, by hanging up."""
    if own is None or "Socket closed" not in (error.details() or ""):
        return ""
    return (
        ". If this goes on, compare the reconciler's clock with this one: it hangs up on a certificate that is not valid by "
        f"its own, and that of host {own.host} is {_term(own, now)}"
    )


def _too_long(data: bytes) -> str:
    if len(data) <= protocol.STATE_BYTES:
        return ""
    return f"the state of this host is {len(data) / 2**20:.1f} MiB, more than a message holds: it is not sent"


def _up(own: identity.Identity, state: observed.HostState, data: bytes = b"") -> agent_pb2.Up:
    return agent_pb2.Up(
        version=protocol.VERSION,
        oldest=protocol.OLDEST,
        host=own.host,
        session=state.session,
        generation=state.generation,
        state=data,
    )
