"""What a certificate is for: the DNS names in it, where they are names, and nothing else that stands there."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from anyio.streams.tls import TLSAttribute
from click.testing import CliRunner

from muxado_py.cli.commands import muxado as muxado_command
from muxado_py.cli.trust.certified import certified
from muxado_py.cli.trust.certs import Wanted, make_certificates
from muxado_py.cli.trust.permits import Permit

from ..processes import running

if TYPE_CHECKING:
    from pathlib import Path

APP = "tests.cli.apps:starlette_app"


class Session:
    def __init__(self, certificate: dict[str, Any] | None) -> None:
        self.extra_attributes = {TLSAttribute.peer_certificate: lambda: certificate}


def shown(*names: tuple[str, str], subject: tuple[Any, ...] = ()) -> Any:
    """A session whose peer has shown a certificate, as :mod:`ssl` tells of it."""
    said: dict[str, Any] = {"subject": subject, "serialNumber": "0A"}
    return Session({**said, "subjectAltName": names} if names else said)


def test_without_a_certificate_nothing_is_known() -> None:
    nothing: Any = Session(None)
    unverified: Any = Session({})
    assert certified(nothing) is None
    assert certified(unverified) is None
    nothing.extra_attributes.clear()
    assert certified(nothing) is None


@pytest.mark.parametrize(
    ("names", "patterns"),
    [
        ((), ()),
        ((("DNS", "blog"), ("DNS", "blog-*"), ("DNS", "Shop")), ("blog", "blog-*", "shop")),
        ((("DNS", "*"),), ("*",)),
        ((("DNS", "laptop.example.org"), ("DNS", "*.example.org"), ("DNS", "blog.")), ()),
        ((("DNS", ""), ("DNS", "a,b"), ("DNS", "[a-z]"), ("DNS", "b?og"), ("DNS", "blog\n")), ()),
        ((("DNS", "x" * 64), ("DNS", "blog\x00.example.org"), ("DNS", "bl\u00f6g")), ()),
        ((("email", "*"), ("URI", "blog"), ("IP Address", "192.0.2.1")), ()),
    ],
)
def test_its_dns_names_that_are_patterns_are_its_names(
    names: tuple[tuple[str, str], ...], patterns: tuple[str, ...]
) -> None:
    certificate = certified(shown(*names))
    assert certificate is not None
    assert certificate.permit.patterns == patterns
    assert certificate.serial == 10


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ((), ""),
        (((("organizationName", "blog"),),), ""),
        (((("commonName", "blog"),),), "blog"),
        (((("commonName", "*"),), (("commonName", "blog"),)), "*"),
        (((("commonName", "a\x1b[31m"),),), r"a\x1b[31m"),
    ],
)
def test_its_common_name_is_for_the_log_and_for_nothing_else(
    subject: tuple[Any, ...], name: str
) -> None:
    certificate = certified(shown(subject=subject))
    assert certificate is not None
    assert certificate.permit == Permit(name, ())
    assert not certificate.permit.allows("blog")
    assert not certificate.permit.allows("")


def files_in(path: Path, name: str, loop: str) -> tuple[str, ...]:
    return (
        *("--ssl-certfile", str(path / f"{name}.pem")),
        *("--ssl-keyfile", str(path / f"{name}.key")),
        *("--ssl-ca-certs", str(path / "ca.pem")),
        *("--loop", loop),
    )


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_an_agent_serves_and_calls_what_its_certificate_is_for(tmp_path: Path, loop: str) -> None:
    make_certificates(tmp_path, Wanted(agents=("laptop",), names=("blog", "blog-*")))
    make_certificates(tmp_path, Wanted(agents=("any",)))

    def files(name: str) -> tuple[str, ...]:
        return files_in(tmp_path, name, loop)

    doors = ("--publish", "127.0.0.1:0", "--allow-forward", "blog", "--allow-forward", "ssh")
    with running("gateway", "--listen", "tls://127.0.0.1:0", *doors, *files("gateway")) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        serve = ("serve", APP, "--connect", url, "--max-retries", "0")
        with running(*serve, *files("laptop"), "--name", "blog", "--name", "blog-1") as agent:
            gateway.wait_for(r"agent (laptop@\S+) serves blog, blog-1")
            agent.end(signal.SIGTERM)
        with running(*serve, *files("laptop"), "--name", "ssh") as agent:
            agent.wait_for("it refused: (the certificate laptop is for blog, blog-\\* and not for)")
        with running(*serve, *files("any")):
            gateway.wait_for(r"agent (any@\S+) connected")
        call = ("forward", "127.0.0.1:0", "--connect", url, *files("laptop"), "--max-retries", "0")
        with running(*call, "--name", "blog") as caller:
            caller.wait_for("calling (blog)")
        with running(*call, "--name", "ssh") as caller:
            caller.wait_for("it refused: (the certificate laptop is for blog)")
        gateway.end()
    with running(
        "gateway", "--listen", "tls://127.0.0.1:0", *doors, *files("gateway"), "--cert-names", "any"
    ) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        with running("serve", APP, "--connect", url, *files("laptop"), "--name", "ssh"):
            gateway.wait_for(r"agent (laptop@\S+) serves ssh")


@pytest.mark.slow
@pytest.mark.waits
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_an_agent_that_says_no_name_is_told_what_its_certificate_is_for(
    tmp_path: Path, loop: str
) -> None:
    make_certificates(tmp_path, Wanted(agents=("laptop",), names=("blog", "blog-*")))
    doors = ("--publish", "127.0.0.1:0", *files_in(tmp_path, "gateway", loop))
    with running("gateway", "--listen", "tls://127.0.0.1:0", *doors) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        serve = ("serve", APP, "--connect", url, "--max-retries", "0")
        with running(*serve, *files_in(tmp_path, "laptop", loop)) as agent:
            agent.wait_for("(an agent must register here: the certificate laptop is for blog)")
            assert agent.wait() == 4


def test_names_of_certificates_count_where_certificates_are_asked_for() -> None:
    arguments = ["gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0"]
    result = CliRunner().invoke(muxado_command, [*arguments, "--cert-names", "any"])
    assert result.exit_code == 2
    assert "--cert-names needs --ssl-ca-certs" in result.stderr
