"""Once, proven from outside: what programs noted in a shared file, what the ledger said and which containers ran. Pure.

A program makes a nonce in memory when it starts, notes it once, and then counts. A restored program has its nonce already and
notes no start. So each start from the beginning is one line in the file, and each line names whose memory wrote it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

PROGRAM = """
import os, secrets, sys, time
beats, fails, log = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
nonce = secrets.token_hex(16)
run = os.environ["PERDURE_ATTEMPT"].rpartition("-")[0]

def note(word, number):
    with open(os.environ["PERDURE_GENERATION_FILE"]) as file:
        attempt = file.read().split()[0]
    with open(log, "a") as file:
        file.write(f"{word} {run} {attempt} {nonce} {number} {time.time():.3f}\\n")

note("begin", 0)
with open(log) as file:
    failed = sum(line.startswith(f"fail {run} ") for line in file)
if failed < fails:
    note("fail", failed + 1)
    sys.exit(3)
for number in range(1, beats + 1):
    time.sleep(0.1)
    note("beat", number)
note("end", beats)
"""
"""Arguments: how many beats it has, in how many starts it fails first, and the shared file. One line is one write."""

ENDED = ("finished", "failed")
FAILED = 3
"""The status with which the program ends where it fails."""

Key = tuple[str, int]
"""A run and an attempt of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line of the shared file."""

    word: str
    """begin, fail, beat or end."""
    run: str
    attempt: int
    """As the machine told the program in that moment, not as it remembers it."""
    nonce: str
    number: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What the ledger says of an attempt."""

    number: int
    restored_from: str = ""
    ending: str = ""
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint that the ledger knows."""

    attempt: int
    asked_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the ledger says of a run."""

    job: str
    phase: str
    attempts: tuple[Attempt, ...] = ()
    checkpoints: Mapping[str, Saved] = field(default_factory=dict)
    """By digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A container of an attempt on a host that answered."""

    id: str
    run: str
    attempt: int
    running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look from outside. The containers are listed first, then the ledger is read, then the file's lines are counted."""

    boxes: tuple[Box, ...]
    runs: Mapping[str, Run]
    noted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything seen. `jobs` are the ones that must have finished; empty while faults go on."""

    notes: Sequence[Note]
    looks: Sequence[Look]
    jobs: frozenset[str] = frozenset()

    @property
    def runs(self) -> Mapping[str, Run]:
        """The ledger as it was seen last."""
        return self.looks[-1].runs if self.looks else {}

    @property
    def settled(self) -> Sequence[Note]:
        """The lines that were there before the ledger was read last: it must know whose they are."""
        return self.notes[: self.looks[-2].noted] if len(self.looks) > 1 else ()

    def attempts(self) -> Iterator[tuple[str, Run, Attempt]]:
        """Every attempt that the ledger has, with its run."""
        for name, run in self.runs.items():
            for attempt in run.attempts:
                yield name, run, attempt

    def saved(self, run: str, digest: str) -> Saved | None:
        """A checkpoint, although the ledger may have dropped it since."""
        found = (look.runs[run].checkpoints.get(digest) for look in reversed(self.looks) if run in look.runs)
        return next((each for each in found if each), None)


def parse(text: str) -> tuple[Note, ...]:
    """Returns what a shared file says, without a last line that is not whole. Raises ValueError for any other line."""
    notes = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        word, run, attempt, nonce, number, at = line.split()
        notes.append(Note(word=word, run=run, attempt=int(attempt), nonce=nonce, number=int(number), at=float(at)))
    return tuple(notes)


def broken(evidence: Evidence) -> list[str]:
    """Returns what was promised and is not so; empty where everything agrees."""
    return [f"{rule.__doc__} {what}" for rule in RULES for what in rule(evidence)]


def _begins(evidence: Evidence) -> Mapping[Key, list[Note]]:
    found: dict[Key, list[Note]] = defaultdict(list)
    for note in evidence.notes:
        if note.word == "begin":
            found[note.run, note.attempt].append(note)
    return found


def _lineages(evidence: Evidence) -> Mapping[Key, str]:
    """Whose memory each attempt has: the nonce of the start that it goes back to. Left out where no start was noted."""
    begins, found = _begins(evidence), {}
    for name, _, attempt in evidence.attempts():
        key, source = (name, attempt.number), evidence.saved(name, attempt.restored_from)
        if begins.get(key):
            found[key] = begins[key][0].nonce
        elif source and (name, source.attempt) in found:
            found[key] = found[name, source.attempt]
    return found


def begins_once(evidence: Evidence) -> Iterator[str]:
    """No attempt starts twice:"""
    for (run, attempt), notes in _begins(evidence).items():
        if len(notes) > 1:
            yield f"{run}-{attempt} has started with {', '.join(note.nonce for note in notes)}"


def only_what_is_recorded(evidence: Evidence) -> Iterator[str]:
    """Nothing runs that the ledger does not know:"""
    for look in evidence.looks:
        for box in look.boxes:
            if box.attempt not in _numbers(look, box.run):
                yield f"container {box.id} of {box.run}-{box.attempt}"
    if evidence.looks:
        last = evidence.looks[-1]
        for note in evidence.settled:
            if note.attempt not in _numbers(last, note.run):
                yield f"{note.run}-{note.attempt} noted {note.word}"


def _numbers(look: Look, run: str) -> set[int]:
    return {attempt.number for attempt in look.runs[run].attempts} if run in look.runs else set()


def restored_goes_on(evidence: Evidence) -> Iterator[str]:
    """A restored program goes on and does not start:"""
    begins = _begins(evidence)
    for name, _, attempt in evidence.attempts():
        if not attempt.restored_from:
            continue
        source = evidence.saved(name, attempt.restored_from)
        if source is None:
            yield f"{name}-{attempt.number} continues from {attempt.restored_from}, which nobody has seen in the ledger"
        # An image may be older than the first line of its program: what is restored then notes its one start.
        elif begins.get((name, attempt.number)) and any(
            note.at < source.asked_at for note in begins.get((name, source.attempt), [])
        ):
            yield f"{name}-{attempt.number} has started, and should have continued attempt {source.attempt}"


def one_memory(evidence: Evidence) -> Iterator[str]:
    """Each attempt has the memory that it goes back to:"""
    lineages = _lineages(evidence)
    for note in evidence.settled:
        expected = lineages.get((note.run, note.attempt))
        if note.nonce != expected:
            yield f"{note.run}-{note.attempt} noted {note.word} {note.number} with {note.nonce}, and not with {expected}"


def counts_on(evidence: Evidence) -> Iterator[str]:
    """One program counts in each attempt:"""
    # A program may be saved between asking for its attempt and noting it: each restore may note one old number once.
    children: dict[Key, int] = defaultdict(int)
    for name, _, attempt in evidence.attempts():
        source = evidence.saved(name, attempt.restored_from)
        if source:
            children[name, source.attempt] += 1
    highest: dict[Key, int] = {}
    again: dict[Key, int] = defaultdict(int)
    for note in evidence.notes:
        if note.word == "beat":
            key = (note.run, note.attempt)
            again[key] += note.number <= highest.get(key, 0)
            highest[key] = max(note.number, highest.get(key, 0))
    for (run, number), times in again.items():
        if times > children[run, number]:
            yield f"{run}-{number} went back {times} times, and {children[run, number]} attempts were made from it"


def ended_for_ever(evidence: Evidence) -> Iterator[str]:
    """No finished run starts again:"""
    for before, after in zip(evidence.looks, evidence.looks[1:], strict=False):
        for name, run in before.runs.items():
            now = after.runs.get(name)
            if now is None or len(now.attempts) < len(run.attempts):
                yield f"{name}: the ledger has forgotten attempts"
            elif run.phase in ENDED and (now.phase, len(now.attempts)) != (run.phase, len(run.attempts)):
                yield f"{name}: {run.phase} with {len(run.attempts)} attempts, then {now.phase} with {len(now.attempts)}"
        for box in after.boxes:
            if box.running and _over(before, box.run, box.attempt):
                yield f"container {box.id} of {box.run}-{box.attempt} runs"
    since: dict[str, int] = {}
    for look in evidence.looks:
        for name, run in look.runs.items():
            if run.phase in ENDED:
                since.setdefault(name, look.noted)
    for at, note in enumerate(evidence.notes):
        if note.word == "begin" and at >= since.get(note.run, len(evidence.notes)):
            yield f"{note.run}-{note.attempt} has started with {note.nonce}"


def _over(look: Look, run: str, attempt: int) -> bool:
    """Whether an attempt has no business to run. One that was given up may: nobody could tell it."""
    found = look.runs.get(run)
    return bool(found and found.phase in ENDED) and not any(
        each.number == attempt and each.ending == "lost" for each in (found.attempts if found else ())
    )


def one_container(evidence: Evidence) -> Iterator[str]:
    """An attempt is one container:"""
    ran: dict[Key, set[str]] = defaultdict(set)
    for look in evidence.looks:
        for box in look.boxes:
            if box.running:
                ran[box.run, box.attempt].add(box.id)
    for (run, attempt), ids in ran.items():
        if len(ids) > 1:
            yield f"{run}-{attempt} ran as {', '.join(sorted(ids))}"


def ends_agree(evidence: Evidence) -> Iterator[str]:
    """What the ledger calls an end, the program has noted:"""
    lineages = _lineages(evidence)
    ends = {(note.run, note.nonce) for note in evidence.notes if note.word == "end"}
    fails = {(note.run, note.attempt) for note in evidence.notes if note.word == "fail"}
    for name, _, attempt in evidence.attempts():
        key = (name, attempt.number)
        if attempt.ending == "finished" and (name, lineages.get(key)) not in ends:
            yield f"{name}-{attempt.number} is finished, and its program did not come to its end"
        if attempt.ending == "failed" and attempt.code == FAILED and key not in fails:
            yield f"{name}-{attempt.number} has failed, and its program did not"
    for name, run in evidence.runs.items():
        finished = [attempt.number for attempt in run.attempts if attempt.ending == "finished"]
        if len(finished) != (run.phase == "finished"):
            yield f"{name} is {run.phase}, and attempts {finished} are finished"


def all_finish(evidence: Evidence) -> Iterator[str]:
    """Every job finishes, as one run, and leaves nothing:"""
    if not evidence.jobs:
        return
    for job in sorted(evidence.jobs):
        found = [(name, run.phase) for name, run in evidence.runs.items() if run.job == job]
        if [phase for _, phase in found] != ["finished"]:
            yield f"{job} is {found}"
    for box in evidence.looks[-1].boxes:
        yield f"container {box.id} of {box.run}-{box.attempt} is left"


RULES: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    begins_once,
    only_what_is_recorded,
    restored_goes_on,
    one_memory,
    counts_on,
    ended_for_ever,
    one_container,
    ends_agree,
    all_finish,
)
