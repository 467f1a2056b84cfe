"""What one processor lacks of another, and that nothing is concluded from what nobody has told."""

from __future__ import annotations

import pytest

from reconciler.core import processor

WORDS = [
    0x1F8BFBFF,
    0x2C100800,
    0,
    0x2110000,
    0xFFFA3203,
    0,
    0x121,
    0,
    0,
    0xF1BF2FFB,
    0x1F,
    0x1A415F46,
    0,
    0,
    4,
    0,
    0,
    0,
    0x20814010,
]
"""Of a Xeon of 2023 in a virtual machine."""


def changed(word: int, bits: int) -> str:
    return processor.x86([value ^ bits if number == word else value for number, value in enumerate(WORDS)], 0xE5, 2688, 11008)


HERE = changed(0, 0)


def test_a_line_is_short_and_holds_what_programs_can_use() -> None:
    assert HERE == (
        "x86_64 0:7888911 1:8000800 3:110000 4:7ed83203 6:121 9:f1af0b39 10:f 11:18405f42 13:0 18:4000 "
        "state:e5 frame:2688 largest:11008"
    )


@pytest.mark.parametrize(
    ("word", "bits", "lacking"),
    [
        (9, 1 << 16, ("avx512f",)),
        (4, 1 << 12, ("fma",)),
        (9, 1 << 5 | 1 << 31, ("avx2", "avx512vl")),
        (18, 1 << 29, ()),  # how far speculation can be controlled is the kernel's business
        (4, 1 << 31, ()),  # whether it runs on a hypervisor
        (14, 1 << 2, ()),
    ],
)
def test_only_fewer_features_are_a_lack(word: int, bits: int, lacking: tuple[str, ...]) -> None:
    fewer = changed(word, bits)
    assert processor.lacking(HERE, fewer) == lacking
    assert processor.lacking(fewer, HERE) == ()


def test_every_feature_is_missed_by_name() -> None:
    every = processor.x86([0xFFFFFFFF] * 19)
    assert processor.lacking(every, processor.x86([0] * 19)) == tuple(processor.FEATURES.values())
    assert len(set(processor.FEATURES.values())) == len(processor.FEATURES)


@pytest.mark.parametrize(("size", "said"), [(832, "2688 bytes now"), (2696, "2688 bytes now")])
def test_registers_of_another_size_are_a_lack_both_ways(size: int, said: str) -> None:
    (text,) = processor.lacking(HERE, processor.x86(WORDS, 0xE5, size, 11008))
    assert said in text


def test_registers_that_are_not_saved() -> None:
    assert processor.lacking(HERE, processor.x86(WORDS, 0x05, 2688, 11008)) == tuple(f"state component {n}" for n in (5, 6, 7))


def test_another_architecture() -> None:
    assert processor.lacking("aarch64", HERE) == ("the architecture aarch64",)
    assert processor.lacking("aarch64", "aarch64") == ()


@pytest.mark.parametrize(
    ("needed", "offered"),
    [
        ("", HERE),
        (HERE, ""),
        (HERE, "x86_64"),  # a host that tells its architecture alone
        ("x86_64 state:e5", processor.x86(WORDS)),
        ("x86_64 9:zz 9: :9 99999:1 frame:-1 state:" + "f" * 40 + " 11:1:1", HERE),
    ],
)
def test_what_is_not_told_is_no_lack(needed: str, offered: str) -> None:
    assert processor.lacking(needed, offered) == ()


def test_names_are_told_in_few_words() -> None:
    assert processor.told(("a", "b")) == "a, b"
    assert processor.told(tuple("abcdefg")) == "a, b, c, d and 3 more"
