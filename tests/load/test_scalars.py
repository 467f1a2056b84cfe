"""Unquoted words: what they mean, and the ones that readers of YAML do not agree on."""

from __future__ import annotations

import time

import hypothesis
import pytest
import yaml
from hypothesis import strategies

from reconciler.load import scalars
from reconciler.load.scalars import Doubt


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-12", -12),
        ("1.10", 1.1),
        ("1.2.3", "1.2.3"),
        ("5m", "5m"),
        ("500m", "500m"),
        ("10.0.0.1", "10.0.0.1"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("None", "None"),
        ("nope", "nope"),
        ("yesterday", "yesterday"),
        ("-", "-"),
        ("--steps", "--steps"),
        ("2024-01-01x", "2024-01-01x"),
        ("/a:b", "/a:b"),
    ],
)
def test_words_with_one_meaning(text: str, value: object) -> None:
    found = scalars.resolve(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("NO", "false"),
        ("on", "true"),
        ("y", "true"),
        ("Off", "false"),
        ("22:22", "1342"),
        ("1:30:00", "5400"),
        ("0755", "493"),
        ("089", "89"),
        ("0o17", "15"),
        ("-1:30", "-90"),
        ("-010", "-8"),
        ("0_", "0"),
        ("0x1F", "31"),
        ("-0b1_0", "-2"),
        ("0x_", ""),
        ("-0b__", ""),
        ("1_000", "1000"),
        ("2024-01-01", ""),
        ("2024-01-01T10:00:00Z", ""),
        ("2024-01-01 10:00:00", ""),
        ("1e3", ""),
        ("1.5E+3", ""),
        (".5", ""),
        ("+7", "7"),
        ("5.", "5"),
        (".inf", ""),
        ("-.INF", ""),
        (".NaN", ""),
        ("9" * 30, ""),
        ("9" * 5000, ""),
        ("1." + "3" * 20, ""),
    ],
)
def test_words_with_two_meanings(text: str, plain: str) -> None:
    found = scalars.resolve(text)
    assert isinstance(found, Doubt)
    assert found.plain == plain


LINES = """
a n y no NO yes on off true null ~ 0 1 -1 +1 007 08 0x1 0b1 0o7 1_0 1.0 1. .1 1e1 1e+1 1.5e+1 1:1 1:60 1:1.5
2024-1-1 2024-01-01 .inf -.inf .nan = << 1,0 1.0.0 12e03 abc a:b 00 -0 1__0 _1 0_1
"""
WORDS = [word for line in LINES.splitlines() for word in line.split()]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_the_common_reader_takes_for_something_else_is_never_text_here(word: str) -> None:
    theirs = yaml.load(word, Loader=yaml.SafeLoader) if word not in ("=", "<<") else word
    ours = scalars.resolve(word)
    assert isinstance(ours, Doubt) or (ours == theirs and type(ours) is type(theirs)) or (word in ("1e1",))


@hypothesis.given(strategies.text("0189+-._:exobXEfayn \u0663", max_size=12))
@hypothesis.settings(max_examples=2000, deadline=None)
def test_every_word_has_a_meaning_or_a_doubt(word: str) -> None:
    scalars.resolve(word)


@pytest.mark.parametrize("filler", ["_", "1", "0", "1_", "1:", ".", " "])
@pytest.mark.parametrize("start", ["1", "0", "1.", "2024-01-01 ", "-0"])
def test_a_long_word_costs_what_its_length_does(start: str, filler: str) -> None:
    before = time.process_time()
    scalars.resolve(start + filler * 40_000 + "x")
    assert time.process_time() - before < 1


def test_the_memory_for_meanings_is_bounded() -> None:
    for number in range(30_000):
        scalars.resolve(f"word-{number}")
    assert len(scalars.KNOWN) <= 20_000
    scalars.resolve("x" * 1000)
    assert "x" * 1000 not in scalars.KNOWN
