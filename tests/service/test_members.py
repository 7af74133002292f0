"""On which session of a pool a stream is opened, of sessions that are made up."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, cast

import anyio
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.service.member import Member, Wish
from muxado_py.service.members import Members

if TYPE_CHECKING:
    from collections.abc import Callable


class Slots:
    def __init__(self, *, is_free: bool) -> None:
        self.is_free = is_free

    def watch(self, callback: Callable[[], object] | None) -> None:
        """Nobody waits here."""


class Session:
    """What is asked of one."""

    def __init__(
        self, *, is_free: bool, going_away: bool, heard: bool, avoided: bool, open_streams: int
    ) -> None:
        self.slots = Slots(is_free=is_free and not going_away)
        self.going_away = going_away
        self.heard = heard
        self.avoided = avoided
        self.open_streams = open_streams
        self.refused_streams = 0

    def open_stream_nowait(self, **_options: object) -> object:
        return object()

    def has_stream(self, stream: object) -> bool:
        return self.avoided


def members_of(sessions: list[Session], draw: Callable[[int], int]) -> Members:
    members = Members(lambda: None, draw)
    for session in sessions:
        members.add(Member(cast("Any", session), "", lambda: None))
    return members


def chosen(sessions: list[Session], wish: Wish, draw: Callable[[int], int]) -> Session | None:
    async def choose() -> Session | None:
        member = members_of(sessions, draw).choose(wish)
        return None if member is None else cast("Any", member.session)

    return anyio.run(choose)


some_sessions = st.lists(
    st.builds(
        Session,
        is_free=st.booleans(),
        going_away=st.booleans(),
        heard=st.booleans(),
        avoided=st.booleans(),
        open_streams=st.integers(0, 5),
    ),
    max_size=20,
)
AVOIDING = Wish(cast("Any", (object(),)))


@given(some_sessions, st.booleans(), st.booleans(), st.integers(0, 2**32))
def test_what_is_chosen_can_be_taken_and_is_of_the_best_kind_that_there_is(
    sessions: list[Session], avoids: bool, metadata: bool, seed: int
) -> None:
    wish = (AVOIDING if avoids else Wish())._replace(metadata=metadata)

    def rank(one: Session) -> tuple[bool, bool]:
        return (avoids and one.avoided, not one.heard)

    opened = [one for one in sessions if not one.going_away and (one.heard or not metadata)]
    best = [one for one in opened if rank(one) == min(map(rank, opened))]
    free = [one for one in best if one.slots.is_free]
    found = chosen(sessions, wish, random.Random(seed).randrange)
    assert found in free if free else found is None


@given(st.lists(st.integers(0, 9), min_size=2, max_size=8, unique=True), st.integers(0, 2**32))
def test_the_one_of_most_streams_is_never_taken(counts: list[int], seed: int) -> None:
    """It is worse than whatever it is compared with; also by chance alone it would be taken at times."""
    sessions = [
        Session(is_free=True, going_away=False, heard=True, avoided=False, open_streams=count)
        for count in counts
    ]
    found = chosen(sessions, Wish(), random.Random(seed).randrange)
    assert found is not None
    assert found.open_streams < max(counts)


def test_of_many_sessions_the_idle_ones_are_found_and_all_are_used() -> None:
    draw = random.Random(1).randrange
    sessions = [
        Session(is_free=True, going_away=False, heard=True, avoided=False, open_streams=0)
        for _ in range(100)
    ]

    async def fill() -> None:
        members = members_of(sessions, draw)
        for _ in range(2000):
            member = members.choose(Wish())
            assert member is not None
            cast("Any", member.session).open_streams += 1

    anyio.run(fill)
    counts = [one.open_streams for one in sessions]
    assert min(counts) >= 15
    assert max(counts) <= 25


def test_a_session_that_can_open_none_any_more_is_left_once() -> None:
    left: list[int] = []

    async def choose() -> None:
        members = Members(lambda: None)
        session = Session(is_free=True, going_away=True, heard=True, avoided=False, open_streams=0)
        members.add(Member(cast("Any", session), "", lambda: left.append(1)))
        for _ in range(3):
            assert members.choose(Wish()) is None

    anyio.run(choose)
    assert left == [1]


def taken_of(refusing: Session, others: list[Session], times: int) -> list[Session]:
    """Which sessions are taken where one refuses at once whatever it is given."""
    taken: list[Session] = []

    async def take() -> None:
        members = members_of([refusing, *others], random.Random(3).randrange)
        for _ in range(times):
            member = members.choose(Wish())
            assert member is not None
            member.open_stream(None, None, None)
            session = cast("Any", member.session)
            taken.append(session)
            if session is refusing:
                session.refused_streams += 1

    anyio.run(take)
    return taken


def a_free_one(open_streams: int = 0, *, is_free: bool = True) -> Session:
    return Session(
        is_free=is_free, going_away=False, heard=True, avoided=False, open_streams=open_streams
    )


def test_a_session_that_refuses_all_does_not_get_most_for_having_fewest() -> None:
    refusing = a_free_one()
    taken = taken_of(refusing, [a_free_one(5), a_free_one(5)], 2000)
    assert 1 <= taken.count(refusing) <= 0.15 * 2000  # and not two thirds


def test_nobody_waits_because_a_session_refuses() -> None:
    refusing = a_free_one()
    assert set(taken_of(refusing, [a_free_one(is_free=False)], 200)) == {refusing}
    assert set(taken_of(refusing, [], 200)) == {refusing}
