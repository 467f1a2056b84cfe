"""What an unquoted word means, and the words whose meaning readers of YAML do not agree on.

YAML 1.1 and 1.2 read the same text differently (https://yaml.org/type/, YAML 1.2.2 section 10.3), and so do the tools
that people check manifests with. A word that is a number, a date or a truth value in one of them and text in another is
refused: quoted it means the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """An unquoted word with two meanings."""

    text: str
    reading: str
    """What some readers take it for."""
    plain: str
    """The same as an undoubted value, for a field that wants no text; "" where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    pattern: re.Pattern[str]
    reading: str
    plain: Callable[[str], str]


def _truth(text: str) -> str:
    return "true" if text.lower() in ("y", "yes", "on") else "false"


def _signed(text: str, number: int) -> str:
    return str(-number if text.startswith("-") else number)


def _octal(text: str) -> str:
    digits = text.lstrip("+-").removeprefix("0o").replace("_", "")
    return _signed(text, int(digits, 10 if set(digits) & set("89") else 8))


def _sexagesimal(text: str) -> str:
    total = 0
    for part in text.lstrip("+-").replace("_", "").split(".")[0].split(":"):
        total = total * 60 + int(part)
    return _signed(text, total)


def _integer(text: str) -> str:
    digits = text.replace("_", "")
    return str(int(digits, 0)) if digits.lstrip("+-")[2:] else ""  # to YAML 1.1, `0x_` is a number too


def _float(text: str) -> str:
    value = float(text.replace("_", ""))
    return f"{int(value)}" if value.is_integer() and abs(value) < 1e15 else ""


def _none(_text: str) -> str:
    return ""


TABLE = (
    _Row(pattern=re.compile(r"(?i:y|n|yes|no|on|off)"), reading="a truth value", plain=_truth),
    _Row(pattern=re.compile(r"\d{4}-\d\d?-\d\d?([Tt ]\s*\d.*)?"), reading="a date", plain=_none),
    _Row(
        pattern=re.compile(r"[-+]?\d[\d_]{0,15}(:[0-5]?\d){1,5}(\.[\d_]*)?"), reading="a number to base 60", plain=_sexagesimal
    ),
    _Row(pattern=re.compile(r"[-+]?0[\d_]{1,15}|0o[0-7]{1,15}"), reading="an octal number", plain=_octal),
    _Row(pattern=re.compile(r"[-+]?0[xX][\da-fA-F_]{1,16}|[-+]?0b[01_]{1,64}"), reading="a number", plain=_integer),
    _Row(pattern=re.compile(r"[-+]?\d+_[\d_]*(\.[\d_]*)?"), reading="a number with separators", plain=_float),
    _Row(pattern=re.compile(r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.[\d_]+)[eE][-+]?\d+"), reading="a number", plain=_none),
    _Row(pattern=re.compile(r"\+\d+(\.\d*)?|[-+]?\.\d+|[-+]?\d+\."), reading="a number", plain=_float),
    _Row(pattern=re.compile(r"[-+]?\.(?i:inf|nan)"), reading="a number that is not finite", plain=_none),
    _Row(pattern=re.compile(r"-?\d{16,}(\.\d*)?|-?\d+\.\d{16,}"), reading="a number beyond what is exact", plain=_none),
    _Row(pattern=re.compile(r"-?0\d+\.\d*"), reading="a number", plain=_none),
)
"""First match wins. No pattern can read a part in two ways: its time would grow with the square of a word's length."""

_WORDS: dict[str, Value] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_SUSPECT = re.compile(r"[-+.\d]|[yYnNoO][a-zA-Z]{0,2}\Z")
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,14})\Z", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,14})\.\d{1,15}\Z", re.ASCII)

KNOWN: dict[str, Value | Doubt] = {}
"""Meanings found before: the same few words fill ten thousand manifests. Read it first, then ask `resolve`."""

_MOST_KNOWN = 20_000
_LONGEST_KNOWN = 64


def resolve(text: str) -> Value | Doubt:
    """Return what the unquoted word `text` means, or the doubt about it."""
    if text in KNOWN:
        return KNOWN[text]
    meaning = _meaning(text)
    if len(text) <= _LONGEST_KNOWN:
        if len(KNOWN) >= _MOST_KNOWN:
            KNOWN.clear()
        KNOWN[text] = meaning
    return meaning


def _meaning(text: str) -> Value | Doubt:
    if text in _WORDS:
        return _WORDS[text]
    if not _SUSPECT.match(text):
        return text
    if _INTEGER.match(text):
        return int(text)
    if _DECIMAL.match(text):
        return float(text)
    for row in TABLE:
        if row.pattern.fullmatch(text):
            return Doubt(text=text, reading=row.reading, plain=row.plain(text))
    return text
