"""JWT: which are taken, for what, and that no other key and no other algorithm makes one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.cli.agents.agent import Agent
from muxado_py.cli.agents.guard import Guard
from muxado_py.cli.agents.registration import Registration
from muxado_py.cli.trust.deciding_files import TokenFileError
from muxado_py.cli.trust.jwt_keys import LEEWAY, JwtKeys, parse_keys, read_keys
from muxado_py.cli.trust.permits import Bounds, Permit
from muxado_py.cli.trust.tokens import add_line, hash_token, make_token, parse_line

from ..processes import running

if TYPE_CHECKING:
    from pathlib import Path

EC = ec.generate_private_key(ec.SECP256R1())
EC384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
SECRET = b"0123456789abcdef0123456789abcdef"

PRIVATE: dict[str, Any] = {"ES256": EC, "ES384": EC384, "EdDSA": ED}


def public(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode()


def secret_jwk(secret: bytes = SECRET, **more: str) -> str:
    encoded = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return json.dumps({"kty": "oct", "k": encoded, **more})


def claims(**changed: Any) -> dict[str, Any]:
    """Good ones, with changes; None leaves one out."""
    good = {"exp": time.time() + 3600, "jti": "17", "sub": "laptop", "names": ["blog", "shop-*"]}
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def signed(key: Any = EC, algorithm: str = "ES256", **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm)


@pytest.fixture
def keys() -> JwtKeys:
    return parse_keys(public(EC), "keys")


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_each_kind_of_key_is_for_its_algorithm(algorithm: str) -> None:
    keys = parse_keys("".join(map(public, PRIVATE.values())), "keys")
    assert len(keys) == 3
    found = keys.find(signed(PRIVATE[algorithm], algorithm))
    assert found == Permit("laptop", ("blog", "shop-*"), "17")


@pytest.mark.slow
def test_a_key_of_rsa_is_for_rs256_alone() -> None:
    key = rsa.generate_private_key(65537, 2048)
    keys = parse_keys(public(key), "keys")
    assert keys.find(signed(key, "RS256")) is not None
    for other in ("RS512", "PS256"):
        assert keys.find(signed(key, other)) is None


def test_keys_come_as_jwk_too() -> None:
    one = jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True)
    two = jwt.algorithms.OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True)
    keys = parse_keys(json.dumps({"keys": [one, {**two, "alg": "EdDSA"}]}), "keys")
    assert keys.find(signed()) == keys.find(signed(ED, "EdDSA")) != None  # noqa: E711
    assert parse_keys(json.dumps(one), "keys").find(signed(ED, "EdDSA")) is None
    assert parse_keys(secret_jwk(), "keys").find(signed(SECRET, "HS256")) is not None


def forged(header: dict[str, Any], secret: bytes) -> str:
    """As somebody makes it who has no key, and need not heed what a library forbids."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=")
        for one in (header, claims())
    ]
    body = b".".join(parts)
    signature = hmac.new(secret, body, hashlib.sha256).digest() if secret else b""
    return (body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    "token",
    [
        signed(ec.generate_private_key(ec.SECP256R1())),
        signed(ED, "EdDSA"),
        signed(SECRET, "HS256"),
        forged({"alg": "none"}, b""),
        forged({"alg": "None", "typ": "JWT"}, b""),
        forged({"alg": "HS256"}, public(EC).encode()),
        forged({"alg": "HS256"}, public(EC).strip().encode()),
        forged({"alg": "ES256"}, public(EC).encode()),
        signed()[:-4],
        signed() + "A",
        f"{signed().rpartition('.')[0]}.",
        "",
        ".",
        "..",
        "\udcff.\udcff.\udcff",
        make_token(),
        "[" * 16_000,
        base64.urlsafe_b64encode(b"[" * 12_000).decode() + ".x.x",
    ],
    ids=range(18),
)
def test_what_no_key_of_the_file_signed_is_not_known(keys: JwtKeys, token: str) -> None:
    assert keys.find(token) is None


def test_an_extension_that_is_not_known_is_not_passed_over(keys: JwtKeys) -> None:
    """RFC 7515, 4.1.11; nor does its name reach a terminal."""
    for token in (
        forged({"alg": "ES256", "crit": ["\x1b[2J"]}, b"x"),
        jwt.encode(claims(), EC, "ES256", headers={"crit": ["\x1b[2J"], "\x1b[2J": 1}),
    ):
        with pytest.raises(PermissionError) as raised:
            keys.find(token)
        assert "\x1b" not in str(raised.value)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_made_up_token_is_more_than_unknown(noise: bytes, at: int) -> None:
    keys = parse_keys(public(EC), "keys")
    good = signed()
    assert keys.find(noise.decode("latin-1")) is None
    changed = good[:at] + noise.hex() + good[at + 1 :]
    if changed != good:
        assert keys.find(changed) is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"exp": 1}, "the time of the token that it shows is over"),
        ({"exp": None}, 'missing the "exp" claim'),
        ({"jti": None}, 'missing the "jti" claim'),
        ({"names": None}, 'missing the "names" claim'),
        ({"nbf": 2**33}, "not yet valid"),
        ({"aud": "another service"}, "(?i)audience"),
        ({"jti": 17}, "JWT ID must be a string"),
        ({"sub": 17}, "Subject must be a string"),
        ({"sub": None, "jti": ""}, "its jti can be revoked by no line"),
        ({"names": "blog"}, "names is no list of patterns"),
        ({"names": [1]}, "names is no list of patterns"),
        ({"names": ["Blog"]}, "'Blog' is no pattern of names"),
        ({"max_sessions": "2"}, "max_sessions must be a number, 1 or greater"),
        ({"max_sessions": True}, "max_sessions must be a number, 1 or greater"),
        ({"max_callers": 0}, "max_callers must be a number, 1 or greater"),
        ({"max_callers": 1.5}, "max_callers must be a number, 1 or greater"),
    ],
)
def test_what_is_signed_and_no_good_says_why(
    keys: JwtKeys, changed: dict[str, Any], why: str
) -> None:
    with pytest.raises(PermissionError, match=why):
        keys.find(signed(**changed))


def test_clocks_may_differ_a_little(keys: JwtKeys) -> None:
    assert keys.find(signed(exp=time.time() - LEEWAY / 3)) is not None
    assert keys.find(signed(nbf=time.time() + LEEWAY / 3)) is not None


def test_a_name_for_the_log_is_one_for_a_log(keys: JwtKeys) -> None:
    for changed, name in (
        ({"sub": None}, "17"),
        ({"sub": "a\x1b[2Jb"}, "a\\x1b[2Jb"),
    ):
        found = keys.find(signed(**changed))
        assert found is not None
        assert found.name == name


def test_a_long_name_is_cut_and_no_other_holders(keys: JwtKeys) -> None:
    names = [keys.find(signed(sub="x" * 100 + which)) for which in "aab"]
    one, again, other = (found.name for found in names if found is not None)
    assert one == again != other
    assert one.startswith("xxx")
    assert len(one) == 63


def test_it_says_how_much_its_holder_may_have_at_once(keys: JwtKeys) -> None:
    found = keys.find(signed(max_sessions=2, max_callers=50, session_ttl=3600))
    assert found is not None
    assert found.bounds == Bounds(2, 50, 3600)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no key is in it"),
        ("muxado_token", "no key is in it"),
        ('{"keys": []}', "no key is in it"),
        ('{"keys": 1}', "keys is no list"),
        ('{"keys": [1]}', "no JWK that is known here"),
        ('{"kty": "EC"}', "no JWK that is known here"),
        ("{", "Expecting property name"),
        ('{"a":' + "[" * 100_000, "nests too deeply"),
        (secret_jwk(b"short"), "a secret of 5 bytes may be guessed"),
        (secret_jwk(alg="HS512"), "a secret is for HS256 and not for HS512"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "."),
        (public(ed448.Ed448PrivateKey.generate()), "neither of RSA, nor Ed25519, nor of a curve"),
        (public(rsa.generate_private_key(65537, 1024)), "1024 bits"),
    ],
    ids=range(13),
)
def test_what_is_no_key_says_why(text: str, why: str) -> None:
    with pytest.raises(TokenFileError, match=rf"^keys: .*{why}"):
        parse_keys(text, "keys")


def test_a_private_key_does_not_belong_to_a_gateway() -> None:
    pem = EC.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    said = json.dumps(jwt.algorithms.ECAlgorithm.to_jwk(EC, as_dict=True))
    for text in (pem.decode(), said):
        with pytest.raises(TokenFileError, match="it has a private key"):
            parse_keys(text, "keys")


def test_public_keys_may_be_read_and_not_written_by_everybody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    path.write_text(public(EC))
    path.chmod(0o644)
    assert len(read_keys(path)) == 1
    assert not caplog.messages
    path.chmod(0o646)
    with pytest.raises(TokenFileError, match="written by everybody"):
        read_keys(path)


class Session:
    extra_attributes: dict[Any, Any] = {}  # noqa: RUF012


def test_a_guard_takes_tokens_of_either_kind_and_lets_stay_whose_time_is_over(
    tmp_path: Path,
) -> None:
    session: Any = Session()
    agent, token = Agent(session), make_token()
    add_line(tmp_path / "tokens", parse_line("desktop", hash_token(token), "*"))
    (tmp_path / "keys").write_text(public(EC))
    guard = Guard(tmp_path / "tokens", tmp_path / "keys")
    for judge, shown, refusal in (
        (guard.may_register, token, None),
        (guard.may_register, signed(), None),
        (guard.may_register, signed(ED, "EdDSA"), "the token that it shows is not known here"),
        (guard.may_register, signed(names=["x"]), "the token laptop is for x and not for blog"),
        (guard.may_register, signed(exp=1), "the time of the token that it shows is over"),
        (guard.may_stay, signed(exp=1), None),
        (guard.may_stay, signed(ED, "EdDSA"), "the token that it shows is not known here"),
    ):
        assert judge(agent, Registration(("blog",), token=shown)) == refusal
    assert agent.peer.startswith("laptop@")
    (tmp_path / "keys").write_text("")
    with pytest.raises(TokenFileError):
        guard.reload()
    assert guard.may_register(agent, Registration(("blog",), token=signed())) is None
    (tmp_path / "keys").write_text(public(ED))
    guard.reload()
    assert guard.may_stay(agent, Registration(("blog",), token=signed())) is not None


def test_a_token_that_is_revoked_is_for_nothing(tmp_path: Path) -> None:
    """Whatever it is called in the log, and also where it was let in before."""
    session: Any = Session()
    agent, blog = Agent(session), ("blog",)
    (tmp_path / "keys").write_text(public(EC))
    (tmp_path / "revoked").write_text("jti=18\njti=laptop\n")
    guard = Guard(key_file=tmp_path / "keys", revoked_file=tmp_path / "revoked")
    shown = {number: Registration(blog, token=signed(jti=number)) for number in ("17", "18")}
    assert guard.may_register(agent, shown["17"]) is None
    for judge in (guard.may_register, guard.may_stay):
        assert judge(agent, shown["18"]) == "the token laptop is revoked"
        expired = Registration(blog, token=signed(jti="18", exp=1))
        assert judge(agent, expired) is not None
    (tmp_path / "revoked").write_text("jti=17\n")
    guard.reload()
    assert guard.may_stay(agent, shown["17"]) == "the token laptop is revoked"
    assert guard.may_stay(agent, shown["18"]) is None


@pytest.mark.parametrize("number", ["", " 17", "17\n", "1\n7", "\x1b", "\u00a0"])
def test_what_no_line_could_revoke_is_not_taken(keys: JwtKeys, number: str) -> None:
    with pytest.raises(PermissionError, match="its jti can be revoked by no line of a file"):
        keys.find(signed(jti=number))


@pytest.mark.slow
def test_a_gateway_takes_what_somebody_else_signed(tmp_path: Path) -> None:
    keys, shown = tmp_path / "keys", tmp_path / "shown"
    keys.write_text(public(ED))
    listen = ("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "blog=127.0.0.1:0")
    with running(*listen, "--jwt-keys", str(keys)) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        serve = ("serve", "tests.cli.apps:starlette_app", "--name", "blog", "--connect", url)
        shown.write_text(signed(ED, "EdDSA"))
        with running(*serve, "--token-file", str(shown)):
            gateway.wait_for(r"agent (laptop@\S+) serves blog")
        shown.write_text(signed(EC, "ES256"))
        with running(*serve, "--token-file", str(shown)) as agent:
            agent.wait_for("it refused: (the token that it shows is not known here)")
