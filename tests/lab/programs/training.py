"""Gradient descent with numpy: every loss must be what the same steps give again from the seed."""

# mypy: ignore-errors
from __future__ import annotations

import json
import os

import numpy as np

seed = int.from_bytes(os.urandom(4), "big")


def steps(seed):
    source = np.random.default_rng(seed)
    data, truth = source.normal(size=(2000, 50)), source.normal(size=50)
    wanted, weights = data @ truth, np.zeros(50)
    while True:
        batch = source.integers(0, 2000, 64)
        error = data[batch] @ weights - wanted[batch]
        weights -= 0.01 * data[batch].T @ error / 64
        yield float(np.mean(error**2))


loss, trace, n = steps(seed), [], 0
while True:
    n += 1
    trace.append(next(loss))
    if n % 50 == 0:
        again = steps(seed)
        wrong = sum(next(again) != one for one in trace)
        with open("/.said", "w") as out:
            json.dump({"n": n, "seed": seed, "wrong": wrong}, out)
        os.replace("/.said", "/said")
