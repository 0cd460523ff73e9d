"""The speeds that the project set itself, as ratios of ours against another."""

from __future__ import annotations

__all__ = ["WANTED", "judge"]

# Scenario, against, at least, aim. Against a limit the ratio is the share of it that is reached.
WANTED = (
    ("cutout", "tensorstore", 4.0, 6.0),
    ("cutout", "memset of a fresh array", 0.6, 0.8),
    ("cutout-out", "memset of a warm array", 0.5, 0.7),
    ("slice-xy", "tensorstore", 15.0, 25.0),
    ("slice-xz", "tensorstore", 15.0, 25.0),
    ("cutout-64", "tensorstore", 5.0, 8.0),
    ("points-100k", "tensorstore", 15.0, 25.0),
    ("points-6000-walks", "tensorstore", 15.0, 25.0),
    ("points-1m", "tensorstore", 8.0, 12.0),
    ("points-500-walks", "cloud-volume", 50.0, 100.0),
    ("open-point", "tensorstore", 4.0, 10.0),
    ("labels", "tensorstore", 100.0, 100.0),
    ("labels", "cloud-volume", 20.0, 20.0),
    ("counts", "tensorstore", 30.0, 30.0),
    ("mask", "plain cutout", 1.0, 1.0),
    ("mapping", "plain cutout", 1.0, 1.0),
    ("decode-compresso-64x64x64", "compresso", 1.0, 1.5),
    ("decode-compresso-128x128x32", "compresso", 1.0, 1.5),
    ("decode-crackle-64x64x64", "crackle-codec", 1.0, 1.5),
    ("decode-crackle-128x128x32", "crackle-codec", 1.0, 1.5),
    ("verify", "libdeflate over its chunks", 1 / 1.3, 1 / 1.15),
)


def judge(rows: list[dict]) -> list[dict]:
    """Each wanted ratio with what was measured; a row that was not measured is left out."""
    measured = {(row["scenario"], row["against"]): row for row in rows}
    found = []
    for scenario, against, least, aim in WANTED:
        row = measured.get((scenario, against))
        if row is None:
            continue
        ratio = row["ratio"]
        verdict = "aim reached" if ratio >= aim else "reached" if ratio >= least else "NOT REACHED"
        found.append(
            {
                "scenario": scenario,
                "title": row["title"],
                "against": against,
                "ratio": ratio,
                "least": least,
                "aim": aim,
                "verdict": verdict,
                "full_size": row["full_size"],
                "state": row["state"],
            }
        )
    return found
