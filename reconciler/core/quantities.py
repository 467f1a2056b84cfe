"""Durations, processor cores and bytes as people write them, in the units of `core.model`; and back."""

from __future__ import annotations

import functools
import math
import re
from datetime import UTC, datetime
from decimal import Decimal

DURATION = re.compile(r"(?=[0-9])(?=.*[1-9])([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?")
CORES = re.compile(r"(?=.*[1-9])([0-9]{1,7}m|[0-9]{1,4}(\.[0-9]{1,3})?)")
BYTES = re.compile(r"(?=.*[1-9])[0-9]{1,15}(\.[0-9]{1,6})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?")
"""What a whole text must match before it is read here. The schemas have the same patterns, so that a flag and a manifest
take the same texts."""

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"([0-9]+)(ms|[dhms])")
_BYTES = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
    "Pi": 1 << 50,
}
"""Suffixes of Kubernetes' quantities (apimachinery, pkg/api/resource)."""

_MEANT = {**_SECONDS, "w": 7 * 86400.0}
_WORDS = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([A-Za-z]{1,12})\s*")
_SPELLINGS = {
    "milliseconds": "ms",
    "msec": "ms",
    "seconds": "s",
    "secs": "s",
    "minutes": "m",
    "mins": "m",
    "hours": "h",
    "hrs": "h",
    "days": "d",
    "weeks": "w",
}
_AMOUNT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([A-Za-z]{1,12})")
_AMOUNTS = re.compile(rf"\s*(?:{_AMOUNT.pattern}[\s,]*(?:and\s+)?){{1,5}}", re.ASCII)


@functools.lru_cache(maxsize=4096)
def seconds(text: str) -> float:
    """Return the seconds of a duration such as "1h30m", which matches `DURATION`."""
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def duration(value: float) -> str:
    """Return seconds as a duration, the shortest exact one."""
    left = round(value * 1000)
    text = ""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


@functools.lru_cache(maxsize=4096)
def millicores(value: str | float) -> int:
    """Return thousandths of a core from a number of cores or from "500m" (`CORES`)."""
    text = str(value)
    exact = Decimal(text[:-1]) if text.endswith("m") else Decimal(text) * 1000
    return int(exact)


def cores(thousandths: int) -> str:
    """Return thousandths of a core as a manifest has them: "2", or "500m"."""
    whole, rest = divmod(thousandths, 1000)
    return f"{thousandths}m" if rest else str(whole)


@functools.lru_cache(maxsize=4096)
def size(value: str | float) -> int:
    """Return the bytes of a size such as "512Mi" (`BYTES`); a part of a byte is rounded up."""
    text = str(int(value)) if isinstance(value, float) else str(value)
    number = text.rstrip("KMGTPki")
    return math.ceil(Decimal(number) * _BYTES[text[len(number) :]])


def bytes_text(count: int) -> str:
    """Return bytes as a manifest has them, exactly and as short as can be: "256Mi", "1G", or a plain number."""
    texts = [f"{count // unit}{suffix}" for suffix, unit in _BYTES.items() if count % unit == 0]
    return min(texts, key=len)


def moment(text: str) -> float:
    """Return the POSIX time of an RFC 3339 text. Raises ValueError, or OverflowError, for one that no calendar has."""
    return datetime.fromisoformat(text.upper()).astimezone(UTC).timestamp()


def proper_duration(value: object) -> str:
    """Return the duration that a person probably meant by a number or by "5 minutes" or "1h 30m", or ""."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return f"{value}s"
    if not isinstance(value, str) or not _AMOUNTS.fullmatch(value):
        return ""
    amounts = [(number, _unit(word.lower())) for number, word in _AMOUNT.findall(value)]
    if not all(unit for _, unit in amounts) or not any(float(number) for number, _ in amounts):
        return ""
    number, unit = amounts[0]
    if len(amounts) == 1 and "." not in number and unit in _SECONDS:
        return f"{number}{unit}"
    return duration(sum(float(number) * _MEANT[unit] for number, unit in amounts))


def _unit(word: str) -> str:
    return word if word in _MEANT else next((short for long, short in _SPELLINGS.items() if long.startswith(word)), "")


def proper_size(value: object) -> str:
    """Return the size that a person probably meant by "512MB" or "2 gi", or ""."""
    found = _WORDS.fullmatch(value) if isinstance(value, str) else None
    if found is None or float(found[1]) == 0:
        return ""
    word = found[2].lower().removesuffix("bytes").removesuffix("byte").removesuffix("b")
    unit = next((suffix for suffix in _BYTES if suffix.lower() == word), None)
    return f"{found[1]}{unit}" if unit is not None else ""
