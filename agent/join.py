"""`perdure-agent join TOKEN`: trade a one-time token for a certificate.

The token names the authority by a pin. Its certificate is fetched from whoever answers and compared with the pin; then a
connection is made that trusts this authority alone, and only through it goes the secret. The key is made here and stays here.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agent import identity
from reconciler import errors
from reconciler.seams import clock
from reconciler.wire import agent_pb2, certificates, protocol, rpc, token

SECONDS = 30.0
"""Longest wait for one answer: redeeming a token takes a push to the repository."""


def join(text: str, host: str, data: Path) -> identity.Identity:
    """Join as `host` and write the identity into the agent's data directory; on any failure nothing is written.

    Raises `errors.InvalidInput` for a text that is no token, `errors.Refused` with the reconciler's reason or when the server
    is not the token's own, `errors.Unavailable` when nobody answers.
    """
    parts = token.parse(text)
    if not certificates.NAME.fullmatch(host):
        raise errors.InvalidInput(
            f"{host!r} cannot be the name of a host",
            where="--name",
            remedy="Use letters, digits, dots, dashes and underscores; 63 characters at most.",
        )
    authority = _pinned_authority(parts)
    with identity.place(data):  # the token works once: what else can fail, fails before it
        joined = _certified(parts, authority, host)
        identity.save(data, joined)
    return joined


def _certified(parts: token.Token, authority: bytes, host: str) -> identity.Identity:
    key, key_pem = certificates.new_key()
    reply = _redeem(parts, authority, host, certificates.request(key))
    joined = identity.Identity(
        instance=reply.instance,
        host=host,
        pool=reply.pool,
        address=f"{parts.address.rpartition(':')[0]}:{reply.port}",
        authority=authority.decode(),
        certificate=reply.certificate.decode(),
        key=key_pem.decode(),
    )
    if joined.bearer.host != host:
        raise errors.Refused(f"the reconciler certified host {joined.bearer.host} instead", where=parts.address)
    return joined


def _pinned_authority(parts: token.Token) -> bytes:
    """Return the authority's certificate (PEM), proven by the pin. The server need not be trusted for this."""
    host, _, port = parts.address.rpartition(":")
    try:
        shown = ssl.get_server_certificate((host.strip("[]"), int(port)), timeout=SECONDS)
    except (OSError, ValueError, OverflowError) as error:
        raise _unreachable(parts) from error
    _check_clock(parts, shown.encode())
    with rpc.secure_channel(parts.address, shown.encode()) as channel:
        try:
            stub = rpc.services.JoiningStub(channel)
            pem: bytes = stub.Authority(agent_pb2.AuthorityRequest(), timeout=SECONDS).certificate
            der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
        except rpc.grpc.RpcError as error:
            raise _unreachable(parts) from error
        except ValueError as error:
            raise _not_pinned(parts) from error
    if token.pin(der) != parts.pin:
        raise _not_pinned(parts)
    return pem


def _check_clock(parts: token.Token, shown: bytes) -> None:
    """Raise `errors.Refused` where the server's certificate is not good by this machine's clock: TLS would refuse it."""
    certificate, now = x509.load_pem_x509_certificate(shown), clock.System().now()
    begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    if not begin <= now < end:
        raise errors.Refused(
            f"the certificate of the server there is {certificates.term(begin, end, now)}; the token is not used up",
            where=parts.address,
            remedy="Compare the clocks of both machines and set the one that is wrong, then try again.",
        )


def _redeem(parts: token.Token, authority: bytes, host: str, request: bytes) -> agent_pb2.JoinReply:
    message = agent_pb2.JoinRequest(
        version=protocol.VERSION, oldest=protocol.OLDEST, token=parts.secret, host=host, request=request
    )
    with rpc.secure_channel(parts.address, authority) as channel:
        try:
            reply: agent_pb2.JoinReply = rpc.services.JoiningStub(channel).Join(message, timeout=SECONDS)
        except rpc.grpc.RpcError as error:
            if "CERTIFICATE_VERIFY_FAILED" in (error.details() or ""):
                raise _not_pinned(parts) from None
            if rpc.unavailable(error):
                raise errors.Unavailable(
                    f"the reconciler did not let host {host} join: {error.details()}",
                    where=parts.address,
                    remedy="Try again; if the token then counts as used, create a new one.",
                ) from None
            raise errors.Refused(
                f"the reconciler did not let host {host} join: {error.details()}",
                where=parts.address,
                remedy=f"Run `perdure token create {host}` on the reconciler for a new token.",
            ) from None
    return reply


def _unreachable(parts: token.Token) -> errors.Unavailable:
    return errors.Unavailable(
        "no reconciler answers there",
        where=parts.address,
        remedy="Check that it runs with agents.listen set, and that this port and the one before it are reachable from here.",
    )


def _not_pinned(parts: token.Token) -> errors.Refused:
    return errors.Refused(
        "the server there does not belong to the instance that made the token; nothing secret was sent",
        where=parts.address,
        remedy="Create a new token on the right reconciler; if the token is right, somebody is in between.",
    )
