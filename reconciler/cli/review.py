"""`perdure diff` and `perdure apply`: what a pass would do, and doing it."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import click

from reconciler import annotate, config, errors, loop
from reconciler.cli import bell, compose, glimpse, looking, options, output, reconcile, running, telling, view
from reconciler.core import action, codec, explain, observed, transition
from reconciler.seams import durable

DIFFERENCES = 1
"""Exit code of `diff` when something is not as declared."""

FRESH = 60.0
"""Seconds after which what a loop left in the data directory is not live any more."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A plan in a file: enough to know whether it still holds, and to read it."""

    v: int = 1
    instance: str
    revision: str
    digest: str
    steps: tuple[str, ...] = ()
    """What it would do, a line an action."""


@click.command(
    epilog=options.examples(
        "perdure diff                              what the newest revision would change",
        "perdure diff --revision topic -o markdown  for a comment on a pull request",
        "perdure diff --out plan && perdure apply plan",
    )
)
@click.option("--revision", metavar="REV", default=None, help="Branch, tag or commit to plan for.")
@click.option("--observed", "seen_by", metavar="live|snapshot|FILE", default="snapshot", show_default=True, help="Observation.")
@click.option("--out", metavar="PLAN", default=None, help="Save the plan for `perdure apply PLAN`.")
@click.option("--all", "everything", is_flag=True, help="Show what stays as it is, too.")
@options.common("text", "json", "yaml", "markdown")
@click.pass_obj
def diff(flags: options.Flags, *, revision: str | None, seen_by: str, out: str | None, everything: bool) -> int:
    """Show what a pass would do, and why. Needs the repository only, and changes nothing.

    Exits with 0 when everything is as declared, with 1 when something would change, and with 2 for an error.
    """
    settings = compose.reviewed(compose.settings(flags), revision or flags.ref)
    seen = _observed(looking.look(settings, review=True), settings, seen_by)
    planned = _announced(_planned(seen), seen)
    if out is not None:
        durable.write_atomic(Path(out).absolute(), codec.encode(_saved(settings, planned)), mode=0o644)
    document = explain.as_json(planned) | {"observedAt": output.moment(seen.world.at or None)}
    if flags.output == "markdown":
        output.line(explain.as_markdown(planned).rstrip("\n"))
    else:
        output.show(flags.output, document, lambda: explain.as_text(planned, everything=everything))
    age = f"an observation of {transition.duration(seen.age)} ago" if seen.age is not None else "no observation yet"
    output.note(f"planned for {planned.revision[:12]} against {age}")
    return DIFFERENCES if explain.differs(planned) else 0


def _observed(seen: view.View, settings: config.Settings, by: str) -> view.View:
    """Return the view planned against the observation that was asked for."""
    if by == "snapshot":
        world = view.published(seen.snapshot)
    elif by == "live":
        live = glimpse.read(compose.data(settings))
        if live is None or seen.now - live.at > FRESH:
            raise errors.UsageError(
                "no loop runs here, so nothing is observed live",
                where=str(compose.data(settings)),
                remedy="Run `perdure reconcile` with this data directory, or plan against --observed snapshot.",
            )
        world = live
    else:
        world = _file(by)
    return view.planned(dataclasses.replace(seen, world=world, plan=None), compose.budgets(settings.loop))


def _file(name: str) -> observed.World:
    found = durable.read(Path(name).absolute())
    if found is None:
        raise errors.UsageError(
            "there is no such file", where=name, remedy="Name live, snapshot or a file with an observation."
        )
    try:
        return annotate.read(found)
    except errors.Damaged as error:
        raise errors.InvalidInput(
            error.message, where=name, remedy="It must be an observed.json of a ledger or a loop."
        ) from error


def _planned(seen: view.View) -> action.Plan:
    """Return the plan. Raises `errors.PerdureError` where the repository or its manifests are in the way."""
    if seen.notice:
        raise errors.Unavailable(seen.notice, remedy="`perdure doctor` looks closer.")
    if seen.desired is not None and seen.desired.problems:
        texts = "\n  ".join(str(problem) for problem in seen.desired.problems)
        raise errors.InvalidInput(f"the manifests have problems:\n  {texts}")
    if seen.plan is None:
        raise errors.Unavailable("there is no revision to plan for", remedy="`perdure doctor` looks closer.")
    return seen.plan


def _announced(planned: action.Plan, seen: view.View) -> action.Plan:
    """Return the plan as a reviewer wants it: a run that nobody has recorded is something to create, even while it waits."""
    known = seen.snapshot.records
    actions = (
        dataclasses.replace(act, effect=action.Effect.CREATE) if act.verb is action.Verb.WAIT and act.run not in known else act
        for act in planned.actions
    )
    return dataclasses.replace(planned, actions=tuple(actions))


def _saved(settings: config.Settings, planned: action.Plan) -> Saved:
    return Saved(
        instance=settings.instance,
        revision=planned.revision,
        digest=planned.digest,
        steps=steps(planned),
    )


def steps(planned: action.Plan) -> tuple[str, ...]:
    """Return what a plan would do, a line an action: what is compared when a saved plan does not hold any more."""
    return tuple(
        f"{act.verb.value} {explain.label(act)}"
        + (f", attempt {act.attempt}" if act.attempt else "")
        + (f" on {act.host or act.target}" if act.host or act.target else "")
        for act in planned.actions
        if act.reviewed
    )


@click.command(
    epilog=options.examples(
        "perdure apply                  one pass, now",
        "perdure apply plan             exactly what `perdure diff --out plan` showed, or nothing",
    )
)
@options.argument("plan", metavar="[PLAN]", required=False, type=click.Path())
@options.common("text", "json")
@click.pass_obj
def apply(flags: options.Flags, *, plan: str | None) -> int:
    """Make one pass, or carry out a saved plan if the facts it read still hold.

    Exits with 2 when manifests have problems, after acting on the valid ones.
    """
    settings = compose.settings(flags)
    saved = _read(plan, settings) if plan is not None else None
    ring = bell.Bell()
    teller = telling.Teller(flags.output)
    with ring.obeying(), running.running(settings, ring) as here:
        here.settle()
        done = reconcile.single(here, ring, saved.digest if saved else "")
        if saved is not None and done.standing is loop.Standing.MOVED:
            raise _moved(plan or "", saved, done)
        teller.tell(done)
        reconcile.Pauses(here, ring, teller).glance(done)
        here.settle()
    if done.plan is not None:
        output.note(f"{explain.summary(done.plan)}")
    ring.check()
    return 130 if ring.ended_by == signal.SIGINT else reconcile.worth(done)


def _read(name: str, settings: config.Settings) -> Saved:
    found = durable.read(Path(name).absolute())
    if found is None:
        raise errors.UsageError("there is no such plan", where=name, remedy="`perdure diff --out PLAN` makes one.")
    try:
        saved = codec.decode(found, Saved)
    except errors.Damaged as error:
        raise errors.InvalidInput(
            "this file is no saved plan", where=name, remedy="`perdure diff --out PLAN` makes one."
        ) from error
    if saved.v != 1 or saved.instance != settings.instance:
        raise errors.InvalidInput(
            f"this plan is for instance {saved.instance!r}, and this is {settings.instance!r}",
            where=name,
            remedy="Give its --instance, or make a new plan.",
        )
    return saved


def _moved(name: str, saved: Saved, done: loop.Pass) -> errors.Refused:
    """Return the refusal of a saved plan, naming what has moved since it was made."""
    now = steps(done.plan) if done.plan else ()
    revision = done.plan.revision if done.plan else ""
    texts = []
    if revision != saved.revision:
        texts.append(f"the revision was {saved.revision[:12]} and is {revision[:12]}")
    texts += [f"not to be done any more: {step}" for step in saved.steps if step not in now]
    texts += [f"to be done now: {step}" for step in now if step not in saved.steps]
    told = "\n  ".join(texts or ["the specification of an attempt has changed"])
    return errors.Refused(
        f"the facts this plan was made from have moved; nothing was done:\n  {told}",
        where=name,
        remedy="Make a new plan: perdure diff --out PLAN.",
    )
