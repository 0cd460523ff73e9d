"""The command ``python -m bench``."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import sys
import time
from pathlib import Path

__all__ = ["main"]

_DISK_DEPTH = 32


def main(arguments: list[str]) -> int:
    """Run the suite, or the sub-command ``make``."""
    if arguments[:1] == ["make"]:
        from bench import make

        return make.main(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    # Only now: --help needs none of what is measured.
    from bench.errors import CannotMeasure
    from bench.suite import Options, run_suite

    try:
        results = run_suite(_checked(options, Options), Progress())
    except CannotMeasure as error:
        parser.error(str(error))
    return _write(results, options.out)


def _write(results: dict, out: Path) -> int:
    from bench.report import markdown, terminal

    plots = []
    can_draw = importlib.util.find_spec("matplotlib") is not None
    if not can_draw:
        results["warnings"].append("matplotlib is not installed: no plots")
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if can_draw:
        from bench.plots import draw_all

        plots = draw_all(results, out)
    (out / "report.md").write_text(markdown(results, plots))
    print(terminal(results))
    print(f"\n{out}: results.json, report.md{''.join(', ' + name for name in plots)}")
    return 1 if any(failure["unequal"] for failure in results["failures"]) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench",
        description="Measure shardreader on a volume, against other readers and against what the "
        "machine can do. `python -m bench make DIR` writes a volume to measure on.",
    )
    parser.add_argument("path", help="directory of a sharded volume (that of its file `info`)")
    parser.add_argument("--scale", help="index or key of a scale")
    parser.add_argument("--region", help="x0,y0,z0,x1,y1,z1 in voxels; default: where data is")
    parser.add_argument("--cold", action="store_true", help="drop the files' pages before each run")
    parser.add_argument("--peers", help="comma-separated; default: all that are installed")
    parser.add_argument("--scenarios", help="names of rows or groups; default: all")
    parser.add_argument("--threads", help="comma-separated, for example 1,2; the rows take the "
                        "most; default: 1 and all cores")  # fmt: skip
    parser.add_argument("--io-depth", type=int, default=_DISK_DEPTH,
                        help="reads in flight when the disk is measured "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--runs", type=int, default=7, help="pairs of runs (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="where results go (default: bench-DATE)")
    return parser


def _checked(options: argparse.Namespace, make_options):
    from bench.errors import CannotMeasure

    numbers = None if options.threads is None else _numbers(options.threads, "--threads")
    if numbers is not None and (not numbers or min(numbers) < 1):
        raise CannotMeasure("--threads takes positive numbers")
    if options.runs < 1 or options.io_depth < 1:
        raise CannotMeasure("--runs and --io-depth take positive numbers")
    region = None if options.region is None else _numbers(options.region, "--region")
    if region is not None and len(region) != 6:
        raise CannotMeasure("--region takes x0,y0,z0,x1,y1,z1")
    scale = options.scale
    if options.out is None:
        options.out = Path(f"bench-{datetime.datetime.now():%Y-%m-%d-%H%M%S}")
    options.out.mkdir(parents=True, exist_ok=True)
    return make_options(
        path=options.path,
        scale=int(scale) if scale is not None and scale.isdecimal() else scale,
        region=region,
        cold=options.cold,
        peers=None if options.peers is None else options.peers.split(","),
        scenarios=None if options.scenarios is None else options.scenarios.split(","),
        threads=numbers,
        io_depth=options.io_depth,
        runs=options.runs,
        out=options.out,
    )


def _numbers(text: str, name: str) -> list[int]:
    from bench.errors import CannotMeasure

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise CannotMeasure(f"{name} takes whole numbers with commas between: {text}") from None


class Progress:
    """Says on stderr what is measured, with the seconds since the start."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def __call__(self, text: str) -> None:
        spent = time.monotonic() - self._begin
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{spent:5.0f} s  {text}")
        else:
            sys.stderr.write(f"{spent:5.0f} s  {text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
