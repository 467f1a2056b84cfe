"""gRPC, as both ends use it: loaded quietly, deaf to forks, with one set of channel options.

Import gRPC and the generated services through this module (`rpc.grpc`, `rpc.services`). The native part reads its settings
once, when it is loaded, and two of them must be ours.

GRPC_VERBOSITY: it would print a line for every refused handshake and every lost connection; all of these reach us as errors
anyway.

GRPC_ENABLE_FORK_SUPPORT: at each fork of the process, whoever calls it, it would stop its threads and start them again in the
child, where they crash before the child has become the program of another user. No child of ours uses gRPC: they exec at once.
"""

from __future__ import annotations

import os

from reconciler.wire import certificates, protocol

_asked = {name: os.environ.get(name) for name in ("GRPC_VERBOSITY", "GRPC_ENABLE_FORK_SUPPORT")}
os.environ |= {"GRPC_VERBOSITY": _asked["GRPC_VERBOSITY"] or "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0"}

import grpc  # noqa: E402

from reconciler.wire import agent_pb2_grpc as services  # noqa: E402

for _name, _value in _asked.items():  # what we start inherits what the person set, not what we did
    if _value is None:
        del os.environ[_name]
    else:
        os.environ[_name] = _value

__all__ = ("grpc", "options", "secure_channel", "services", "unavailable")

Options = tuple[tuple[str, int | str], ...]


def options(keepalive: float, message_bytes: int = protocol.MESSAGE_BYTES) -> Options:
    """Return the options of either end. A peer that answers no ping for twice `keepalive` seconds is disconnected."""
    milliseconds = max(1, int(keepalive * 1000))
    return (
        ("grpc.max_send_message_length", message_bytes),
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.keepalive_time_ms", milliseconds),
        ("grpc.keepalive_timeout_ms", 2 * milliseconds),
        ("grpc.http2.ping_timeout_ms", 2 * milliseconds),  # else a minute, whatever the keepalive
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", milliseconds // 2),
        ("grpc.http2.min_ping_interval_without_data_ms", milliseconds),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_concurrent_streams", 32),  # of one connection
        ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a coin toss
        ("grpc.enable_http_proxy", 0),  # agents dial straight; a proxy could not see through mutual TLS anyway
    )


def secure_channel(
    address: str, roots: bytes, key: bytes | None = None, certificate: bytes | None = None, keepalive: float = 10.0
) -> grpc.Channel:
    """Return a channel to a server that one of `roots` (PEM) vouches for under the reconciler's fixed name.

    The name in the certificate does not depend on the address: the authority is the instance's own, and vouches for no other
    server, so that agents may reach it through any address, forwarded port or tunnel.
    """
    return grpc.secure_channel(
        address,
        grpc.ssl_channel_credentials(roots, key, certificate),
        options=(*options(keepalive), ("grpc.ssl_target_name_override", certificates.SERVER_NAME)),
    )


def unavailable(error: grpc.RpcError) -> bool:
    """Return whether trying again may help: the server was not reached, or said so."""
    return error.code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
    )
