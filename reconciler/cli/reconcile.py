"""`perdure reconcile`: the loop, its pauses, and what it says while it runs."""

from __future__ import annotations

import random
import signal

import click

from reconciler import loop
from reconciler.cli import bell, compose, glimpse, options, pacing, running, telling

SLICE = 1.0
"""Seconds between two looks at the hosts' newest states while the loop pauses."""

SWEEP_SECONDS = 5.0
"""Most seconds that the end of the loop waits for a sweep of a store."""

TRIES = 20
"""Passes that `--once` makes at most: each one after the first because another process wrote to the ledger first."""


@click.command(
    epilog=options.examples(
        "perdure reconcile --repo ./jobs           until Ctrl-C; jobs go on without the loop",
        "perdure reconcile --once                  a single pass, for cron and CI",
        "perdure reconcile -o json | jq .say       transitions as JSON lines",
    )
)
@click.option("--once", is_flag=True, help="Make a single pass and end.")
@options.common("text", "json")
@click.pass_obj
def reconcile(flags: options.Flags, *, once: bool) -> int:
    """Run the loop: keep every declared job running to its end.

    Prints each transition as it happens. Ends on Ctrl-C or SIGTERM; jobs go on, and the next start takes them up again.
    """
    ring = bell.Bell()
    teller = telling.Teller(flags.output)
    with ring.obeying(), running.running(compose.settings(flags), ring) as here:
        teller.begins(here)
        pauses = Pauses(here, ring, teller)
        if once:
            here.settle()
            done = single(here, ring)
            teller.tell(done)
            pauses.glance(done)
            here.settle()
        else:
            loop.Loop(here.parts).run(ring, pauses.after, teller.lost)
            here.sweeper.end(SWEEP_SECONDS)
            teller.ends()
    ring.check()
    if ring.ended_by == signal.SIGINT:
        return 130
    return worth(done) if once else 0


def worth(done: loop.Pass) -> int:
    """Return the exit code of a single pass: 2 when it could not be made, and when manifests have problems."""
    troubled = done.desired is not None and bool(done.desired.problems)
    return 2 if troubled or done.standing is not loop.Standing.DONE else 0


def single(here: running.Running, ring: bell.Bell, expected: str = "") -> loop.Pass:
    """Make one pass, and another one as long as somebody else was first; only a plan of the `expected` digest, if given."""
    turns = loop.Loop(here.parts)
    for number in range(TRIES):
        done = turns.once(expected)
        if done.standing is not loop.Standing.SUPERSEDED or ring.is_set():
            break
        ring.wait(random.random() * min(0.05 * 2**number, 2.0))
    return done


class Pauses:
    """What happens between two passes."""

    def __init__(self, here: running.Running, ring: bell.Bell, teller: telling.Teller) -> None:
        self._here = here
        self._ring = ring
        self._teller = teller
        self._glimpse = glimpse.Glimpse(here.data, here.hosts)
        self._clock = here.parts.clock
        self._kept = False

    def after(self, done: loop.Pass) -> None:
        """Tell what the pass did, and wait until the next one is due or something has changed."""
        began = self._clock.monotonic()
        self._teller.tell(done)
        self.glance(done)
        if not self._kept and done.standing is loop.Standing.DONE:
            pacing.keep()
            self._kept = True
        self._here.passed(done)
        left = pacing.seconds(done, self._here.settings.loop, self._clock.now(), random.random())
        end = began + left
        self._ring.wait(pacing.GAP)
        while not self._ring.is_set() and self._clock.monotonic() < end:
            if self._here.hosts_changed() or self._here.source.moved():
                return
            self._glimpse.refresh(self._clock.now())
            self._ring.pause(min(SLICE, end - self._clock.monotonic()))

    def glance(self, done: loop.Pass) -> None:
        """Leave what was seen for commands on this machine."""
        self._glimpse.of(done.world)
        self._glimpse.refresh(self._clock.now())
