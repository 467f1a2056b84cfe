"""A Job that says everything a Job can say."""

from __future__ import annotations

from reconciler import load
from reconciler.core import codec, model
from tests.load import fixtures

EXTRA = """
tenant: research
pool: spot
placement: {node: n1, zone: z, labels: {disk: ssd}}
state: Suspended
suspend: {reason: r, owner: o, until: "1970-01-01T00:01:00Z"}
replicas: 2
resources: {cpu: 500m, memory: 1Gi}
timeout: 2h
retries: {failure: 3, preemption: 4}
priority: 7
checkpoint:
  {engine: application, interval: auto, on: [notice], signal: SIGUSR1, deadline: 2m, maxFrozen: 500ms, keep: 5, maxSize: 1Gi}
restore: {from: none}
drift: correct
onChange: restart
onLost: replace
rerun: "2"
"""
WORKLOAD = (
    "code: {path: ./code/, entrypoint: train.py, requirements: requirements.txt}, args: [--x], env: {A: b}, workdir: w, "
    "volumes: [{source: /s, target: t, readOnly: true, shared: true}]"
)


def declared() -> model.Job:
    desired = load.revision(fixtures.with_infrastructure({"a.yaml": fixtures.job(extra=EXTRA, workload=WORKLOAD)}))
    assert desired.problems == ()
    return desired.jobs[model.ObjectRef(kind="Job", tenant="research", name="train")]


def test_every_field_arrives_in_its_unit() -> None:
    job = declared()
    tree = fixtures.with_infrastructure({}).tree_id("code")
    assert job == model.Job(
        name="train",
        tenant="research",
        target="machines",
        pool="spot",
        placement=model.Placement(node="n1", zone="z", labels={"disk": "ssd"}),
        state=model.JobState.SUSPENDED,
        suspend=model.Suspension(reason="r", owner="o", until=60.0),
        replicas=2,
        workload=model.Workload(
            code=model.Code(path="./code/", entrypoint="train.py", requirements="requirements.txt", tree=tree or ""),
            args=("--x",),
            env={"A": "b"},
            workdir="w",
            volumes=(model.Volume(source="/s", target="t", read_only=True, shared=True),),
        ),
        resources=model.Resources(cpu=500, memory=1 << 30),
        timeout=7200.0,
        retries=model.Retries(failure=3, preemption=4),
        priority=7,
        checkpoint=model.CheckpointPolicy(
            interval="auto",
            on=(model.Occasion.NOTICE,),
            signal="SIGUSR1",
            deadline=120.0,
            max_frozen=0.5,
            store="main",
            keep=5,
            max_size=1 << 30,
        ),
        restore_from="none",
        drift=model.Drift.CORRECT,
        on_change=model.OnChange.RESTART,
        on_lost=model.OnLost.REPLACE,
        rerun="2",
        written=job.written,
        origin=model.Origin(file="a.yaml"),
    )


def test_the_identity_is_as_written() -> None:
    assert codec.decode(declared().written, dict) == {
        "rerun": "2",
        "workload": {
            "args": ["--x"],
            "env": {"A": "b"},
            "workdir": "w",
            "volumes": [{"source": "/s", "target": "t", "readOnly": True, "shared": True}],
        },
    }
