"""Seeded memory-like data for the store's figures: the same seed gives the same bytes on every machine.

`unique` pages all differ and compress to about half: arrays of pointers and counters, text, and floating-point numbers.
`repeated` pages are unique for one quarter; the rest are copies of pages in the same megabyte, where zstd finds them best.
`changed` replaces a twentieth of the pages, in a few stretches or one by one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PAGE = 4096
BLOCK = 1 << 20
_PAGES = BLOCK // PAGE

_LETTERS = (b"etaoinshrdlucmfwypvbgkjqxz" * 2 + b"etaoinshr " * 14 + b" \n.,0123456789")[:200].ljust(256, b" ")
_EXPONENTS = bytes(0x3C + min(value.bit_length() // 2, 3) for value in range(256))
"""High bytes of small single-precision numbers: few values, the small ones most often."""


def unique(seed: int, size: int) -> Iterator[bytes]:
    """Yield `size` bytes (a multiple of 1 MiB) of pages that all differ."""
    for number in range(size // BLOCK):
        yield _block(seed, number)


def repeated(seed: int, size: int) -> Iterator[bytes]:
    """Yield `size` bytes of which three quarters of the pages are copies of others in the same megabyte."""
    fresh = _PAGES // 4
    for number in range(size // BLOCK):
        chance = random.Random(f"{seed}/{number}")
        block = _block(seed, number)
        picks = [*range(fresh), *(chance.randrange(fresh) for _ in range(_PAGES - fresh))]
        chance.shuffle(picks)
        yield b"".join(block[pick * PAGE * 4 :][:PAGE] for pick in picks)


def changed(seed: int, size: int, *, share: float, scattered: bool) -> Iterator[bytes]:
    """Yield what `unique` does, with a share of the pages replaced by new ones: one by one, or in eight stretches."""
    pages = size // PAGE
    chance = random.Random(f"changed/{seed}")
    if scattered:
        gone = set(chance.sample(range(pages), int(pages * share)))
    else:
        length = int(pages * share) // 8
        starts = (eighth * (pages // 8) + chance.randrange(pages // 8 - length) for eighth in range(8))
        gone = {page for start in starts for page in range(start, start + length)}
    for number in range(size // BLOCK):
        block = bytearray(_block(seed, number))
        fresh = None
        for page in range(_PAGES):
            if number * _PAGES + page in gone:
                fresh = fresh or _block(seed + 1, number)
                block[page * PAGE : (page + 1) * PAGE] = fresh[page * PAGE : (page + 1) * PAGE]
        yield bytes(block)


def write(path: Path, blocks: Iterator[bytes]) -> None:
    """Write blocks to a file."""
    with path.open("wb") as file:
        for block in blocks:
            file.write(block)


def _block(seed: int, number: int) -> bytes:
    """One megabyte: 64 KiB each of the kinds in turn."""
    noise = _noise(seed, number)
    parts = []
    for at in range(0, BLOCK, 65536):
        chunk = noise[at : at + 65536]
        kind = (at // 65536) % 4
        parts.append(_text(chunk) if kind == 0 else _numbers(chunk) if kind == 1 else _pointers(chunk))
    return b"".join(parts)


def _pointers(noise: bytes) -> bytes:
    """64-bit words below one base address, multiples of 16."""
    words = bytearray(len(noise))
    words[0::8] = bytes(value & 0xF0 for value in noise[0::8])
    words[1::8] = noise[1::8]
    words[2::8] = bytes(value & 0x0F for value in noise[2::8])
    words[4::8] = bytes([0x7F]) * (len(noise) // 8)
    return bytes(words)


def _text(noise: bytes) -> bytes:
    """Letters as often as in English."""
    return noise.translate(_LETTERS)


def _numbers(noise: bytes) -> bytes:
    """Single-precision numbers, trained to nothing in particular, their last byte rounded away."""
    words = bytearray(noise)
    words[0::4] = bytes(len(noise) // 4)
    words[3::4] = noise[3::4].translate(_EXPONENTS)
    return bytes(words)


def _noise(seed: int, number: int) -> bytes:
    key = hashlib.sha256(f"perdure bench {seed}".encode()).digest()
    # numbers far apart: neighbouring counters would give streams that overlap
    stream = Cipher(algorithms.AES(key), modes.CTR((number << 32).to_bytes(16, "big"))).encryptor()
    return stream.update(bytes(BLOCK))
