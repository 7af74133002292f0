"""``--proxy``: agents and callers that reach their gateway through a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from ..dialing.proxy_servers import connect_proxy
from .processes import run, running
from .test_end_to_end import gateway, get

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> str:
    """The proxy's; the loops under test are the processes'."""
    return "asyncio"


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
async def test_an_agent_serves_through_a_proxy(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(port: int) -> str:
        with gateway() as (_, url, doors):
            monkeypatch.setenv("HTTPS_PROXY", f"http://us:pa55word@127.0.0.1:{port}")
            monkeypatch.setenv("NO_PROXY", "localhost")
            arguments = ("--connect", url, "--proxy", "environment", "--loop", loop)
            with running("serve", "tests.cli.apps:starlette_app", *arguments) as agent:
                agent.wait_for("(connected to)")
                assert get(doors)[0] == 200
                assert agent.end() == 0
            assert "pa55word" not in agent.said()
            pinged = run("ping", url, "--proxy", f"http://127.0.0.1:{port}", "-c", "1")
            assert pinged.returncode == 3
            assert "407 Who are you?" in pinged.stderr
        return url

    async with connect_proxy(credentials="Basic dXM6cGE1NXdvcmQ=") as proxy:
        with anyio.fail_after(100):
            url = await to_thread.run_sync(serve, proxy.port)
        assert proxy.heads[0].startswith(f"CONNECT {url.removeprefix('tcp://')} ")


def test_what_is_no_proxy_is_told_without_its_password(tmp_path: Path) -> None:
    wrong = "ftp://us:pa55word@proxy.test"
    for arguments, code, words in (
        (("ping", "tcp://127.0.0.1:1", "--proxy", wrong), 2, "a proxy must be"),
        (("ping", f"unix://{tmp_path}/x", "--proxy", "http://p.test"), 3, "a proxy needs a tcp://"),
        (
            ("serve", "x:y", "--listen", "tcp://127.0.0.1:0", "--proxy", "http://p.test"),
            2,
            "--proxy needs --connect",
        ),
        (
            (
                *("serve", "tests.cli.apps:starlette_app"),
                *("--connect", f"unix://{tmp_path}/x", "--proxy", "http://p.test"),
            ),
            3,
            "a proxy needs a tcp://",
        ),
    ):
        found = run(*arguments)
        assert found.returncode == code, found.stderr
        assert words in found.stderr.replace("\n", " ")
        assert "pa55word" not in found.stderr
        assert "Traceback" not in found.stderr
