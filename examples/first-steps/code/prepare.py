"""Stand for the step that fetches and checks data before training."""

from __future__ import annotations

import random


def main() -> None:
    """Make numbers, check them, and say so."""
    numbers = [random.Random(index).gauss(0, 1) for index in range(20_000)]
    mean = sum(numbers) / len(numbers)
    if abs(mean) > 0.1:
        raise SystemExit(f"the data is skewed: mean {mean:.3f}")
    print(f"{len(numbers)} samples, mean {mean:.4f}", flush=True)


if __name__ == "__main__":
    main()
