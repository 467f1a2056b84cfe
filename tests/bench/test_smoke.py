"""Every benchmark runs, with sizes too small to say anything: the figures themselves are `make bench`'s."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import commands, figures, image_data
from tests.lab import ability, skipping

TINY = ("--count", "20", "--size", "8M", "--rounds", "1")


@pytest.mark.parametrize("each", bench.BENCHMARKS, ids=lambda each: each.name)
def test_a_benchmark_measures_something(each: bench.Benchmark, tmp_path: Path) -> None:
    if missing := [program for program in each.requires if shutil.which(program) is None]:
        pytest.skip(f"this machine has no {missing[0]}")
    if each.lab and (why := ability.reason()):
        skipping.unable(why)
    out = tmp_path / "figures.json"
    run: commands.Words = [commands.PYTHON, "-m", "tests.bench", each.name, *TINY, "--folder", tmp_path, "--json", out]
    said = commands.run(run, cwd=commands.ROOT).output
    found = json.loads(out.read_text())
    assert found["figures"]
    for figure in found["figures"]:
        assert figure["work"] in said
        for series in figure["series"]:
            assert min(series["values"]) > 0, series
        assert {True, False} & {series["reached"] for series in figure["series"]}
    assert list(tmp_path.iterdir()) == [out]


def test_a_missing_program_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(commands.Missing, match=r"zstd is missing. Install it: .*zstd"):
        commands.require("zstd")


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(AssertionError, match="ended with 3: oh"):
        commands.run(["/bin/sh", "-c", "echo oh; exit 3"])


def test_a_bound_is_kept_by_the_median() -> None:
    fast = figures.Series(what="wall", unit="s", values=[1.0, 2.0, 9.0], bound=figures.at_most(2))
    slow = figures.ratios("throughput", [1.0, 4.0], [2.0, 2.0], figures.at_least(1.5))
    assert (fast.reached, slow.values, slow.reached) == (True, [0.5, 2.0], False)
    assert figures.table(figures.Figure(work="a walk", series=(fast, slow))).splitlines() == [
        "a walk",
        "              unit  minimum  median  maximum  bound",
        "  wall        s           1       2        9    ≤ 2  reached",
        "  throughput  ×         0.5    1.25        2  ≥ 1.5  NOT REACHED",
    ]


def test_generated_pages_are_the_same_for_the_same_seed_and_what_they_are_called() -> None:
    size = 2 * image_data.BLOCK
    plain = b"".join(image_data.unique(7, size))
    assert plain == b"".join(image_data.unique(7, size)) != b"".join(image_data.unique(8, size))
    assert len(_pages(plain)) == size // image_data.PAGE
    assert 0.3 < len(zlib.compress(plain, 1)) / size < 0.7
    assert len(_pages(b"".join(image_data.repeated(7, size)))) == size // image_data.PAGE // 4
    for scattered in (False, True):
        other = b"".join(image_data.changed(7, size, share=0.05, scattered=scattered))
        assert len(_pages(other) - _pages(plain)) == pytest.approx(size / image_data.PAGE * 0.05, abs=8)


def _pages(data: bytes) -> set[bytes]:
    return {data[at : at + image_data.PAGE] for at in range(0, len(data), image_data.PAGE)}
