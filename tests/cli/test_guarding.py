"""What is said on the command line of those who may come as agents, and what does not go together."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from muxado_py.cli.commands.guarding import GuardOptions, make_bounds, make_guard
from muxado_py.cli.trust.permits import Bounds

ANYBODY = GuardOptions(None, None, 1000, None, None, None, (), None, None)
SOMEWHERE = Path("/nowhere")


@pytest.mark.parametrize("cert_names", [None, "any"])
def test_nobody_is_asked_where_nothing_was_said(cert_names: str | None) -> None:
    options = ANYBODY._replace(cert_names=cert_names, ca_certs=cert_names and "authority")
    assert make_guard(options, ()) is None


def test_certificates_are_a_guard_without_a_word_on_names() -> None:
    guard = make_guard(ANYBODY._replace(ca_certs="authority"), ())
    assert guard is not None
    assert guard.what == ""


@pytest.mark.parametrize(
    ("options", "asks", "for_names"),
    [
        (ANYBODY, False, False),
        (ANYBODY._replace(token_file=SOMEWHERE), True, False),
        (ANYBODY._replace(jwt_keys=SOMEWHERE), True, False),
        (ANYBODY._replace(ca_certs="authority"), True, True),
        (ANYBODY._replace(ca_certs="authority", cert_names="listed"), True, True),
        (ANYBODY._replace(ca_certs="authority", cert_names="any"), True, False),
    ],
)
def test_what_an_agent_is_asked_for(options: GuardOptions, asks: bool, for_names: bool) -> None:
    assert options.asks_who_comes == asks
    assert options.asks_for_names == for_names


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ANYBODY._replace(cert_names="any"), "--cert-names needs"),
        (ANYBODY._replace(revoked=SOMEWHERE), "--revoked needs"),
        (ANYBODY._replace(revoked=SOMEWHERE, token_file=SOMEWHERE), "--revoked needs"),
        (ANYBODY._replace(reserve=("shop",)), "--reserve needs"),
        (
            ANYBODY._replace(reserve=("shop",), ca_certs="authority", cert_names="any"),
            "--reserve needs",
        ),
        (ANYBODY._replace(session_ttl=0.5), "a second or longer"),
        (ANYBODY._replace(token_file=SOMEWHERE), "cannot read"),
    ],
)
def test_what_does_not_go_together(options: GuardOptions, said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        make_guard(options, ())


def test_a_holder_has_what_was_said_and_a_session_whole_seconds() -> None:
    assert make_bounds(ANYBODY) == Bounds(1000, None, None)
    said = ANYBODY._replace(limit_sessions=3, limit_callers=4, session_ttl=90.5)
    assert make_bounds(said) == Bounds(3, 4, 90)
