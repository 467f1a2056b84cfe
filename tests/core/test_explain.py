"""A plan for readers."""

from __future__ import annotations

import dataclasses
import json

import pytest

from reconciler.core import action, classify, codec, explain, plan
from tests.core import scene
from tests.core.test_plans import CASES, PLANS

ACTION = action.Action(
    verb=action.Verb.CHECKPOINT,
    effect=action.Effect.REPLACE,
    tenant="team-a",
    job="train",
    replica=2,
    run="a" * 32,
    attempt=3,
    target="hosts",
    host="alpha",
    reason="Recreating",
    sentence="spec.resources.cpu changed",
    changes=(
        classify.FieldChange(path="spec.timeout", before="", after="60", field_class=classify.FieldClass.IN_PLACE),
        classify.FieldChange(path="spec.resources.cpu", before="1000", after="2000", field_class=classify.FieldClass.RECREATE),
    ),
    lost=action.Work(steps=0),
    saved=action.Work(steps=45),
)


def planned(*actions: action.Action) -> action.Plan:
    return action.Plan(revision="r" * 40, actions=actions, digest="sha256:d")


def test_text_has_symbol_reason_changes_work_and_summary() -> None:
    assert explain.as_text(planned(ACTION)) == (
        "-/+ checkpoint team-a/train[2], attempt 3 on alpha (Recreating)\n"
        "      spec.resources.cpu changed\n"
        "      spec.timeout: (none) -> 1m [in place]\n"
        "      spec.resources.cpu: 1 -> 2 [checkpoint, recreate, restore]\n"
        "      work: nothing lost, 45 steps saved\n"
        "\n"
        "Plan: 0 to create, 0 to change, 1 to replace, 0 to delete, 0 refused, 0 unchanged.\n"
    )


def test_what_people_wrote_neither_drives_a_terminal_nor_looks_like_a_line_of_the_plan() -> None:
    said = "`state` is `Suspended`: now\n\nPlan: 0 to create\x1b[2J\u202e\x9b"
    change = classify.FieldChange(path="spec.rerun", before="", after='"\x9b2J"', field_class=classify.FieldClass.IN_PLACE)
    text = explain.as_text(planned(dataclasses.replace(ACTION, sentence=said, changes=(change,))))
    assert "      `state` is `Suspended`: now  Plan: 0 to create [2J  \n" in text
    assert '(none) -> " 2J"' in text
    assert all(line.isprintable() for line in text.splitlines())


def test_what_stays_is_shown_on_request_only() -> None:
    keep = dataclasses.replace(ACTION, verb=action.Verb.KEEP, effect=action.Effect.UNCHANGED)
    wait = dataclasses.replace(keep, verb=action.Verb.WAIT)
    assert "keep" not in explain.as_text(planned(keep))
    assert "keep" in explain.as_text(planned(keep), everything=True)
    assert "wait" in explain.as_text(planned(wait))
    assert not explain.differs(planned(keep, wait))
    assert explain.differs(planned(keep, ACTION))


def test_long_values_are_cut_in_text_and_whole_in_json() -> None:
    change = classify.FieldChange(path="p", before=json.dumps("x" * 500), after="", field_class=classify.FieldClass.NEW_RUN)
    long = planned(dataclasses.replace(ACTION, changes=(change,)))
    assert "x" * 121 not in explain.as_text(long)
    assert "x" * 500 in json.dumps(explain.as_json(long))


def test_json_is_the_documented_shape() -> None:
    assert explain.as_json(planned(ACTION), observed_at=5.0) == {
        "digest": "sha256:d",
        "revision": "r" * 40,
        "observedAt": 5.0,
        "actions": [
            {
                "verb": "checkpoint",
                "kind": "Job",
                "name": "team-a/train[2]",
                "run": "a" * 32,
                "attempt": 3,
                "target": "hosts",
                "class": "checkpoint, recreate, restore",
                "reason": "Recreating",
                "sentence": "spec.resources.cpu changed",
                "fields": [
                    {"path": "spec.timeout", "before": "", "after": "60"},
                    {"path": "spec.resources.cpu", "before": "1000", "after": "2000"},
                ],
                "cost": {"before": None, "after": None, "currency": None},
                "workLost": {"steps": 0, "seconds": None},
                "workSaved": {"steps": 45, "seconds": None},
                "verdict": None,
            }
        ],
        "summary": {"create": 0, "change": 0, "replace": 1, "delete": 0, "refuse": 0, "unchanged": 0},
    }


@pytest.mark.parametrize("case", CASES)
def test_every_golden_plan_is_told_in_every_form(case: str) -> None:
    made = plan.compute(scene.read(PLANS / case).facts)
    told = explain.as_json(made)
    assert codec.decode(codec.encode(told), dict) == told
    assert sum(told["summary"].values()) == len(made.actions)  # type: ignore[attr-defined]
    comment = explain.as_markdown(made)
    assert comment.startswith(f"{explain.MARKER}\n")
    assert comment.count("<details>") == comment.count("</details>")


def test_a_comment_is_collapsed_by_effect() -> None:
    comment = explain.as_markdown(planned(ACTION, dataclasses.replace(ACTION, effect=action.Effect.REFUSE)))
    assert "<summary>1 to replace</summary>" in comment
    assert "<summary>1 refused</summary>" in comment


@pytest.mark.parametrize("count", [200, 400, 5000])
def test_a_comment_that_would_be_refused_is_cut_and_says_so(count: int) -> None:
    actions = tuple(
        dataclasses.replace(ACTION, job=f"jöb-{number}", effect=list(action.Effect)[number % 3]) for number in range(count)
    )
    comment = explain.as_markdown(planned(*actions))
    assert len(comment.encode()) < explain.COMMENT_BYTES
    assert comment.count("<details>") == comment.count("</details>")
    assert comment.count("\n```") % 2 == 0
    assert ("cut here" in comment) == (count > 200)


def test_nothing_written_in_a_manifest_leaves_its_fence() -> None:
    sly = dataclasses.replace(ACTION, sentence="`````\n</details> @everyone")
    lines = explain.as_markdown(planned(sly)).splitlines()
    assert lines.count("``````text") == 1
    assert lines.count("``````") == 1
