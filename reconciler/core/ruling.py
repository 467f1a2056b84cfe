"""One run's case, and the decision about it: the words in which the rules speak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.core import action, classify, model, observed, order, record, situation, spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything the rules may look at for one run."""

    run: record.Record
    job: model.Job | None
    """The manifest that asks for this very run; None when none does."""
    successor: model.Job | None = None
    """The manifest of the same name and replica when it asks for another run."""
    replicas: int | None = None
    """How many runs the Job of this name asks for; None when it is not declared."""
    frozen: str = ""
    """Why the manifest stands at its last valid version; empty: it is valid."""
    changes: tuple[classify.FieldChange, ...] = ()
    """What the declared manifest says otherwise than the one the run was last started with."""
    requests: tuple[tuple[str, model.CheckpointRequest], ...] = ()
    """Checkpoint manifests for this run with their request ids."""
    unsure: str = ""
    """Why it is not known which Checkpoint manifests there are; empty: it is known."""
    sighting: situation.Sighting | None = None
    """For runs with a live attempt."""
    keeps: model.StoreSpec | None = None
    """The run's store as it is declared now."""
    store: observed.StoreView | None = None
    """What that store says; None: it was not asked."""
    waits_for: tuple[order.Held, ...] = ()
    """Dependencies that have not finished."""
    before: record.Record | None = None
    """Another unfinished run of the same Job and replica, which ends first."""
    followed: bool = False
    """A later run of the same Job and replica is recorded."""
    empty: bool = False
    """The revision declares no Job and does not say that this is meant."""
    now: float
    budgets: situation.Budgets

    @property
    def declared(self) -> model.Job | None:
        """The manifest of this name and replica, whichever run it asks for: what it says of `state` holds for this one too."""
        return self.job or self.successor

    @property
    def manifest(self) -> model.Job:
        """The manifest this run lives by: the one that asks for it, else the one it was last started with."""
        return self.job or self.run.applied

    @property
    def engine(self) -> model.EngineName:
        """The engine that the live attempt was started with: another one holds from the next attempt."""
        held = self.sighting.item.spec if isinstance(self.sighting, situation.Here) else None
        return held.checkpoint.engine if held is not None else self.run.applied.checkpoint.engine

    @property
    def offered(self) -> tuple[observed.Taken, ...] | None:
        """The run's checkpoints in the store; None: not known now."""
        return self.store.checkpoints.get(self.run.run) if self.store is not None and self.store.known else None


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
    missed: observed.Taken | None = None
    """A newer checkpoint that the store does not offer."""
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


def unwanted(case: Case) -> str:
    """Return why nothing asks for this run any more."""
    if case.replicas is None:
        return "it is not declared any more"
    return f"`replicas` is {case.replicas} now, so replica {case.run.replica} is not wanted any more"


def new_run_paths(changes: tuple[classify.FieldChange, ...]) -> str:
    """Return the changed fields that mean a new run, as text."""
    return ", ".join(each.path for each in changes if each.field_class is classify.FieldClass.NEW_RUN) or "the manifest"


def restarted(case: Case) -> str:
    """Return why a run gives way to another although it is unfinished."""
    return f"{new_run_paths(case.changes)} changed, which means a new run, and `onChange` is `restart`"


def changed_run_refused(case: Case) -> Decision | None:
    """A change that means a new run leaves the unfinished old one as it is, unless the manifest says otherwise."""
    if case.job is not None or case.successor is None or case.successor.on_change is model.OnChange.RESTART:
        return None
    changes = case.changes
    text = f"{new_run_paths(changes)} changed, which means a new run, and `onChange` is `refuse`"
    return refuse("ChangeRefused", text, changes)


def empty_refused(case: Case) -> Decision | None:
    """A revision without any Job ends nothing unless its commit says that this is meant."""
    return refuse("EmptyDesired", "the revision declares no Job at all") if case.empty else None
