"""Files that decide, or are a secret, as a token file is both."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from muxado_py.cli.trust.deciding_files import TokenFileError
from muxado_py.cli.trust.tokens import read_tokens

LINE = f"laptop:sha256={'0' * 64}:blog\n"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_file_that_everybody_reads_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    path = tmp_path / "tokens"
    path.write_text(LINE)
    path.chmod(mode)
    with caplog.at_level(logging.WARNING, "muxado.cli"):
        assert len(read_tokens(path)) == 1
    assert ("can be read by everybody" in caplog.text) is (mode == 0o644)


def test_a_file_that_everybody_writes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(LINE)
    path.chmod(0o602)
    with pytest.raises(TokenFileError, match=r"written by everybody.*: chmod 600 "):
        read_tokens(path)


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="No such file"):
        read_tokens(tmp_path / "tokens")
    (tmp_path / "tokens").write_bytes(b"laptop:\xff")
    with pytest.raises(TokenFileError, match="UTF-8"):
        read_tokens(tmp_path / "tokens")


def test_a_pipe_is_read_once_and_does_not_become_a_file_without_tokens(tmp_path: Path) -> None:
    """As ``--token-file <(...)`` is; at SIGHUP it would have sent everybody away."""
    ours, theirs = os.pipe()
    os.write(theirs, LINE.encode())
    os.close(theirs)
    path = Path(f"/dev/fd/{ours}")
    assert len(read_tokens(path)) == 1
    with pytest.raises(TokenFileError, match="nothing to read, and is no file"):
        read_tokens(path)
    os.close(ours)
    (tmp_path / "tokens").touch(0o600)
    assert not len(read_tokens(tmp_path / "tokens"))
