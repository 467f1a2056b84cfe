"""The tables are closed: every row is reachable, and nothing is said that no row stands for."""

from __future__ import annotations

import ast
import dataclasses
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.core import (
    classify,
    endings,
    ends,
    failures,
    model,
    observed,
    place,
    plan,
    reasons,
    rules_idle,
    rules_live,
    ruling,
    spec,
    transition,
)
from tests.core import scene
from tests.core.test_plans import CASES, PLANS

EXITS = {
    "CheckpointDamaged": observed.Exit(kind=observed.ExitKind.NOT_STARTED, damaged="sha256:a"),
    "StartRefused": observed.Exit(kind=observed.ExitKind.NOT_STARTED, fatal=True),
    "StartFailed": observed.Exit(kind=observed.ExitKind.NOT_STARTED),
    "TimedOut": observed.Exit(kind=observed.ExitKind.TIMEOUT, signal=9),
    "OutOfMemory": observed.Exit(kind=observed.ExitKind.OUT_OF_MEMORY, signal=9),
    "Signalled": observed.Exit(kind=observed.ExitKind.SIGNALED, signal=11),
    "ExitStatus": observed.Exit(kind=observed.ExitKind.EXITED, code=3),
    "OutcomeUnknown": observed.Exit(kind=observed.ExitKind.UNKNOWN),
}


def test_every_failure_has_an_exit_that_reaches_it() -> None:
    assert [row.name for row in failures.TABLE] == list(EXITS)
    assert {name: failures.classify(exit).name for name, exit in EXITS.items()} == {name: name for name in EXITS}


@pytest.mark.parametrize("kind", observed.ExitKind)
def test_every_kind_of_exit_is_classed_and_told(kind: observed.ExitKind) -> None:
    exit = observed.Exit(kind=kind, detail="the reason")
    assert failures.classify(exit).tell(exit).endswith(": the reason")


NEW: dict[str, dict[str, Any]] = {
    "metadata.labels": {"labels": {"a": "b"}},
    "spec.timeout": {"timeout": 5.0},
    "spec.retries.failure": {"retries": model.Retries(failure=9)},
    "spec.retries.preemption": {"retries": model.Retries(preemption=9)},
    "spec.priority": {"priority": 9},
    "spec.onLost": {"on_lost": model.OnLost.REPLACE},
    "spec.onChange": {"on_change": model.OnChange.RESTART},
    "spec.drift": {"drift": model.Drift.CORRECT},
    "spec.dependsOn": {"depends_on": ("other",)},
    "spec.checkpoint.engine": {"checkpoint": model.CheckpointPolicy(engine=model.EngineName.NONE)},
    "spec.checkpoint.store": {"checkpoint": model.CheckpointPolicy(store="other")},
    "spec.checkpoint": {"checkpoint": model.CheckpointPolicy(keep=9)},
    "spec.resources.cpu": {"resources": model.Resources(cpu=9)},
    "spec.resources.memory": {"resources": model.Resources(memory=9)},
    "spec.target": {"target": "other"},
    "spec.pool": {"pool": "other"},
    "spec.placement": {"placement": model.Placement(node="other")},
    "spec.restore.from": {"restore_from": "none"},
    "spec.workload.image": {"workload": model.Workload(image="other")},
    "spec.workload.code": {"workload": model.Workload(code=model.Code(path="p", tree="t"))},
    "spec.workload.command": {"workload": model.Workload(command=("other",))},
    "spec.workload.args": {"workload": model.Workload(args=("other",))},
    "spec.workload.env": {"workload": model.Workload(env={"a": "b"})},
    "spec.workload.secrets": {"workload": model.Workload(secrets=("other",))},
    "spec.workload.configs": {"workload": model.Workload(configs=(model.Config(name="a", target="/a"),))},
    "spec.workload.workdir": {"workload": model.Workload(workdir="other")},
    "spec.workload.volumes": {"workload": model.Workload(volumes=(model.Volume(source="/a", target="/b"),))},
    "spec.rerun": {"rerun": "other"},
    "spec.replicas": {"replicas": 9},
    "spec.state": {"state": model.JobState.STOPPED},
    "spec.suspend": {"suspend": model.Suspension(reason="other")},
}
"""One change a row that the row alone reports."""

JOB = model.Job(name="train", target="hosts", workload=model.Workload())


def test_every_field_class_has_a_change_that_only_it_reports() -> None:
    assert [row.path for row in classify.TABLE] == list(NEW)
    for path, change in NEW.items():
        after = dataclasses.replace(JOB, **change)
        assert [each.path for each in classify.changes(JOB, after)] == [path]


def test_every_field_of_a_job_is_classed() -> None:
    classed = {name for change in NEW.values() for name in change}
    assert {field.name for field in dataclasses.fields(model.Job)} - classed == {"name", "tenant", "written", "origin"}


def test_a_manifest_that_only_moved_has_not_changed() -> None:
    assert classify.changes(JOB, dataclasses.replace(JOB, origin=model.Origin(file="elsewhere.yaml"))) == ()


def test_code_that_only_moved_has_not_changed() -> None:
    here, there = (
        dataclasses.replace(JOB, workload=model.Workload(code=model.Code(path=path, tree="t"))) for path in ("a", "b")
    )
    assert classify.changes(here, there) == ()


def deciding(table: tuple[ruling.Rule, ...], told: set[str]) -> tuple[ruling.Rule, ...]:
    def watched(rule: ruling.Rule) -> ruling.Rule:
        def ask(case: ruling.Case) -> ruling.Decision | None:
            decision = rule(case)
            if decision is not None:
                told.add(f"{rule.__module__}.{rule.__name__}")
            return decision

        return ask

    return tuple(watched(rule) for rule in table)


def test_every_rule_decides_a_golden_case(monkeypatch: pytest.MonkeyPatch) -> None:
    told: set[str] = set()
    names: set[str] = set()
    for module in (rules_live, rules_idle, ends):
        names |= {f"{rule.__module__}.{rule.__name__}" for rule in module.TABLE}
        monkeypatch.setattr(module, "TABLE", deciding(module.TABLE, told))
    for case in CASES:
        plan.compute(scene.read(PLANS / case).facts)
    assert names == told


def test_every_filter_refuses_a_host_in_a_golden_case() -> None:
    text = "\n".join((PLANS / case / "plan.txt").read_text(encoding="utf-8") for case in CASES)
    assert [each.name for each in place.FILTERS if f"hosts {each.why_not}" not in text] == []


def test_every_purpose_that_ends_an_attempt_says_what_becomes_of_the_run() -> None:
    assert set(endings.HALTS) | {spec.Purpose.NOTICE} == spec.ENDING | {spec.Purpose.DEMAND}


def test_every_transition_is_noted_in_a_golden_case() -> None:
    noted = {line.what for case in CASES for line in plan.compute(scene.read(PLANS / case).facts).lines}
    assert noted == set(typing.get_args(transition.What))


ROOT = Path(plan.__file__).parents[1]
MODULES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py")) if "data" not in path.parts}
SAID_FIRST = ("keep", "wait", "refuse", "of")
"""Functions of `ruling` and `reasons` whose first argument is a reason."""


def literals(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)) if text:
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from literals(body)
            yield from literals(orelse)


def reason_arguments(call: ast.Call) -> Iterator[ast.expr]:
    yield from (keyword.value for keyword in call.keywords if keyword.arg == "reason")
    match call:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="ruling" | "reasons"), attr=name), args=[first, *_]):
            if name in SAID_FIRST:
                yield first
        case ast.Call(func=ast.Name(id="_end"), args=[_, _, reason, *_]):
            yield reason


def given_reasons(allowed: Callable[[Path], bool]) -> set[str]:
    return {
        text
        for path, tree in MODULES.items()
        if allowed(path)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for argument in reason_arguments(node)
        for text in literals(argument)
    }


def test_every_reason_given_by_the_plan_is_in_the_table() -> None:
    given = given_reasons(lambda path: path.parent.name == "core")
    assert len(given) > 20
    assert given - set(reasons.TABLE) == set()


def test_every_reason_of_the_table_is_given_somewhere() -> None:
    words = {
        node.value
        for path, tree in MODULES.items()
        if path.name != "reasons.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [name for name in reasons.TABLE if name not in words] == []


def test_an_unknown_reason_does_not_exist() -> None:
    with pytest.raises(KeyError):
        reasons.of("Whatever")
