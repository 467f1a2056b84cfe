"""The text of a join token."""

from __future__ import annotations

import pytest

from reconciler import errors
from reconciler.wire import token

PIN = token.pin(b"certificate")


@pytest.mark.parametrize("address", ["127.0.0.1:7444", "reconciler.example.org:1", "[::1]:65535", "localhost:7444"])
def test_it_survives_copying(address: str) -> None:
    one = token.Token(address=address, pin=PIN, secret=token.secret())
    assert token.parse(f"  {one.text()}\n") == one


def test_its_representation_hides_the_secret() -> None:
    one = token.Token(address="a:1", pin=PIN, secret=token.secret())
    assert one.secret not in repr(one)


def test_secrets_differ_and_are_known_by_their_digest_only() -> None:
    first, second = token.secret(), token.secret()
    assert first != second
    assert token.digest(first) == token.digest(first) != token.digest(second)
    assert first not in token.digest(first)


WHOLE = token.Token(address="127.0.0.1:7444", pin=PIN, secret="A" * 43).text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "perdure.",
        WHOLE[:-1],
        WHOLE + "A",
        WHOLE[1:],
        WHOLE.removeprefix("perdure."),
        WHOLE.replace("127.0.0.1", "127.0.0.1/x"),
        WHOLE.replace(":7444", ""),
        WHOLE.replace(PIN, "é" + PIN[1:]),
        WHOLE.replace(PIN, "+" + PIN[1:]),
        f"x {WHOLE}",
        WHOLE.replace(".", " "),
    ],
)
def test_anything_else_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(errors.InvalidInput, match="not a join token") as caught:
        token.parse(text)
    assert "A" * 20 not in str(caught.value)
