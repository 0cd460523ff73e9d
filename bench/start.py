"""How long a process takes to begin: import, ``--help``, and the first label."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from bench.rows import Setup

__all__ = ["start_times"]

_TRIVIAL = '''"""One trivial cached kernel, to compare a first use with."""

import numba


@numba.njit("int64(int64)", nogil=True, cache=True)
def add_one(number):
    return number + 1
'''
_ROOT = Path(__file__).parent.parent


def start_times(setup: Setup, say) -> dict:
    """Medians of whole processes in turn, from start to end; the first round is not counted."""
    (setup.out / "trivial_kernel.py").write_text(_TRIVIAL)
    point = [list(setup.region.lower)]
    lookup = (
        "import shardreader\n"
        f"vol = shardreader.open_volume({setup.path!r}, {setup.vol.scale.index}, missing='zero')\n"
        f"vol.lookup({point!r}, units='voxel')"
    )
    trivial = (
        f"import sys\nsys.path.insert(0, {str(setup.out)!r})\n"
        "import trivial_kernel\ntrivial_kernel.add_one(1)"
    )
    programs = {
        "an empty program": ["-c", "pass"],
        "import shardreader": ["-c", "import shardreader"],
        "shardreader --help": ["-m", "shardreader", "--help"],
        "numba and a trivial cached kernel": ["-c", trivial],
        "the first label": ["-c", lookup],
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(setup.runs + 1):
        for name, arguments in programs.items():
            say(f"{name}, {number}")
            spent = _whole_process(arguments)
            if number:
                seconds[name].append(spent)
    numba_alone, first = seconds["numba and a trivial cached kernel"], seconds["the first label"]
    return {
        "seconds": seconds,
        "medians": {name: median(times) for name, times in seconds.items()},
        "first_label_above_trivial_kernel": median(
            b - a for a, b in zip(numba_alone, first, strict=True)
        ),
    }


def _whole_process(arguments: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=_ROOT)
    return time.perf_counter() - begin
