"""Publishes what a fetch knows as the manifest of the copy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from shardreader.copies.listed_source import now
from shardreader.format.manifest import MANIFEST_NAME, FileRecord, Manifest, ScaleManifest
from shardreader.runtime.output_file import replacing

__all__ = ["ManifestWriter"]

# The weakest word first: a manifest has one basis for all of its scales.
_BASES = ("user", "requests", "listing")


class ManifestWriter:
    """Writes the manifest of a copy, other scales kept as they are.

    Parameters
    ----------
    directory : str
    source : str
        URL.
    key : str
        Of the scale that is fetched.
    earlier : Manifest or None
        What is there already.
    is_listed, keeps_unlisted : bool
        Whether the source was listed; if not, whether what an earlier manifest says of shards
        that it does not name still holds.
    """

    def __init__(
        self,
        directory: str,
        source: str,
        key: str,
        earlier: Manifest | None,
        *,
        is_listed: bool,
        keeps_unlisted: bool,
    ) -> None:
        self._path = os.path.join(directory, MANIFEST_NAME)
        self._key = key
        others = {} if earlier is None else dict(earlier.scales)
        before = others.pop(key, None)
        basis = "listing" if is_listed else "requests"
        kept = earlier if others or (keeps_unlisted and before) else None
        if kept is not None:
            basis = min(basis, kept.basis, key=_BASES.index)
        self._unlisted = "none" if is_listed else "unknown"
        if not is_listed and keeps_unlisted and before is not None:
            self._unlisted = before.unlisted
        self._manifest = Manifest(now(), source, basis, others)
        self._written: bytes | None = None

    def write(self, records: Mapping[str, FileRecord]) -> None:
        """Replace the manifest, if it has anything new to say.

        Raises
        ------
        OSError
        """
        scale = ScaleManifest(self._unlisted, records)
        manifest = replace(self._manifest, scales={**self._manifest.scales, self._key: scale})
        data = manifest.to_json()
        if data != self._written:
            with replacing(self._path) as file:
                file.write(data)
            self._written = data
