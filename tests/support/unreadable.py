"""Commands that the operating system refuses to let read a file."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from cli import REPOSITORY

_DROP_FROM_BOUNDING_SET = 24  # PR_CAPBSET_DROP
_READS_ALL = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def run_without_rights(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who cannot read what `chmod` forbids: root loses that right."""
    with started_without_rights(*arguments) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started_without_rights(*arguments: object) -> subprocess.Popen[str]:
    """Start such a command."""
    if os.name == "nt" or (os.geteuid() == 0 and not sys.platform.startswith("linux")):
        pytest.skip("needs a user who is not root, or Linux")
    return subprocess.Popen(
        [sys.executable, "-m", "shardreader", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        preexec_fn=_lose_rights if os.geteuid() == 0 else None,
    )


def _lose_rights() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for right in _READS_ALL:
        if libc.prctl(_DROP_FROM_BOUNDING_SET, right, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "cannot give up a capability")


def run_on_bad_sectors(bad: Path, end: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command on a drive whose reads of the first `end` bytes of a file fail with EIO."""
    code = f"""
        import os, sys
        import pytest
        from preads import replace_pread, true_pread
        from shardreader.cli import main

        identity = os.stat({str(bad)!r})

        def pread(descriptor, length, position):
            if position < {end} and os.path.samestat(os.fstat(descriptor), identity):
                raise OSError(5, "Input/output error")
            return true_pread(descriptor, length, position)

        with pytest.MonkeyPatch.context() as patch:
            replace_pread(patch, pread)
            sys.exit(main(sys.argv[1:]))
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{Path(__file__).parent}"},
        timeout=300,
        check=False,
    )
