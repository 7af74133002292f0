"""The caller's address: how it is said, and which sides believe it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from anyio import EndOfStream, create_task_group
from anyio.abc import SocketAttribute
from hypothesis import given
from hypothesis import strategies as st

import muxado_py as muxado
from muxado_py import Config
from muxado_py.session.caller_address import read_caller, with_caller, written_caller

from ..by_url import sessions_by_url

if TYPE_CHECKING:
    from ..conftest import SessionPair

SAID = {"caller": b"192.0.2.7:4711"}


@pytest.mark.parametrize(
    ("address", "said", "read"),
    [
        (("192.0.2.7", 4711), b"192.0.2.7:4711", ("192.0.2.7", 4711)),
        (("2001:db8::7", 4711, 0, 0), b"[2001:db8::7]:4711", ("2001:db8::7", 4711)),
        (("::ffff:192.0.2.7", 4711, 0, 0), b"192.0.2.7:4711", ("192.0.2.7", 4711)),
        (("fe80::1%eth0", 4711, 0, 2), b"[fe80::1]:4711", ("fe80::1", 4711)),
        (("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 65535), None, None),
    ],
)
def test_an_address_is_read_as_it_was_written(
    address: tuple[Any, ...], said: bytes | None, read: tuple[str, int] | None
) -> None:
    written = written_caller(address)
    assert written is not None
    assert said is None or written == said
    assert read_caller({"caller": written}) == (read or address)


@pytest.mark.parametrize(
    "address",
    [None, "", "/run/app.sock", b"\0abstract", ("", 0), ("/run/app.sock", 0), ("name", 80), ()],
)
def test_what_has_no_host_and_port_is_not_said(address: object) -> None:
    assert written_caller(address) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"192.0.2.7",
        b"192.0.2.7:",
        b"192.0.2.7:0",
        b"192.0.2.7:65536",
        b"192.0.2.7:-1",
        b"192.0.2.7:4711 ",
        b" 192.0.2.7:4711",
        b"192.0.2.7:4_7",
        b"192.0.2.7:\xb2",
        b"192.0.2.007:4711",
        b"[192.0.2.7]:4711",
        b"2001:db8::7:4711",
        b"[2001:db8::7%eth0]:4711",
        b"[2001:db8::7:4711",
        b"localhost:4711",
        b"unix:/run/app.sock",
        b"127.0.0.1:1, 192.0.2.7:4711",
        b"0" * 100 + b"192.0.2.7:4711",
        "１92.0.2.7:4711".encode(),
    ],
)
def test_whatever_else_stands_there_counts_for_nothing(value: bytes) -> None:
    assert read_caller({"caller": value}) is None


def test_nothing_said_is_nothing_read() -> None:
    assert read_caller({}) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_an_address_or_nothing(value: bytes) -> None:
    caller = read_caller({"caller": value})
    assert caller is None or read_caller({"caller": written_caller(caller) or b""}) == caller


# Who believes it.


@pytest.mark.parametrize(
    ("caller", "peer", "is_believed"),
    [
        ("127.0.0.1:5", ("192.0.2.1", 7000), False),
        ("127.255.0.9:5", ("2001:db8::1", 7000), False),
        ("[::1]:5", ("192.0.2.1", 7000), False),
        ("[::ffff:127.0.0.1]:5", ("192.0.2.1", 7000), False),
        ("127.0.0.1:5", ("127.0.0.1", 7000), True),
        ("127.0.0.1:5", ("::1", 7000), True),
        ("[::1]:5", ("::ffff:127.0.0.1", 7000), True),
        ("127.0.0.1:5", ("/run/gateway.sock", 0), True),
        ("127.0.0.1:5", None, True),
        ("192.0.2.7:5", ("192.0.2.1", 7000), True),
    ],
)
def test_this_machine_is_said_by_a_peer_on_it_alone(
    caller: str, peer: tuple[str, int] | None, is_believed: bool
) -> None:
    """Applications let 127.0.0.1 do what others may not, and mean their own machine."""
    transport = {} if peer is None else {SocketAttribute.remote_address: lambda: peer}
    said = {"caller": caller.encode()}
    found = with_caller(transport, said).get(SocketAttribute.remote_address)
    assert (found is not None and found() == read_caller(said)) is is_believed
    if not is_believed:
        assert found is not None
        assert found() == peer


async def remote(stream: muxado.Stream) -> object:
    async with stream:
        return stream.extra(SocketAttribute.remote_address)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("trusts", "dialer_believes", "dialed_believes"),
    [(None, True, False), (True, True, True), (False, False, False)],
)
async def test_by_default_only_who_has_dialed_believes_it(
    trusts: bool | None, dialer_believes: bool, dialed_believes: bool
) -> None:
    config = Config(trust_caller=trusts)
    async with sessions_by_url(config, config) as (dialed, accepted):
        for teller, hearer, believes in (
            (accepted, dialed, dialer_believes),
            (dialed, accepted, dialed_believes),
        ):
            transport = hearer.extra(SocketAttribute.remote_address)
            async with await teller.open_stream(metadata=SAID) as stream:
                heard = await hearer.accept_stream()
                assert heard.metadata == SAID
                expected = ("192.0.2.7", 4711) if believes else transport
                assert await remote(heard) == expected
                assert stream.extra(SocketAttribute.remote_address) == teller.extra(
                    SocketAttribute.remote_address
                ), "who says it is not its own caller"
            assert hearer.extra(SocketAttribute.remote_address) == transport


@pytest.mark.anyio
async def test_a_listener_gives_it_to_its_handlers() -> None:
    seen: list[object] = []

    async def handle(stream: muxado.Stream) -> None:
        seen.append(stream.extra(SocketAttribute.remote_address))
        seen.append(stream.extra(SocketAttribute.local_address))

    async with sessions_by_url() as (dialed, accepted), create_task_group() as serving:
        serving.start_soon(dialed.net_listener().serve, handle)
        local = dialed.extra(SocketAttribute.local_address)
        for said in (SAID, {"caller": b"nobody"}, {"name": b"blog"}):
            async with await accepted.open_stream(metadata=said) as stream:
                with pytest.raises(EndOfStream):
                    await stream.receive()
        remote = dialed.extra(SocketAttribute.remote_address)
        serving.cancel_scope.cancel()
    assert seen == [("192.0.2.7", 4711), local, remote, local, remote, local]


@pytest.mark.anyio
async def test_where_the_transport_has_no_address_it_is_there_too(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, accepted), await accepted.open_stream(metadata=SAID):
        assert await remote(await dialed.accept_stream()) == ("192.0.2.7", 4711)
