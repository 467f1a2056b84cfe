"""Single stories that chance finds rarely, told on purpose: each of them was a bug."""

from __future__ import annotations

from reconciler.contracts import ledger
from reconciler.core import model, record, situation
from tests.simulation import ending, program, seed, world

SHORT = {"train": program.Program(steps=3, pace=0.5)}
LONG = {"train": program.Program(steps=300, pace=1.0)}


def _only(of: world.World) -> record.Record:
    (run,) = of.ledger.read().records.values()
    return run


def test_a_reconciler_that_stood_still_does_not_run_a_finished_attempt_again() -> None:
    """It had pushed the intent and not yet asked for it. Meanwhile another one did: the attempt ran, ended, was forgotten."""
    of = world.World(seed=1, hosts=2, rivals=2, programs=SHORT)
    slow, quick = of.reconcilers
    pushes: list[ledger.Change] = []

    def stand_still(change: ledger.Change) -> None:
        pushes.append(change)
        if len(pushes) == 1:
            slow.frozen_for = 60.0
            of.readdress()

    with seed.living(of):
        of.ledger.after_append = stand_still
        of.person.declare("train")
        of.person.commit("the first job")
        of.start()
        quick.frozen_for = 5.0
        of.run(40.0)
        assert _only(of).phase is record.Phase.FINISHED
        of.readdress()
        of.run(100.0)
        assert not ending.unfinished(of)
        assert len(_only(of).attempts) == 1


def test_an_hour_set_forward_does_not_give_up_a_host_that_is_about_to_speak() -> None:
    of = world.World(seed=1, hosts=2, programs=LONG, budgets=situation.Budgets(lost_after=120.0, lost_tries=4))
    (only,) = of.reconcilers
    with seed.living(of):
        of.person.declare("train")
        of.person.commit("the first job")
        of.start()
        of.run(30.0)
        host = of.machines[_only(of).attempts[-1].host]
        host.partitioned = True
        only.kill()
        of.run(25.0)
        only.clock.offset += 3600.0
        for _ in range(20):
            only.poke()
            of.run(1.0)
        assert _only(of).live is not None
        host.heal()
        of.run(20.0)
        assert len(_only(of).attempts) == 1


def test_a_reconciler_that_nobody_reaches_gives_up_nothing() -> None:
    """Started by mistake beside the one that agents dial, it sees no host at all."""
    of = world.World(seed=1, hosts=2, rivals=2, programs=LONG)
    with seed.living(of):
        of.person.declare("train")
        of.person.commit("the first job")
        of.start()
        of.run(280.0)
        assert len(_only(of).attempts) == 1
        of.run(60.0)
        assert _only(of).phase is record.Phase.FINISHED


def test_what_a_reclaimed_host_saves_is_where_another_one_goes_on() -> None:
    of = world.World(seed=1, hosts=2, programs={"train": program.Program(steps=60, pace=1.0)})
    with seed.living(of):
        of.person.declare("train", checkpoint=model.CheckpointPolicy(store="store"))
        of.person.commit("the first job")
        of.start()
        of.run(20.0)
        host = of.machines[_only(of).attempts[-1].host]
        host.warn(30.0)
        of.run(120.0)
        first, second = _only(of).attempts
        assert second.restored_from
        assert first.host != second.host
        assert not ending.unfinished(of)


def test_what_was_borrowed_from_another_run_can_be_restored_again() -> None:
    """Its manifest named the checkpoint once and says `latest` again; the attempt failed before it had saved anything."""
    programs = {
        "first": program.Program(steps=30, pace=1.0),
        "second": program.Program(steps=60, pace=1.0, fails=1, fails_at=30),
    }
    of = world.World(seed=1, hosts=2, programs=programs)
    with seed.living(of):
        of.person.declare("first")
        of.person.commit("the first job")
        of.start()
        of.run(45.0)
        lender = of.runs("first")[0].checkpoints[-1].taken
        unsaved = model.CheckpointPolicy(store="store")
        retries = model.Retries(failure=1)
        of.person.declare("second", restore_from=lender.digest, checkpoint=unsaved, retries=retries)
        of.person.commit("go on from there")
        of.run(8.0)
        of.person.set("second", restore_from="latest")
        of.person.commit("go on from the newest")
        of.run(90.0)
        first, second = of.runs("second")[0].attempts
        assert first.restored_from == second.restored_from == lender.digest
        assert of.runs("second")[0].phase is record.Phase.FINISHED
