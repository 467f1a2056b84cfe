"""What the demo claims, checked against what was seen."""

from __future__ import annotations

import console
import scenes


def check(story: scenes.Story, stage: console.Stage) -> bool:
    """Print every claim with whether it held; return whether all did."""
    stage.scene(7, "Every claim, checked")
    attempts = story.train["attempts"]
    steps = {saved["digest"]: saved["step"] for saved in story.train["checkpoints"]}
    restored = [attempt for attempt in attempts if attempt["restoredFrom"]]
    second = attempts[1] if len(attempts) > 1 else {}
    begun = steps.get(second.get("restoredFrom"))
    first_step = second.get("firstStep")
    weights = story.logs.split("weights ")[-1].split()[0] if "weights " in story.logs else ""
    claims = (
        ("every job finished", all(job["phase"] == "finished" for job in story.jobs)),
        ("flaky failed twice and finished in its third attempt", len(story.flaky["attempts"]) == 3),
        (
            f"attempt 1 of train was lost with {story.lost_host}, and both budgets were shown",
            attempts[0]["ending"] == "lost" and story.silence.count("(budget ") == 2,
        ),
        (
            f"attempt 2 continued on another host: from the checkpoint at step {begun}, its first step was {first_step}",
            begun is not None and first_step == begun + 1 and second.get("host") != story.lost_host,
        ),
        (
            f"the {len(restored)} attempts after it each began at the step that follows their checkpoint",
            len(restored) >= 3 and _continued(attempts[1:], steps),
        ),
        (f"train was suspended with a checkpoint at step {story.suspended_with}", story.suspended_with is not None),
        (
            f"the weights equal those of an uninterrupted run: {weights[:16]}…",
            bool(weights) and weights == story.reference,
        ),
        ("the notes on the commits tell it", all(word in story.notes for word in ('"lost"', '"restored"', '"finished"'))),
    )
    for text, held in claims:
        stage.claim(text, held=held)
    return all(held for _, held in claims)


def _continued(attempts: list[dict[str, object]], steps: dict[object, object]) -> bool:
    """Whether each attempt began at the step after the checkpoint it continued from."""
    return all(
        isinstance(begun := steps.get(each["restoredFrom"]), int) and each["firstStep"] == begun + 1 for each in attempts
    )
