import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from kalshi_platform.lake.ahead import read_ahead


def _batch(number: int) -> pa.RecordBatch:
    return pa.record_batch({"n": [number]})


def _readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_batches_come_in_their_order() -> None:
    """Whatever the thread is ahead."""
    with read_ahead(_batch(n) for n in range(20)) as batches:
        assert [batch["n"][0].as_py() for batch in batches] == list(range(20))
    assert _readers() == []


def test_no_more_is_read_than_may_wait() -> None:
    """A slow writer does not gather the hour in memory."""
    read: list[int] = []
    full = threading.Event()

    def source() -> Iterator[pa.RecordBatch]:
        for number in range(100):
            read.append(number)
            if number == 3:
                full.set()
            yield _batch(number)

    with read_ahead(source(), most=2) as batches:
        next(batches)
        assert full.wait(10)  # one is used, two wait, one is in the reader's hand
        assert len(read) == 4
    assert _readers() == []


def test_an_error_of_the_source_is_the_user_s() -> None:
    """After the batches that came before it."""

    def source() -> Iterator[pa.RecordBatch]:
        yield _batch(1)
        raise ConnectionResetError

    with read_ahead(source()) as batches:
        assert next(batches)
        with pytest.raises(ConnectionResetError):
            next(batches)
    assert _readers() == []


def test_a_user_who_fails_leaves_no_thread_behind() -> None:
    """The source may be closed then: nobody reads it any more."""

    def fail() -> None:
        with read_ahead(_batch(n) for n in range(100)):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert _readers() == []
