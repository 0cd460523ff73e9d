"""The viewer in a real browser: segments are drawn where the volume has them."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from cli import REPOSITORY
from fixture_truth import FAFB_MINI
from numpy.typing import NDArray
from PIL import Image
from served import serving

import shardreader
from shardreader import PointStatus, open_volume
from shardreader.checking.findings import FindingKind

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
AT = (61440, 32768, 3076)
# Orange over black, as much of it as the boxes have.
NOT_DOWNLOADED = np.array([242, 165, 65]) * 0.35
DAMAGED = np.array([215, 38, 61]) * 0.15


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("neuroglancer")
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(
            executable_path=CHROMIUM,
            args=["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--headless"],
        )


@contextmanager
def viewing(*arguments: object) -> Iterator[str]:
    """The address that the command prints; it must end well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "shardreader", "view", *map(str, arguments), "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors.splitlines()[-1]) == (0, "shardreader: ended")


class Shown:
    """A page when nothing changes on it any more."""

    def __init__(self, browser: Any, url: str, save_as: str) -> None:
        self.page = browser.new_page(viewport={"width": 1200, "height": 900})
        self.hosts: set[str] = set()
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.goto(url)
        before, same = b"", 0
        # A plain wait: with a virtual clock the open connections never end.
        for _ in range(60):
            self.page.wait_for_timeout(700)
            now = self.page.screenshot()
            same = same + 1 if now == before and len(now) > 40_000 else 0
            before = now
            if same == 2:
                break
        self.image = np.array(Image.open(io.BytesIO(before)))[..., :3].astype(int)
        self.text: str = self.page.inner_text("body")
        panels = self.page.query_selector_all(".neuroglancer-rendered-data-panel")
        self.panels = sorted(
            (box["y"], box["x"], box["width"], box["height"])
            for box in (panel.bounding_box() for panel in panels)
        )
        directory = os.environ.get("SHARDREADER_SCREENSHOTS")
        if directory:  # to look at
            Image.fromarray(self.image.astype(np.uint8)).save(Path(directory) / f"{save_as}.png")

    def panel(self, number: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The colours around the middle of a panel, and how far each pixel is from it."""
        top, left, width, height = self.panels[number]
        half = int(min(width, height) / 2) - 70  # the scale bar and buttons lie at the edge
        across, down = left + width / 2, top + height / 2
        columns = np.arange(round(across) - half, round(across) + half)
        rows = np.arange(round(down) - half, round(down) + half)
        return self.image[np.ix_(rows, columns)], columns + 0.5 - across, rows + 0.5 - down


def expected_colors(labels: NDArray[Any], status: NDArray[Any]) -> NDArray[Any]:
    from neuroglancer.segment_colors import hex_string_from_segment_id

    distinct, which = np.unique(labels, return_inverse=True)
    palette = np.array(
        [
            list(bytes.fromhex(hex_string_from_segment_id(0, label)[1:])) if label else [0, 0, 0]
            for label in distinct.tolist()
        ]
    )
    colors = palette[which.reshape(labels.shape)].astype(float)
    colors[status == PointStatus.NOT_DOWNLOADED] = NOT_DOWNLOADED
    return colors


def compare(shown: Shown, number: int, path: Path, axes: tuple[int, int], voxel_nm: Any) -> None:
    """Hold each pixel of a panel to what the volume says at its place."""
    colors, columns, rows = shown.panel(number)
    nm_per_pixel = 8
    points = np.full((len(rows), len(columns), 3), 0.5) + AT
    points[..., axes[0]] += columns * nm_per_pixel / voxel_nm[axes[0]]
    points[..., axes[1]] += rows[:, np.newaxis] * nm_per_pixel / voxel_nm[axes[1]]
    with open_volume(path) as vol:
        labels, status = vol.lookup(points, units="voxel", return_status=True)
    assert {PointStatus.OK, PointStatus.EMPTY, PointStatus.NOT_DOWNLOADED} <= set(
        np.unique(status).tolist()
    )
    expected = expected_colors(labels, status)
    # Where neighbours differ, rounding decides which of them a pixel shows; box edges and the
    # axis lines are drawn over the middle.
    same = np.ones(labels.shape, np.bool_)
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            same &= np.roll(labels, step, axis) == labels
            same &= np.roll(status, step, axis) == status
    same[np.abs(rows) < 6] = False
    same[:, np.abs(columns) < 6] = False
    off = np.abs(colors - expected).max(axis=2)
    wrong = same & (off > 4)
    assert same.mean() > 0.6
    assert not wrong.any(), (
        f"{wrong.sum()} of {same.sum()} pixels, the first {np.argwhere(wrong)[0]}"
    )
    assert len(np.unique(labels[same])) > 5


def test_segments_are_where_the_volume_has_them(
    browser: Any, writable: Callable[[str], Path]
) -> None:
    copy = writable("fafb-mini")
    # x and y from the corner on, at the depth that is shown.
    (copy / "8.0x8.0x40.0" / "066c.shard").unlink()
    with viewing(copy, "--at", ",".join(map(str, AT)), "--units", "voxel") as url:
        shown = Shown(browser, url, "segments")
    assert shown.hosts == {urlsplit(url).netloc}  # nothing from the internet
    compare(shown, 0, copy, (0, 1), (8, 8, 40))
    compare(shown, 1, copy, (0, 2), (8, 8, 40))
    # The info names a mesh that is not in the copy.
    assert "rror" not in shown.text


def test_a_page_of_another_origin_reads_parts_of_files(browser: Any) -> None:
    """As a hosted Neuroglancer does: with a preflight, and it sees which part it got."""
    page = browser.new_page()
    with serving(FAFB_MINI) as server:
        found = page.evaluate(
            """async (url) => {
              const headers = {range: 'bytes=-16', 'cache-control': 'no-cache'};
              const part = await fetch(url + '/8.0x8.0x40.0/02fa.shard', {headers});
              const head = await fetch(url + '/8.0x8.0x40.0/02fa.shard', {method: 'HEAD'});
              const absent = await fetch(url + '/8.0x8.0x40.0/0000.shard', {headers});
              return [part.status, part.headers.get('content-range'),
                      part.headers.get('etag') !== null,
                      (await part.arrayBuffer()).byteLength,
                      head.status, head.headers.get('content-length'), absent.status];
            }""",
            server.url,
        )
    page.close()
    assert found == [206, "bytes 18179-18194/18195", True, 16, 200, "18195", 410]


def test_points_and_damage_can_be_clicked(
    browser: Any, writable: Callable[[str], Path], tmp_path: Path
) -> None:
    copy = writable("fafb-mini")
    shard = copy / "8.0x8.0x40.0" / "066c.shard"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    report = shardreader.verify(copy, level="full", allow_absent=True)
    assert not report.ok
    report.write(tmp_path / "report.json")
    points = str(copy / "points-with-problems.csv")
    arguments = ("--report", tmp_path / "report.json", "--points", points, "--units", "voxel")
    with viewing(copy, *arguments) as url:
        shown = Shown(browser, url, "damage")
        (chunk,) = (f for f in report.findings if f.kind is FindingKind.CHUNK_DECODE)
        assert chunk.voxel_box is not None
        assert chunk.file in shown.text
        colors, columns, rows = shown.panel(0)
        place = np.full((len(rows), len(columns), 2), 0.5) + (61339, 32715)
        place += np.stack(np.meshgrid(columns, rows), axis=-1)
        lower, upper = chunk.voxel_box.lower[:2], chunk.voxel_box.upper[:2]
        # Neuroglancer could not draw it; the boxes of the chunk and of its shard lie there.
        inside = ((place > np.add(lower, 6)) & (place < np.subtract(upper, 6))).all(axis=2)
        inside[:, np.abs(columns) < 6] = False
        assert inside.sum() > 5000
        twice = DAMAGED + DAMAGED * 0.85
        assert np.abs(colors[inside] - twice).max() < 5
        shown.page.get_by_text(chunk.kind.text).click(button="right")
        middle = [
            (a + b) / 2 for a, b in zip(chunk.voxel_box.lower, chunk.voxel_box.upper, strict=True)
        ]
        shown.page.wait_for_function(
            "([x, y, z]) => { const p = viewer.position.value;"
            " return [x, y, z].every((v, i) => Math.abs(v - p[i]) < 1); }",
            arg=middle,
            timeout=20_000,
        )
