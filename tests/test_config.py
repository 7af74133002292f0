"""What a configuration takes, and what it says to the person who got it wrong."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

from muxado_py import Config
from muxado_py.scheduler import FifoScheduler

FIELDS = {field.name: field for field in dataclasses.fields(Config)}
NUMBERS = [
    name
    for name, field in FIELDS.items()
    if type(field.default) in (int, float) or name == "max_open_streams"
]


def test_the_defaults_are_valid_and_frozen() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.max_streams = 1  # type: ignore[misc]


MAY_BE_NONE = [name for name in NUMBERS if str(FIELDS[name].type).endswith("| None")]


def said_range(name: str) -> tuple[float, float] | None:
    """From where to where a field may be set, as whoever gets it wrong is told; whole numbers for one that must be."""
    wrong: dict[str, Any] = {name: object()}
    with pytest.raises(ValueError, match=f"^{name} must ") as caught:
        Config(**wrong)
    said = re.search(
        r" must be (an int|a number) from (\S+) to (\S+), got <object", str(caught.value)
    )
    if said is None:
        return None
    number = int if said[1] == "an int" else float
    return number(said[2]), number(said[3])


def test_every_number_has_a_range_and_nothing_else() -> None:
    assert [name for name in FIELDS if said_range(name) is not None] == NUMBERS


def test_every_field_says_what_it_is() -> None:
    source = inspect.getsource(Config)
    for name in FIELDS:
        after = source.split(f"\n    {name}:", 1)[1]
        assert after.split("\n", 2)[1].strip().startswith('"""'), name


@pytest.mark.parametrize("name", NUMBERS)
def test_the_ends_of_each_range(name: str) -> None:
    said = said_range(name)
    assert said is not None
    low, high = said
    for value in (low, high):
        values: dict[str, Any] = {"initial_window": 1, "stream_window": 2**31 - 1, name: value}
        if values["stream_window"] >= values["initial_window"]:
            assert getattr(Config(**values), name) == value
    step = 1 if isinstance(low, int) else 1e-4
    for value in (low - step, high * 2):
        values = {name: value}
        with pytest.raises(ValueError, match=f"^{name} must be an? .* from {low} to {high}, got"):
            Config(**values)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["1", None, float("nan"), float("inf"), 4096.5])
def test_what_is_no_number_or_no_whole_one(name: str, value: Any) -> None:
    said = said_range(name)
    assert said is not None
    whole = isinstance(said[0], int)
    values: dict[str, Any] = {name: value}
    if value is None and name in MAY_BE_NONE:
        assert getattr(Config(**values), name) is None
    elif value == 4096.5 and not whole and value <= said[1]:
        assert getattr(Config(**values), name) == value
    else:
        with pytest.raises(ValueError, match=f"^{name} must be") as caught:
            Config(**values)
        assert repr(value) in str(caught.value)


def test_a_wire_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"^wire must be one of muxado, .*auto, got 'spdy'$"):
        Config(wire="spdy")


def test_a_scheduler_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"^scheduler must be one of .*priority.*got 'random'$"):
        Config(scheduler="random")


def test_a_scheduler_of_ones_own() -> None:
    assert Config(scheduler=FifoScheduler).scheduler is FifoScheduler


@pytest.mark.parametrize("value", [0, 1, "yes", "always"])
def test_whom_to_trust_is_yes_no_or_left_open(value: Any) -> None:
    with pytest.raises(
        ValueError, match=f"^trust_caller must be True, False or None, got {value!r}"
    ):
        Config(trust_caller=value)
    assert [Config(trust_caller=one).trust_caller for one in (None, True, False)] == [
        None,
        True,
        False,
    ]


def test_a_stream_window_below_the_initial_one() -> None:
    with pytest.raises(ValueError, match=r"initial window \(262144\).*got 1024$"):
        Config(stream_window=1024)


def test_a_first_window_that_no_type_fits_into() -> None:
    with pytest.raises(ValueError, match=r"^initial_window must be at least 4 .*got 3$"):
        Config(initial_window=3, typed_streams=True)
    assert Config(initial_window=4, typed_streams=True).typed_streams
    assert Config(wire="yamux", typed_streams=True).typed_streams


def test_windows_of_the_tests_are_allowed() -> None:
    assert Config(initial_window=1, stream_window=1).stream_window == 1
