"""`fetch` from servers that other people wrote: moto's S3 and Google interfaces, and nginx."""

from __future__ import annotations

from pathlib import Path

import pytest
from fetching_cases import KEY, assert_right_copy, manifest_of
from fixture_truth import FAFB_MINI, FIXTURES
from other_servers import NGINX, free_port, moto, running, upload

import shardreader

__all__ = ["moto"]  # a fixture

SMALL = FIXTURES / "mostly-background"


@pytest.mark.slow
def test_motos_s3(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    for module in ("plan", "shard_download"):
        monkeypatch.setattr(f"shardreader.fetching.{module}.RANGE_BYTES", 10_000)
    report = shardreader.fetch("s3://bucket/volume", tmp_path)
    assert (report.ok, report.is_listed, report.whole, report.retries) == (True, True, 9, 0)
    assert_right_copy(tmp_path, FAFB_MINI, KEY)
    assert manifest_of(tmp_path).scales[KEY].files["02fa.shard"].etag
    assert shardreader.fetch("s3://bucket/volume", tmp_path).requests == 2


@pytest.mark.slow
def test_motos_s3_with_credentials(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
    assert shardreader.fetch("s3://bucket/volume", tmp_path, auth=True).whole == 9
    with pytest.raises(shardreader.InfoError, match="name of the bucket"):
        shardreader.fetch("s3://no-such-bucket/volume", tmp_path / "other")


@pytest.mark.slow
def test_motos_xml_as_google_has_it(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no JSON listing: each possible shard is asked for."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", moto)
    for path in SMALL.rglob("*"):
        if path.name == "info" or path.suffix == ".shard":
            upload(
                f"{moto}/bucket/small/{path.relative_to(SMALL).as_posix()}", data=path.read_bytes()
            )
    report = shardreader.fetch("gs://bucket/small", tmp_path)
    assert (report.ok, report.is_listed, report.whole, report.source_has_none) == (
        *(True, False, 2, 2),
    )
    assert_right_copy(tmp_path, SMALL, "8_8_40")


def nginx(folder: Path, root: Path) -> tuple[str, list[str]]:
    """Give the URL and the command of a server of one directory."""
    url = f"http://127.0.0.1:{free_port()}"
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body;\n"
        f"proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n"
        f"uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n"
        f"server {{ listen {url.removeprefix('http://')}; root {root}; }} }}\n"
    )
    return url, [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, command = nginx(tmp_path, SMALL)
    monkeypatch.setattr("shardreader.fetching.shard_download.RANGE_BYTES", 100)
    with running(command, f"{url}/info"):
        report = shardreader.fetch(url, tmp_path / "copy")
        assert (report.ok, report.whole, report.source_has_none) == (True, 2, 2)
        assert report.requests == 1 + 2 + 2 * 2
        assert_right_copy(tmp_path / "copy", SMALL, "8_8_40")
        assert shardreader.fetch(url, tmp_path / "copy").requests == 1


PART = shardreader.Box((61430, 32760, 3060), (61450, 32780, 3080))


def assert_part(source: str, copy: Path) -> None:
    """Fetch a part, and hold it to the fixture."""
    report = shardreader.fetch(source, copy, box=PART)
    assert (report.ok, report.possible, report.retries) == (True, 8, 0)
    assert report.partial + report.source_has_none == 8
    assert report.partial > 1
    with shardreader.open_volume(copy) as here, shardreader.open_volume(FAFB_MINI) as there:
        assert (here.cutout(PART) == there.cutout(PART)).all()
    assert shardreader.verify(copy, allow_absent=True).scales[0].count("partial") == report.partial
    again = shardreader.fetch(source, copy, box=PART)
    assert (again.ok, again.requests, again.partial) == (True, 1, report.partial)


@pytest.mark.slow
def test_a_part_from_motos_s3(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    assert_part("s3://bucket/volume", tmp_path)


@pytest.mark.slow
def test_a_part_from_motos_xml_as_google_has_it(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", moto)
    assert_part("gs://bucket/volume", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_a_part_from_nginx(tmp_path: Path) -> None:
    url, command = nginx(tmp_path, FAFB_MINI)
    with running(command, f"{url}/info"):
        assert_part(url, tmp_path / "copy")
