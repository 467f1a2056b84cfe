"""Train a small neural network on data it makes itself, and survive the loss of the machine.

One hidden layer, plain Python, full-batch gradient descent on two interleaved half circles. Everything that matters is a
function of the seed and the step, so a run that was interrupted and restored ends with exactly the weights of one that was not.

The lines that make it survivable are `restore`, `save` and `wanted`: Perdure's contract in ten lines.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import sys
from pathlib import Path

HIDDEN, SAMPLES, RATE = 24, 240, 0.5
STEPS = int(os.environ.get("STEPS", "10000"))
SEED = int(os.environ.get("SEED", "7"))


# --- Perdure's contract -------------------------------------------------------------------------------------------------------


def restore() -> dict | None:
    """Return what the last checkpoint saved, or None on a first start."""
    folder = os.environ.get("PERDURE_RESTORE_DIR")
    return json.loads((Path(folder) / "state.json").read_text()) if folder else None


def wanted() -> bool:
    """Return whether a checkpoint is wanted now."""
    request = os.environ.get("PERDURE_REQUEST_FILE")
    return bool(request) and os.path.exists(request)


def save(state: dict) -> None:
    """Write a checkpoint, then say that it is complete, and of which step. The one before was taken once COMPLETE is gone."""
    folder = Path(os.environ["PERDURE_CHECKPOINT_DIR"])
    if not (folder / "COMPLETE").exists():
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "partial").write_text(json.dumps({"step": state["step"]}))
        (folder / "partial").rename(folder / "COMPLETE")


def progress(step: int) -> None:
    """Tell how far the work has come: the source of "steps saved, steps lost"."""
    path = os.environ.get("PERDURE_PROGRESS_FILE")
    if path:
        with open(path, "a") as file:
            file.write(json.dumps({"step": step, "of": STEPS}) + "\n")


# --- The model ----------------------------------------------------------------------------------------------------------------


def moons(seed: int) -> list[tuple[float, float, float]]:
    """Return points of two interleaved half circles, with their class."""
    noise = random.Random(seed)
    points = []
    for index in range(SAMPLES):
        angle, upper = math.pi * noise.random(), index % 2 == 0
        x, y = (math.cos(angle), math.sin(angle)) if upper else (1 - math.cos(angle), 0.5 - math.sin(angle))
        points.append((x + noise.gauss(0, 0.1), y + noise.gauss(0, 0.1), 1.0 if upper else 0.0))
    return points


def begin(seed: int) -> dict:
    """Return the untrained model."""
    chance = random.Random(seed + 1)
    return {
        "step": 0,
        "w1": [[chance.gauss(0, 1), chance.gauss(0, 1)] for _ in range(HIDDEN)],
        "b1": [0.0] * HIDDEN,
        "w2": [chance.gauss(0, 0.5) for _ in range(HIDDEN)],
        "b2": 0.0,
    }


def train_step(model: dict, points: list[tuple[float, float, float]]) -> float:
    """Make one step of gradient descent over all points; return the loss before it."""
    w1, b1, w2, b2 = model["w1"], model["b1"], model["w2"], model["b2"]
    g1 = [[0.0, 0.0] for _ in range(HIDDEN)]
    gb1, g2, gb2, loss = [0.0] * HIDDEN, [0.0] * HIDDEN, 0.0, 0.0
    for x, y, label in points:
        hidden = [math.tanh(w[0] * x + w[1] * y + b) for w, b in zip(w1, b1, strict=True)]
        output = 1 / (1 + math.exp(-sum(w * h for w, h in zip(w2, hidden, strict=True)) - b2))
        loss -= math.log(output if label else 1 - output)
        error = output - label
        gb2 += error
        for unit, h in enumerate(hidden):
            g2[unit] += error * h
            back = error * w2[unit] * (1 - h * h)
            g1[unit][0] += back * x
            g1[unit][1] += back * y
            gb1[unit] += back
    rate = RATE / len(points)
    for unit in range(HIDDEN):
        w1[unit][0] -= rate * g1[unit][0]
        w1[unit][1] -= rate * g1[unit][1]
        b1[unit] -= rate * gb1[unit]
        w2[unit] -= rate * g2[unit]
    model["b2"] -= rate * gb2
    model["step"] += 1
    return loss / len(points)


def digest(model: dict) -> str:
    """Return the SHA-256 of the weights: equal for equal models."""
    return hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()


def main() -> int:
    """Train to the end, from wherever the last checkpoint stands."""
    points = moons(SEED)
    model = restore() or begin(SEED)
    print(f"begin at step {model['step']} of {STEPS}", flush=True)
    while model["step"] < STEPS:
        loss = train_step(model, points)
        progress(model["step"])
        if wanted():
            save(model)
        if model["step"] % 50 == 0:
            print(f"step {model['step']}: loss {loss:.4f}", flush=True)
    print(f"weights {digest(model)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
