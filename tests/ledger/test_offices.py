"""One holder at a time, by a lease that ends by itself."""

from __future__ import annotations

from dicomnode.ledger import offices
from dicomnode.ledger.engine import Ledger
from tests.ledger_rows import after


def take(ledger: Ledger, holder: str, at_s: float) -> bool:
    with ledger.write() as c:
        return offices.take(c, offices.KEEPER, holder=holder, now=after(at_s), lease_s=10)


def holder_of(ledger: Ledger) -> str | None:
    with ledger.read() as c:
        return offices.holder_of(c, offices.KEEPER)


def test_an_office_has_one_holder_until_its_lease_ends(ledger):
    assert holder_of(ledger) is None
    assert take(ledger, "a", 0)
    assert not take(ledger, "b", 9)
    assert take(ledger, "b", 11)
    assert holder_of(ledger) == "b"


def test_who_renews_in_time_stays_and_who_comes_too_late_finds_another(ledger):
    assert take(ledger, "a", 0)
    assert take(ledger, "a", 8)
    assert not take(ledger, "b", 17)
    assert take(ledger, "b", 19)
    assert not take(ledger, "a", 20)


def test_an_office_that_was_given_back_is_free_at_once_and_nobody_gives_back_anothers(ledger):
    assert take(ledger, "a", 0)
    with ledger.write() as c:
        offices.resign(c, offices.KEEPER, holder="b")
    assert not take(ledger, "b", 1)
    with ledger.write() as c:
        offices.resign(c, offices.KEEPER, holder="a")
    assert take(ledger, "b", 1)


def test_of_two_who_ask_at_once_one_is_taken(postgres_url):
    first, second = Ledger(postgres_url), Ledger(postgres_url)
    assert [take(first, "a", 0), take(second, "b", 0)] == [True, False]
    first.dispose()
    second.dispose()
