"""Notes for the session: each stream once, until somebody looks."""

from __future__ import annotations

from muxado_py.protocol.events import Events

from ..helpers.streams import stream


def test_a_new_list_of_notes_is_empty() -> None:
    events = Events()
    assert not events.pending
    assert (events.readable, events.writable, events.offered) == ([], [], False)


def test_each_stream_stands_in_a_list_once() -> None:
    events = Events()
    one, other = stream(), stream()
    for _ in range(3):
        events.note_readable(one)
        events.note_failed(other)
    assert events.pending
    assert events.readable == [one, other]
    assert events.writable == [other]


def test_after_a_look_it_is_noted_again() -> None:
    events = Events()
    one = stream()
    events.note_failed(one)
    events.readable.clear()
    one.in_readable = False
    events.note_failed(one)
    assert (events.readable, events.writable) == ([one], [one])
