"""What is revoked: the forms of a line, that a slip lets nobody in again, and that whoever is revoked is sent away."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from muxado_py.cli.commands import muxado as muxado_command
from muxado_py.cli.trust.certs import CertificateFileError, Wanted, make_certificates, revoke
from muxado_py.cli.trust.deciding_files import TokenFileError
from muxado_py.cli.trust.revoked import Revoked, parse_revoked, read_revoked, serial_line

from ..processes import running

if TYPE_CHECKING:
    from pathlib import Path

APP = "tests.cli.apps:starlette_app"


@pytest.mark.parametrize(
    ("text", "revoked"),
    [
        ("", Revoked()),
        ("# jti=17\n\n  \n", Revoked()),
        ("serial=0A\n", Revoked(frozenset({10}))),
        (" serial = 5f:3A \r\nserial=00005F3A", Revoked(frozenset({0x5F3A}))),
        ("jti=17\njti = a=b \n", Revoked(ids=frozenset({"17", "a=b"}))),
        (serial_line(0), Revoked(frozenset({0}))),
        ("serial=-0A\n", Revoked(frozenset({-10}))),
        (serial_line(2**159), Revoked(frozenset({2**159}))),
    ],
)
def test_each_line_is_a_serial_number_or_an_id(text: str, revoked: Revoked) -> None:
    assert parse_revoked(text, "revoked") == revoked


@pytest.mark.parametrize(
    "line",
    [
        *("5F3A", "serial=", "serial=xyz", "serial=--1", "serial=1_0", "serial=" + "0" * 65),
        *(
            "serial=\u0661",
            "jti=",
            "jti",
            "name=laptop",
            "Serial=5F",
            "=",
            "-----BEGIN X509 CRL-----",
        ),
    ],
)
def test_a_line_of_another_form_is_a_fault_of_the_file(line: str) -> None:
    with pytest.raises(TokenFileError, match="revoked, line 2: is neither serial="):
        parse_revoked(f"jti=17\n{line}\n", "revoked")


def test_a_file_that_everybody_may_write_revokes_nothing_for_sure(tmp_path: Path) -> None:
    path = tmp_path / "revoked"
    path.write_text("jti=17\n")
    path.chmod(0o646)
    with pytest.raises(TokenFileError, match="written by everybody"):
        read_revoked(path)
    with pytest.raises(TokenFileError, match="No such file"):
        read_revoked(tmp_path / "other")


def test_a_certificate_is_revoked_by_the_name_of_its_agent(tmp_path: Path) -> None:
    make_certificates(tmp_path, Wanted(agents=("laptop", "phone")))
    path, new = revoke(tmp_path, ("laptop", "laptop"))
    assert (path, new) == (tmp_path / "revoked", ["laptop"])
    assert re.fullmatch(r"# laptop, 20\S+\nserial=[0-9A-F]+\n", path.read_text())
    assert len(read_revoked(path).serials) == 1
    assert revoke(tmp_path, ("laptop",))[1] == []
    path.write_text(path.read_text().rstrip("\n"))  # as an editor may leave it
    assert revoke(tmp_path, ("laptop", "phone"))[1] == ["phone"]
    assert len(read_revoked(path).serials) == 2
    for names, fault in (
        (("gateway",), "cannot be an agent's name"),
        (("phone", "other"), r"cannot read .*other\.pem: No such file"),
    ):
        with pytest.raises(ValueError, match=fault):
            revoke(tmp_path, names)
    (tmp_path / "phone.pem").write_text("laptop")
    with pytest.raises(CertificateFileError, match=r"cannot use .*phone\.pem"):
        revoke(tmp_path, ("phone",))
    path.write_text("laptop\n")
    with pytest.raises(TokenFileError, match="line 1: is neither"):
        revoke(tmp_path, ("laptop",))


def test_the_command_revokes_and_makes_another(tmp_path: Path) -> None:
    keys = str(tmp_path)
    make_certificates(tmp_path, Wanted(agents=("laptop",)))
    result = CliRunner().invoke(muxado_command, ["certs", keys, "--revoke", "laptop"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{keys}/revoked: laptop\n"
    first = read_revoked(tmp_path / "revoked")
    again = ("--revoke", "laptop", "--agent", "laptop", "--overwrite")
    result = CliRunner().invoke(muxado_command, ["certs", keys, *again])
    assert f"{keys}/revoked: nothing new\n{keys}/laptop.pem (laptop.key): agent" in result.stdout
    assert read_revoked(tmp_path / "revoked") == first
    result = CliRunner().invoke(muxado_command, ["certs", keys, "--revoke", "phone"])
    assert result.exit_code == 2
    assert "phone.pem: No such file" in result.stderr


def test_what_is_revoked_needs_somebody_who_shows_it(tmp_path: Path) -> None:
    arguments = ["gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0"]
    result = CliRunner().invoke(muxado_command, [*arguments, "--revoked", str(tmp_path / "file")])
    assert result.exit_code == 2
    assert "--revoked needs --ssl-ca-certs or --jwt-keys" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loop", "names"), [("asyncio", "any"), ("uvloop", "listed"), ("trio", "listed")]
)
def test_whose_certificate_is_revoked_is_sent_away(tmp_path: Path, loop: str, names: str) -> None:
    """Also who has never registered, and whatever names count."""
    make_certificates(tmp_path, Wanted(agents=("laptop", "phone", "other")))
    (tmp_path / "revoked").touch()

    def files(name: str) -> tuple[str, ...]:
        return (
            *("--ssl-certfile", str(tmp_path / f"{name}.pem")),
            *("--ssl-keyfile", str(tmp_path / f"{name}.key")),
            *("--ssl-ca-certs", str(tmp_path / "ca.pem")),
            *("--loop", loop),
        )

    options = ("--cert-names", names, "--revoked", str(tmp_path / "revoked"))
    doors = ("--publish", "blog=127.0.0.1:0", "--publish", "127.0.0.1:0")
    with running(
        "gateway", "--listen", "tls://127.0.0.1:0", *doors, *options, *files("gateway")
    ) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        serve = ("serve", APP, "--connect", url, "--max-retries", "1")
        with (
            running(*serve, *files("laptop"), "--name", "blog") as laptop,
            running(*serve, *files("phone")),
            running(*serve, *files("other")),
        ):
            gateway.wait_for(r"agent (laptop@\S+) serves blog")
            gateway.wait_for(r"agent (phone@\S+) connected")
            gateway.wait_for(r"agent (other@\S+) connected")
            (tmp_path / "revoked").write_text("laptop\n")
            gateway.send(signal.SIGHUP)
            gateway.wait_for("(stay as they were: .*revoked, line 1: is neither)")
            (tmp_path / "revoked").write_text("")
            revoke(tmp_path, ("laptop", "phone"))
            gateway.send(signal.SIGHUP)
            gateway.wait_for(r"agent laptop@\S+ may not stay: (the certificate laptop is revoked)")
            gateway.wait_for(r"agent phone@\S+ may not stay: (the certificate phone is revoked)")
            laptop.wait_for("it refused: (the certificate laptop is revoked)")
        assert gateway.end() == 0
        assert "other@" not in "".join(
            line for line in gateway.said().splitlines() if "may not stay" in line
        )
