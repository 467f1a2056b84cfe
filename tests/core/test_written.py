"""A plan shows a changed field as its author would write it."""

from __future__ import annotations

import dataclasses

import pytest

from reconciler.core import classify, model, quantities, written

JOB = model.Job(
    name="train",
    target="machines",
    workload=model.Workload(command=("train",), env={"SEED": "7", "STEPS": "100"}),
)
CHANGES: tuple[tuple[dict[str, object], tuple[tuple[str, str, str], ...]], ...] = (
    (
        {"resources": model.Resources(cpu=1500, memory=384 << 20)},
        (("spec.resources.cpu", "", "1500m"), ("spec.resources.memory", "", "384Mi")),
    ),
    (
        {"resources": model.Resources(cpu=2000, memory=10**9)},
        (("spec.resources.cpu", "", "2"), ("spec.resources.memory", "", "1G")),
    ),
    ({"timeout": 5400.0}, (("spec.timeout", "", "1h30m"),)),
    ({"placement": model.Placement(node="berlin")}, (("spec.placement.node", "", '"berlin"'),)),
    (
        {"placement": model.Placement(labels={"disk": "fast"})},
        (("spec.placement.labels", "", '{"disk":"fast"}'),),
    ),
    (
        {"checkpoint": model.CheckpointPolicy(interval="auto", max_frozen=2.5, keep=5)},
        (
            ("spec.checkpoint.interval", "", '"auto"'),
            ("spec.checkpoint.keep", "3", "5"),
            ("spec.checkpoint.maxFrozen", "", "2s500ms"),
        ),
    ),
    (
        {"suspend": model.Suspension(reason="night", until=1_900_000_000.0)},
        (("spec.suspend.reason", "", '"night"'), ("spec.suspend.until", "", "2030-03-17T17:46:40Z")),
    ),
    (
        {"workload": dataclasses.replace(JOB.workload, env={"STEPS": "500", "MAX_AGE": "ü"})},
        (
            ("spec.workload.env.MAX_AGE", "", '"ü"'),
            ("spec.workload.env.SEED", '"7"', ""),
            ("spec.workload.env.STEPS", '"100"', '"500"'),
        ),
    ),
    (
        {"workload": dataclasses.replace(JOB.workload, command=("go", "on"))},
        (("spec.workload.command", '["train"]', '["go","on"]'),),
    ),
    ({"priority": 5}, (("spec.priority", "0", "5"),)),
)


@pytest.mark.parametrize(("new", "told"), CHANGES, ids=[" ".join(new) for new, _ in CHANGES])
def test_of_each_field_what_differs_is_told_as_it_is_written(
    new: dict[str, object], told: tuple[tuple[str, str, str], ...]
) -> None:
    changed = classify.changes(JOB, dataclasses.replace(JOB, **new))  # type: ignore[arg-type]
    assert tuple(leaf for change in changed for leaf in written.leaves(change)) == told


def test_of_a_program_its_parts_are_told() -> None:
    code = [model.Code(tree=tree, path="code", entrypoint="a.py") for tree in ("1" * 40, "2" * 40)]
    before, after = (dataclasses.replace(JOB, workload=model.Workload(code=each)) for each in code)
    (change,) = classify.changes(before, after)
    assert list(written.leaves(change)) == [("spec.workload.code.tree", f'"{"1" * 40}"', f'"{"2" * 40}"')]
    (first,) = [each for each in classify.changes(JOB, after) if each.path == "spec.workload.code"]
    assert [path for path, _, _ in written.leaves(first)] == ["spec.workload.code.entrypoint", "spec.workload.code.tree"]


@pytest.mark.parametrize("count", [1, 1023, 1024, 3 << 19, 256 << 20, 10**9, 5 * 10**12, (1 << 40) + 1])
def test_bytes_are_exact_and_read_back(count: int) -> None:
    assert quantities.size(quantities.bytes_text(count)) == count
