"""Run the command line as a user does, and hold its failures to one form."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

from shardreader.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run one command in another process, through `python -m shardreader`."""
    done = subprocess.run(
        [sys.executable, "-m", "shardreader", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=120,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def run_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one command in this process: quick, for the many ways of going wrong."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    out.flush()
    return subprocess.CompletedProcess(
        arguments,
        status,
        out.buffer.getvalue().decode(),
        err.getvalue(),  # type: ignore[attr-defined]
    )


def assert_refused(done: subprocess.CompletedProcess[str], *words: str, status: int = 2) -> None:
    """Hold a failed run to one or two lines on standard error, without a traceback."""
    assert done.returncode == status, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert 1 <= len(lines) <= 2, done.stderr
    assert lines[0].startswith("shardreader: error: ")
    for word in words:
        assert word in done.stderr
