"""`token create` and `host list/revoke`: which machines may join, and which are here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler import config, errors
from reconciler.cli import compose, looking, options, output, view
from reconciler.contracts import ledger
from reconciler.core import codec, observed, quantities, record, transition
from reconciler.seams import clock

TRIES = 8
"""How often a push to the ledger is repeated when somebody else was first."""


@click.group(epilog=options.examples("perdure token create berlin"))
def token() -> None:
    """Let hosts join."""


@token.command(
    epilog=options.examples(
        "perdure token create berlin                      prints one line to copy to that host",
        "perdure token create berlin --pool large --expires 1h",
        "perdure token create berlin | ssh berlin perdure-agent join -",
    )
)
@click.argument("host", metavar="HOST")
@click.option("--pool", metavar="POOL", default="", help="The Pool it becomes part of.")
@click.option("--expires", metavar="DURATION", default="15m", help="How long the token is good. [default: 15m]")
@click.option("--address", metavar="HOST:PORT", default=None, help="Where the host reaches the port for joining.")
@options.common("text", "json", "yaml")
@click.pass_obj
def create(flags: options.Flags, *, host: str, pool: str, expires: str, address: str | None) -> None:
    """Create a one-time token with which HOST, and no other, may join once.

    Run it where the reconciler runs: it needs the authority's certificate, and pushes the token's digest to the ledger.
    """
    from reconciler.link import authority
    from reconciler.wire import certificates
    from reconciler.wire import token as tokens

    given = compose.settings(flags)
    if not certificates.NAME.fullmatch(host):
        raise errors.UsageError(
            f"{host!r} cannot be the name of a host", where="HOST", remedy="Use letters, digits, dots, dashes and underscores."
        )
    if not quantities.DURATION.fullmatch(expires):
        raise errors.UsageError(f"{expires!r} is not a duration", where="--expires", remedy="Write it like 15m or 1h.")
    seconds = quantities.seconds(expires)
    joining = address or _joining_address(given)
    folder = Path(given.keys.directory or compose.data(given) / "keys")
    time = clock.System()
    own = authority.create(folder, given.instance, time)
    secret = tokens.secret()
    expires_at = time.now() + seconds
    join = record.Join(token=tokens.digest(secret), host=host, pool=pool, expires_at=expires_at)
    _append(given, ledger.Change(joins=(join,), message=f"perdure: {host} may join"))
    text = tokens.Token(address=joining, pin=own.pin, secret=secret).text()
    document = {"token": text, "host": host, "pool": pool or None, "expiresAt": output.moment(expires_at)}
    output.show(flags.output, document, lambda: text)
    if flags.output == "text" and output.on_terminal():
        output.note(f"good for {host} once, until {output.clock(expires_at)}; there: perdure-agent join TOKEN")


def _joining_address(given: config.Settings) -> str:
    from reconciler.wire import protocol

    if not given.agents.listen:
        raise errors.UsageError(
            "agents cannot dial this reconciler: agents.listen is not set",
            where="perdure token create",
            remedy="Set agents.listen (e.g. 10.0.0.5:7443) in the configuration of `perdure reconcile`.",
        )
    return protocol.join_address(given.agents.listen)


def _append(given: config.Settings, change: ledger.Change) -> None:
    """Push a change that depends on nothing in the ledger, again if somebody else was first."""
    book = compose.repository(given, clock.System()).ledger
    detail = ""
    for _ in range(TRIES):
        answer = book.append(book.read(), change)
        if isinstance(answer, ledger.Committed):
            return
        detail = answer.detail
    raise errors.Unavailable(f"the ledger could not be written: {detail}", remedy="Try again.")


@click.group(epilog=options.examples("perdure host list", "perdure host revoke berlin"))
def host() -> None:
    """See and revoke hosts."""


@host.command(name="list", epilog=options.examples("perdure host list", "perdure host list -o json"))
@options.common("text", "json", "yaml")
@click.pass_obj
def list_hosts(flags: options.Flags) -> None:
    """List the hosts that were heard, may join, or are revoked."""
    seen = looking.look(compose.settings(flags))
    rows = _rows(seen)
    document = {
        "instance": seen.instance,
        "observedAt": output.moment(seen.world.at or None),
        "hosts": [_machine(row, seen) for row in rows],
    }
    header = ("HOST", "POOL", "STATE", "CPU", "MEMORY", "ATTEMPTS")
    output.show(
        flags.output,
        document,
        lambda: output.columns(header, [_cells(row, seen) for row in rows]) if rows else "No host was heard or may join.",
    )


Row = tuple[str, str, str, observed.HostView | None]
"""Name, pool, state, and what was heard of it."""


def _rows(seen: view.View) -> list[Row]:
    heard = {name: host for target in seen.world.targets.values() for name, host in target.hosts.items()}
    rows: dict[str, Row] = {}
    for join in sorted(seen.snapshot.joins.values(), key=lambda join: join.expires_at):
        state = "joined" if join.used_at else "invited" if join.expires_at > seen.now and not join.revoked else ""
        if state:
            rows[join.host] = (join.host, join.pool, state, None)
    for name, found in heard.items():
        state = "silent" if found.silent_since is not None else "leaving" if _leaving(found) else "ready"
        rows[name] = (name, found.state.pool, state, found)
    for name in seen.snapshot.revoked:
        known = rows.get(name, (name, "", "", None))
        rows[name] = (name, known[1], "revoked", known[3])
    return [rows[name] for name in sorted(rows)]


def _leaving(found: observed.HostView) -> bool:
    return found.state.draining or found.state.notice is not None


def _attempts(name: str, seen: view.View) -> int:
    items = {ref: item for target in seen.world.targets.values() for ref, item in target.items.items()}
    return sum(item.host == name and item.state is not observed.ItemState.ENDED for item in items.values())


def _machine(row: Row, seen: view.View) -> dict[str, Any]:
    name, pool, state, found = row
    return {
        "host": name,
        "pool": pool or None,
        "state": state,
        "cpu": found.state.cpu if found else None,
        "memory": found.state.memory if found else None,
        "labels": codec.plain(found.state.labels) if found else {},
        "seenAt": output.moment(found.seen_at) if found else None,
        "silentSince": output.moment(found.silent_since) if found else None,
        "attempts": _attempts(name, seen),
        "conditions": list(found.state.conditions) if found else [],
    }


def _cells(row: Row, seen: view.View) -> tuple[str, ...]:
    name, pool, state, found = row
    if found is not None and found.silent_since is not None:
        state += f" for {transition.duration(seen.now - found.silent_since)}"
    cpu = f"{found.state.cpu / 1000:g}" if found else ""
    memory = f"{found.state.memory / 2**30:.1f} GiB" if found else ""
    return (name, pool, state, cpu, memory, str(_attempts(name, seen)))


@host.command(epilog=options.examples("perdure host revoke berlin"))
@click.argument("name", metavar="HOST")
@options.common("text", "json", "yaml")
@click.pass_obj
def revoke(flags: options.Flags, *, name: str) -> None:
    """Refuse a host from now on: its session ends, and its certificate is not renewed. What it runs is given up as lost."""
    given = compose.settings(flags)
    seen = looking.look(given)
    if name not in {row[0] for row in _rows(seen)}:
        raise errors.UsageError(f"there is no host {name!r}", where="HOST", remedy="`perdure host list` lists them.")
    book = compose.repository(given, clock.System()).ledger
    for _ in range(TRIES):
        snapshot = book.read()
        revoked = tuple(sorted({*snapshot.revoked, name}))
        if revoked == snapshot.revoked or isinstance(
            book.append(snapshot, ledger.Change(revoked=revoked, message=f"perdure: {name} is revoked")), ledger.Committed
        ):
            output.show(flags.output, {"host": name, "state": "revoked"}, lambda: f"{name} is revoked.")
            return
    raise errors.Unavailable("the ledger could not be written: others were first each time", remedy="Try again.")
