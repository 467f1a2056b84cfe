"""`token create` and `host list/revoke`: which machines may join, and which are here."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import click

from reconciler import config, errors
from reconciler.cli import compose, looking, options, output, view
from reconciler.contracts import ledger
from reconciler.core import codec, observed, quantities, record, transition
from reconciler.seams import clock

TRIES = 10
"""How often a push to the ledger is repeated when somebody else was first."""

PAUSE = 0.2
"""Longest seconds before the first repetition; grows with each."""

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
@click.argument("host", metavar="HOST")
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
    if not quantities.DURATION.fullmatch(expires):
        raise errors.UsageError(f"{expires!r} is not a duration", where="--expires", remedy="Write it like 15m or 1h30m.")
    joining = _joining_address(given, address)
    _check(given, host, pool)
    folder, time = compose.key_folder(given), clock.System()
    fresh = not authority.exists(folder)
    own = authority.create(folder, given.instance, time)
    secret = tokens.secret()
    join = record.Join(token=tokens.digest(secret), host=host, pool=pool, expires_at=time.now() + quantities.seconds(expires))
    _append(given, lambda _: ledger.Change(joins=(join,), message=f"perdure: {host} may join"))
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
    if host == _embedded(given):
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
    declared = seen.desired.pools.get(pool)
    if declared is None:
        names = ", ".join(sorted(seen.desired.pools)) or "none"
        raise errors.UsageError(f"there is no Pool {pool!r}", where="--pool", remedy=f"Declared: {names}.")
    if declared.hosts and host not in declared.hosts:
        raise errors.UsageError(
            f"Pool {pool} is for {', '.join(declared.hosts)}", where=str(declared.origin), remedy=f"Add {host} to its `hosts`."
        )


def _embedded(given: config.Settings) -> str:
    """Return the name of the host that the reconciler's own agent is; empty: it has none."""
    return (given.agents.name or os.uname().nodename) if given.agents.embedded else ""


def _append(given: config.Settings, change: Callable[[ledger.Snapshot], ledger.Change]) -> None:
    """Push a change of the ledger; where somebody else was first, again, on top of theirs."""
    time = clock.System()
    book = compose.repository(compose.upstream(given), time).ledger
    detail = ""
    for number in range(1, TRIES + 1):
        snapshot = book.read()
        answer = book.append(snapshot, change(snapshot))
        if isinstance(answer, ledger.Committed):
            return
        detail = answer.detail
        time.wait(random.uniform(0, PAUSE * number))
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
        lambda: (
            output.columns(header, [_cells(row, seen) for row in rows], output.width())
            if rows
            else "No host was heard or may join."
        ),
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
    """Refuse a host from now on: its session ends, and its certificate is not renewed.

    What it runs counts as silent, and is given up once the budgets for silence are spent. Its name stays revoked: the machine
    may join again under another one.
    """
    given = compose.settings(flags)
    seen = looking.look(given)
    if name == _embedded(given):
        raise errors.UsageError(
            f"{name} is the agent inside `perdure reconcile`, which has no certificate to revoke",
            where="HOST",
            remedy="Set agents.embedded to false.",
        )
    if name not in {row[0] for row in _rows(seen)}:
        raise errors.UsageError(f"there is no host {name!r}", where="HOST", remedy="`perdure host list` lists them.")
    if name not in seen.snapshot.revoked:
        _append(given, lambda snapshot: _revoking(snapshot, name))
    count = _attempts(name, seen)
    many = "s" if count != 1 else ""
    silent = f"\n{count} attempt{many} there: silent from now on; `perdure status` tells what becomes of them." if count else ""
    document = {"host": name, "state": "revoked", "attempts": count}
    output.show(flags.output, document, lambda: f"{name} is revoked.{silent}")


def _revoking(snapshot: ledger.Snapshot, name: str) -> ledger.Change:
    return ledger.Change(revoked=tuple(sorted({*snapshot.revoked, name})), message=f"perdure: {name} is revoked")
