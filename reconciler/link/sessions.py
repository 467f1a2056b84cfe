"""The service for hosts that have a certificate: sessions, renewal, code. Who calls is read from the certificate alone."""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from reconciler import errors
from reconciler.contracts import clock, link
from reconciler.core import codec, observed
from reconciler.link import authority, switchboard
from reconciler.wire import agent_pb2, certificates, protocol, rpc

_log = logging.getLogger("perdure.link")

TREE = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""Git object ids, SHA-1 or SHA-256: nothing else reaches Git."""


class Sessions(rpc.services.AgentServicer):
    """Connects certified hosts to the switchboard."""

    def __init__(
        self,
        board: switchboard.Switchboard,
        own: authority.Authority,
        book: link.JoinBook,
        code: link.CodeServer,
        time: clock.Clock,
        review: float,
    ) -> None:
        """`review` is the number of seconds after which an open session's standing is checked again."""
        self._board = board
        self._authority = own
        self._book = book
        self._code = code
        self._clock = time
        self._review = review

    def Session(self, request_iterator: Iterator[agent_pb2.Up], context: rpc.grpc.ServicerContext) -> Iterator[agent_pb2.Down]:
        """Carry states up and assignments down until either side ends it or the host loses its standing."""
        bearer = self._bearer(context)
        line = self._board.connect(bearer.host)
        if not context.add_callback(line.close):
            line.close()
        reader = threading.Thread(
            target=self._read, args=(line, bearer, request_iterator), name=f"hear-{bearer.host}", daemon=True
        )
        reader.start()
        yield _down(bearer)
        checked = self._clock.monotonic()
        while line.open():
            kept = line.take(self._review)
            if kept is not None:
                yield _down(bearer, kept)
            if self._clock.monotonic() - checked >= self._review:
                checked = self._clock.monotonic()
                if reason := self._fallen(bearer):
                    line.close(reason)
        if line.closed:
            _log.warning("the session of host %s was ended: %s", bearer.host, line.closed)
            context.abort(rpc.grpc.StatusCode.FAILED_PRECONDITION, line.closed)

    def Renew(self, request: agent_pb2.RenewRequest, context: rpc.grpc.ServicerContext) -> agent_pb2.RenewReply:
        """Certify the caller anew, under the name and pool it has."""
        bearer = self._bearer(context)
        if unfit := protocol.mismatch(request.version, request.oldest, "the reconciler", "this agent"):
            context.abort(rpc.grpc.StatusCode.FAILED_PRECONDITION, unfit)
        try:
            certificate = self._authority.certify(request.request, bearer.host, bearer.pool)
        except errors.InvalidInput as error:
            context.abort(rpc.grpc.StatusCode.INVALID_ARGUMENT, error.message)
        return agent_pb2.RenewReply(certificate=certificate)

    def Code(self, request: agent_pb2.CodeRequest, context: rpc.grpc.ServicerContext) -> Iterator[agent_pb2.Chunk]:
        """Stream an archive. A tree's id is as hard to guess as its content."""
        self._bearer(context)
        if not TREE.fullmatch(request.tree):
            context.abort(rpc.grpc.StatusCode.INVALID_ARGUMENT, "this is not the id of a Git tree")
        try:
            for data in self._code.archive(request.tree):
                for start in range(0, len(data), protocol.CHUNK_BYTES):
                    yield agent_pb2.Chunk(data=data[start : start + protocol.CHUNK_BYTES])
        except errors.PerdureError as error:
            _log.warning("the code of tree %s could not be sent: %s", request.tree, error.message)
            context.abort(rpc.grpc.StatusCode.UNAVAILABLE, f"the code of tree {request.tree} cannot be read now")

    def _read(self, line: switchboard.Line, bearer: certificates.Bearer, messages: Iterator[agent_pb2.Up]) -> None:
        try:
            for message in messages:
                _hear(line, bearer, message)
        except errors.PerdureError as error:
            line.close(error.message)
        except rpc.grpc.RpcError:  # the connection broke
            line.close()
        else:
            line.close()

    def _bearer(self, context: rpc.grpc.ServicerContext) -> certificates.Bearer:
        """Return who calls, or end the call. The handshake has proven the certificate; here its content counts."""
        code = rpc.grpc.StatusCode
        try:
            proven = cast("Mapping[str, Sequence[bytes]]", context.auth_context())  # the stubs have its type wrong
            bearer = certificates.read(proven["x509_pem_cert"][0])
        except (KeyError, IndexError):
            context.abort(code.UNAUTHENTICATED, "a client certificate is needed")
        except errors.Refused as error:
            context.abort(code.UNAUTHENTICATED, error.message)
        if bearer.instance != self._authority.instance:
            context.abort(code.PERMISSION_DENIED, f"the certificate is for instance {bearer.instance}")
        try:
            revoked = self._book.revoked(bearer.host)
        except errors.PerdureError as error:
            _log.warning("cannot tell whether host %s is revoked: %s", bearer.host, error.message)
            context.abort(code.UNAVAILABLE, "whether this host is revoked cannot be told now: try again")
        if revoked:
            context.abort(code.PERMISSION_DENIED, _revoked(bearer))
        return bearer

    def _fallen(self, bearer: certificates.Bearer) -> str:
        """Return why an open session may not go on. A ledger that does not answer is no reason."""
        if self._clock.now() >= bearer.expires_at:
            return f"the certificate of host {bearer.host} has expired"
        try:
            return _revoked(bearer) if self._book.revoked(bearer.host) else ""
        except errors.PerdureError:
            return ""


def _hear(line: switchboard.Line, bearer: certificates.Bearer, message: agent_pb2.Up) -> None:
    """Take one message. Raises `errors.PerdureError` with the reason why not."""
    if unfit := protocol.mismatch(message.version, message.oldest, "the reconciler", f"the agent of host {bearer.host}"):
        raise errors.Refused(unfit)
    if message.host != bearer.host:
        raise errors.Refused(f"the certificate is for host {bearer.host}, the message for host {message.host}")
    if not message.state:
        line.alive(message.session, message.generation)
        return
    state = codec.decode(message.state, observed.HostState)
    if (state.session, state.generation) != (message.session, message.generation):
        raise errors.Refused("the envelope and the state in it do not have the same number")
    line.hear(dataclasses.replace(state, pool=bearer.pool))


def _down(bearer: certificates.Bearer, kept: switchboard.Kept | None = None) -> agent_pb2.Down:
    return agent_pb2.Down(
        version=protocol.VERSION,
        oldest=protocol.OLDEST,
        host=bearer.host,
        generation=kept.assignments.generation if kept else 0,
        assignments=kept.data if kept else b"",
    )


def _revoked(bearer: certificates.Bearer) -> str:
    return f"host {bearer.host} is revoked; its machine may join under another name"
