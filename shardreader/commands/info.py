"""``shardreader info``: what a volume is, and how much of it is in this copy."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, Any

from shardreader.commands.common import DONE, CommandError, add_any_volume, add_scale, say

if TYPE_CHECKING:
    from shardreader.copies.shard_listing import CopySummary
    from shardreader.format.info import ScaleInfo, VolumeInfo
    from shardreader.format.manifest import Manifest
    from shardreader.format.sharding import ShardingSpec

NAME = "info"
SUMMARY = "what a volume is, and how much of it is in this copy"
DESCRIPTION = """\
Print the scales of a volume, and how many of the shard files that its geometry allows are in
this copy. Absent files are no error here: the exit status is 0 if the volume can be described.
What a URL has is not counted: shardreader fetch URL DIRECTORY --dry-run does that."""
EXAMPLES = """\
  shardreader info /ssd/fafb-ffn1
  shardreader info /ssd/fafb-ffn1 --json
  shardreader info gs://fafb-ffn1-20190805/segmentation"""

_NAMES_SHOWN = 3
_WITHOUT_CHECKSUM = (
    "none of the {}: damage that leaves their form right is not seen, and gives wrong labels"
)
_PARTS = {"data": "chunks", "index": "minishard indices"}
_EXTENSION = "{} is an extension of shardreader; other programs may not be able to read this scale"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_any_volume(parser)
    add_scale(parser, "all")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from shardreader.errors import ShardReaderError
    from shardreader.format.info import select_scale
    from shardreader.storage.volume_path import is_remote

    try:
        is_here = not is_remote(arguments.volume)
        directory, volume, manifest = _documents(arguments.volume, is_here=is_here)
        target = volume.document.get("redirect")
        if is_here and target is not None:
            say(f"its info also redirects to {target!r}: this is about the data that is here")
        scales = volume.scales
        if arguments.scale is not None:
            scales = (select_scale(volume, arguments.scale, directory),)
    except ShardReaderError as error:
        raise CommandError(str(error)) from error
    document = {
        "path": directory,
        "is_remote": not is_here,
        "type": volume.volume_type,
        "data_type": volume.data_type,
        "num_channels": volume.num_channels,
        "manifest": _manifest(manifest),
        "scales": [
            _scale(volume, scale, directory if is_here else None, manifest) for scale in scales
        ],
    }
    print(json.dumps(document, indent=2) if arguments.json else "\n".join(_lines(document)))
    return DONE


def _documents(path: str, *, is_here: bool) -> tuple[str, VolumeInfo, Manifest | None]:
    """What to call the volume, its info and its manifest."""
    from shardreader.storage.documents import open_remote, read_info, read_manifest
    from shardreader.storage.volume_path import directory_of

    if is_here:
        directory = directory_of(path)
        return directory, read_info(directory), read_manifest(directory, None)
    remote, volume, manifest = open_remote(path)
    remote.close()
    return remote.root, volume, manifest


def _manifest(manifest: Manifest | None) -> dict[str, Any] | None:
    if manifest is None:
        return None
    return {"source": manifest.source, "basis": manifest.basis, "created": manifest.created}


def _scale(
    volume: VolumeInfo, scale: ScaleInfo, directory: str | None, manifest: Manifest | None
) -> dict[str, Any]:
    """A scale; what is here of it is counted in a `directory`."""
    from dataclasses import asdict

    from shardreader.copies.shard_listing import scale_folder, summarize_copy
    from shardreader.format.shard_geometry import chunks_in_volume

    sharding = scale.sharding
    copy = exists = None
    if directory is not None:
        exists = os.path.isdir(scale_folder(directory, scale))
        if sharding is not None:
            copy = summarize_copy(directory, scale, sharding, manifest)
    return {
        "index": scale.index,
        "key": scale.key,
        "size": scale.size,
        "voxel_offset": scale.voxel_offset,
        "resolution_nm": scale.resolution,
        "extent_nm": [n * nm for n, nm in zip(scale.size, scale.resolution, strict=True)],
        "encoding": scale.encoding,
        "block_size": scale.block_size,
        "chunk_sizes": scale.chunk_sizes,
        "grid_size": scale.grid.grid_size,
        "chunks": chunks_in_volume(scale),
        "sharding": None if sharding is None else asdict(sharding),
        "without_checksum": _without_checksum(sharding),
        "extensions": _extensions(sharding),
        "directory_exists": exists,
        "not_supported": _not_supported(volume, scale, directory or scale.key),
        "shards": None if copy is None else _copy(copy),
    }


def _without_checksum(sharding: ShardingSpec | None) -> list[str]:
    """What of a scale is stored without a checksum: "data", "index"."""
    from shardreader.format.sharding import CHECKED_ENCODINGS

    if sharding is None:
        return []
    encodings = {"data": sharding.data_encoding, "index": sharding.minishard_index_encoding}
    return [part for part, encoding in encodings.items() if encoding not in CHECKED_ENCODINGS]


def _extensions(sharding: ShardingSpec | None) -> list[str]:
    """What a scale uses that the specification does not have, and other readers may not know."""
    if sharding is None:
        return []
    encodings = (sharding.minishard_index_encoding, sharding.data_encoding)
    return ["zstd"] if "zstd" in encodings else []


def _not_supported(volume: VolumeInfo, scale: ScaleInfo, directory: str) -> str | None:
    """Why this version does not read the voxels of a scale; None if it does."""
    from shardreader.errors import InfoError
    from shardreader.storage.documents import check_supported

    try:
        check_supported(volume, scale, directory)
    except InfoError as error:
        return str(error)
    return None


def _copy(copy: CopySummary) -> dict[str, Any]:
    return {
        "possible": copy.possible,
        "present": copy.present,
        "present_bytes": copy.present_bytes,
        "partial": copy.partial,
        "unreadable": copy.unreadable,
        "absent": {
            "total": copy.absent,
            "source_has_none": copy.source_has_none,
            "not_downloaded": copy.not_downloaded,
            "unknown": copy.unknown,
        },
        "impossible": copy.impossible,
        "litter": copy.litter,
        "other": copy.other,
    }


def _lines(document: dict[str, Any]) -> list[str]:
    channels = document["num_channels"]
    kind = f"{document['type']}, {document['data_type']}"
    manifest = document["manifest"]
    if manifest is None and document["is_remote"]:
        known = "none: this is the source itself, and what it does not have is background"
    elif manifest is None:
        known = "none, so it is not known which of the absent files the source has"
    else:
        source = manifest["source"] or "a source that is not named"
        known = f"of {source}, by {_BASES[manifest['basis']]}, {manifest['created']}"
    lines = [
        document["path"],
        _line("type", kind if channels == 1 else f"{kind}, {channels} channels"),
        _line("manifest", known),
    ]
    for scale in document["scales"]:
        lines += ["", *_scale_lines(scale)]
    return lines


_BASES = {
    "listing": "a listing of it",
    "requests": "requests for its files",
    "user": "the user's word",
}


def _scale_lines(scale: dict[str, Any]) -> list[str]:
    lines = [
        f"scale {scale['index']}: {scale['key']}",
        _line("size", f"{_by(scale['size'])} voxels from {tuple(scale['voxel_offset'])}"),
        _line("voxel size", f"{_by(scale['resolution_nm'])} nm"),
        _line("extent", f"{_by([nm / 1000 for nm in scale['extent_nm']])} um"),
        _line("encoding", _encoding(scale)),
        _line("chunks", f"{' or '.join(_by(size) for size in scale['chunk_sizes'])} voxels"),
        _line("grid", f"{_by(scale['grid_size'])} = {scale['chunks']:,} chunks"),
        _line("sharding", _sharding(scale["sharding"])),
    ]
    if scale["not_supported"]:
        lines.append(_line("note", scale["not_supported"]))
    if scale["without_checksum"]:
        parts = " and ".join(_PARTS[part] for part in scale["without_checksum"])
        lines.append(_line("checksums", _WITHOUT_CHECKSUM.format(parts)))
    lines += [_line("note", _EXTENSION.format(name)) for name in scale["extensions"]]
    if scale["directory_exists"] is False:
        lines.append(_line("note", "the directory of this scale does not exist"))
    return lines + (_copy_lines(scale["shards"]) if scale["shards"] else [])


def _encoding(scale: dict[str, Any]) -> str:
    blocks = scale["block_size"]
    return str(scale["encoding"]) + (f", blocks of {_by(blocks)} voxels" if blocks else "")


def _sharding(sharding: dict[str, Any] | None) -> str:
    if sharding is None:
        return "none: a file for each chunk; how many are in this copy is not counted"
    return (
        f"{sharding['hash']} hash, {sharding['preshift_bits']} preshift, "
        f"{sharding['minishard_bits']} minishard and {sharding['shard_bits']} shard bits; "
        f"index {sharding['minishard_index_encoding']}, data {sharding['data_encoding']}"
    )


def _copy_lines(shards: dict[str, Any]) -> list[str]:
    absent = shards["absent"]
    lines = [
        _line(
            "shards",
            f"{shards['present']:,} of {shards['possible']:,} possible ones are here, "
            f"{shards['present_bytes']:,} bytes",
        ),
    ]
    if shards["partial"]:
        text = "of them, with the chunks that were fetched; the rest reads as NOT_DOWNLOADED"
        lines.append(_line("partial", f"{shards['partial']:,} {text}"))
    if shards["unreadable"]:
        names = shards["unreadable"]
        lines.append(_line("unreadable", f"{len(names):,} of them: {_some(names)}"))
    kinds = [
        f"{absent[kind]:,} {text}"
        for kind, text in (
            ("source_has_none", "that the source does not have either"),
            ("not_downloaded", "not downloaded"),
            ("unknown", "of which it is unknown whether the source has them"),
        )
        if absent[kind]
    ]
    lines.append(_line("absent", ", ".join(kinds) or "0"))
    for what, names in (
        ("shard files that no chunk of this volume belongs to", shards["impossible"]),
        ("left-over files that the reader ignores", shards["litter"]),
        ("other entries that the reader ignores", shards["other"]),
    ):
        if names:
            lines.append(_line("note", f"{len(names):,} {what}: {_some(names)}"))
    return lines


def _some(names: tuple[str, ...]) -> str:
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _line(name: str, text: str) -> str:
    return f"  {name:<12}{text}"


def _by(values: Any) -> str:
    return " x ".join(f"{value:.10g}" for value in values)
