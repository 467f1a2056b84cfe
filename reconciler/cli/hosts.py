"""`host list` and `host revoke`: which machines are here, and which are refused."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import click

from reconciler import config, errors
from reconciler.cli import compose, looking, options, output, view
from reconciler.contracts import ledger
from reconciler.core import codec, observed, transition
from reconciler.seams import clock

TRIES = 10
"""How often a push to the ledger is repeated when somebody else was first."""

PAUSE = 0.2
"""Longest seconds before the first repetition; grows with each."""


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
    output.show(flags.output, document, lambda: _table(rows, seen) if rows else "No host was heard or may join.")


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


def known(seen: view.View) -> frozenset[str]:
    """Return the names of the hosts that were heard, or may join."""
    return frozenset(name for name, _, state, _ in _rows(seen) if state != "revoked")


def _table(rows: Sequence[Row], seen: view.View) -> str:
    """Return the table and, below it, what hosts say is missing on them."""
    header = ("HOST", "POOL", "STATE", "CPU", "MEMORY", "ATTEMPTS")
    table = output.columns(header, [_cells(row, seen) for row in rows], output.width())
    missing = [
        output.clean(f"{name}: {text}")
        for name, _, _, found in rows
        if found is not None and found.silent_since is None
        for text in found.state.conditions
    ]
    return "\n".join([table, *([""] if missing else []), *missing])


def _leaving(found: observed.HostView) -> bool:
    return found.state.draining or found.state.notice is not None


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
        "attempts": seen.world.running(name),
        "conditions": list(found.state.conditions) if found else [],
    }


def _cells(row: Row, seen: view.View) -> tuple[str, ...]:
    name, pool, state, found = row
    if state == "silent" and found is not None and found.silent_since is not None:
        state += f" for {transition.duration(seen.now - found.silent_since)}"
    cpu = f"{found.state.cpu / 1000:g}" if found else ""
    memory = f"{found.state.memory / 2**30:.1f} GiB" if found else ""
    return (name, pool, state, cpu, memory, str(seen.world.running(name)))


@host.command(epilog=options.examples("perdure host revoke berlin"))
@options.argument("name", metavar="HOST")
@options.common("text", "json", "yaml")
@click.pass_obj
def revoke(flags: options.Flags, *, name: str) -> None:
    """Refuse a host from now on: its session ends, and its certificate is not renewed.

    What it runs counts as silent, and is given up once the budgets for silence are spent. Its name stays revoked: the machine
    may join again under another one.
    """
    given = compose.settings(flags)
    seen = looking.look(given)
    if name == embedded(given):
        raise errors.UsageError(
            f"{name} is the agent inside `perdure reconcile`, which has no certificate to revoke",
            where="HOST",
            remedy="Set agents.embedded to false.",
        )
    if name not in {row[0] for row in _rows(seen)}:
        raise errors.UsageError(f"there is no host {name!r}", where="HOST", remedy="`perdure host list` lists them.")
    if name not in seen.snapshot.revoked:
        append(given, lambda snapshot: _revoking(snapshot, name))
    count = seen.world.running(name)
    many = "s" if count != 1 else ""
    silent = f"\n{count} attempt{many} there: silent from now on; `perdure status` tells what becomes of them." if count else ""
    document = {"host": name, "state": "revoked", "attempts": count}
    output.show(flags.output, document, lambda: f"{name} is revoked.{silent}")


def _revoking(snapshot: ledger.Snapshot, name: str) -> ledger.Change:
    return ledger.Change(revoked=tuple(sorted({*snapshot.revoked, name})), message=f"perdure: {name} is revoked")


def embedded(given: config.Settings) -> str:
    """Return the name of the host that the reconciler's own agent is; empty: it has none."""
    return (given.agents.name or os.uname().nodename) if given.agents.embedded else ""


def append(given: config.Settings, change: Callable[[ledger.Snapshot], ledger.Change]) -> None:
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
