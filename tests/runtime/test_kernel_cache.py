"""A damaged cache of compiled functions, as killed processes and full disks leave it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cli import REPOSITORY
from fixture_truth import FAFB_MINI

LOOKUP = ("lookup", FAFB_MINI, FAFB_MINI / "points.csv", "--units", "voxel")
BOX = ("--box", "61339,32715,3099,61360,32730,3101", "--units", "voxel")
COMMANDS = {
    "lookup": LOOKUP,
    "cutout": ("cutout", FAFB_MINI, *BOX, "-o", "out.npy"),
    "labels": ("labels", FAFB_MINI, *BOX),
    "verify": ("verify", FAFB_MINI, "--allow-absent"),
    "picture": ("picture", FAFB_MINI, "--slice", "z=3099", *BOX, "-o", "out.png"),
}
WARNING = "compiled functions that numba keeps are damaged"


def run(cache: Path, command: Sequence[object], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shardreader", *map(str, command)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "NUMBA_CACHE_DIR": str(cache)},
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    done = run(cache, LOOKUP, cache)
    assert (done.returncode, done.stderr) == (0, "")
    return cache


def untimed(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("  time ")]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[: len(data) // 2],
        lambda data: bytes(len(data)),
        flip,
    ],
    ids=["emptied", "cut", "zeros", "one bit"],
)
def test_one_damaged_file(
    filled: Path, tmp_path: Path, ending: str, damage: Callable[[bytes], bytes]
) -> None:
    cache = shutil.copytree(filled, tmp_path / "cache")
    [file] = cache.glob(f"*/grouping_kernels._pack-*.{ending}")
    sound = file.read_bytes()
    file.write_bytes(damage(sound))
    done = run(cache, LOOKUP, tmp_path)
    assert (done.returncode, done.stdout) == (0, (FAFB_MINI / "points-truth.csv").read_text())
    assert done.stderr.count(WARNING) == 1
    assert len(file.read_bytes()) == len(sound)  # compiled anew into the same place


def test_the_file_of_another_function(filled: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(filled, tmp_path / "cache")
    [file], [other] = (cache.glob(f"*/grouping_kernels._{name}-*.nbc") for name in ("pack", "list"))
    shutil.copy(other, file)
    done = run(cache, LOOKUP, tmp_path)
    assert (done.returncode, done.stdout) == (0, (FAFB_MINI / "points-truth.csv").read_text())
    assert done.stderr.count(WARNING) == 1
    again = run(cache, LOOKUP, tmp_path)
    assert (again.stdout, again.stderr) == (done.stdout, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_file_damaged_and_every_command(name: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = run(cache, COMMANDS[name], tmp_path)
    for number, file in enumerate(sorted(cache.glob("*/*.nb[ic]"))):
        file.write_bytes((b"", file.read_bytes()[:100], b"\0" * 1000)[number % 3])
    second = run(cache, COMMANDS[name], tmp_path)
    assert (first.returncode, second.returncode) == (0, 0)
    assert untimed(second.stdout) == untimed(first.stdout)
    assert second.stderr.count(WARNING) == first.stderr.count(WARNING) + 1
    third = run(cache, COMMANDS[name], tmp_path)
    assert (third.returncode, third.stderr) == (0, first.stderr)
    assert untimed(third.stdout) == untimed(first.stdout)
