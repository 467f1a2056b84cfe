"""What a processor offers to programs, as one line, and what one lacks of another.

A program that has seen a feature goes on using it where it is restored. So a checkpoint keeps the line of the processor it was
taken on, hosts report theirs, and an empty line is unknown: nothing is concluded from it.

The line: the architecture, then for x86 `WORD:BITS` (hexadecimal; words as in CRIU's `cpuinfo.img`, only bits of `FEATURES`),
`state:BITS` (registers that XSAVE saves) and the sizes of what it saves, now and at most.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

FACT = "processor"
"""Under which a host tells its line (`observed.HostState.facts`)."""

STATE, FRAME, LARGEST = "state", "frame", "largest"
_SIZES = {FRAME: "now", LARGEST: "at most"}
_PART = re.compile(rf"([0-9]{{1,2}}|{STATE}):([0-9a-f]{{1,16}})|({FRAME}|{LARGEST}):([0-9]{{1,10}})")

_TABLE = {
    0: "fpu:0 tsc:4 cx8:8 sep:11 cmov:15 clflush:19 mmx:23 fxsr:24 sse:25 sse2:26",
    1: "syscall:11 mmxext:22 rdtscp:27 3dnowext:30 3dnow:31",
    3: "rep_good:16 nopl:20",
    4: (
        "sse3:0 pclmulqdq:1 monitor:3 ssse3:9 fma:12 cx16:13 sse4_1:19 sse4_2:20 movbe:22 popcnt:23 aes:25 "
        "xsave:26 osxsave:27 avx:28 f16c:29 rdrand:30"
    ),
    6: "lahf_lm:0 abm:5 sse4a:6 misalignsse:7 3dnowprefetch:8 xop:11 fma4:16 tbm:21",
    9: (
        "fsgsbase:0 bmi1:3 hle:4 avx2:5 bmi2:8 erms:9 rtm:11 mpx:14 avx512f:16 avx512dq:17 rdseed:18 adx:19 "
        "avx512ifma:21 clflushopt:23 clwb:24 avx512pf:26 avx512er:27 avx512cd:28 sha_ni:29 avx512bw:30 avx512vl:31"
    ),
    10: "xsaveopt:0 xsavec:1 xgetbv1:2 xsaves:3",
    11: (
        "avx512vbmi:1 waitpkg:5 avx512_vbmi2:6 gfni:8 vaes:9 vpclmulqdq:10 avx512_vnni:11 avx512_bitalg:12 tme:13 "
        "avx512_vpopcntdq:14 rdpid:22 movdiri:27 movdir64b:28"
    ),
    13: "clzero:0",
    18: "avx512_4vnniw:2 avx512_4fmaps:3 serialize:14 amx_bf16:22 amx_tile:24 amx_int8:25",
}
"""By word of CRIU's `cpuinfo.img`: NAME:BIT."""

FEATURES: Mapping[tuple[int, int], str] = {
    (word, int(bit)): name for word, text in _TABLE.items() for name, _, bit in (each.partition(":") for each in text.split())
}
"""Names by (word, bit) of what a program can use by itself: what `criu cpuinfo check` compares (CRIU `criu/arch/x86/cpu.c`,
`x86_ins_capability_mask` and the FPU's bits), and the instructions that it leaves out."""


def x86(words: Sequence[int], state: int | None = None, frame: int | None = None, largest: int | None = None) -> str:
    """Return the line of an x86 processor from what CRIU writes of it; what an old CRIU does not write is left out."""
    parts = ["x86_64"]
    for word, bits in itertools.groupby(FEATURES, key=lambda each: each[0]):
        if word < len(words):
            parts.append(f"{word}:{words[word] & sum(1 << bit for _, bit in bits):x}")
    parts += [f"{STATE}:{state:x}"] if state is not None else []
    parts += [f"{name}:{size}" for name, size in ((FRAME, frame), (LARGEST, largest)) if size is not None]
    return " ".join(parts)


def lacking(needed: str, offered: str) -> tuple[str, ...]:
    """Return by name what a processor offers less than is needed, in the order of the table; empty: nothing that is known."""
    if not needed or not offered:
        return ()
    machine, _, rest = needed.partition(" ")
    if offered.partition(" ")[0] != machine:
        return (f"the architecture {machine[:32]}",)
    return tuple(_lacking(_parts(rest), _parts(offered.partition(" ")[2])))


def told(names: Sequence[str], most: int = 4) -> str:
    """Return names as a person reads them: the first few, and how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _lacking(needed: Mapping[str, int], offered: Mapping[str, int]) -> Iterator[str]:
    for key, value in needed.items():
        if key not in offered:
            continue  # not told is not lacking
        missing = value & ~offered[key]
        if key in _SIZES:  # programs lay out memory by it, so that larger is as wrong as smaller (CRIU says why)
            yield from [f"registers that take {value} bytes {_SIZES[key]}"] if value != offered[key] else []
        elif key == STATE:
            yield from (f"state component {bit}" for bit in range(64) if missing >> bit & 1)
        else:
            yield from (name for (word, bit), name in FEATURES.items() if str(word) == key and missing >> bit & 1)


def _parts(text: str) -> dict[str, int]:
    """Return what a line says. Others have written it: a part that is of no known form says nothing."""
    found: dict[str, int] = {}
    for part in text.split(" "):
        if match := _PART.fullmatch(part):
            found |= {match[1]: int(match[2], 16)} if match[1] else {match[3]: int(match[4])}
    return found
