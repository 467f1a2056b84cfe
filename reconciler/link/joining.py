"""The service for hosts that have no certificate yet. It can do nothing but hand one out, for a token."""

from __future__ import annotations

import logging

from reconciler import errors
from reconciler.contracts import link
from reconciler.link import authority
from reconciler.wire import agent_pb2, certificates, protocol, rpc

_log = logging.getLogger("perdure.link")


class Joining(rpc.services.JoiningServicer):
    """Trades one-time tokens for certificates. `port` is where the certificate is good."""

    def __init__(self, own: authority.Authority, book: link.JoinBook, port: int) -> None:
        self._authority = own
        self._book = book
        self._port = port

    def Authority(self, request: agent_pb2.AuthorityRequest, context: rpc.grpc.ServicerContext) -> agent_pb2.AuthorityReply:
        """Show the authority's certificate. Each handshake shows it as well."""
        return agent_pb2.AuthorityReply(certificate=self._authority.certificate)

    def Join(self, request: agent_pb2.JoinRequest, context: rpc.grpc.ServicerContext) -> agent_pb2.JoinReply:
        """Use the token up and certify the host. Everything that can be wrong with the request is looked at first."""
        code = rpc.grpc.StatusCode
        if unfit := protocol.mismatch(request.version, request.oldest, "the reconciler", "this agent"):
            context.abort(code.FAILED_PRECONDITION, unfit)
        if not certificates.NAME.fullmatch(request.host):
            context.abort(code.INVALID_ARGUMENT, "a host's name has letters, digits, dots, dashes and underscores, at most 63")
        try:
            certificates.requested_key(request.request)
        except errors.InvalidInput as error:
            context.abort(code.INVALID_ARGUMENT, error.message)
        try:
            answer = self._book.redeem(request.token, request.host)
        except errors.PerdureError as error:  # its text may name the repository's address: not for strangers
            _log.warning("a token could not be redeemed for host %s: %s", request.host, error.message)
            context.abort(code.UNAVAILABLE, "the token cannot be checked now; it is not used up: try again")
        if isinstance(answer, link.Denied):
            _log.warning("host %s was not let in: %s", request.host, answer.reason)
            context.abort(code.PERMISSION_DENIED, answer.reason)
        _log.info("host %s has joined", answer.host)
        return agent_pb2.JoinReply(
            certificate=self._authority.certify(request.request, answer.host, answer.pool),
            instance=self._authority.instance,
            pool=answer.pool,
            port=self._port,
        )
