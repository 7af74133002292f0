"""``muxado certs``: which files it makes, what it leaves alone, and that real processes take what it made."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from cryptography import x509

from muxado_py.cli.commands import muxado as muxado_command
from muxado_py.cli.trust.certs import CertificateFileError, Wanted, make_certificates
from muxado_py.cli.trust.permits import Permit
from muxado_py.cli.trust.tokens import (
    add_line,
    hash_token,
    make_token,
    parse_line,
    read_token,
    read_tokens,
)

from ..processes import running

if TYPE_CHECKING:
    from collections.abc import Mapping


def contents(directory: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def names_in(path: Path) -> list[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


def test_a_first_run_makes_all_of_it(tmp_path: Path) -> None:
    keys = tmp_path / "new" / "keys"
    made = make_certificates(keys, Wanted())
    assert [one.path.name for one in made] == ["ca.pem", "gateway.pem", "agent.pem"]
    assert names_in(keys / "gateway.pem") == ["localhost", "127.0.0.1", "::1"]
    assert names_in(keys / "agent.pem") == ["*"]
    assert sorted(contents(keys)) == sorted(
        path.name for one in made for path in (one.path, one.key)
    )


def test_keys_are_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = make_certificates(tmp_path / "keys", Wanted())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for one in made:
        assert stat.S_IMODE(one.key.stat().st_mode) == 0o600
        assert stat.S_IMODE(one.path.stat().st_mode) == 0o644


def test_a_later_run_adds_agents_of_the_same_authority(tmp_path: Path) -> None:
    make_certificates(tmp_path, Wanted(agents=("laptop",)))
    before = contents(tmp_path)
    made = make_certificates(tmp_path, Wanted(agents=("desktop", "phone", "desktop")))
    assert [one.path.name for one in made] == ["desktop.pem", "phone.pem"]
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    authority = x509.load_pem_x509_certificate(after["ca.pem"])
    for name in ("laptop", "desktop", "gateway"):
        x509.load_pem_x509_certificate(after[f"{name}.pem"]).verify_directly_issued_by(authority)


def test_tokens_are_made_in_the_place_of_certificates_of_agents(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    before = os.umask(0)
    try:
        made = make_certificates(keys, Wanted(tokens=("home", "away"), names=("blog", "shop-*")))
    finally:
        os.umask(before)
    assert [one.path.name for one in made] == ["ca.pem", "gateway.pem", "home.token", "away.token"]
    known = read_tokens(keys / "tokens")
    for name in ("home", "away"):
        found = known.find(read_token(keys / f"{name}.token"))
        assert found == Permit(name, ("blog", "shop-*"))
    for name in ("tokens", "home.token", "away.token"):
        assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600
    make_certificates(keys, Wanted(tokens=("third",)))
    assert read_tokens(keys / "tokens").names() == {"home", "away", "third"}


@pytest.mark.parametrize("wanted", [Wanted(tokens=("home",)), Wanted(tokens=("../home",))])
def test_a_token_that_is_there_or_cannot_be_is_found_out_before_anything_is_written(
    tmp_path: Path, wanted: Wanted
) -> None:
    (tmp_path / "home.token").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"there already|the name of a token"):
        make_certificates(tmp_path, wanted)
    assert contents(tmp_path) == before
    (tmp_path / "home.token").unlink()
    add_line(tmp_path / "tokens", parse_line("home", hash_token(make_token()), "*"))
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"has a token home already|the name of a token"):
        make_certificates(tmp_path, wanted)
    assert contents(tmp_path) == before


def test_the_command_says_how_to_use_a_token(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    result = CliRunner().invoke(
        muxado_command, ["certs", str(keys), "--host", "gateway.example", "--token", "home"]
    )
    assert result.exit_code == 0, result.output
    assert f"{keys}/home.token (tokens): token for any name" in result.stdout
    gateway, agent = result.stderr.splitlines()
    assert gateway.endswith(f"--token-file {keys}/tokens")
    assert agent == (
        "muxado serve APP --connect tls://gateway.example:7000 "
        f"--token-file {keys}/home.token --ssl-ca-certs {keys}/ca.pem"
    )


def test_a_gateway_whose_files_were_moved_to_it_gets_others(tmp_path: Path) -> None:
    make_certificates(tmp_path, Wanted())
    for kind in ("pem", "key"):
        (tmp_path / f"gateway.{kind}").unlink()
    made = make_certificates(tmp_path, Wanted(agents=("laptop",)))
    assert [one.path.name for one in made] == ["gateway.pem", "laptop.pem"]


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        (Wanted(), r"say --agent NAME for one more agent"),
        (Wanted(overwrite=True), r"say --agent NAME for one more agent"),
        (Wanted(agents=("new", "agent")), r"agent\.pem: there already; say --overwrite"),
        (Wanted(hosts=("gateway.example",)), r"gateway\.pem: there already; say --overwrite"),
        (Wanted(agents=("CA",)), "cannot be an agent's name: CA.pem is another's"),
        (Wanted(agents=("gateway",), overwrite=True), "cannot be an agent's name"),
        (Wanted(agents=("new", "../agent")), "cannot be an agent's name"),
        (Wanted(agents=("new",), hosts=("a b",), overwrite=True), "is no host"),
        (Wanted(agents=("new",), names=("Blog",)), "is no pattern of names"),
        (Wanted(agents=("new",), names=("",)), "is no pattern of names"),
        (Wanted(hosts=("a",), names=("blog",), overwrite=True), "say --agent NAME with --names"),
    ],
)
def test_a_run_that_is_refused_has_written_nothing(
    tmp_path: Path, wanted: Wanted, fault: str
) -> None:
    make_certificates(tmp_path, Wanted())
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=fault):
        make_certificates(tmp_path, wanted)
    assert contents(tmp_path) == before


def test_what_is_named_is_replaced_if_that_is_said(tmp_path: Path) -> None:
    make_certificates(tmp_path, Wanted(agents=("laptop", "desktop")))
    before = contents(tmp_path)
    make_certificates(tmp_path, Wanted(hosts=("192.0.2.1",), agents=("laptop",), overwrite=True))
    after = contents(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {
        *("gateway.pem", "gateway.key"),
        *("laptop.pem", "laptop.key"),
    }
    assert names_in(tmp_path / "gateway.pem") == ["192.0.2.1"]


def test_no_second_authority_beside_what_another_signed(tmp_path: Path) -> None:
    make_certificates(tmp_path, Wanted())
    for kind in ("pem", "key"):
        (tmp_path / f"ca.{kind}").unlink()
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(CertificateFileError, match="signed by an authority that is not in"):
            make_certificates(tmp_path, Wanted(agents=("agent",), overwrite=overwrite))
    assert contents(tmp_path) == before


def test_an_authority_that_cannot_sign_is_said_so(tmp_path: Path) -> None:
    make_certificates(tmp_path, Wanted())
    (tmp_path / "ca.key").rename(tmp_path / "elsewhere")
    with pytest.raises(
        CertificateFileError, match=r"cannot read the authority, .*ca\.key: No such"
    ):
        make_certificates(tmp_path, Wanted(agents=("laptop",)))
    (tmp_path / "ca.key").write_bytes((tmp_path / "agent.key").read_bytes())
    with pytest.raises(CertificateFileError, match=r"ca\.pem: its key is another certificate's"):
        make_certificates(tmp_path, Wanted(agents=("laptop",)))


def test_a_directory_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CertificateFileError, match=r"cannot write into .*: Not a directory"):
        make_certificates(tmp_path / "file" / "keys", Wanted())


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificates(tmp_path, Wanted())
    before = contents(tmp_path)

    def full(path: Path, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "chmod", full)
    with pytest.raises(CertificateFileError, match="No space left on device"):
        make_certificates(tmp_path, Wanted(agents=("agent",), overwrite=True))
    assert contents(tmp_path) == before


def test_the_command_says_what_it_made_and_how_to_use_it(tmp_path: Path) -> None:
    keys = tmp_path / "my keys"
    arguments = ["certs", str(keys), "--host", "gateway.example", "--agent", "laptop"]
    result = CliRunner().invoke(muxado_command, arguments)
    assert result.exit_code == 0, result.output
    assert [line.partition(", until 20")[0] for line in result.stdout.splitlines()] == [
        f"{keys}/ca.pem (ca.key): authority",
        f"{keys}/gateway.pem (gateway.key): gateway at gateway.example",
        f"{keys}/laptop.pem (laptop.key): agent for any name",
    ]
    gateway, serve = result.stderr.splitlines()
    assert gateway.startswith("muxado gateway --listen tls://0.0.0.0:7000 ")
    assert serve.startswith("muxado serve APP --connect tls://gateway.example:7000 ")
    assert serve.endswith(f"--ssl-ca-certs '{keys}/ca.pem'")
    later = CliRunner().invoke(muxado_command, ["certs", str(keys), "--agent", "phone"])
    assert later.stderr.startswith("muxado serve APP --connect tls://gateway.example:7000 ")
    refused = CliRunner().invoke(muxado_command, arguments)
    assert refused.exit_code == 2
    assert "say --overwrite" in " ".join(refused.stderr.split())


def test_the_command_says_what_an_agent_is_for(tmp_path: Path) -> None:
    arguments = ["certs", str(tmp_path), "--agent", "laptop", "--names", "blog-*, blog"]
    result = CliRunner().invoke(muxado_command, arguments)
    assert "laptop.pem (laptop.key): agent for blog-*, blog, until" in result.stdout
    assert "muxado serve APP --name blog --connect" in result.stderr
    assert names_in(tmp_path / "laptop.pem") == ["blog-*", "blog"]
    arguments = ["certs", str(tmp_path), "--agent", "phone", "--names", "app-*"]
    result = CliRunner().invoke(muxado_command, arguments)
    assert "muxado serve APP --name NAME --connect" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_processes_take_what_it_made_and_nothing_of_another_authority(
    tmp_path: Path, loop: str
) -> None:
    for name in ("ours", "theirs"):
        make_certificates(tmp_path / name, Wanted())

    def files(shown: str, certificate: str, trusted: str = "ours") -> tuple[str, ...]:
        return (
            *("--ssl-certfile", str(tmp_path / shown / f"{certificate}.pem")),
            *("--ssl-keyfile", str(tmp_path / shown / f"{certificate}.key")),
            *("--ssl-ca-certs", str(tmp_path / trusted / "ca.pem")),
            *("--loop", loop),
        )

    publish = ("gateway", "--listen", "tls://127.0.0.1:0", "--publish", "127.0.0.1:0")
    with running(*publish, *files("ours", "gateway")) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        serve = ("serve", "tests.cli.apps:starlette_app", "--connect", url)
        with running(*serve, *files("ours", "agent")) as agent:
            agent.wait_for("connected to (.*)")
            gateway.wait_for(r"agent \S+ (connected)")
        for shown, why in (
            (files("theirs", "agent"), "does not let this side in: unknown ca"),
            (files("ours", "gateway"), "does not let this side in: unsupported certificate"),
        ):
            with running(*serve, *shown) as agent:
                assert agent.wait() == 3
                agent.wait_for(f"({why})")
                gateway.wait_for("(shows a certificate that is not trusted here): .")
        with running(*serve, *files("ours", "agent", "theirs")) as agent:
            assert agent.wait() == 3
            agent.wait_for(r"(shows a certificate that is not trusted: .*)\. Name its authority")
            gateway.wait_for("failed: (.*unknown ca)")
