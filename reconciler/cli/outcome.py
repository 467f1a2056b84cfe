"""What became of a change by commit, and what follows from it: the part of the plan that is about the job."""

from __future__ import annotations

import dataclasses
from typing import Any

from reconciler.cli import editing, view
from reconciler.core import action, explain, reasons

NO_PLAN = action.Plan(revision="", actions=())


def follows(done: editing.Done) -> action.Plan:
    """Return what the next pass would do with the job under the edited manifests, as far as is known here."""
    planned = view.planned(dataclasses.replace(done.seen, desired=done.desired, plan=None), done.seen.budgets).plan
    if planned is None or done.seen.age is None:  # nothing was ever observed: the plan would only say so
        return NO_PLAN
    own = (done.job.tenant, done.job.name)
    acts = tuple(act for act in planned.actions if (act.tenant, act.job) == own and act.reason not in view.ASIDE)
    return dataclasses.replace(planned, actions=acts)


def forecast(planned: action.Plan) -> str:
    """Return the same as people read it, with what they can do about it; empty when nothing is known."""
    if not planned.actions:
        return ""
    blocks, _, _ = explain.as_text(planned, everything=True).rpartition("\n\nPlan: ")
    remedies = dict.fromkeys(reasons.of(act.reason).remedy for act in planned.actions)
    return "\n".join(["the next pass would", blocks, *(f"      remedy: {remedy}" for remedy in remedies if remedy)])


def machine(verb: str, done: editing.Done, planned: action.Plan) -> dict[str, Any]:
    """Return the outcome as machine output has it."""
    return {
        "verb": verb,
        "tenant": done.job.tenant,
        "job": done.job.name,
        "changed": bool(done.patch),
        "patch": done.patch,
        "commit": done.commit or None,
        "branch": done.branch or None,
        "topic": done.topic or None,
        "detail": done.detail or None,
        "follows": explain.as_json(planned)["actions"],
    }


def told(done: editing.Done, planned: action.Plan, *, dry_run: bool) -> str:
    """Return the outcome as people read it; for a rehearsal the patch alone, so that `git apply` takes it."""
    if dry_run:
        return done.patch
    said = forecast(planned)
    ahead = f"{said[:1].upper()}{said[1:]}\n" if said else ""
    if not done.patch:
        return f"Nothing to change: {done.name} is declared that way already.\n{ahead}".rstrip("\n")
    if done.topic:
        return (
            f"{done.branch} is protected ({done.detail.strip()}).\n"
            f"Commit {done.commit[:12]} is on the branch {done.topic}. Open a pull request from it into {done.branch}, e.g.\n"
            f"  gh pr create --head {done.topic} --base {done.branch} --fill\n"
            f"  glab mr create --source-branch {done.topic} --target-branch {done.branch} --fill"
        )
    where = f"Pushed {done.commit[:12]} to {done.branch}." if done.branch else "Written into the working folder."
    return f"{where}\n{ahead}`perdure why {done.name}` tells what becomes of it."
