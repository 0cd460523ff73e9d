"""Whether the indices of a shard file make sense, as ``verify --level quick`` sees it."""

from __future__ import annotations

from shardreader.checking.checked_file import ShardFile
from shardreader.checking.findings import FindingKind, Severity
from shardreader.checking.shard_index_check import check_indices
from shardreader.format.info import ScaleInfo
from shardreader.storage.local_store import LocalStore, StaleFileError

__all__ = ["PARTIAL", "structure_faults"]

PARTIAL = (
    "at the source is only a part of this shard (its coverage record says so); fetch from where "
    "that was fetched, or fetch a part"
)


class _PartStore(LocalStore):
    """Reads the files of a copy under the names that they have before they are checked."""

    def __init__(self, root: str, suffix: str) -> None:
        super().__init__(root)
        self._suffix = suffix

    def path(self, name: str) -> str:
        return super().path(name) + self._suffix


def structure_faults(
    directory: str, scale: ScaleInfo, number: int, *, suffix: str = ""
) -> list[str]:
    """What keeps a file from being a whole shard, by its indices; nothing where they are sound.

    A shard that says itself that it is not whole has the fault `PARTIAL`.

    Parameters
    ----------
    directory : str
        That of ``info``.
    scale : ScaleInfo
    number : int
        Of the shard.
    suffix : str
        Behind the name of its file.

    Raises
    ------
    ReadError
        The file cannot be read.

    Examples
    --------
    >>> from shardreader.storage.documents import read_info
    >>> structure_faults("fixtures/fafb-mini", read_info("fixtures/fafb-mini").scales[0], 0x02fa)
    []
    """
    if scale.sharding is None:
        raise ValueError(f"scale {scale.key!r} is not sharded")
    store = _PartStore(directory, suffix)
    name = f"{scale.key}/{scale.sharding.file_name(number)}"
    try:
        identity = store.identity(name)
        if identity is None:
            return ["the file is gone"]
        indices = check_indices(ShardFile(store, scale, scale.sharding, number, identity))
    except StaleFileError:
        return ["the file changed while it was checked"]
    finally:
        store.close()
    faults = [] if indices.coverage is None else [PARTIAL]
    return faults + [
        f"{finding.kind}: expected {finding.expected}, found {finding.found}"
        for finding in indices.findings
        if finding.severity is Severity.DAMAGE or finding.kind is FindingKind.UNREADABLE
    ]
