"""`Volume.to_dask`: the voxels of numpy, in whole chunks, under a name that can be trusted."""

from __future__ import annotations

import faulthandler
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from cli import REPOSITORY
from fault_server import serving
from fixture_truth import FAFB_MINI, FIXTURES, load_fafb_patches, load_truth, scale_keys
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import Spec, Written, random_labels, write_volume

import shardreader
from shardreader import Box, InfoError, NotDownloadedError, OutOfBoundsError, Volume, open_volume
from shardreader.cluster import dask_array as dask_arrays
from shardreader.cluster.dask_array import MOST_BLOCKS

Writable = Callable[[str], Path]
SPEC = Spec(voxel_offset=(-7, 3, -100))
NOTHING = Box((0, 0, 0), (0, 0, 0))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_volume(tmp_path_factory.mktemp("dask"), SPEC, labels=random_labels(SPEC, 3))


@pytest.fixture(scope="module")
def volume(written: Written) -> Iterator[Volume]:
    with open_volume(written.path) as volume:
        yield volume


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="sync"):
        yield


@pytest.mark.parametrize(
    "name",
    [
        *("channels", "channels-uint32", "raw-channels", "png-channels", "raw-float32", "raw-int8"),
        *("negative-offset", "block-not-dividing", "murmurhash", "unsharded", "two-scales"),
        *("smaller-than-a-chunk", "primes"),
    ],
)
@pytest.mark.parametrize("blocks", [None, (2, 1, 3)])
def test_the_whole_volume_is_that_of_its_writer(name: str, blocks: Any) -> None:
    for key in scale_keys(name):
        truth = load_truth(name, key)
        with open_volume(truth.path, key) as volume:
            array = volume.to_dask(blocks=blocks)
        assert (array.shape, array.dtype) == (volume.shape, volume.dtype)
        assert isinstance(array._meta, np.ndarray)
        np.testing.assert_array_equal(array.compute(), truth.labels)


def test_blocks_are_whole_chunks_but_for_the_ends_of_the_box(volume: Volume) -> None:
    x, y, z = volume.chunk_size
    lower = np.array(volume.voxel_offset)
    box = Box(tuple(lower + (x - 1, 0, 1)), tuple(lower + (40, y, z + 2)))
    assert volume.to_dask(box).chunks == ((1, x, 8), (y,), (z - 1, 2))
    # Multiples count from the grid's first cell, not from the box.
    assert volume.to_dask(box, blocks=(2, 2, 2)).chunks == ((x + 1, 8), (y,), (z + 1,))
    assert volume.to_dask(box, blocks=(50, 50, 50)).numblocks == (1, 1, 1)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_index_of_any_box_in_any_blocks(data: st.DataObject, written: Written) -> None:
    corners = [
        sorted(data.draw(st.lists(st.integers(a, b), min_size=2, max_size=2)))
        for a, b in zip(SPEC.voxel_offset, SPEC.upper, strict=True)
    ]
    box = Box(tuple(a for a, _ in corners), tuple(b for _, b in corners))
    blocks = data.draw(st.tuples(*[st.integers(1, 3)] * 3))
    with open_volume(written.path) as volume:
        array = volume.to_dask(box, blocks=blocks)
        voxels = volume.cutout(box)
    list_axis = data.draw(st.integers(0, 3))
    index: list[Any] = []
    for axis, n in enumerate(box.shape):
        numbers = st.integers(-n, n - 1) if n else st.nothing()
        # Dask 2026.8 takes x[-n - 1 :: -1] for x[::-1], and not as numpy does.
        ends = st.none() | st.integers(-n, n)
        steps = st.sampled_from([None, 1, 2, 3, -1, -2])
        kinds = st.builds(slice, ends, ends, steps)
        if axis == list_axis and n:
            kinds = st.lists(numbers, max_size=4)
        index.append(data.draw(kinds if axis == list_axis or not n else kinds | numbers))
    # Dask chooses axis by axis.
    expected = voxels
    for axis in (2, 1, 0):
        item = np.array(index[axis], int) if isinstance(index[axis], list) else index[axis]
        expected = expected[(slice(None),) * axis + (item,)]
    np.testing.assert_array_equal(array[tuple(index)].compute(), expected)


def test_channels_are_sliced_too() -> None:
    truth = load_truth("channels", scale_keys("channels")[0])
    with open_volume(truth.path) as volume:
        array = volume.to_dask()
    assert array.numblocks[3] == 1
    last = volume.num_channels - 1
    for index in (
        (..., last),
        (..., slice(1, None)),
        (slice(3, 5), ..., [last, 0]),
        (..., slice(0, 0)),
    ):
        np.testing.assert_array_equal(array[index].compute(), truth.labels[index])


def test_a_slice_is_read_without_the_rest_of_its_blocks(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Box] = []
    cutout = Volume.cutout

    def noting(self: Volume, box: Box) -> Any:
        read.append(box)
        return cutout(self, box)

    array, voxels = volume.to_dask(), volume.cutout(volume.bounds)
    monkeypatch.setattr(Volume, "cutout", noting)
    np.testing.assert_array_equal(array[:, 3, 5].compute(), voxels[:, 3, 5])
    assert len(read) == array.numblocks[0]
    assert sum(box.voxels for box in read) == array.shape[0]


def test_reductions_and_map_blocks(volume: Volume) -> None:
    array, voxels = volume.to_dask(blocks=(1, 2, 1)), volume.cutout(volume.bounds)
    assert array.max().compute() == voxels.max()
    np.testing.assert_array_equal((array == 0).sum(axis=2).compute(), (voxels == 0).sum(axis=2))
    np.testing.assert_array_equal(da.unique(array).compute(), np.unique(voxels))
    odd = array.map_blocks(lambda block: block % 2, dtype=array.dtype)
    np.testing.assert_array_equal(odd.compute(), voxels % 2)


def test_many_threads_read_through_one_volume(written: Written, volume: Volume) -> None:
    array = volume.to_dask()
    with dask.config.set(scheduler="threads", num_workers=8):
        np.testing.assert_array_equal(array.compute(), written.labels)
    opened = [entry.volume.path for entry in dask_arrays._OPEN._open.values()]
    assert opened.count(volume.path) == 1


def test_a_remote_volume() -> None:
    truth = load_truth("primes", scale_keys("primes")[0])
    with serving(truth.path) as server:
        with open_volume(server.plain) as volume:
            array = volume.to_dask()
            assert volume.to_dask().name == array.name
        with open_volume(truth.path) as local:
            assert local.to_dask().name != array.name
        np.testing.assert_array_equal(array.compute(), truth.labels)
        assert len(pickle.dumps(array)) < 10_000


def test_an_empty_box(volume: Volume) -> None:
    x, y, z = volume.voxel_offset
    array = volume.to_dask(Box((x, y, z), (x, y + 2, z + 3)))
    assert array.shape == (0, 2, 3)
    assert array.compute().shape == (0, 2, 3)
    assert array.sum().compute() == 0


def test_boxes_in_other_units(volume: Volume) -> None:
    lower, upper = (-40, 30, -3900), (40, 110, -3800)
    by_nm = volume.to_dask((lower, upper), units="nm")
    np.testing.assert_array_equal(by_nm.compute(), volume.cutout((lower, upper), units="nm"))


def test_what_is_refused(volume: Volume) -> None:
    corner = volume.voxel_offset
    with pytest.raises(OutOfBoundsError):
        volume.to_dask(Box((corner[0] - 1, *corner[1:]), volume.bounds.upper))
    with pytest.raises(TypeError, match="there is none"):
        volume.to_dask(units="nm")
    with pytest.raises(TypeError, match="units"):
        volume.to_dask((corner, corner))
    for blocks in ((1, 1), (1.0, 1, 1), 3, (True, 1, 1)):
        with pytest.raises(TypeError, match="blocks"):
            volume.to_dask(blocks=blocks)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from 1 on"):
        volume.to_dask(blocks=(1, 0, 1))
    closed = open_volume(volume.path)
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        closed.to_dask()


def test_too_many_blocks_are_refused_with_what_would_do() -> None:
    with open_volume(FAFB_MINI) as volume:
        with pytest.raises(ValueError, match=r"112,561,488 blocks of \(1, 1, 1\)") as refused:
            volume.to_dask()
        assert "blocks=(16, 16, 16) makes 28,182 of 17.2 GB each" in str(refused.value)
        assert volume.to_dask(blocks=(16, 16, 16)).npartitions == 28_182
        most = Box((0, 0, 0), (128 * 500, 128 * 200, 32))
        assert volume.to_dask(most).npartitions == MOST_BLOCKS
        with pytest.raises(ValueError, match="100,200 blocks"):
            volume.to_dask(Box((0, 0, 0), (128 * 500 + 1, 128 * 200, 32)))


def test_it_pickles_as_path_and_options() -> None:
    with open_volume(FAFB_MINI) as volume:
        array = volume.to_dask(Box((0, 0, 0), (128 * 500, 128 * 200, 32)))
    data = pickle.dumps(array)
    assert len(data) < 10_000
    assert pickle.loads(data).name == array.name


def test_what_is_not_downloaded() -> None:
    patch = load_fafb_patches()[0]
    box = Box(tuple(patch.origin), patch.upper)
    with open_volume(FAFB_MINI) as volume:
        np.testing.assert_array_equal(volume.to_dask(box).compute(), patch.labels)
        absent = Box((20000, 20000, 2000), (20010, 20010, 2010))
        array = volume.to_dask(absent)
    with pytest.raises(NotDownloadedError, match="shard"):
        array.compute()
    with open_volume(FAFB_MINI, missing="zero") as volume:
        forgiving = volume.to_dask(absent)
    assert not forgiving.compute().any()
    assert forgiving.name != array.name


def test_the_name_tells_boxes_blocks_and_options_apart(written: Written) -> None:
    def name(box: Box | None = None, blocks: Any = None, **options: Any) -> str:
        with open_volume(written.path, **options) as volume:
            return str(volume.to_dask(box, blocks=blocks).name)

    some = Box(SPEC.voxel_offset, (0, 10, -90))
    names = {
        name(),
        name(some),
        name(blocks=(2, 2, 2)),
        name(missing="zero"),
    }
    assert len(names) == 4
    # The threads of this process are not those of the workers.
    assert name() == name(threads=1) == name(threads=7) == name(blocks=(1, 1, 1))
    with open_volume(written.path / ".." / written.path.name) as volume:
        assert volume.to_dask().name == name()
    key_a, key_b = scale_keys("two-scales")
    path = load_truth("two-scales", key_a).path
    scales = [open_volume(path, key).to_dask(NOTHING).name for key in (key_a, key_b)]
    assert scales[0] != scales[1]


def test_the_name_is_the_same_in_another_process(volume: Volume) -> None:
    code = f"import shardreader; print(shardreader.open_volume({volume.path!r}).to_dask().name)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == volume.to_dask().name


@pytest.mark.parametrize("form", ["sharded", "hashed", "unsharded"])
@pytest.mark.parametrize("change", ["info", "manifest", "replaced", "overwritten", "volume"])
def test_a_changed_copy_has_another_name(writable: Writable, form: str, change: str) -> None:
    path = writable({"sharded": "primes", "hashed": "murmurhash"}.get(form, form))
    (key,) = scale_keys(path.name)
    file = sorted((path / key).iterdir())[0]

    def name() -> str:
        with open_volume(path) as volume:
            return str(volume.to_dask().name)

    before = name()
    assert name() == before
    if change == "info":
        shutil.copy(path / "info", path / "new")
        os.replace(path / "new", path / "info")
    elif change == "manifest":
        shardreader.adopt(path, assume_complete=True) if form != "unsharded" else pytest.skip(
            "adopt is for shards"
        )
    elif change == "replaced":
        shutil.copy2(file, path / key / "new")
        os.replace(path / key / "new", file)
    elif change == "overwritten":
        if form == "unsharded":
            pytest.skip("its files are too many to look at each, as the docstring says")
        file.write_bytes(file.read_bytes()[:-1])
    else:
        shutil.copytree(path, path.with_name("copy"))
        shutil.rmtree(path)
        path.with_name("copy").rename(path)
    assert name() != before


def test_a_shard_outside_of_the_box_does_not_change_the_name(writable: Writable) -> None:
    path = writable("fafb-mini")
    with open_volume(path) as volume:
        box = Box((61440, 32768, 3072), (61450, 32770, 3080))
        before = volume.to_dask(box).name
        other = path / "8.0x8.0x40.0" / "1b68.shard"
        times = os.stat(path / "8.0x8.0x40.0")
        with other.open("r+b") as file:
            file.write(b"?")
        os.utime(path / "8.0x8.0x40.0", ns=(times.st_atime_ns, times.st_mtime_ns))
        assert volume.to_dask(box).name == before
        assert volume.to_dask(volume.bounds, blocks=(32, 32, 32)).name != before


def test_another_geometry_at_the_path_is_not_read(writable: Writable) -> None:
    path = writable("negative-offset")
    with open_volume(path) as volume:
        array = volume.to_dask()
    text = (path / "info").read_text()
    offset = str(volume.voxel_offset[0])
    assert offset in text
    (path / "info").write_text(text.replace(offset, str(volume.voxel_offset[0] + 1)))
    with pytest.raises(InfoError, match="make the array again"):
        array.compute()


def reader_of(path: Path) -> Any:
    with open_volume(path) as volume:
        geometry = dask_arrays._Geometry.of(volume._files)
        return dask_arrays._BoxReader(volume._reopening(1), volume.path, geometry, volume.bounds)


def test_a_process_keeps_few_volumes_open(tmp_path: Path) -> None:
    readers = []
    for number in range(7):
        path = Path(shutil.copytree(FIXTURES / "primes", tmp_path / str(number)))
        readers.append(reader_of(path))
    whole = (slice(None),) * 3
    # One that is being read stays open, whatever else is opened meanwhile.
    with dask_arrays._OPEN.borrowed(readers[0]) as kept:
        for reader in readers[1:]:
            assert reader[whole].shape == kept.shape
        assert len(dask_arrays._OPEN._open) <= 5
        assert kept.cutout(kept.bounds).shape == kept.shape
    readers[1][whole]
    assert len(dask_arrays._OPEN._open) <= 4
    with pytest.raises(ValueError, match="closed"):
        kept.cutout(kept.bounds)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_reads_though_its_parent_held_the_lock(volume: Volume) -> None:
    reader = reader_of(Path(volume.path))
    reader[0:1, 0:1, 0:1]
    with dask_arrays._OPEN._lock:
        child = os.fork()
        if not child:
            faulthandler.dump_traceback_later(20, exit=True)
            os._exit(0 if reader[0:1, 0:1, 0:1].shape == (1, 1, 1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_without_dask_the_error_names_the_extra(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(InfoError, match=r"pip install 'shardreader\[dask\]'"):
        volume.to_dask()
