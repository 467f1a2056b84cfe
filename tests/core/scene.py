"""A compact way to write down a situation: three small YAML files become the facts of one plan.

`desired.yaml`: `jobs`, `checkpoints`, `stores`, `frozen`, … by name; `ledger.yaml`: runs by alias (the job's name where it has
one run); `observed.yaml`: `now`, `hosts`, `items` as `alias/attempt`, what stores offer. Everything has a default: times are
seconds of a clock that begins at 0, memory is in GiB, a checkpoint is written as its step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reconciler.core import codec, facts, identity, intend, model, observed, record, situation, spec

INSTANCE = "prod"
TARGET = "hosts"
STORE = "main"
GIB = 1 << 30
IDENTIFYING = ("image", "command", "args", "env", "secrets", "workdir", "rerun")
Node = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Scene:
    """The facts of one plan, and the short names by which its files speak of runs."""

    facts: facts.Facts
    aliases: dict[str, str] = field(default_factory=dict)
    """Alias by run id."""


def read(folder: Path) -> Scene:
    """Return the scene that a folder describes."""
    desired, ledger, seen = (_load(folder / f"{name}.yaml") for name in ("desired", "ledger", "observed"))
    return build(desired, ledger, seen)


def build(desired: Node, ledger: Node, seen: Node) -> Scene:
    """Return the scene of three documents."""
    now = float(seen.get("now", 1000))
    wanted = _desired(desired)
    records: dict[str, record.Record] = {}
    aliases: dict[str, str] = {}
    by_alias: dict[str, record.Record] = {}
    for alias, node in ledger.items():
        run = _record(alias, node or {}, wanted, desired)
        records[run.run] = by_alias[alias] = run
        aliases[run.run] = alias
    for job in wanted.jobs.values():
        for replica in range(job.replicas):
            name = job.name if job.replicas == 1 else f"{job.name}[{replica}]"
            aliases.setdefault(identity.run_id(INSTANCE, job, replica), f"{name} (new)" if name in by_alias else name)
    world = _world(seen, now, by_alias, wanted)
    budgets = situation.Budgets(**{"backoff": 10.0, "lost_after": 60.0, "lost_tries": 3, **(seen.get("budgets") or {})})
    return Scene(
        facts=facts.Facts(instance=INSTANCE, desired=wanted, records=records, world=world, now=now, budgets=budgets),
        aliases=aliases,
    )


def digest(alias: str, step: object) -> str:
    """Return the name of a checkpoint: readable, and whole in the twelve characters that sentences show."""
    return f"sha256:{alias}@{step}"


def _load(path: Path) -> Node:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader) or {} if path.exists() else {}


def _desired(node: Node) -> model.Desired:
    stores = {name: _store(name, each or {}) for name, each in (node.get("stores") or {STORE: {}}).items()}
    jobs = [job(name, each or {}) for name, each in (node.get("jobs") or {}).items()]
    requests = [_request(name, each) for name, each in (node.get("checkpoints") or {}).items()]
    targets = node.get("targets", [TARGET])
    return model.Desired(
        revision=node.get("revision", "r2"),
        jobs={each.ref: each for each in jobs},
        checkpoints={model.ObjectRef(kind="Checkpoint", tenant=each.tenant, name=each.name): each for each in requests},
        stores=stores,
        targets={name: _target(name, targets) for name in targets},
        frozen={
            model.ObjectRef(kind=kind, tenant="default", name=name): text
            for path, text in (node.get("frozen") or {}).items()
            for kind, name in [path.split("/")]
        },
        problems=tuple(
            model.Problem(file=file, line=1, column=1, message=text) for file, text in (node.get("problems") or {}).items()
        ),
        unread=tuple(node.get("unread", ())),
        allow_empty=node.get("allow_empty", False),
    )


def job(name: str, node: Node) -> model.Job:
    """Return a Job; `args`, `rerun` and the like enter its identity as a loader would have it."""
    written = {key: node[key] for key in IDENTIFYING if key in node}
    resources = model.Resources(cpu=_thousandths(node.get("cpu")), memory=_bytes(node.get("memory")))
    placement = model.Placement(node=node.get("node", ""), zone=node.get("zone", ""), labels=node.get("labels", {}))
    engine = model.EngineName(node.get("engine", "application"))
    defaults = {"store": node.get("store", STORE if engine is not model.EngineName.NONE else ""), "interval": 60.0}
    checkpoint = {**defaults, **node.get("checkpoint", {})}
    if "on" in checkpoint:
        checkpoint["on"] = tuple(model.Occasion(each) for each in checkpoint["on"])
    return model.Job(
        name=name,
        tenant=node.get("tenant", "default"),
        target=node.get("target", TARGET),
        pool=node.get("pool", ""),
        placement=placement,
        state=model.JobState(node.get("state", "Running")),
        suspend=model.Suspension(**node.get("suspend", {})),
        replicas=node.get("replicas", 1),
        workload=model.Workload(
            image=node.get("image", ""),
            command=tuple(node.get("command", ["train"])),
            args=tuple(str(each) for each in node.get("args", ())),
            env=node.get("env", {}),
        ),
        resources=resources,
        timeout=node.get("timeout"),
        retries=model.Retries(**node.get("retries", {})),
        priority=node.get("priority", 0),
        checkpoint=model.CheckpointPolicy(engine=engine, **checkpoint),
        restore_from=node.get("restore", "latest"),
        depends_on=tuple(node.get("dependsOn", ())),
        on_change=model.OnChange(node.get("onChange", "refuse")),
        on_lost=model.OnLost(node.get("onLost", "wait")),
        rerun=node.get("rerun", ""),
        written=codec.encode(written).decode(),
        origin=model.Origin(file=node.get("file", f"{name}.yaml")),
    )


def _thousandths(cores: float | None) -> int | None:
    return None if cores is None else round(cores * 1000)


def _bytes(gib: float | None) -> int | None:
    return None if gib is None else round(gib * GIB)


def _target(name: str, declared: Any) -> model.TargetSpec:
    """A name in a list is one of plain hosts; in a mapping it may have the address of a Swarm."""
    host = (declared[name] or {}).get("swarm") if isinstance(declared, Mapping) else None
    return model.TargetSpec(name=name, swarm=model.SwarmSpec(host=host) if host else None)


def _store(name: str, node: Node) -> model.StoreSpec:
    return model.StoreSpec(name=name, root=f"/{name}", retention=node.get("retention"))


def _request(name: str, node: Node) -> model.CheckpointRequest:
    return model.CheckpointRequest(
        name=name, job=node["job"], reason=node.get("reason", ""), stop=node.get("stop", False), keep=node.get("keep", True)
    )


def _record(alias: str, node: Node, desired: model.Desired, documents: Node) -> record.Record:
    """A run of the ledger. `job` overrides fields of the declared manifest: what the run was started with."""
    name = node.get("of", alias.partition("[")[0])
    started_with = job(name, {**((documents.get("jobs") or {}).get(name) or {}), **node.get("job", {})})
    replica = node.get("replica", 0)
    attempts = tuple(_attempt(number, each or {}, alias) for number, each in enumerate(node.get("attempts", ()), start=1))
    phase = record.Phase(node.get("phase", "running" if attempts and attempts[-1].live else "pending"))
    return record.Record(
        instance=INSTANCE,
        run=identity.run_id(INSTANCE, started_with, replica),
        tenant=started_with.tenant,
        job=name,
        replica=replica,
        identity=identity.VERSION,
        revision=node.get("revision", "r1"),
        created_at=float(node.get("created", 100)),
        phase=phase,
        applied=started_with,
        store=desired.stores.get(started_with.checkpoint.store),
        attempts=attempts,
        checkpoints=tuple(_saved(each, alias, len(attempts)) for each in node.get("checkpoints", ())),
        failures=node.get("failures", 0),
        preemptions=node.get("preemptions", 0),
        not_before=node.get("notBefore"),
        pending=_pending(node["pending"]) if "pending" in node else None,
        ended_at=node.get("ended", attempts[-1].ended_at if attempts and phase in record.TERMINAL else None),
        reason=node.get("reason", ""),
        condition=node.get("condition", ""),
        served=tuple(node.get("served", ())),
    )


def _attempt(number: int, node: Node, alias: str) -> record.Attempt:
    ending = record.Ending(node["ending"]) if "ending" in node else None
    intended = float(node.get("intended", 100 * number))
    restored = node.get("from")
    return record.Attempt(
        number=number,
        target=node.get("target", TARGET),
        host=node.get("host", "alpha"),
        intended_at=intended,
        restored_from="" if restored is None else restored if isinstance(restored, str) else digest(alias, restored),
        started_at=node.get("started", intended + 5),
        ended_at=float(node.get("ended", intended + 50)) if ending else None,
        ending=ending,
        exit=_exit(node["exit"]) if "exit" in node else None,
        failure=node.get("failure", ""),
        detail=node.get("detail", ""),
        last_step=node.get("step"),
        seen=tuple(node.get("seen", (1, 2))),
        agent=node.get("agent", ""),
        boot=node.get("boot", ""),
        created_by=spec.Creator(node.get("createdBy", "agent")),
    )


def _saved(node: Any, alias: str, newest: int) -> record.Saved:
    each = node if isinstance(node, Mapping) else {"step": node}
    return record.Saved(
        taken=_taken(each, alias, newest),
        pinned_by=tuple(each.get("pinned", ())),
        tombstoned_at=each.get("tombstoned"),
        damaged=each.get("damaged", False),
    )


def _taken(node: Any, alias: str, newest: int) -> observed.Taken:
    each = node if isinstance(node, Mapping) else {"step": node}
    return observed.Taken(
        digest=each.get("digest", digest(alias, each["step"])),
        attempt=each.get("attempt", newest),
        taken_at=float(each.get("at", 200 + each["step"])),
        purpose=spec.Purpose(each.get("purpose", "timer")),
        request=each.get("request", ""),
        step=each["step"],
        parent=each.get("parent", ""),
        processor=each.get("processor", ""),
    )


def _pending(node: Node) -> record.Pending:
    purpose = spec.Purpose(node.get("purpose", "suspend"))
    base = node.get("base", purpose.value)
    stop = node.get("stop", purpose in spec.ENDING)
    request = spec.Request(id=node.get("id", f"{base}.1.1"), purpose=purpose, then_stop=stop)
    return record.Pending(
        request=request,
        base=base,
        asked_at=float(node.get("asked", 900)),
        tries=node.get("tries", 1),
        failed_at=node.get("failed"),
        detail=node.get("detail", ""),
    )


def _world(node: Node, now: float, runs: Mapping[str, record.Record], desired: model.Desired) -> observed.World:
    views = {}
    for target in desired.targets:
        said = (node.get("targets") or {}).get(target, {})
        views[target] = observed.TargetView(
            name=target,
            known=said.get("known", True),
            error=said.get("error", ""),
            hosts={name: _host(name, each or {}, now) for name, each in _of(node, "hosts", target)},
            items={item.ref: item for item in (_item(path, each or {}, runs) for path, each in _of(node, "items", target))},
            objects={_ref(path, runs): each["said"] for path, each in _of(node, "objects", target)},
        )
    items = [item for view in views.values() for item in view.items.values()]
    stores = {name: _offers(name, (node.get("stores") or {}).get(name, {}), runs, items) for name in desired.stores}
    unheard = {
        (TARGET, host): observed.Silence(since=float(each["since"]), tries=each["tries"])
        for host, each in (node.get("unheard") or {}).items()
    }
    return observed.World(at=now, targets=views, stores=stores, unheard=unheard)


def _of(node: Node, kind: str, target: str) -> list[tuple[str, Any]]:
    return [(name, each) for name, each in (node.get(kind) or {}).items() if (each or {}).get("target", TARGET) == target]


def _host(name: str, node: Node, now: float) -> observed.HostView:
    silent = node.get("silent")
    notice = observed.Notice(deadline=float(node["notice"])) if "notice" in node else None
    state = observed.HostState(
        host=name,
        pool=node.get("pool", ""),
        labels=node.get("labels", {}),
        cpu=round(node.get("cpu", 8) * 1000),
        memory=round(node.get("memory", 32) * GIB),
        engines=tuple(node.get("engines", ("application",))),
        conditions=tuple(node.get("conditions", ())),
        facts={"processor": node["processor"]} if "processor" in node else {},
        agent=node.get("agent", ""),
        boot=node.get("boot", "boot-1"),
        session=node.get("session", 1),
        generation=node.get("generation", 9),
        notice=notice,
        draining=node.get("draining", False),
    )
    if silent is None:
        return observed.HostView(state=state, seen_at=now, closed=node.get("closed", ""))
    return observed.HostView(
        state=state, seen_at=float(silent["since"]), silent_since=float(silent["since"]), silent_tries=silent["tries"]
    )


def _ref(path: str, runs: Mapping[str, record.Record]) -> spec.AttemptRef:
    alias, _, number = path.partition("/")
    return spec.AttemptRef(run=runs[alias].run if alias in runs else alias, attempt=int(number))


def _item(path: str, node: Node, runs: Mapping[str, record.Record]) -> observed.Item:
    alias, _, number = path.partition("/")
    run, attempt = runs.get(alias), int(number)
    known = next((each for each in run.attempts if each.number == attempt), None) if run else None
    ended = _exit(node["exit"]) if "exit" in node else None
    host = node.get("host", known.host if known else "alpha")
    state = observed.ItemState(node.get("state", "ended" if ended else "running"))
    started = (known.started_at if known else 150.0) if state is not observed.ItemState.PREPARING else None
    given = None if node.get("damaged") else _spec(alias, attempt, run, node)
    report = node.get("request")
    return observed.Item(
        ref=spec.AttemptRef(run=run.run if run else alias, attempt=attempt),
        state=state,
        want=spec.Want(node.get("want", "run")),
        host=host,
        spec=given,
        ready=node.get("ready", False),
        damaged=node.get("damaged", False),
        started_at=node.get("started", started),
        ended_at=float(node.get("ended", 950)) if ended else None,
        exit=ended,
        progress=observed.Progress(step=node["step"], of=node.get("of")) if "step" in node else None,
        checkpoints=tuple(_taken(each, alias, attempt) for each in node.get("checkpoints", ())),
        request=observed.RequestReport(done=True, **report) if report else None,
        condition=node.get("condition", ""),
    )


def _spec(alias: str, attempt: int, run: record.Record | None, node: Node) -> spec.AttemptSpec:
    instance = node.get("instance", INSTANCE)
    if run is None or not any(each.number == attempt for each in run.attempts):
        return spec.AttemptSpec(
            instance=instance,
            run=run.run if run else alias,
            attempt=attempt,
            tenant="default",
            job=run.job if run else alias,
            replica=0,
            revision="r0",
            workload=model.Workload(),
        )
    until = dataclasses.replace(run, attempts=run.attempts[:attempt])
    return dataclasses.replace(intend.attempt_spec(until, run.applied), instance=instance, **node.get("spec", {}))


def _exit(node: Any) -> observed.Exit:
    if isinstance(node, int):
        return observed.Exit(kind=observed.ExitKind.EXITED, code=node)
    given = {"kind": "exited", **node}
    return observed.Exit(**{**given, "kind": observed.ExitKind(given["kind"])})


def _offers(name: str, node: Node, runs: Mapping[str, record.Record], items: list[observed.Item]) -> observed.StoreView:
    """What a store offers: unless said otherwise, what the ledger knows of and what the hosts say they have published."""
    if not node.get("known", True):
        return observed.StoreView(name=name, known=False, error=node.get("error", "no answer"))
    offered = {run.run: tuple(saved.taken for saved in run.checkpoints) for run in runs.values()}
    for item in items:
        offered[item.ref.run] = (*offered.get(item.ref.run, ()), *item.checkpoints)
    for alias, steps in (node.get("checkpoints") or {}).items():
        run = runs[alias]
        offered[run.run] = tuple(_taken(each, alias, len(run.attempts)) for each in steps)
    named = {
        text: _taken({"digest": text, "step": step, "attempt": 0}, "", 0) for text, step in (node.get("named") or {}).items()
    }
    tenants = {"default", *(run.tenant for run in runs.values())}
    return observed.StoreView(name=name, checkpoints=offered, named=dict.fromkeys(tenants, named))
