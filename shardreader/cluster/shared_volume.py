"""Whether two machines see the same volume under one path."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from shardreader.errors import ClusterError, ReadError, ShardReaderError
from shardreader.storage.documents import INFO_BYTES_LIMIT
from shardreader.storage.local_store import LocalStore, StaleFileError

__all__ = ["HOW_TO_GO_ON", "SharedVolume"]

HOW_TO_GO_ON = "go on with --resume (in Python: with the same call, if it was given a state=)"


@dataclass(frozen=True)
class SharedVolume:
    """The volume as this machine sees it; every worker must see the same one.

    Parameters
    ----------
    directory : str
        That of ``info``.
    info_digest : str
        SHA-256 of the bytes of ``info``.
    """

    directory: str
    info_digest: str

    @classmethod
    def seen_here(cls, directory: str) -> SharedVolume:
        """What there is now.

        Raises
        ------
        ReadError
            There is no ``info``, or it cannot be read.

        Examples
        --------
        >>> seen = SharedVolume.seen_here("fixtures/fafb-mini")
        >>> seen == SharedVolume.seen_here("fixtures/fafb-mini")
        True
        """
        store = LocalStore(directory)
        try:
            identity = store.identity("info")
            if identity is None:
                raise ReadError(f"{store.path('info')}: no such file")
            if identity.size > INFO_BYTES_LIMIT:
                raise ReadError(f"{store.path('info')}: {identity.size} bytes are too many")
            data = store.read("info", start=0, end=identity.size, identity=identity)
        except StaleFileError:
            raise ReadError(f"{store.path('info')}: changed while it was read") from None
        finally:
            store.close()
        return cls(directory, hashlib.sha256(data).hexdigest())

    def confirm(self, worker: str) -> None:
        """Refuse a machine that sees no volume there, or another one.

        Raises
        ------
        ClusterError
        """
        try:
            here = SharedVolume.seen_here(self.directory)
        except ShardReaderError as error:
            raise ClusterError(
                f"worker {worker} does not see the volume: {error}; every machine must see it "
                f"under the same path. This says nothing about the data; {HOW_TO_GO_ON}"
            ) from None
        if here != self:
            raise ClusterError(
                f"worker {worker} sees another volume at {self.directory}: expected an info with "
                f"SHA-256 {self.info_digest}, found {here.info_digest}; every machine must see "
                f"the same volume under the same path; {HOW_TO_GO_ON}"
            )
