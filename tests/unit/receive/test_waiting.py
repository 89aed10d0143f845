from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from dicomnode.receive.waiting import FEWEST_PER_ADDRESS, SPARE, WaitingRoom

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Callable[[], Pair]]:
    """Make connected sockets: the peer's end and ours."""
    with ExitStack() as stack:
        def made() -> Pair:
            peer, ours = socket.socketpair()
            return stack.enter_context(peer), stack.enter_context(ours)

        yield made


def is_cut(pair: Pair) -> bool:
    return bool(select.select([pair[0]], [], [], 0)[0])


def fill(room: WaitingRoom, pair: Callable[[], Pair], address: str, count: int) -> list[Pair]:
    pairs = [pair() for _ in range(count)]
    for _, ours in pairs:
        room.enter(ours, address)
    return pairs


def test_a_full_address_loses_its_oldest_connection_and_the_newcomer_stays(pair: Callable[[], Pair]):
    room = WaitingRoom(max_associations=4)
    other = fill(room, pair, "192.0.2.2", 1)
    pairs = fill(room, pair, "192.0.2.1", FEWEST_PER_ADDRESS + 2)
    assert [is_cut(one) for one in pairs] == [True, True] + [False] * FEWEST_PER_ADDRESS
    assert not is_cut(other[0])
    assert pairs[0][0].recv(1) == b""


def test_an_address_may_hold_as_many_as_may_associate_at_one_time(pair: Callable[[], Pair]):
    room = WaitingRoom(max_associations=40)
    assert not any(is_cut(one) for one in fill(room, pair, "192.0.2.1", 40))


def test_one_that_left_has_no_place_and_is_not_cut(pair: Callable[[], Pair]):
    room = WaitingRoom(max_associations=1)
    (first, *_) = fill(room, pair, "192.0.2.1", FEWEST_PER_ADDRESS)
    room.leave(first[1])
    room.leave(first[1])
    (newcomer,) = fill(room, pair, "192.0.2.1", 1)
    assert not is_cut(first)
    assert not is_cut(newcomer)


def test_in_a_full_room_the_address_with_the_most_pays(pair: Callable[[], Pair]):
    room = WaitingRoom(max_associations=1)
    few = fill(room, pair, "192.0.2.1", 1)
    many = fill(room, pair, "192.0.2.2", FEWEST_PER_ADDRESS)
    rest = [one for n in range(SPARE - 1) for one in fill(room, pair, f"198.51.100.{n}", 1)]
    (newcomer,) = fill(room, pair, "203.0.113.1", 1)
    assert [is_cut(one) for one in many] == [True] + [False] * (FEWEST_PER_ADDRESS - 1)
    assert not any(is_cut(one) for one in [*few, *rest, newcomer])


def test_one_whose_peer_hung_up_is_cut_without_an_error(pair: Callable[[], Pair]):
    room = WaitingRoom(max_associations=1)
    (first, *_) = fill(room, pair, "192.0.2.1", FEWEST_PER_ADDRESS)
    first[0].close()
    first[1].close()
    (newcomer,) = fill(room, pair, "192.0.2.1", 1)
    assert not is_cut(newcomer)
