"""Why something stands as it stands: one closed table, used by the plan, `perdure why`, notes and metrics alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One row. `text` completes "the run is …" in general words; the evidence stands in the action's own sentence."""

    name: str
    text: str
    remedy: str = ""
    """What a person can do; empty: nothing needs doing."""


_ROWS = (
    Reason(name="New", text="wanted for the first time"),
    Reason(name="Running", text="running as declared"),
    Reason(name="Starting", text="assigned to a host that has not reported it started"),
    Reason(
        name="Finished", text="finished; it is never executed again", remedy="set `rerun` to a new text to run it once more"
    ),
    Reason(name="Failed", text="failed for good", remedy="read `perdure logs`, mend the cause, then `perdure rerun`"),
    Reason(name="Retrying", text="started again after a failure"),
    Reason(name="Replacing", text="started again after its host was lost"),
    Reason(name="Continuing", text="started again after it was checkpointed"),
    Reason(name="BackingOff", text="waiting before the next attempt"),
    Reason(name="WaitingForPredecessor", text="waiting for an earlier run of the same Job to end"),
    Reason(name="WaitingForDependency", text="waiting for the jobs in `dependsOn`"),
    Reason(name="DependencyFailed", text="waiting for a job that failed", remedy="mend or rerun the job it depends on"),
    Reason(
        name="WaitingForCapacity",
        text="waiting for a host with room",
        remedy="add a host, lower `resources`, or loosen `placement`",
    ),
    Reason(
        name="WaitingForProcessor",
        text="waiting for a host whose processor has the features that its checkpoint needs",
        remedy="add a host with such a processor, or begin anew with `restore.from: none`",
    ),
    Reason(name="LaunchLimit", text="waiting because enough attempts have begun lately"),
    Reason(name="Suspending", text="being checkpointed, then suspended"),
    Reason(name="Suspended", text="suspended", remedy="`perdure resume`"),
    Reason(name="Stopping", text="being checkpointed, then stopped"),
    Reason(name="Stopped", text="stopped", remedy="`perdure run` continues it from its last checkpoint"),
    Reason(name="Removed", text="not declared any more", remedy="declare it again to continue from its last checkpoint"),
    Reason(name="Superseded", text="replaced by another run of the same Job"),
    Reason(name="Recreating", text="checkpointed and restarted for a change that cannot be made in place"),
    Reason(name="Moving", text="checkpointed to continue on another host"),
    Reason(name="ChangedInPlace", text="changed without a restart"),
    Reason(
        name="ChangeRefused",
        text="not changed: the change means a new run",
        remedy="set `onChange: restart`, or stop the job first",
    ),
    Reason(name="Checkpointing", text="being checkpointed"),
    Reason(
        name="CheckpointFailed",
        text="running on after a checkpoint failed; it is tried again",
        remedy="mend what the evidence names; it is tried again by itself",
    ),
    Reason(name="HostSilent", text="on a host that is not heard; silence is not evidence"),
    Reason(
        name="NobodyHeard",
        text="on a target of which no host is heard; the fault may be here, and nothing is concluded",
        remedy="see whether agents can reach this reconciler, and whether another one serves them",
    ),
    Reason(name="HostOutdated", text="on a host whose newest state is older than what is known; nothing is concluded"),
    Reason(
        name="AgentReplaced",
        text="on a host whose agent has other data than the one it was given to; it may still run, and nothing is concluded",
        remedy="give each agent of a machine a name of its own, or bring the data back; `onLost: replace` gives it up in time",
    ),
    Reason(
        name="HostGivenUp",
        text="on a silent host whose budgets are spent, and `onLost` is `wait`",
        remedy="set `onLost: replace`, or bring the host back",
    ),
    Reason(name="HostDraining", text="on a host that is going away"),
    Reason(name="TargetUnknown", text="on a target that cannot be listed now; nothing is concluded"),
    Reason(name="TargetUndeclared", text="on a target that is not declared any more", remedy="declare the Target again"),
    Reason(name="StoreUnavailable", text="waiting for its store", remedy="mount or free the store"),
    Reason(
        name="CheckpointMissing",
        text="waiting for a checkpoint that no store offers",
        remedy="`perdure verify` says what is wrong with it; correct `restore.from`, or begin anew with `none`",
    ),
    Reason(
        name="Invalid", text="kept at its last valid version", remedy="mend the manifest; `perdure validate` shows the problems"
    ),
    Reason(
        name="EmptyDesired",
        text="kept: the revision declares no Job at all",
        remedy="add the trailer `Perdure-Allow-Empty: true` to the commit if this is meant",
    ),
    Reason(
        name="Unclaimed", text="on a host but not in the ledger; left alone", remedy="remove it on the host if it is not wanted"
    ),
    Reason(name="Outdated", text="an old attempt that the ledger has given up"),
    Reason(name="Recorded", text="over, and recorded"),
    Reason(name="Retention", text="older than the store keeps"),
    Reason(name="SourceUnreachable", text="not re-read: the repository does not answer"),
    Reason(name="SourceUnauthorized", text="not re-read: the repository refused the credentials"),
    Reason(
        name="SourceUnsupported",
        text="not re-read: the repository is of a format that this version cannot read",
        remedy="use a repository with SHA-1 object names, git's default",
    ),
    Reason(name="BranchMissing", text="not re-read: the branch is gone"),
    Reason(name="RepositoryEmpty", text="not re-read: the repository has no commit"),
    Reason(name="HistoryRewritten", text="read from a branch whose history was rewritten"),
)

TABLE = {row.name: row for row in _ROWS}
"""By name. A reason that is not here does not exist: `of` raises KeyError for it."""


def of(name: str) -> Reason:
    """Return the row called `name`."""
    return TABLE[name]
