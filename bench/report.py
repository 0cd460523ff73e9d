"""The results as text: tables for the terminal and ``report.md``."""

from __future__ import annotations

__all__ = ["as_seconds", "markdown", "terminal"]


def as_seconds(seconds: float) -> str:
    """A time in the unit that suits it."""
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def _bytes(count: float) -> str:
    for factor, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} B"


def _cells_of_rows(results: dict) -> list[list[str]]:
    fractions = {}
    for row in results["rows"]:
        if row["kind"] == "limit":
            fractions[row["scenario"]] = f"{row['ratio']:.2g} of {row['against']}"
    table = [["scenario", "state", "against", "ours", "theirs", "ratio", "equal", "of its limit"]]
    for row in results["rows"]:
        small = "" if row["full_size"] else " (clipped)"
        equal = {True: "yes", None: "-", False: "-"}[row["equal"]]
        table.append(
            [
                row["title"] + small,
                row["state"],
                row["against"],
                as_seconds(row["ours_median"]),
                as_seconds(row["other_median"]),
                f"{row['ratio']:.2f}",
                equal,
                fractions.get(row["scenario"], "-"),
            ]
        )
    return table


def _cells_of_wanted(results: dict) -> list[list[str]]:
    table = [["scenario", "against", "ratio", "at least", "aim", ""]]
    for entry in results["wanted"]:
        note = "" if entry["full_size"] else " (clipped box: not comparable)"
        table.append(
            [
                entry["title"],
                entry["against"],
                f"{entry['ratio']:.2f}",
                f"{entry['least']:.3g}",
                f"{entry['aim']:.3g}",
                entry["verdict"] + note,
            ]
        )
    return table


def _cells_of_memory(results: dict) -> list[list[str]]:
    table = [["scenario", "reader", "peak above rest", "of it the result", "first run"]]
    table += [
        [
            entry["title"],
            entry["reader"],
            _bytes(entry["peak_bytes"]),
            _bytes(entry["result_bytes"]) if entry["result_bytes"] else "-",
            as_seconds(entry["seconds"]),
        ]
        for entry in results.get("memory", [])
    ]
    return table


def _cells_of_start(results: dict) -> list[list[str]]:
    start = results.get("start")
    if not start:
        return [[]]
    table = [["a whole process", "seconds", "above an empty program"]]
    empty = start["medians"]["an empty program"]
    for name, seconds in start["medians"].items():
        table.append([name, f"{seconds:.3f}", f"{seconds - empty:.3f}"])
    difference = start["first_label_above_trivial_kernel"]
    table.append(["the first label above the trivial kernel", f"{difference:.3f}", "at most 0.3"])
    return table


def _cells_of_threads(results: dict) -> list[list[str]]:
    entries = results.get("scaling", [])
    if not entries:
        return [[]]
    measured, estimated = entries[0]["medians"], entries[0]["estimated"]
    table = [
        [
            "scenario",
            *(f"{t} thread{'s' * (t != '1')}" for t in measured),
            "serial part",
            *(f"{t} (estimate)" for t in estimated),
        ]
    ]
    table += [
        [
            entry["title"],
            *(as_seconds(seconds) for seconds in entry["medians"].values()),
            as_seconds(entry["serial_seconds"]),
            *(as_seconds(seconds) for seconds in entry["estimated"].values()),
        ]
        for entry in entries
    ]
    return table


def _cells_of_growth(results: dict) -> list[list[str]]:
    growth = results.get("growth")
    if not growth:
        return [[]]
    table = [["work", "time", "of one", "peak above rest", "of one"]]
    for kind in ("points", "voxels"):
        for entry in growth[kind]:
            count = entry[kind]
            table.append(
                [
                    f"{count:,} {kind}",
                    as_seconds(entry["seconds"]),
                    f"{entry['seconds'] / count * 1e9:.3g} ns",
                    _bytes(entry["peak_bytes"]),
                    f"{entry['peak_bytes'] / count:.3g} B",
                ]
            )
    return table


def _cells_of_disk(results: dict) -> list[list[str]]:
    table = [["reads of the region's files", "pages", "time", "bytes", "rate"]]
    table += [
        [
            entry["name"],
            entry["pages"],
            as_seconds(entry["median"]),
            _bytes(entry["bytes"]),
            f"{entry['bytes'] / entry['median'] / 1e9:.2f} GB/s",
        ]
        for entry in results.get("disk", [])
    ]
    return table


_SECTIONS = (
    ("Rows", _cells_of_rows),
    ("Memory, each in a process of its own", _cells_of_memory),
    ("Beginning", _cells_of_start),
    ("Threads", _cells_of_threads),
    ("Growth", _cells_of_growth),
    ("Disk", _cells_of_disk),
    ("What was wanted", _cells_of_wanted),
)


def _sections(results: dict):
    for title, cells in _SECTIONS:
        table = cells(results)
        if len(table) > 1:
            yield title, table


def terminal(results: dict) -> str:
    """All tables in plain text; the one of what was wanted is last."""
    parts = []
    for title, table in _sections(results):
        widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        parts.append("\n".join([f"\n{title}", "-" * len(lines[0]), *lines]))
    return "\n".join([*parts, *_notes(results)])


_HOW_TO_READ = (
    "Times are medians; a ratio is the median over pairs of runs in turn, theirs over ours, so "
    "that more is better for us. Against a limit it is the share of the limit that is reached. "
    '"Fresh open": each run, on both sides, has a volume that was opened just before, outside of '
    'its time; "caches warm": one that stays open. "Pages" are those of the operating system.'
)


def _what_was_measured(results: dict) -> str:
    lower, upper = results["region"]
    blocks = results["volume"]["share_of_blocks_by_bits"].items()
    return (
        f"{results['path']}, region {lower} to {upper}, threads {results['threads']}, "
        f"{results['created']}. A stored chunk has "
        f"{results['volume']['stored_bytes_per_chunk']:.0f} bytes on average; blocks by encoded "
        f"bits: {', '.join(f'{share:.0%} of {bits}' for bits, share in blocks)}."
    )


def _machine(machine: dict) -> str:
    versions = [f"{name} {version or 'absent'}" for name, version in machine["libraries"].items()]
    return (
        f"{machine['cpu']}, {machine['usable_cores']} cores, "
        f"{_bytes(machine['memory_bytes'] or 0)}; {machine['disk']} ({machine['filesystem']}); "
        f"{machine['kernel']}; huge pages {machine['huge_pages']}; Python {machine['python']}; "
        f"{', '.join(versions)}; load average {machine['load_average']}."
    )


def _python_share(share: dict) -> str:
    parts = share["microseconds_per_chunk"]
    return (
        f"Of a chunk of the dense cutout into out=, on one thread: {parts['whole']:.0f} us in all, "
        f"{parts['read and inflate']:.0f} read and inflated, {parts['decode']:.0f} decoded; "
        f"the rest, {share['python_microseconds_per_chunk']:.0f} us, is Python."
    )


def markdown(results: dict, plots: list[str]) -> str:
    """``report.md``."""
    lines = [
        "# Benchmark of shardreader",
        "",
        _what_was_measured(results),
        "",
        _machine(results["machine"]),
        "",
        _HOW_TO_READ,
        *(f"\n**{note}**" for note in _notes(results)),
    ]
    for title, table in _sections(results):
        lines += ["", f"## {title}", "", "| " + " | ".join(table[0]) + " |"]
        lines.append("|" + "---|" * len(table[0]))
        lines += ["| " + " | ".join(row) + " |" for row in table[1:]]
    if results.get("python_share"):
        lines += ["", _python_share(results["python_share"])]
    if results["tuning"]:
        lines += ["", "## Settings that were tried", ""]
        for name, tried in results["tuning"].items():
            best = min(tried, key=tried.__getitem__)
            times = "; ".join(f"{what}: {as_seconds(value)}" for what, value in tried.items())
            lines.append(f"- {name}: {times}. Taken: {best}.")
    for plot in plots:
        lines += ["", f"![{plot}]({plot})"]
    return "\n".join(lines) + "\n"


def _notes(results: dict) -> list[str]:
    notes = [*(entry["text"] for entry in results["failures"]), *results["warnings"]]
    if results["absent_peers"]:
        notes.append(f"not installed, left out: {', '.join(results['absent_peers'])}")
    return notes
