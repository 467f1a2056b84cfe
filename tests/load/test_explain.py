"""What a field means."""

from __future__ import annotations

import pytest

from reconciler import errors
from reconciler.load import explain


def test_a_field() -> None:
    found = explain.explain("Job.spec.checkpoint.interval")
    assert found.path == "Job.spec.checkpoint.interval"
    assert (found.type, found.default, found.required) == ("text", "none", False)
    assert found.form == "auto, none or a duration such as 30s, 5m or 1h30m"
    assert found.examples == ("5m", "auto")
    assert found.description


def test_a_kind_shows_its_fields() -> None:
    found = explain.explain("job")
    assert found.path == "Job"
    assert [(member.name, member.required) for member in found.members][-1] == ("spec", True)
    assert "target" in [member.name for member in explain.explain("Job.spec").members]


def test_lists_are_entered_without_an_index() -> None:
    assert explain.explain("Job.spec.workload.volumes").type == "list of mapping"
    assert explain.explain("job.spec.workload.volumes[].readonly").path == "Job.spec.workload.volumes.readOnly"
    assert explain.explain("Job.spec.checkpoint.on").values == ("notice", "suspend", "update")
    assert explain.explain("Job.spec.replicas").limits == "at least 1, at most 10000"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Jbo", "there is no kind Jbo\n  Did you mean Job?"),
        ("Job.spec.tarjet", "Job.spec has no field tarjet\n  Did you mean target?"),
        ("Job.spec.target.x", "Job.spec.target has no field x"),
        ("Job..x", "Job has no field "),
    ],
)
def test_what_is_not_there(path: str, expected: str) -> None:
    with pytest.raises(errors.UsageError) as error:
        explain.explain(path)
    assert expected in str(error.value)


def test_a_schema_is_a_copy() -> None:
    first = explain.schema("store")
    assert first["title"] == "Store"
    assert explain.schema("Store") == first
    assert explain.schema("Store") is not first
    assert explain.NAMES == ("Job", "Checkpoint", "Store", "Target", "Pool", "perdure", "config")
