"""The results as pictures (matplotlib, without a display)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["draw_all"]

OURS, THEIRS, ESTIMATE = "#1f5fa8", "#c9793a", "#8fb3da"
_LIMIT_COLOURS = {
    "memset, new memory": "#444444",
    "memset, warm": "#888888",
    "libdeflate": "#2e8b57",
    "disk, random reads": "#a03060",
}


def draw_all(results: dict, out: Path) -> list[str]:
    """Write the plots that there are numbers for; returns their file names."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    pictures: tuple[tuple[str, Callable], ...] = (
        ("peers.png", _peers),
        ("roofline.png", _roofline),
        ("threads.png", _threads),
        ("growth.png", _growth),
        ("latency.png", _latency),
    )
    drawn = []
    for name, draw in pictures:
        figure = draw(results)
        if figure is not None:
            figure.savefig(out / name, dpi=110, bbox_inches="tight")
            drawn.append(name)
    return drawn


def _figure(width: float, height: float, columns: int = 1):
    import matplotlib.pyplot as plt

    return plt.subplots(1, columns, figsize=(width, height), layout="constrained")


def _peers(results: dict):
    """How many times faster than each peer, with what was wanted."""
    rows = [row for row in results["rows"] if row["kind"] == "peer"]
    if not rows:
        return None
    figure, axes = _figure(9.5, 1.2 + 0.34 * len(rows))
    wanted = {(w["scenario"], w["against"]): w for w in results["wanted"]}
    colours = dict(zip(dict.fromkeys(row["against"] for row in rows),
                       ("#1f5fa8", "#c9793a", "#2e8b57", "#a03060", "#777777"),
                       strict=False))  # fmt: skip
    for at, row in enumerate(rows):
        axes.barh(at, row["ratio"], color=colours[row["against"]], height=0.66)
        axes.text(row["ratio"] * 1.06, at, f"{row['ratio']:.3g}", va="center", fontsize=9)
        goal = wanted.get((row["scenario"], row["against"]))
        if goal:
            axes.plot([goal["least"]] * 2, [at - 0.42, at + 0.42], color="black", lw=2)
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.axvline(1, color="#999999", lw=1)
    axes.set_xlim(right=max(row["ratio"] for row in rows) * 2)
    axes.set_xlabel("times as fast as the other (median of pairs); black: wanted at least")
    handles = [_patch(colour, name) for name, colour in colours.items()]
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4,
                frameon=False)  # fmt: skip
    return figure


def _patch(colour: str, name: str):
    from matplotlib.patches import Patch

    return Patch(color=colour, label=name)


def _roofline(results: dict):
    """Result bytes a second over result bytes for each stored byte, under what limits them."""
    points = {}
    for row in results["rows"]:
        work = row["work"]
        if not work.get("result_bytes") or not work.get("stored_bytes"):
            continue
        if row["scenario"].startswith("open-point"):
            continue
        x = work["result_bytes"] / work["stored_bytes"]
        points.setdefault(row["scenario"], (x, work["result_bytes"] / row["ours_median"] / 1e9, []))
        if row["against"] == "tensorstore":
            points[row["scenario"]][2].append(work["result_bytes"] / row["other_median"] / 1e9)
    roofs = _roofs(results)
    if not points or not roofs:
        return None
    figure, axes = _figure(9, 5.6)
    xs = [x for x, _, _ in points.values()]
    lowest = min(min(y, *theirs) if theirs else y for _, y, theirs in points.values())
    line = np.geomspace(min(xs) / 3, max(xs) * 3, 50)
    for name, (flat, slope) in roofs.items():
        ys = np.full_like(line, flat) if flat else slope * line
        axes.plot(line, ys, color=_LIMIT_COLOURS[name], lw=1.5, label=name,
                  ls="-" if flat else "--")  # fmt: skip
    for x, _, theirs in points.values():
        for y in theirs:
            axes.plot(x, y, "s", color=THEIRS, ms=5)
    for number, (name, (x, y, _)) in enumerate(sorted(points.items(), key=lambda p: p[1][:2])):
        axes.plot(x, y, "o", color=OURS, ms=7)
        # Rows of the same work have the same x: their names go to both sides in turn.
        right = number % 2 == 0
        axes.annotate(name, (x, y), xytext=(7 if right else -7, -3), textcoords="offset points",
                      fontsize=8, ha="left" if right else "right")  # fmt: skip
    axes.plot([], [], "o", color=OURS, label="shardreader")
    axes.plot([], [], "s", color=THEIRS, label="tensorstore")
    axes.set_xscale("log")
    axes.set_yscale("log")
    highest = max([y for _, y, _ in points.values()] + [flat or 0 for flat, _ in roofs.values()])
    axes.set_ylim(lowest / 2, 3 * highest)
    axes.set_xlabel("bytes of the result for each stored byte that has to be inflated")
    axes.set_ylabel("GB of result a second")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.grid(alpha=0.25)
    return figure


def _roofs(results: dict) -> dict[str, tuple[float | None, float]]:
    """By name: a level in GB/s, or a slope in stored GB/s."""
    roofs: dict[str, tuple[float | None, float]] = {}
    for row in results["rows"]:
        work = row["work"]
        if row["against"] == "memset of new memory":
            roofs["memset, new memory"] = (work["result_bytes"] / row["other_median"] / 1e9, 0.0)
        elif row["against"] == "memset of a warm array":
            roofs["memset, warm"] = (work["result_bytes"] / row["other_median"] / 1e9, 0.0)
        elif row["against"] == "libdeflate over its chunks" and row["scenario"] != "verify":
            rate = work["stored_bytes"] / row["other_median"] / 1e9
            best = roofs.get("libdeflate", (None, 0.0))[1]
            roofs["libdeflate"] = (None, max(best, rate))
    for entry in results.get("disk", []):
        if entry["pages"] == "dropped" and "random" in entry["name"]:
            roofs["disk, random reads"] = (None, entry["bytes"] / entry["median"] / 1e9)
    return roofs


def _threads(results: dict):
    """Speed-up over threads: measured, and estimated from the serial part."""
    entries = results.get("scaling")
    if not entries:
        return None
    figure, axes = _figure(7, 4.6)
    ideal = [1, 16]
    axes.plot(ideal, ideal, color="#bbbbbb", lw=1, label="as many times as threads")
    for entry, colour in zip(entries, (OURS, THEIRS, "#2e8b57"), strict=False):
        measured = {int(t): s for t, s in entry["medians"].items()}
        one = measured[min(measured)]
        estimated = {int(t): s for t, s in entry["estimated"].items() if int(t) not in measured}
        axes.plot(list(measured), [one / s for s in measured.values()], "o-", color=colour,
                  label=entry["title"])  # fmt: skip
        dashed = {max(measured): one / measured[max(measured)]}
        dashed |= {t: one / s for t, s in estimated.items()}
        axes.plot(list(dashed), list(dashed.values()), "--", color=colour, marker=".", alpha=0.7)
    axes.plot([], [], "--", color="#555555", label="estimate from the serial part alone")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    ticks = [1, 2, 4, 8, 16]
    axes.set_xticks(ticks, ticks)
    axes.set_yticks(ticks, ticks)
    axes.set_xlabel("threads")
    axes.set_ylabel("times as fast as one thread")
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.25)
    return figure


def _growth(results: dict):
    """Time and memory over points; time over voxels."""
    growth = results.get("growth")
    if not growth or not growth["points"]:
        return None
    figure, (time_axes, memory_axes, voxel_axes) = _figure(12.5, 3.8, 3)
    counts = np.array([entry["points"] for entry in growth["points"]]) / 1e6
    _line(time_axes, counts, [e["seconds"] for e in growth["points"]], "million points", "seconds")
    peaks = [entry["peak_bytes"] / 2**20 for entry in growth["points"]]
    _line(memory_axes, counts, peaks, "million points", "MiB above rest")
    voxels = np.array([entry["voxels"] for entry in growth["voxels"]]) / 1e6
    times = [entry["seconds"] * 1e3 for entry in growth["voxels"]]
    _line(voxel_axes, voxels, times, "million voxels of a cutout", "milliseconds")
    return figure


def _line(axes, xs, ys, x_name: str, y_name: str) -> None:
    axes.plot(xs, ys, "o", color=OURS)
    if len(xs) > 1:
        slope, base = np.polyfit(xs, ys, 1)
        ends = np.array([0.0, max(xs)])
        axes.plot(ends, base + slope * ends, "--", color=ESTIMATE, label="straight line fitted")
        axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(alpha=0.25)


def _latency(results: dict):
    """Share of single-point lookups that are answered within a time."""
    latencies = results.get("latency")
    if not latencies:
        return None
    figure, axes = _figure(7.5, 4.4)
    for reader, colour in zip(latencies, (OURS, THEIRS), strict=False):
        for (name, seconds), style in zip(latencies[reader].items(), ("-", "--"), strict=True):
            ordered = np.sort(np.array(seconds)) * 1e6
            share = (np.arange(len(ordered)) + 1) / len(ordered) * 100
            middle = np.median(ordered)
            axes.step(ordered, share, style, color=colour, where="post",
                      label=f"{reader}, {name}: median {middle:.0f} us")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("microseconds for one point, volume open")
    axes.set_ylabel("% answered within")
    axes.set_ylim(0, 101)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.grid(alpha=0.25)
    return figure
