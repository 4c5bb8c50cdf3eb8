"""Reading ahead: the next batches come while the last ones are sorted and written.

Half of an export is waiting for the database, half is work; a thread makes them one. Kept out: what is read.
"""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa


@contextmanager
def read_ahead(batches: Iterable[pa.RecordBatch], most: int = 2) -> Iterator[Iterator[pa.RecordBatch]]:
    """The same batches, read by a thread that is done when the block ends, however it ends.

    Args:
        batches: Read by that thread alone.
        most: So many wait at most, which bounds the memory.
    """
    waiting: queue.Queue[Any] = queue.Queue(most)  # batches, and last an error or None
    stopped = threading.Event()
    thread = threading.Thread(target=_read, args=(batches, waiting, stopped), name="read-ahead", daemon=True)
    thread.start()
    try:
        yield _handed_out(waiting)
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room: make some until it has seen that nobody wants more
            _discard(waiting)
            thread.join(0.01)


def _read(batches: Iterable[pa.RecordBatch], waiting: "queue.Queue[Any]", stopped: threading.Event) -> None:
    try:
        for batch in batches:
            waiting.put(batch)
            if stopped.is_set():
                return
        waiting.put(None)
    except BaseException as error:
        waiting.put(error)


def _handed_out(waiting: "queue.Queue[Any]") -> Iterator[pa.RecordBatch]:
    while (item := waiting.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item


def _discard(waiting: "queue.Queue[Any]") -> None:
    while not waiting.empty():
        waiting.get_nowait()
