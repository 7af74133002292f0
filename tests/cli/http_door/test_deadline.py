"""One moment that moves all the time."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from muxado_py.cli.http_door.deadline import Deadline

from ...virtual_time import JumpingLoop


@given(
    st.lists(st.tuples(st.floats(0, 10), st.one_of(st.none(), st.floats(0.1, 100))), max_size=20)
)
def test_it_passes_when_it_was_last_set_for_and_not_before(
    moves: list[tuple[float, float | None]],
) -> None:
    """``moves``: seconds between two, and what it is set to; None: there is none."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        passed: list[float] = []
        deadline = Deadline(loop, lambda: passed.append(loop.time()))
        at: float | None = None
        due: list[float] = []
        for pause, seconds in moves:
            await asyncio.sleep(pause)
            if at is not None and loop.time() >= at:
                due.append(at)
                at = None
            if seconds is None:
                deadline.clear()
                at = None
            else:
                at = deadline.set(seconds) + seconds
        await asyncio.sleep(1000)
        if at is not None:
            due.append(at)
        assert len(passed) == len(due)
        for moment, expected in zip(passed, due, strict=True):
            assert expected <= moment < expected + 0.01
        deadline.set(1)
        deadline.stop()
        await asyncio.sleep(10)
        assert len(passed) == len(due)

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(run())
