from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

from shardreader.runtime.workers import Workers, cores

WAIT = 20


def test_cores() -> None:
    assert cores() >= 1


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_each_item_once(threads: int, count: int) -> None:
    workers = Workers(threads)
    done: list[int] = []
    for _ in range(3):
        workers.run(done.append, range(count))
    workers.close()
    assert sorted(done) == sorted(list(range(count)) * 3)


def test_no_pool_for_one_thread_or_one_item() -> None:
    before = threading.active_count()
    names: set[str] = set()

    def work(item: int) -> None:
        names.add(threading.current_thread().name)

    Workers(1).run(work, range(50))
    Workers(8).run(work, [1])
    assert names == {threading.current_thread().name}
    assert threading.active_count() == before


def test_items_run_side_by_side() -> None:
    workers = Workers(3)
    together = threading.Barrier(3)
    workers.run(lambda _: together.wait(WAIT), range(3))  # raises unless all three meet
    workers.close()


def test_the_callers_thread_works_too() -> None:
    workers = Workers(2)
    together = threading.Barrier(2)
    names: set[str] = set()

    def work(_: int) -> None:
        names.add(threading.current_thread().name)
        together.wait(WAIT)

    workers.run(work, range(2))
    workers.close()
    assert threading.current_thread().name in names
    assert len(names) == 2


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_an_error_reaches_the_caller(threads: int, error: type[BaseException]) -> None:
    workers = Workers(threads)

    def work(item: int) -> None:
        if item == 7:
            raise error("seven")

    with pytest.raises(error, match="seven"):
        workers.run(work, range(100))
    done: list[int] = []
    workers.run(done.append, range(10))
    assert sorted(done) == list(range(10))
    workers.close()


def test_no_item_is_begun_after_an_error() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match=r"^0$"):
        Workers(1).run(work, range(100))
    assert done == [0]


def test_the_earliest_error_is_told() -> None:
    workers = Workers(2)
    second_failed = threading.Event()
    together = threading.Barrier(2)

    def work(item: int) -> None:
        together.wait(WAIT)
        if item == 0:
            assert second_failed.wait(WAIT)
            raise ValueError("first")
        second_failed.set()
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        workers.run(work, range(2))
    workers.close()


def test_nothing_runs_on_when_run_has_returned() -> None:
    workers = Workers(4)
    running: list[int] = []
    lock = threading.Lock()
    failed = threading.Event()

    def work(item: int) -> None:
        with lock:
            running.append(item)
        if item == 0:
            failed.set()
            raise ValueError
        failed.wait(WAIT)
        with lock:
            running.remove(item)

    with pytest.raises(ValueError, match=r"^$"):
        workers.run(work, range(50))
    assert running == [0]
    workers.close()


def threads_of(workers: Workers) -> set[int]:
    """The threads that work, all of them at once."""
    together = threading.Barrier(workers.threads)
    threads: set[int] = set()

    def work(_: int) -> None:
        threads.add(threading.get_ident())
        together.wait(WAIT)

    workers.run(work, range(workers.threads))
    return threads


def test_the_threads_of_one_pool_stay_for_the_next() -> None:
    first, second, other = Workers(4), Workers(4), Workers(6)
    threads = threads_of(first)
    first.close()
    first.close()
    assert threads_of(second) == threads
    before = threading.active_count()
    assert len(threads_of(first) & threads) == 1  # the caller's: that pool is in use
    threads_of(other)
    assert threading.active_count() == before + 3 + 5
    second.close()
    first.close()
    other.close()
    assert threading.active_count() == before - 3 + 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    workers = Workers(3)
    threads_of(workers)
    workers.close()
    child = os.fork()
    if child == 0:
        os._exit(len(threads_of(Workers(3))))  # 3, unless it waits for threads that are not there
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


def test_many_callers_share_a_pool() -> None:
    workers = Workers(3)
    done: dict[int, list[int]] = {caller: [] for caller in range(8)}

    def call(caller: int) -> None:
        for _ in range(20):
            workers.run(done[caller].append, range(10))

    callers = [threading.Thread(target=call, args=(caller,), daemon=True) for caller in done]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(WAIT)
    workers.close()
    assert all(sorted(items) == sorted(list(range(10)) * 20) for items in done.values())


def test_a_caller_does_not_wait_for_threads_that_others_keep() -> None:
    workers = Workers(2)
    both_at_work, go_on = threading.Barrier(3), threading.Event()

    def wait(_: int) -> None:
        both_at_work.wait(WAIT)
        assert go_on.wait(WAIT)

    first = threading.Thread(target=workers.run, args=(wait, range(2)), daemon=True)
    first.start()
    both_at_work.wait(WAIT)
    done: list[int] = []
    workers.run(done.append, range(50))  # alone
    assert done == list(range(50))
    go_on.set()
    first.join(WAIT)
    assert not first.is_alive()
    workers.close()


def test_threads_of_workers_that_nobody_closed_end() -> None:
    workers = Workers(3)
    threads_of(workers)
    assert workers._pool is not None
    threads = workers._pool._threads
    del workers
    gc.collect()
    for thread in threads:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in threads)


def test_the_process_ends_while_threads_wait_for_work() -> None:
    code = (
        "import os, threading\n"
        "from shardreader.runtime.workers import Workers\n"
        "workers = Workers(4)\n"
        "def write(item): os.write(1, b'%d\\n' % item)\n"
        "workers.run(write, range(100))\n"
        "threading.Thread(target=lambda: workers.run(write, range(100, 200))).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert sorted(map(int, done.stdout.split())) == list(range(200))
    assert done.stderr == ""


def test_nothing_of_the_caller_is_held_when_run_has_returned() -> None:
    class Kept:
        pass

    workers = Workers(3)
    for _ in range(200):
        kept = Kept()
        gone = weakref.ref(kept)
        workers.run(lambda _, kept=kept: None, range(3))
        del kept
        assert gone() is None
    workers.close()
