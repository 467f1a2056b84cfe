"""One run's case, and the decision about it: the words in which the rules speak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.core import action, classify, model, observed, record, situation, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything the rules may look at for one run."""

    run: record.Record
    job: model.Job | None
    """The manifest that asks for this very run; None when none does."""
    successor: model.Job | None = None
    """The manifest of the same name and replica when it asks for another run."""
    frozen: str = ""
    """Why the manifest stands at its last valid version; empty: it is valid."""
    requests: tuple[tuple[str, model.CheckpointRequest], ...] = ()
    """Checkpoint manifests for this Job with their request ids."""
    sighting: situation.Sighting | None = None
    """For runs with a live attempt."""
    offered: tuple[observed.Taken, ...] | None = None
    """What the run's store offers; None: not known now."""
    named: observed.Taken | None = None
    """The checkpoint that `restore.from` names, where the store offers it."""
    waits_for: tuple[str, ...] = ()
    """Dependencies that have not finished, each as "name (why)"."""
    empty: bool = False
    """The revision declares no Job and does not say that this is meant."""
    now: float
    budgets: situation.Budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do, before placement and numbers are filled in."""

    verb: action.Verb
    reason: str
    sentence: str
    effect: action.Effect = action.Effect.UNCHANGED
    purpose: spec.Purpose | None = None
    """For CHECKPOINT and STOP: why the attempt is to be saved or ended."""
    then_stop: bool = False
    base: str = ""
    """What asks for a checkpoint or an end: the purpose's name, or for DEMAND the Checkpoint manifest's id."""
    restore: observed.Taken | None = None
    changes: tuple[classify.FieldChange, ...] = ()
    phase: record.Phase | None = None
    """The phase the record takes with this decision, where it changes."""


Rule = Callable[[Case], Decision | None]
"""Decides, or returns None to pass the case on to the next rule."""


def keep(reason: str, sentence: str, phase: record.Phase | None = None) -> Decision:
    """Return the decision to leave things as they are."""
    return Decision(verb=action.Verb.KEEP, reason=reason, sentence=sentence, phase=phase)


def wait(reason: str, sentence: str) -> Decision:
    """Return the decision to do nothing yet."""
    return Decision(verb=action.Verb.WAIT, reason=reason, sentence=sentence)


def refuse(reason: str, sentence: str, changes: tuple[classify.FieldChange, ...] = ()) -> Decision:
    """Return the decision not to do what was asked."""
    return Decision(verb=action.Verb.REFUSE, effect=action.Effect.REFUSE, reason=reason, sentence=sentence, changes=changes)


def new_run_paths(changes: tuple[classify.FieldChange, ...]) -> str:
    """Return the changed fields that mean a new run, as text."""
    return ", ".join(each.path for each in changes if each.field_class is classify.FieldClass.NEW_RUN) or "the manifest"


def changed_run_refused(case: Case) -> Decision | None:
    """A change that means a new run leaves the unfinished old one as it is, unless the manifest says otherwise."""
    if case.job is not None or case.successor is None:
        return None
    changes = classify.changes(case.run.applied, case.successor)
    text = f"{new_run_paths(changes)} changed, which means a new run, and `onChange` is `refuse`"
    return refuse("ChangeRefused", text, changes)


def empty_refused(case: Case) -> Decision | None:
    """A revision without any Job ends nothing unless its commit says that this is meant."""
    return refuse("EmptyDesired", "the revision declares no Job at all") if case.empty else None
