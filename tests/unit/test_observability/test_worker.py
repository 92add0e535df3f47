"""A thread behind a queue: nothing waits for it, nothing in it harms anybody, nothing is lost at its end."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest

from amas.providers.observability.worker import Worker


class Handler:
    """Keeps what it is given; can be held up."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.batches: list[int] = []
        self.threads: set[str] = set()
        self.open = threading.Event()
        self.open.set()
        self.raises = False
        self.again: float | None = None
        self.called = threading.Event()

    def __call__(self, items: Sequence[int]) -> float | None:
        self.open.wait(10)
        self.threads.add(threading.current_thread().name)
        self.batches.append(len(items))
        self.called.set()
        if self.raises:
            raise RuntimeError("broken")
        self.items += items
        return self.again


def alive(name: str) -> bool:
    """Tell whether a thread of that name runs."""
    return any(thread.name == name for thread in threading.enumerate())


async def test_items_are_handled_in_order_in_a_thread_of_its_own() -> None:
    """Many at a time, and the thread ends with the worker."""
    handler = Handler()
    worker = Worker("count", handler)
    for number in range(1000):
        assert worker.put(number)
    await worker.flush()
    assert handler.items == list(range(1000))
    assert handler.threads == {"amas-count"}
    assert len(handler.batches) < 1000
    await worker.close()
    assert not alive("amas-count")


async def test_a_full_queue_drops_and_counts() -> None:
    """Whoever hands over never waits."""
    handler = Handler()
    handler.open.clear()
    worker = Worker("full", handler, capacity=3, linger=0)
    taken = [worker.put(number) for number in range(20)]
    assert 3 <= taken.count(True) <= 6  # a batch may be under way already
    assert worker.dropped == taken.count(False)
    handler.open.set()
    await worker.close()
    assert len(handler.items) == taken.count(True)
    assert worker.waiting == 0


async def test_what_is_not_to_wait_has_room_of_its_own() -> None:
    """A flood of what can wait does not crowd it out."""
    handler = Handler()
    handler.open.clear()
    worker = Worker("urgent", handler, capacity=3, linger=0)
    for number in range(20):
        worker.put(number)
    assert not worker.put(20)
    assert worker.put(21, at_once=True)
    handler.open.set()
    await worker.close()
    assert handler.items[-1] == 21


async def test_what_is_not_wanted_takes_no_room() -> None:
    """It is not handled, and not counted as dropped."""
    handler = Handler()
    worker = Worker("even", handler, capacity=3, wanted=lambda item: item % 2 == 0)
    assert all(worker.put(number) for number in range(6))
    await worker.close()
    assert (handler.items, worker.dropped) == ([0, 2, 4], 0)


async def test_a_handler_that_raises_loses_only_what_it_was_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The thread goes on, and the log says so once."""
    handler = Handler()
    worker = Worker("bad", handler)
    handler.raises = True
    for number in range(3):
        worker.put(number)
        await worker.flush()
    handler.raises = False
    worker.put(9)
    await worker.flush()
    await worker.close()
    assert handler.items == [9]
    assert worker.failures == 3
    assert [item for item in caplog.messages if "observer_failed observer='bad'" in item] == [
        "observer_failed observer='bad' error=\"RuntimeError('broken')\""
    ]


async def test_a_handler_can_ask_to_be_called_again() -> None:
    """For what is due at a time, though nothing comes."""
    handler = Handler()
    handler.again = 0.001
    worker = Worker("tick", handler, linger=0)
    worker.put(1)
    while len(handler.batches) < 3:
        handler.called.clear()
        await asyncio.to_thread(handler.called.wait, 5)
    await worker.close()
    assert handler.items == [1]


async def test_flushing_waits_for_what_was_handed_over_before() -> None:
    """And returns at once if there was nothing."""
    handler = Handler()
    worker = Worker("flush", handler, linger=60)
    await worker.flush()
    worker.put(1)
    await asyncio.wait_for(worker.flush(), 5)
    assert handler.items == [1]
    await worker.close()
    await asyncio.wait_for(worker.flush(), 5)


def test_what_does_not_wait_is_handled_with_all_before_it() -> None:
    """And whoever has no event loop can wait for it, too."""
    handler = Handler()
    worker = Worker("now", handler, linger=60)
    assert worker.wait(0)  # nothing is under way
    worker.put(1)
    worker.put(2, at_once=True)
    assert handler.called.wait(5)
    worker.put(3)
    assert worker.wait(5)
    assert handler.items == [1, 2, 3]
    handler.open.clear()
    worker.put(4)
    assert not worker.wait(0.01)
    handler.open.set()
    worker.finish()


def test_when_no_thread_can_begin_any_more_it_is_handled_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the interpreter ends: newer Pythons refuse threads then."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    handler = Handler()
    worker = Worker("late", handler)
    assert worker.put(1)
    assert worker.put(2)
    assert handler.items == [1, 2]
    worker.finish()


def test_it_can_be_interrupted_anywhere_by_whoever_hands_over_as_well() -> None:
    """As signal handlers and the garbage collector do, which nothing could wait for."""
    done = 0

    def interrupt_after(steps: int) -> bool:
        handler = Handler()
        worker = Worker("interrupted", handler, linger=0)
        left = steps

        def trace(frame: FrameType, *_: object) -> Callable[..., Any] | None:
            nonlocal left
            if not frame.f_code.co_filename.endswith(("worker.py", "threading.py")):
                return None
            left -= 1
            if left == 0:
                worker.put(2, at_once=True)
            return trace

        sys.settrace(trace)
        try:
            worker.put(1, at_once=True)
            worker.put(3, at_once=True)
        finally:
            sys.settrace(None)
        worker.finish()
        assert sorted(handler.items) == ([1, 2, 3] if left <= 0 else [1, 3])
        return left <= 0

    def interrupt() -> None:
        nonlocal done
        while interrupt_after(done + 1):
            done += 1

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), f"it hangs if interrupted after {done} steps"
    assert done > 30


async def test_whoever_gives_up_flushing_harms_nobody() -> None:
    """The thread finds a future that is done already."""
    handler = Handler()
    handler.open.clear()
    worker = Worker("gone", handler)
    worker.put(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(worker.flush(), 0.01)
    handler.open.set()
    await worker.flush()
    assert handler.items == [1]
    await worker.close()


def test_a_loop_that_is_gone_is_not_called() -> None:
    """A service that ends one asyncio.run while the thread still works loses nothing."""
    handler = Handler()
    handler.open.clear()
    worker = Worker("loop", handler)

    async def leave() -> None:
        worker.put(1)
        await asyncio.wait_for(worker.flush(), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(leave())
    handler.open.set()
    asyncio.run(worker.close())
    assert handler.items == [1]


async def test_it_starts_again_after_its_end() -> None:
    """A manager may be started again."""
    handler = Handler()
    worker = Worker("again", handler)
    await worker.close()
    worker.put(1)
    await worker.close()
    worker.put(2)
    await worker.close()
    assert handler.items == [1, 2]


async def test_an_end_does_not_wait_for_ever() -> None:
    """A disk that hangs does not keep a service from ending."""
    handler = Handler()
    handler.open.clear()
    worker = Worker("stuck", handler)
    worker.put(1)
    await worker.close(0.01)
    assert alive("amas-stuck")
    handler.open.set()
    await worker.close()
    worker.put(2)
    await worker.close()
    assert handler.items == [1, 2]


def test_what_nobody_holds_any_more_is_handled_first() -> None:
    """A manager that was never shut down leaves no thread."""
    handler = Handler()
    worker = Worker("lost", handler)
    there = weakref.ref(worker)
    worker.put(1)
    del worker
    gc.collect()
    assert there() is None
    assert handler.items == [1]
    assert not alive("amas-lost")


def test_the_end_of_the_process_waits_for_what_is_left() -> None:
    """A script that never closes it loses nothing."""
    program = """
from amas.providers.observability.worker import Worker
worker = Worker("end", lambda items: print(*items), linger=60)
worker.put("handled")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == ["handled"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_was_forked_off_has_a_thread_of_its_own() -> None:
    """Threads do not come along, and what waits for them is handled where it came from."""
    handler = Handler()
    worker = Worker("fork", handler)
    worker.put(1)
    asyncio.run(worker.flush())
    handler.open.clear()
    worker.put(3)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        handler.open.set()
        worker.put(2)
        asyncio.run(worker.close())
        os.write(writing, bytes(handler.items))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == bytes([1, 2])
    os.close(reading)
    os.close(writing)
    handler.open.set()
    asyncio.run(worker.close())
    assert handler.items == [1, 3]
