"""Whatever a file holds, loading ends with values or with problems that have a place."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from reconciler import load
from reconciler.core import model
from reconciler.load import documents, schemas
from tests.load import fixtures, test_agreement

SETTINGS = hypothesis.settings(
    max_examples=80, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True
)


def as_ours(document: Any, kind: str) -> Any:
    return {**document, "apiVersion": model.API_VERSION, "kind": kind} if isinstance(document, dict) else document


def is_loadable(text: str) -> bool:
    """JSON that YAML 1.1 takes for something else, and characters that are refused as such, are left to other tests."""
    return text.isprintable() and '"<<"' not in text


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_what_the_schema_refuses_is_explained_and_what_it_accepts_becomes_a_value(kind: str) -> None:
    @SETTINGS
    @hypothesis.given(test_agreement.documents(kind))
    def explained(document: Any) -> None:
        document = as_ours(document, kind)
        text = json.dumps(document)
        hypothesis.assume(isinstance(document, dict) and is_loadable(text))
        file = documents.parse("a.yaml", "1", text.encode())
        [found] = file.documents
        assert (found.value is None) == bool(found.problems)
        if not schemas.check(kind)(document):
            assert found.problems
        for problem in found.problems:
            assert (problem.file, problem.line) == ("a.yaml", 1)
            assert 1 <= problem.column <= len(text)

    explained()


@SETTINGS
@hypothesis.given(strategies.lists(strategies.sampled_from(range(5)), min_size=1, max_size=3), strategies.data())
def test_no_mixture_of_documents_makes_loading_fail(kinds: list[int], data: strategies.DataObject) -> None:
    parts = []
    for index in kinds:
        kind = schemas.KINDS[index]
        parts.append(json.dumps(as_ours(data.draw(test_agreement.documents(kind)), kind)))
    good = load.revision(fixtures.with_infrastructure({"a.yaml": fixtures.job()}))
    desired = load.revision(fixtures.with_infrastructure({"b.yaml": "\n---\n".join(parts)}, "r2"), previous=good)
    assert list(desired.problems) == sorted(desired.problems, key=lambda one: (one.file, one.line, one.column, one.message))
    if desired.refused:
        assert desired.jobs == good.jobs
    for ref, job in desired.jobs.items():
        assert job.target in desired.targets
        assert job.checkpoint.store in desired.stores or not job.checkpoint.store
        assert ref not in desired.frozen or job is good.jobs[ref]


@SETTINGS
@hypothesis.given(strategies.binary(max_size=60), strategies.integers(0, 200), strategies.integers(0, 40))
def test_no_damage_makes_loading_fail(damage: bytes, start: int, length: int) -> None:
    data = (fixtures.job() + "---\n" + fixtures.job("other", extra="dependsOn: [train]")).encode()
    good = load.revision(fixtures.with_infrastructure({"a.yaml": data}))
    damaged = data[:start] + damage + data[start + length :]
    desired = load.revision(fixtures.with_infrastructure({"a.yaml": damaged}, "r2"), previous=good)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in desired.problems)
