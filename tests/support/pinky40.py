"""A real segmentation with known truth, where it is at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shardreader import Box

PINKY = Path(__file__).resolve().parents[3] / "shared" / "data" / "pinky40"
TRUTH: dict[str, Any] = (
    json.loads((PINKY / "truth.json").read_text()) if (PINKY / "truth.json").exists() else {}
)
BOXES = TRUTH.get("boxes", [])


def box_of(entry: dict[str, Any]) -> Box:
    lower, upper = entry["box"]
    return Box(tuple(lower), tuple(upper))
