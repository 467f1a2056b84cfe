"""The books of plain hosts: after restarts, silence, lost journals and rival processes."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler.contracts import target
from reconciler.core import model, observed, place, settle, spec
from reconciler.link import fake
from reconciler.targets import books, hosts
from tests.link.site import attempt
from tests.targets.hands import Clock, Host

Result = settle.Result
AT = 1_000_000.0


def run(name: str = "r1", host: str = "a", want: spec.Want = spec.Want.RUN) -> spec.Assignment:
    return spec.Assignment(spec=attempt(name, host=host), want=want)


def stopped(assignment: spec.Assignment) -> spec.Assignment:
    return dataclasses.replace(assignment, want=spec.Want.STOP)


class Reconciler:
    """One life of a reconciler process: a link and what is built on it."""

    def __init__(self, clock: Clock) -> None:
        self.link = fake.FakeLink(clock)
        self.books = books.Books(self.link, clock)
        self.target = self.make()

    def make(self, name: str = "plain", **selector: str) -> hosts.HostsTarget:
        return hosts.HostsTarget(model.TargetSpec(name=name, selector=selector), self.books)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def here(clock: Clock) -> Reconciler:
    return Reconciler(clock)


def join(here: Reconciler, name: str = "a", **fields: object) -> Host:
    host = Host(here.link, name, **fields)
    host.report()
    return host


def newest(here: Reconciler, host: str = "a") -> dict[spec.AttemptRef, spec.Want]:
    given = here.link.newest(host)
    return {item.spec.ref: item.want for item in given.items} if given else {}


def test_nothing_is_sent_to_a_host_that_was_not_heard(here: Reconciler) -> None:
    for outcome in (here.target.apply(run()), here.target.apply(stopped(run())), here.target.delete(run().spec.ref, "a")):
        assert outcome.result is Result.UNKNOWN
        assert "has not been heard since this start" in outcome.detail
    join(here)
    here.target.observe(AT)
    assert here.link.sent == []


def test_sets_are_whole_and_their_generation_grows(here: Reconciler) -> None:
    join(here)
    for number in range(3):
        here.target.apply(run(f"r{number}"))
    assert [len(sent.items) for sent in here.link.sent] == [1, 2, 3]
    generations = [sent.generation for sent in here.link.sent]
    assert generations == sorted(set(generations))


def test_a_restarted_reconciler_adopts_what_runs_and_sends_nothing(clock: Clock, here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run())
    host.obey()
    again = Reconciler(clock)
    host.link = again.link
    host.report()
    assert again.target.observe(AT).items[run().spec.ref].spec == run().spec
    assert again.target.apply(run()).result is Result.UNCHANGED
    assert again.link.sent == []


def test_its_first_set_lies_far_above_what_its_predecessor_may_have_sent(clock: Clock, here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run("r1"))
    host.obey()
    here.target.apply(run("r2"))  # on its way while the process dies
    again = Reconciler(clock)
    host.link = again.link
    host.report()
    again.target.apply(run("r3"))
    assert again.link.sent[0].generation > here.link.sent[-1].generation
    assert set(newest(again)) == {run("r3").spec.ref}, "what the host has already needs no telling"


def test_what_was_ended_is_not_begun_again_by_an_old_report(here: Reconciler) -> None:
    """A report from long ago lists an attempt that has been removed since: no set may carry it."""
    old = observed.Item(ref=run("old").spec.ref, state=observed.ItemState.RUNNING, host="a", spec=run("old").spec)
    join(here).report(old)
    here.target.apply(run("new"))
    assert set(newest(here)) == {run("new").spec.ref}


def test_a_silent_host_is_not_booked_for_new_work(here: Reconciler) -> None:
    host = join(here)
    host.leave()
    outcome = here.target.apply(run())
    assert outcome.result is Result.UNKNOWN
    assert "asked again when it is heard" in outcome.detail
    host.report()
    assert newest(here) == {}


def test_work_that_a_silent_host_has_not_begun_is_taken_back(here: Reconciler) -> None:
    """It may be given up while the host is away; when the host returns, it must not begin then."""
    host = join(here)
    here.target.apply(run("begun"))
    host.obey()
    here.target.apply(run("unbegun"))
    host.leave()
    here.target.observe(AT)
    host.report()
    host.obey()
    assert [item.ref.run for item in host.state.items] == ["begun"]
    assert here.target.apply(run("unbegun")).result is Result.CREATED, "still wanted: asked again"


def test_a_stop_reaches_a_host_that_was_silent(here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run())
    host.obey()
    host.leave()
    outcome = here.target.apply(stopped(run()))
    assert outcome.result is Result.UNKNOWN
    assert "told when it is heard again" in outcome.detail
    here.target.observe(AT)
    host.report()
    host.obey()
    assert host.state.items[0].want is spec.Want.STOP


def test_a_deletion_reaches_a_host_that_was_silent(here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run())
    host.obey()
    host.leave()
    assert here.target.delete(run().spec.ref, "a").result is Result.UNKNOWN
    host.report()
    host.obey()
    assert not host.state.items


def test_a_host_without_its_journal_begins_nothing_again(here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run("r1"))
    host.obey()
    here.target.apply(run("r2"))
    host.leave()
    host.forget()
    host.report()
    assert here.target.observe(AT).items == {}
    host.obey()
    assert not host.state.items
    assert here.target.apply(run("r2")).result is Result.CREATED
    host.obey()
    assert [item.ref.run for item in host.state.items] == ["r2"]


def test_what_is_being_removed_is_not_started_again(here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run())
    host.obey()
    here.target.delete(run().spec.ref, "a")
    outcome = here.target.apply(run())
    assert outcome.result is Result.REFUSED
    assert "is being removed" in outcome.detail
    assert here.target.delete(run().spec.ref, "a").result is Result.DELETED, "asked twice, told once"
    assert len(here.link.sent) == 2


def test_an_attempt_without_a_specification_can_be_removed(here: Reconciler) -> None:
    bare = observed.Item(ref=run().spec.ref, state=observed.ItemState.ENDED, host="a")
    join(here).report(bare)
    assert here.target.delete(bare.ref, "a").result is Result.DELETED
    assert newest(here) == {bare.ref: spec.Want.REMOVE}


def test_removed_attempts_leave_the_sets(here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run("r1"))
    host.obey()
    here.target.delete(run("r1").spec.ref, "a")
    host.obey()
    here.target.apply(run("r2"))
    assert set(newest(here)) == {run("r2").spec.ref}


def test_a_rivals_higher_set_does_not_silence_this_process(here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run())
    host.obey()
    here.target.apply(stopped(run()))
    host.report(accepted=here.link.sent[-1].generation + 10)
    assert here.target.apply(stopped(run())).result is Result.CHANGED
    host.obey()
    assert host.state.items[0].want is spec.Want.STOP


def test_a_set_that_a_heard_host_does_not_accept_is_sent_again(clock: Clock, here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run())
    clock.pass_(10.0)
    host.report()
    assert here.target.apply(run()).result is Result.UNCHANGED
    assert len(here.link.sent) == 1
    clock.pass_(10.0)
    host.report()
    assert here.target.apply(run()).result is Result.UNCHANGED
    assert [sent.items for sent in here.link.sent] == [(run(),), (run(),)]
    host.obey()
    clock.pass_(20.0)
    host.report()
    assert here.target.apply(run()).result is Result.UNCHANGED
    assert len(here.link.sent) == 2


def test_a_set_that_is_too_long_is_refused_and_not_booked(here: Reconciler) -> None:
    join(here)
    here.target.apply(run("r1"))
    here.link.too_long.add("a")
    outcome = here.target.apply(run("r2"))
    assert outcome.result is Result.REFUSED
    assert "too long" in outcome.detail
    here.link.too_long.clear()
    here.target.apply(run("r3"))
    assert {ref.run for ref in newest(here)} == {"r1", "r3"}


def test_a_too_long_set_never_breaks_an_observation(here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run())
    here.link.too_long.add("a")
    host.leave()
    assert here.target.observe(AT).known
    assert here.target.confirm_gone(run().spec.ref, "a") is target.Presence.UNKNOWN


# silence


def test_a_host_is_silent_when_no_message_comes(clock: Clock, here: Reconciler) -> None:
    join(here)
    clock.pass_(14.0)
    assert here.target.observe(clock.now()).hosts["a"].silent_since is None
    clock.pass_(2.0)
    view = here.target.observe(clock.now()).hosts["a"]
    assert view.silent_since == view.seen_at == clock.now() - 16.0


def test_a_closed_connection_is_silence_at_once_but_no_evidence(clock: Clock, here: Reconciler) -> None:
    host = join(here)
    host.leave()
    view = here.target.observe(clock.now()).hosts["a"]
    assert view.silent_since == clock.now()
    assert view.silent_tries == 1


def test_jumps_of_the_wall_clock_make_nobody_silent(clock: Clock, here: Reconciler) -> None:
    host = join(here)
    clock.wall += 86400.0
    assert here.target.observe(clock.now()).hosts["a"].silent_since is None
    host.leave()
    clock.ticks += 10.0
    clock.wall -= 2 * 86400.0
    view = here.target.observe(clock.now()).hosts["a"]
    assert view.silent_since == clock.now() - 10.0


# what belongs to whom


def test_a_selector_chooses_hosts_by_their_labels(here: Reconciler) -> None:
    join(here, "a", labels={"gpu": "yes", "zone": "x"})
    join(here, "b", labels={"gpu": "no"})
    assert set(here.make("gpu", gpu="yes").observe(AT).hosts) == {"a"}
    assert set(here.make("all").observe(AT).hosts) == {"a", "b"}


def test_targets_of_one_link_share_their_hosts_books(here: Reconciler) -> None:
    host = join(here, labels={"gpu": "yes"})
    here.make("gpu", gpu="yes").apply(run("r1"))
    here.make("all").apply(run("r2"))
    host.obey()
    assert {item.ref.run for item in host.state.items} == {"r1", "r2"}


def test_a_host_that_lost_its_labels_is_seen_while_it_has_attempts(here: Reconciler) -> None:
    chosen = here.make("gpu", gpu="yes")
    host = join(here, labels={"gpu": "yes"})
    chosen.apply(run())
    host.obey()
    chosen.observe(AT)
    host.report(labels={})
    view = chosen.observe(AT)
    assert run().spec.ref in view.items
    assert view.hosts["a"].state.draining
    assert "do not match the selector" in view.hosts["a"].state.conditions[0]
    chosen.delete(run().spec.ref, "a")
    host.obey()
    assert chosen.observe(AT).hosts == {}


def test_no_host_speaks_for_anothers_attempt(here: Reconciler) -> None:
    a, b = join(here, "a"), join(here, "b")
    mine = observed.Item(ref=run().spec.ref, state=observed.ItemState.RUNNING, spec=run().spec)
    a.report(mine)
    b.report(dataclasses.replace(mine, state=observed.ItemState.ENDED))
    item = here.target.observe(AT).items[mine.ref]
    assert (item.host, item.state) == ("a", observed.ItemState.RUNNING)


def test_a_machine_that_joined_again_under_another_name_has_the_word_on_what_it_has(here: Reconciler) -> None:
    """What was given up there is ended under the new name; the old one is silent for good."""
    a, c = join(here, "a", agent="one"), join(here, "c", agent="one")
    mine = observed.Item(ref=run().spec.ref, state=observed.ItemState.RUNNING, spec=run().spec)
    a.report(mine)
    a.leave()
    c.report(mine)
    item = here.target.observe(AT).items[mine.ref]
    assert item.host == "c"
    assert item.spec is not None
    stop = spec.Assignment(spec=dataclasses.replace(item.spec, host=item.host), want=spec.Want.STOP)
    assert here.target.apply(stop).result is Result.CHANGED
    c.obey()
    ended = here.target.observe(AT).items[mine.ref]
    assert (ended.host, ended.state) == ("c", observed.ItemState.ENDED)
    assert here.target.delete(mine.ref, ended.host).result is Result.DELETED
    c.obey()
    assert here.target.observe(AT).items == {}


@pytest.mark.parametrize("other", [{"agent": "two"}, {"agent": "one", "boot": "boot-2"}, {}])
def test_other_data_or_a_copy_of_it_says_nothing_of_a_silent_hosts_attempt(here: Reconciler, other: dict[str, str]) -> None:
    a, c = join(here, "a", agent="one" if other else ""), join(here, "c")
    mine = observed.Item(ref=run().spec.ref, state=observed.ItemState.RUNNING, spec=run().spec)
    a.report(mine)
    a.leave()
    c.report(dataclasses.replace(mine, state=observed.ItemState.ENDED), **other)
    item = here.target.observe(AT).items[mine.ref]
    assert (item.host, item.state) == ("a", observed.ItemState.RUNNING)


# whether something is certainly gone


def test_unlisted_is_gone_only_after_a_set_of_this_process_was_accepted(here: Reconciler) -> None:
    """A predecessor's set with the attempt may still be on its way to the host's journal."""
    host = join(here)
    assert here.target.confirm_gone(run().spec.ref, "a") is target.Presence.UNKNOWN
    host.obey()
    assert here.target.confirm_gone(run().spec.ref, "a") is target.Presence.GONE


def test_what_may_still_arrive_is_not_gone(here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run())
    assert here.target.confirm_gone(run().spec.ref, "a") is target.Presence.UNKNOWN
    here.target.apply(stopped(run()))
    host.report()
    assert here.target.confirm_gone(run().spec.ref, "a") is target.Presence.UNKNOWN


def test_after_a_reboot_nothing_of_before_lives(here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run())
    here.target.apply(stopped(run()))
    host.leave()
    host.report(session=2, boot="boot-2")
    assert here.target.confirm_gone(run().spec.ref, "a") is target.Presence.GONE


def test_a_listing_counts_more_than_a_reboot(here: Reconciler) -> None:
    host = join(here)
    here.target.apply(run())
    host.obey()
    host.report(session=2, boot="boot-2")
    assert here.target.confirm_gone(run().spec.ref, "a") is target.Presence.PRESENT


def test_labels_of_a_pool_count_for_hosts_that_joined_for_it(here: Reconciler) -> None:
    """For the selector of a target and for placement alike, before what the host says of itself; for no other host."""
    declared = model.TargetSpec(name="spot", selector={"spot": "true"}, by_pool={"cheap": {"spot": "true", "zone": "a"}})
    chosen = hosts.HostsTarget(declared, here.books)
    join(here, "a", pool="cheap", labels={"zone": "b", "disk": "ssd"})
    join(here, "b", pool="dear")
    join(here, "c", labels={"spot": "true"})
    seen = chosen.observe(AT).hosts
    assert {name: dict(view.state.labels) for name, view in seen.items()} == {
        "a": {"spot": "true", "zone": "a", "disk": "ssd"},
        "c": {"spot": "true"},
    }
    wish = model.Job(name="train", target="spot", workload=model.Workload(), placement=model.Placement(zone="a"))
    assert [name for name, view in seen.items() if place.stands(wish, view)] == ["a"]
