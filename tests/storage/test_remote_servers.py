"""Remote reads from servers that other people wrote: moto's S3 and Google interfaces, and nginx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixture_truth import FAFB_MINI, FIXTURES
from other_servers import NGINX, free_port, moto, running, upload
from remote_cases import BOX, POINTS

from shardreader import PointStatus, open_volume, verify

__all__ = ["moto"]  # a fixture

SMALL = FIXTURES / "mostly-background"


def assert_same_as_local(url: str, cache_dir: Path) -> None:
    with open_volume(FAFB_MINI) as local, open_volume(url, cache_dir=cache_dir) as vol:
        labels, status = vol.lookup(POINTS, units="voxel", return_status=True)
        same, _ = local.lookup(POINTS, units="voxel", return_status=True)
        np.testing.assert_array_equal(labels, same)
        assert set(status.tolist()) == {PointStatus.OK, PointStatus.EMPTY}
        np.testing.assert_array_equal(vol.cutout(BOX), local.cutout(BOX))
    with open_volume(cache_dir) as kept:
        np.testing.assert_array_equal(kept.lookup(POINTS, units="voxel"), labels)
    assert verify(cache_dir, allow_absent=True).ok


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_moto(kind: str, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", moto)
    assert_same_as_local(f"{kind}://bucket/volume", tmp_path / "kept")
    with open_volume(f"{kind}://bucket/volume") as vol:
        vol.stored_chunks(BOX)
        for path in FAFB_MINI.rglob("*.shard"):
            name = path.relative_to(FAFB_MINI).as_posix()
            upload(f"{moto}/bucket/volume/{name}", data=path.read_bytes() + b"another one")
        with open_volume(FAFB_MINI) as local:
            np.testing.assert_array_equal(vol.cutout(BOX), local.cutout(BOX))
    for path in FAFB_MINI.rglob("*.shard"):
        name = path.relative_to(FAFB_MINI).as_posix()
        upload(f"{moto}/bucket/volume/{name}", data=path.read_bytes())


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body;\n"
        f"proxy_temp_path {tmp_path}/proxy; fastcgi_temp_path {tmp_path}/fastcgi;\n"
        f"uwsgi_temp_path {tmp_path}/uwsgi; scgi_temp_path {tmp_path}/scgi;\n"
        f"server {{ listen {url.removeprefix('http://')}; root {SMALL}; }} }}\n"
    )
    command = [str(NGINX), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    with open_volume(SMALL, missing="zero") as local:
        whole = local[...]
    with running(command, f"{url}/info"):
        for _ in range(2):
            with open_volume(url, cache_dir=tmp_path / "kept") as vol:
                np.testing.assert_array_equal(vol[...], whole)
    with open_volume(tmp_path / "kept") as kept:  # it says what the source does not have, too
        np.testing.assert_array_equal(kept[...], whole)
