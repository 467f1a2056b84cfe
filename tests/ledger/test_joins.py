"""Join tokens: one host, once, in time; whatever happens to the answer."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts.clock import Event
from reconciler.contracts.ledger import Change, Committed, Ledger
from reconciler.contracts.link import Admitted, Denied, JoinBook
from reconciler.core import model, pools, record
from reconciler.ledger import fake, joins, repository
from reconciler.seams import clock
from tests.seams import repositories

SECRET = "a secret"
JOIN = record.Join(token=hashlib.sha256(SECRET.encode()).hexdigest(), host="a", pool="p", expires_at=100.0)


class Still:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = 50.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def wait(self, seconds: float, until: Event | None = None) -> bool:
        del seconds
        return until is not None and until.is_set()


@pytest.fixture
def ledger() -> fake.FakeLedger:
    made = fake.FakeLedger()
    write(made, JOIN)
    return made


@pytest.fixture
def still() -> Still:
    return Still()


@pytest.fixture
def book(ledger: fake.FakeLedger, still: Still) -> JoinBook:
    return joins.LedgerJoinBook(ledger, still)


def write(ledger: Ledger, *entries: record.Join) -> None:
    assert isinstance(ledger.append(ledger.read(), Change(joins=entries)), Committed)


def test_a_token_is_good_once(book: JoinBook, ledger: fake.FakeLedger) -> None:
    assert book.redeem(SECRET, "a") == Admitted(host="a", pool="p")
    assert ledger.read().joins[JOIN.token].used_at == 50.0
    again = joins.LedgerJoinBook(ledger, clock.System()).redeem(SECRET, "a")
    assert isinstance(again, Denied)
    assert "used before" in again.reason


@pytest.mark.parametrize(
    ("token", "host", "change", "said"),
    [
        ("another secret", "a", {}, "not known"),
        (SECRET, "b", {}, "another host"),
        (SECRET, "a", {"expires_at": 50.0}, "expired"),
        (SECRET, "a", {"revoked": True}, "revoked"),
        (SECRET, "a", {"used_at": 1.0}, "used before"),
    ],
)
def test_why_a_token_is_not_good(
    token: str, host: str, change: dict[str, float], said: str, book: JoinBook, ledger: fake.FakeLedger
) -> None:
    write(ledger, replace(JOIN, **change))  # type: ignore[arg-type]
    found = book.redeem(token, host)
    assert isinstance(found, Denied)
    assert said in found.reason
    assert SECRET not in found.reason


def test_a_rejected_push_is_repeated(book: JoinBook, ledger: fake.FakeLedger) -> None:
    ledger.reject(times=3)
    assert isinstance(book.redeem(SECRET, "a"), Admitted)


def test_a_lost_answer_admits_the_host_that_asked(book: JoinBook, ledger: fake.FakeLedger) -> None:
    ledger.lose_answer()
    assert isinstance(book.redeem(SECRET, "a"), Admitted)


def test_a_busy_ledger_denies_for_now(book: JoinBook, ledger: fake.FakeLedger) -> None:
    ledger.reject(times=joins.TRIES)
    found = book.redeem(SECRET, "a")
    assert isinstance(found, Denied)
    assert "try again" in found.reason
    assert isinstance(book.redeem(SECRET, "a"), Admitted)


def test_an_unreachable_ledger_is_said(book: JoinBook, ledger: fake.FakeLedger) -> None:
    ledger.break_off()
    with pytest.raises(errors.Unavailable):
        book.redeem(SECRET, "a")


def test_a_revoked_host_is_refused_and_unknown_is_not_allowed(book: JoinBook, ledger: fake.FakeLedger, still: Still) -> None:
    ledger.break_off()
    with pytest.raises(errors.Unavailable):  # a ledger that was never read allows nobody
        book.revoked("a")
    ledger.mend()
    assert not book.revoked("a")
    ledger.append(ledger.read(), Change(revoked=("a",)))
    still.time += joins.FRESH + 1
    assert book.revoked("a")
    ledger.break_off()
    still.time += joins.FRESH + 1
    assert book.revoked("a"), "what was known stands"
    assert not book.revoked("b")


def test_two_hosts_with_one_token(tmp_path: Path) -> None:
    remote = repositories.bare(tmp_path / "remote.git")
    ledgers = [
        repository.RepositoryLedger(repositories.mirror_of(remote, tmp_path / name), "default", clock.System())
        for name in ("one", "two")
    ]
    write(ledgers[0], replace(JOIN, expires_at=1e12))
    ledgers[1].read()
    answers = [joins.LedgerJoinBook(one, clock.System()).redeem(SECRET, "a") for one in ledgers]
    assert [type(answer) for answer in answers] == [Admitted, Denied]


def test_the_name_of_a_revoked_host_is_gone_for_good(book: JoinBook, ledger: fake.FakeLedger) -> None:
    write(ledger, JOIN)
    ledger.append(ledger.read(), Change(revoked=(JOIN.host,)))
    found = book.redeem(SECRET, JOIN.host)
    assert isinstance(found, Denied)
    assert "is revoked" in found.reason


def test_a_host_that_its_pool_does_not_take_any_more_is_denied_and_the_token_stays(
    ledger: fake.FakeLedger, still: Still
) -> None:
    declared = model.Desired(revision="r", pools={"p": model.PoolSpec(name="p", hosts=("b",))})
    strict = joins.LedgerJoinBook(ledger, still, lambda pool, host: pools.objection(declared, pool, host))
    denied = strict.redeem(SECRET, "a")
    assert denied == Denied(reason="a is not among the hosts of Pool p")
    gone = joins.LedgerJoinBook(ledger, still, lambda pool, host: pools.objection(model.Desired(revision="r"), pool, host))
    assert gone.redeem(SECRET, "a") == Denied(reason="there is no Pool 'p'")
    assert ledger.read().joins[JOIN.token].used_at is None
    assert joins.LedgerJoinBook(ledger, still).redeem(SECRET, "a") == Admitted(host="a", pool="p")


def test_while_nobody_knows_what_the_pools_say_the_token_stays(ledger: fake.FakeLedger, still: Still) -> None:
    def unknown(pool: str, host: str) -> str:
        raise errors.Unavailable(f"nothing was read yet of {pool} and {host}")

    with pytest.raises(errors.Unavailable):
        joins.LedgerJoinBook(ledger, still, unknown).redeem(SECRET, "a")
    assert ledger.read().joins[JOIN.token].used_at is None
