"""Maps jobs over the machines of a dask cluster that share the storage.

The scheduler holds no more jobs than keep its workers busy, so that nothing there grows with the
number of shards. A job travels as bytes, and a worker unpacks it only if it has the same version.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shardreader.cluster.shared_volume import HOW_TO_GO_ON, SharedVolume
from shardreader.errors import ClusterError
from shardreader.runtime.runner import Runner, ThreadRunner
from shardreader.version import __version__

__all__ = ["DaskRunner", "connect", "disconnect", "make_runner"]

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
# Windows does not interrupt a wait without an end.
_WAIT_SECONDS = 0.25
_SECONDS_BETWEEN_LOOKS = 5.0
# One runs, one waits beside it.
_JOBS_PER_THREAD = 2
_LEAST_JOBS = 4
_CONNECT_SECONDS = 10
_CLOSE_SECONDS = 2
# What dask raises when it cannot talk to the scheduler.
_NO_CONNECTION = (OSError, RuntimeError, ValueError, TypeError)


class DaskRunner:
    """Runs jobs on the workers of a dask cluster.

    A job and its result are small values that pickle; the function is a module's own, and calling
    it twice does no harm: a job of a worker that is lost runs again on another one.

    Parameters
    ----------
    client : dask.distributed.Client
        A synchronous one. It stays open.
    directory : str
        The volume that the jobs are about; a worker that does not see the same one is refused.
    tell : callable, optional
        Takes a line when there are no workers and so nothing goes on; a warning by default.

    Raises
    ------
    TypeError
        `client` is something else.
    ReadError
        There is no volume here.
    """

    def __init__(
        self, client: Any, directory: str, tell: Callable[[str], None] | None = None
    ) -> None:
        distributed = _distributed()
        if not isinstance(client, distributed.Client) or client.asynchronous:
            raise TypeError(f"client must be a synchronous dask.distributed.Client, not {client!r}")
        self._client = client
        self._volume = SharedVolume.seen_here(directory)
        self._tell = tell or _warn
        self._told = False
        self._threads = 0
        self._workers = 0
        self._looked = -_SECONDS_BETWEEN_LOOKS

    @property
    def workers(self) -> int:
        """How many workers the cluster has; looked at every few seconds."""
        now = time.monotonic()
        if now - self._looked >= _SECONDS_BETWEEN_LOOKS:
            try:
                threads = self._client.nthreads()
            except _NO_CONNECTION as error:
                raise _lost_scheduler(error) from None
            self._workers, self._threads = len(threads), sum(threads.values())
            self._looked = now
        return self._workers

    def map(self, work: Callable[[_Job], _Result], jobs: Iterable[_Job]) -> Iterator[_Result]:
        """Give ``work(job)`` for each job, as they are done.

        Jobs are taken from `jobs` one by one, as workers come free. When the iterator is closed
        those that wait are withdrawn; those that run end by themselves.

        Raises
        ------
        ClusterError
            The scheduler went away; a worker has another version of shardreader or does not see
            the volume; a job took down several workers.
        Exception
            What the first failing job, or `jobs`, raised.
        """
        arrived: queue.SimpleQueue[_Arrival[_Job, _Result]] = queue.SimpleQueue()
        futures: dict[str, Any] = {}
        waiting = iter(jobs)
        try:
            while True:
                while len(futures) < self._most_jobs():
                    try:
                        job = next(waiting)
                    except StopIteration:
                        break
                    key, future = self._submit(work, job, arrived)
                    futures[key] = future
                if not futures:
                    return
                arrival = self._next(arrived)
                futures.pop(arrival.key).release()
                yield arrival.result()
        finally:
            # The scheduler forgets what nobody wants.
            for future in futures.values():
                future.release()

    def _most_jobs(self) -> int:
        if not self.workers:
            return _LEAST_JOBS
        return max(_LEAST_JOBS, _JOBS_PER_THREAD * self._threads)

    def _submit(
        self,
        work: Callable[[_Job], _Result],
        job: _Job,
        arrived: queue.SimpleQueue[_Arrival[_Job, _Result]],
    ) -> tuple[str, Any]:
        name = getattr(work, "__name__", "job").strip("_")
        key = f"shardreader-{name}-{uuid.uuid4().hex}"
        call = pickle.dumps(_Call(self._volume, pickle.dumps((work, job))))
        try:
            # Dask ends a worker that lacks the module of a function. All of them have pickle's, and
            # what is wrong with the bytes is an error like any other.
            future = self._client.submit(pickle.loads, call, key=key, pure=False)
        except _NO_CONNECTION as error:
            raise _lost_scheduler(error) from None
        client = self._client

        async def fetch() -> None:
            try:
                (value,) = await client.gather([future], asynchronous=True)
                arrived.put(_Arrival(key, job, value=value))
            except BaseException as error:  # noqa: BLE001 (raised by the thread that takes results)
                failed = future.status == "error"
                arrived.put(_Arrival(key, job, error=error, in_job=failed))

        client.loop.add_callback(fetch)
        return key, future

    def _next(self, arrived: queue.SimpleQueue[_Arrival[_Job, _Result]]) -> _Arrival[_Job, _Result]:
        while True:
            try:
                return arrived.get(timeout=_WAIT_SECONDS)
            except queue.Empty:
                if self._client.status != "running":
                    raise _lost_scheduler(f"the client is {self._client.status}") from None
                if not self.workers and not self._told:
                    self._tell("the dask cluster has no workers: waiting for some")
                # Once for each time that they are all gone.
                self._told = not self.workers


@dataclass(frozen=True)
class _Arrival(Generic[_Job, _Result]):
    """What came of one job: a value, or an error, which may be that of the cluster."""

    key: str
    job: _Job
    value: Any = None
    error: BaseException | None = None
    in_job: bool = False

    def result(self) -> _Result:
        if self.error is None:
            value: _Result = self.value
            return value
        if not self.in_job:
            raise _lost_scheduler(self.error) from None
        raise _translated(self.error, self.job)


@dataclass(frozen=True)
class _Call:
    """Is carried out where it is unpickled, and gives the result of its job there."""

    volume: SharedVolume
    payload: bytes

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # No class of ours among the arguments: another version may have another one.
        seen = self.volume.directory, self.volume.info_digest
        return carry_out, (__version__, *seen, self.payload)


def carry_out(version: str, directory: str, info_digest: str, payload: bytes) -> Any:
    """Do one job on a worker.

    Raises
    ------
    ClusterError
        This machine has another version, or sees no such volume: before the work, and after it,
        for a drive that goes away must not look like damage.
    """
    worker = _worker_address()
    if version != __version__:
        raise ClusterError(
            f"worker {worker} has shardreader {__version__}, and the machine that asks has "
            f"{version}: install the same version on all of them"
        )
    volume = SharedVolume(directory, info_digest)
    volume.confirm(worker)
    work, job = pickle.loads(payload)  # noqa: S301 (from the client, whose code runs here anyway)
    result = work(job)
    volume.confirm(worker)
    return result


def make_runner(
    directory: str,
    *,
    threads: int | None,
    client: Any,
    tell: Callable[[str], None] | None = None,
) -> Runner:
    """Threads of this process, or the workers of a cluster.

    Raises
    ------
    ValueError, TypeError
        Not a number of threads, not a client, or both.
    """
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ValueError(f"threads must be a positive integer or None, not {threads!r}")
    if client is None:
        return ThreadRunner(threads)
    if threads is not None:
        raise ValueError("threads are those of this process; with a client the workers have theirs")
    return DaskRunner(client, directory, tell)


def connect(address: str) -> Any:
    """A `dask.distributed.Client` of the scheduler at an address such as ``tcp://node1:8786``.

    Raises
    ------
    ClusterError
        None answers there, or distributed is not installed.
    """
    distributed = _distributed()
    try:
        # A Client of an address that makes no sense would try to say goodbye to it for 20 s.
        distributed.comm.get_address_host_port(address, strict=True)
        return distributed.Client(
            address, timeout=_CONNECT_SECONDS, set_as_default=False, name="shardreader"
        )
    except _NO_CONNECTION as error:
        raise ClusterError(
            f"{address}: no dask scheduler answers: {_first_line(error)}; give its "
            "address, such as tcp://node1:8786"
        ) from None


def disconnect(client: Any) -> None:
    """Close a client, whether or not its scheduler is there to hear of it."""
    with contextlib.suppress(OSError, _distributed().TimeoutError):
        client.close(timeout=_CLOSE_SECONDS)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise ClusterError(
            "distributed is not installed, which runs jobs on many machines: "
            "pip install 'shardreader[dask]'"
        ) from None
    return distributed


def _worker_address() -> str:
    import distributed

    return str(distributed.get_worker().address)


def _warn(line: str) -> None:
    warnings.warn(line, RuntimeWarning, stacklevel=2)


def _first_line(error: object) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _lost_scheduler(reason: object) -> ClusterError:
    return ClusterError(
        "the dask scheduler went away, or closed the connection "
        f"({_first_line(reason)}); this says nothing about the data; {HOW_TO_GO_ON}"
    )


def _translated(error: BaseException, job: object) -> BaseException:
    """What dask says of a job, in the user's words; what the job raised is left as it is."""
    import distributed

    if isinstance(error, distributed.scheduler.KilledWorker):
        return ClusterError(
            f"{job}: {error.allowed_failures + 1} workers died while they had it, one after the "
            f"other, the last at {error.last_worker.address}; see the logs of the workers: they "
            f"may have too little memory; {HOW_TO_GO_ON}"
        )
    if isinstance(error, ImportError) and (error.name or "").split(".")[0] == "shardreader":
        return ClusterError(
            f"a worker has no shardreader, or a very old one ({error}): install the same version, "
            f"{__version__}, on all machines"
        )
    return error
