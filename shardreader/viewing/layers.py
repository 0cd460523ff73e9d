"""What the viewer shows beside the segments: points and boxes, as Neuroglancer's JSON.

Coordinates of a layer are voxels of the scale that the viewer counts in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.copies.state_colors import DAMAGED, NOT_DOWNLOADED, css
from shardreader.errors import PointStatus
from shardreader.format.grid import Box

__all__ = [
    "SEGMENTS",
    "STATUS_COLORS",
    "Layer",
    "absent_layer",
    "box_annotation",
    "damage_layer",
    "points_layer",
]

SEGMENTS = "segments"
"""The name of the layer of the volume itself."""

# The same in the pictures: damage is red, what is not downloaded orange.
STATUS_COLORS = {
    PointStatus.OK: "#ffffff",
    PointStatus.EMPTY: "#8c8c8c",
    PointStatus.OUT_OF_BOUNDS: "#b36bff",
    PointStatus.NOT_DOWNLOADED: css(NOT_DOWNLOADED),
    PointStatus.CORRUPT: css(DAMAGED),
}
_BOX_SHADER = """\
void main() {
  setColor(vec4(defaultColor(), 1.0));
  setBoundingBoxFillColor(vec4(defaultColor(), %.2f));
}
"""
_ABSENT_FILL = 0.35
_DAMAGE_FILL = 0.15


@dataclass(frozen=True)
class Layer:
    """One annotation layer.

    Parameters
    ----------
    name : str
    color : str
        As ``#rrggbb``.
    shader : str
        How an annotation is drawn, in Neuroglancer's language.
    annotations : list
    properties : list
        What each annotation says beside its place.
    """

    name: str
    color: str
    shader: str
    annotations: list[dict[str, Any]]
    properties: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The layer as a member of the viewer's state."""
        layer: dict[str, Any] = {
            "type": "annotation",
            "name": self.name,
            "source": {"url": "local://annotations"},
            "annotationColor": self.color,
            "shader": self.shader,
            "annotations": self.annotations,
            "tab": "annotations",
        }
        if self.properties:
            layer["annotationProperties"] = self.properties
            layer["annotationRelationships"] = ["segment"]
            layer["linkedSegmentationLayer"] = {"segment": SEGMENTS}
        return layer


def box_annotation(number: int, box: Box, text: str) -> dict[str, Any]:
    """A box one can click, with a line of text."""
    return {
        "type": "axis_aligned_bounding_box",
        "id": f"box-{number}",
        "pointA": list(box.lower),
        "pointB": list(box.upper),
        "description": text,
    }


def absent_layer(parts: Iterable[tuple[Box, str]]) -> Layer:
    """Filled boxes where the copy has no data.

    Neuroglancer draws nothing there, which looks like background.
    """
    annotations = [box_annotation(number, *part) for number, part in enumerate(parts)]
    color = STATUS_COLORS[PointStatus.NOT_DOWNLOADED]
    return Layer("not downloaded", color, _BOX_SHADER % _ABSENT_FILL, annotations)


def damage_layer(findings: Iterable[tuple[Box, str]]) -> Layer:
    """The damage that ``verify`` found, a box for each finding."""
    annotations = [box_annotation(number, *part) for number, part in enumerate(findings)]
    color = STATUS_COLORS[PointStatus.CORRUPT]
    return Layer("damaged", color, _BOX_SHADER % _DAMAGE_FILL, annotations)


def points_layer(
    positions: NDArray[np.floating[Any]],
    labels: Sequence[int],
    status: Sequence[int],
    rows: Sequence[int],
) -> Layer:
    """Points in the colour of their status, each tied to its segment.

    Parameters
    ----------
    positions : ndarray of float, shape (n, 3)
    labels, status : sequence of n ints
        As `Volume.lookup` returns them.
    rows : sequence of n ints
        The row of each in the user's table, from 1.
    """
    names = {int(code): PointStatus(code).name for code in STATUS_COLORS}
    annotations = []
    points = zip(positions.tolist(), labels, status, rows, strict=True)
    for position, label, code, row in points:
        annotation: dict[str, Any] = {
            "type": "point",
            "id": f"row-{row}",
            "point": position,
            "description": f"row {row}: {label if code == PointStatus.OK else names[code]}",
            "props": [code],
        }
        # Segment 0 is background, which the viewer could only hide.
        annotation["segments"] = [[str(label)] if label else []]
        annotations.append(annotation)
    status_property = {
        "id": "status",
        "type": "uint8",
        "description": "what a 0 means",
        "enum_values": list(names),
        "enum_labels": list(names.values()),
    }
    return Layer("points", "#ffffff", _point_shader(), annotations, [status_property])


def _point_shader() -> str:
    lines = [
        f"  if (prop_status() == {int(code)}u) color = vec3({_glsl(color)});"
        for code, color in STATUS_COLORS.items()
    ]
    return "\n".join(
        [
            "void main() {",
            "  vec3 color = defaultColor();",
            *lines,
            "  setColor(color);",
            "  setPointMarkerSize(9.0);",
            "  setPointMarkerBorderWidth(2.0);",
            "  setPointMarkerBorderColor(vec3(0.0, 0.0, 0.0));",
            "}",
        ]
    )


def _glsl(color: str) -> str:
    return ", ".join(f"{int(color[at : at + 2], 16) / 255:.3f}" for at in (1, 3, 5))
