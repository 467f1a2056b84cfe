"""`token create`: which machine may join, once."""

from __future__ import annotations

import click

from reconciler import config, errors
from reconciler.cli import compose, hosts, looking, options, output
from reconciler.contracts import ledger
from reconciler.core import pools, record
from reconciler.seams import clock

EVERYWHERE = ("0.0.0.0", "[::]", "")
"""Hosts to listen on that are no address to dial."""


@click.group(epilog=options.examples("perdure token create berlin"))
def token() -> None:
    """Let hosts join."""


@token.command(
    epilog=options.examples(
        "perdure token create berlin                      prints one line to copy to that host",
        "perdure token create berlin --pool large --expires 1h",
        "perdure token create berlin | ssh berlin perdure-agent join - --name berlin",
    )
)
@options.argument("host", metavar="HOST")
@click.option("--pool", metavar="POOL", default="", help="The Pool it becomes part of.")
@click.option("--expires", metavar="DURATION", default="15m", help="How long the token is good. [default: 15m]")
@click.option("--address", metavar="HOST[:PORT]", default="", help="Where the host reaches this machine, for joining.")
@options.common("text", "json", "yaml")
@click.pass_obj
def create(flags: options.Flags, *, host: str, pool: str, expires: str, address: str) -> None:
    """Create a one-time token with which HOST, and no other, may join once.

    Run it where the reconciler runs: it needs the authority's certificate, and pushes the token's digest to the ledger.
    """
    from reconciler.link import authority
    from reconciler.wire import certificates
    from reconciler.wire import token as tokens

    given = compose.settings(flags)
    if not certificates.NAME.fullmatch(host):
        raise errors.UsageError(
            f"{host!r} cannot be the name of a host",
            where="HOST",
            remedy="Use letters, digits, dots, dashes and underscores; 63 characters at most.",
        )
    seconds = options.duration(expires, "--expires")
    joining = _joining_address(given, address)
    _check(given, host, pool)
    folder, time = compose.key_folder(given), clock.System()
    fresh = not authority.exists(folder)
    own = authority.create(folder, given.instance, time)
    secret = tokens.secret()
    join = record.Join(token=tokens.digest(secret), host=host, pool=pool, expires_at=time.now() + seconds)
    hosts.append(given, lambda _: ledger.Change(joins=(join,), message=f"perdure: {host} may join"))
    text = tokens.Token(address=joining, pin=own.pin, secret=secret).text()
    document = {"token": text, "host": host, "pool": pool or None, "expiresAt": output.moment(join.expires_at)}
    output.show(flags.output, document, lambda: text)
    if fresh:
        output.note(f"an authority was made in {folder}: `perdure reconcile` must use the same folder")
    if flags.output == "text" and output.on_terminal():
        output.note(
            f"good for {host} once, until {output.clock(join.expires_at)}; there: perdure-agent join TOKEN --name {host}"
        )


def _joining_address(given: config.Settings, wanted: str) -> str:
    """Return HOST:PORT where hosts reach the port for joining: as `wanted` says, else as the configuration does."""
    from reconciler.wire import protocol
    from reconciler.wire import token as tokens

    if tokens.ADDRESS.fullmatch(wanted):
        return wanted
    if not given.agents.listen:
        raise errors.UsageError(
            "agents cannot dial this reconciler: agents.listen is not set",
            where="perdure token create",
            remedy="Set agents.listen (e.g. 10.0.0.5:7443) in the configuration of `perdure reconcile`, and name it here too.",
        )
    host, _, port = protocol.join_address(given.agents.listen).rpartition(":")
    found = f"{wanted or host}:{port}"
    if not tokens.ADDRESS.fullmatch(found) or found.partition(":")[0] == "":
        raise errors.UsageError(f"{wanted or found!r} is not an address", where="--address", remedy="Write HOST or HOST:PORT.")
    if port == "0" or (not wanted and host in EVERYWHERE):
        raise errors.UsageError(
            f"agents.listen is {given.agents.listen}, which no host can dial",
            where="perdure token create",
            remedy="Say where the host reaches the port for joining: --address HOST:PORT.",
        )
    return found


def _check(given: config.Settings, host: str, pool: str) -> None:
    """Raise `errors.UsageError` for a host that would be refused, or for a pool that it may not join."""
    if host == hosts.embedded(given):
        raise errors.UsageError(
            f"{host} is the name of the agent inside `perdure reconcile`",
            where="HOST",
            remedy="Choose another name, or set agents.embedded to false.",
        )
    seen = looking.look(given)
    if host in seen.snapshot.revoked:
        raise errors.UsageError(f"host {host} is revoked", where="HOST", remedy="Its machine may join under another name.")
    if not pool or seen.desired is None:
        return
    if problem := pools.objection(seen.desired, pool, host):
        declared = seen.desired.pools.get(pool)
        remedy = f"Add {host} to its `hosts`." if declared else f"Declared: {', '.join(sorted(seen.desired.pools)) or 'none'}."
        raise errors.UsageError(problem, where=str(declared.origin) if declared else "--pool", remedy=remedy)
