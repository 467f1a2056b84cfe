"""A plan for readers: as text like Terraform's, as the JSON of `diff -o json`, and as one comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconciler.core import action, classify, transition, written

MARKER = "<!-- perdure:plan -->"
"""First line of the comment: by it the comment is found again and replaced."""

COMMENT_BYTES = 65_000
"""Most forges take 65,536."""

VALUE_CHARACTERS = 120
"""Longest value of a changed field shown in text; JSON has all of it."""

QUIET = (action.Verb.KEEP, action.Verb.REMOVE, action.Verb.PRUNE)
"""Verbs of actions that change nothing a manifest speaks of: shown on request only."""

_WORDS = {
    action.Effect.CREATE: "to create",
    action.Effect.CHANGE: "to change",
    action.Effect.REPLACE: "to replace",
    action.Effect.DELETE: "to delete",
    action.Effect.REFUSE: "refused",
    action.Effect.UNCHANGED: "unchanged",
}

_WORST = {field_class: rank for rank, field_class in enumerate(classify.FieldClass)}


def summary(plan: action.Plan) -> str:
    """Return "2 to create, 1 to change, 0 to replace, 0 to delete, 1 refused, 7 unchanged"."""
    counts = plan.summary()
    return ", ".join(f"{counts[effect]} {word}" for effect, word in _WORDS.items())


def differs(plan: action.Plan) -> bool:
    """Return whether anything declared is not as declared: the exit code of `diff`."""
    return any(act.effect is not action.Effect.UNCHANGED for act in plan.actions)


def as_text(plan: action.Plan, *, everything: bool = False) -> str:
    """Return the plan for a terminal: what would happen and what waits; with `everything` also what stays and housekeeping."""
    shown = [act for act in plan.actions if everything or act.effect is not action.Effect.UNCHANGED or act.verb not in QUIET]
    blocks = ["\n".join(_block(act)) for act in shown]
    return "\n".join([*blocks, *([""] if blocks else []), f"Plan: {summary(plan)}.", ""])


def as_json(plan: action.Plan, observed_at: float | None = None) -> dict[str, object]:
    """Return the plan as `diff -o json` prints it; `observed_at` is the POSIX time of the observation it was made from."""
    counts = plan.summary()
    return {
        "digest": plan.digest,
        "revision": plan.revision,
        "observedAt": observed_at,
        "actions": [_action(act) for act in plan.actions],
        "summary": {effect.value: counts[effect] for effect in _WORDS},
    }


def as_markdown(plan: action.Plan) -> str:
    """Return the plan as one comment: collapsed sections by effect, cut before a forge would refuse it."""
    head = [MARKER, f"### Perdure: plan for `{plan.revision[:12]}`", "", f"**{summary(plan)}**", ""]
    note = "… cut here: the comment would be too long. `perdure diff` shows all of it."
    left = COMMENT_BYTES - _size([*head, note, "", ""])
    body: list[str] = []
    for effect, word in _WORDS.items():
        acts = [act for act in plan.actions if act.effect is effect]
        section = _section(word, acts) if acts and effect is not action.Effect.UNCHANGED else []
        if _size(section) > left:
            return "\n".join([*head, *body, *_cut(section, left), "", note, ""])
        left -= _size(section)
        body += section
    return "\n".join([*head, *body])


def label(act: action.Action) -> str:
    """Return what a person calls the run of an action: "train", "team-a/train", "train[2]" for a further replica."""
    text = act.job if act.tenant in ("", "default") else f"{act.tenant}/{act.job}"
    return f"{text}[{act.replica}]" if act.replica else text


def _block(act: action.Action) -> Iterator[str]:
    """Yield the lines about an action, without control characters: what people wrote must not look like lines of ours."""
    for line in _lines(act):
        yield "".join(letter if letter.isprintable() else " " for letter in line)


def _lines(act: action.Action) -> Iterator[str]:
    attempt = f", attempt {act.attempt}" if act.attempt else ""
    place = f" on {act.host or act.target}" if act.attempt and (act.host or act.target) else ""
    yield f"{action.SYMBOLS[act.effect]:>3} {act.verb.value} {label(act)}{attempt}{place} ({act.reason})"
    yield f"      {act.sentence}"
    for change in act.changes:
        for path, before, after in written.leaves(change):
            yield f"      {path}: {_value(before)} -> {_value(after)} [{change.field_class.value}]"
    if told := _work(act):
        yield f"      work: {told}"


def _value(text: str) -> str:
    if not text:
        return "(none)"
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}…"


def _work(act: action.Action) -> str:
    """What a reader wants to know before a merge: what is thrown away, and what a checkpoint keeps."""
    parts: list[str] = []
    if act.lost.steps is not None:
        parts.append(f"{transition.steps(act.lost.steps)} lost" if act.lost.steps else "nothing lost")
    elif act.lost.seconds:
        parts.append(f"{transition.duration(act.lost.seconds)} lost")
    if act.saved.steps is not None:
        parts.append(f"{transition.steps(act.saved.steps)} saved")
    return ", ".join(parts)


def _action(act: action.Action) -> dict[str, object]:
    worst = max((change.field_class for change in act.changes), key=lambda each: _WORST[each], default=None)
    return {
        "verb": act.verb.value,
        "kind": "Job",
        "name": label(act),
        "run": act.run,
        "attempt": act.attempt,
        "target": act.target,
        "class": worst.value if worst else None,
        "reason": act.reason,
        "sentence": act.sentence,
        "fields": [{"path": each.path, "before": each.before, "after": each.after} for each in act.changes],
        "cost": {"before": None, "after": None, "currency": None},
        "workLost": {"steps": act.lost.steps, "seconds": act.lost.seconds},
        "workSaved": {"steps": act.saved.steps, "seconds": act.saved.seconds},
        "verdict": act.sentence if act.effect is action.Effect.REFUSE else None,
    }


def _section(word: str, acts: list[action.Action]) -> list[str]:
    lines = [line for act in acts for line in _block(act)]
    fence = _fence(lines)
    return ["<details>", f"<summary>{len(acts)} {word}</summary>", "", f"{fence}text", *lines, fence, "", "</details>", ""]


def _fence(lines: list[str]) -> str:
    """A fence longer than any run of backticks within: nothing that people wrote in a manifest ends it."""
    longest = max((len(run) for line in lines for run in re.findall(r"`+", line)), default=0)
    return "`" * max(3, longest + 1)


def _cut(section: list[str], room: int) -> list[str]:
    """Return as much of a section as fits, closed properly."""
    tail = [section[-4], "", "</details>"]
    kept: list[str] = []
    left = room - _size(tail)
    for line in section[:-4]:
        left -= _size([line])
        if left < 0:
            break
        kept.append(line)
    return [*kept, *tail] if len(kept) > 4 else []


def _size(lines: list[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
