"""The queue before a writer: batches by number and by patience, and marks that hold callers back."""

import asyncio

from kalshi_platform.database.batching import FlushPolicy, RowQueue


def _filled(rows: int, policy: FlushPolicy) -> RowQueue:
    queue = RowQueue(policy)
    for number in range(rows):
        queue.add((number,))
    return queue


async def test_a_full_batch_is_due_at_once() -> None:
    """However patient a row may be."""
    queue = _filled(25, FlushPolicy(10, 60.0))
    for rows, is_all in ((10, False), (10, False)):
        await asyncio.wait_for(queue.batch_due(60.0), 5)
        batch, all_cut = queue.cut()
        assert (len(batch), all_cut) == (rows, is_all)
    assert len(queue) == 5


async def test_a_few_rows_wait_for_others_as_long_as_the_policy_says() -> None:
    """Neither less nor for ever."""
    queue = _filled(3, FlushPolicy(10, 0.05))
    loop = asyncio.get_running_loop()
    started = loop.time()
    await queue.batch_due(60.0)
    assert 0.04 < loop.time() - started < 5
    assert queue.cut() == ([(0,), (1,), (2,)], True)


async def test_an_empty_queue_comes_back_for_the_heartbeat() -> None:
    """And closing ends every wait."""
    queue = RowQueue(FlushPolicy(10, 60.0))
    await asyncio.wait_for(queue.batch_due(0.01), 5)
    assert queue.cut() == ([], True)
    waiting = asyncio.create_task(queue.batch_due(60.0))
    await asyncio.sleep(0)
    queue.close()
    await asyncio.wait_for(waiting, 5)
    assert queue.is_done


async def test_callers_wait_between_the_marks_and_it_is_counted() -> None:
    """From the high mark down to the low one."""
    policy = FlushPolicy(1000, 0.01)
    queue = _filled(policy.high_mark - 1, policy)
    assert queue.has_room
    assert queue.blocked_seconds == 0
    queue.add((0,))
    assert not queue.has_room
    waiting = asyncio.create_task(queue.room())
    before = queue.blocked_seconds
    await asyncio.sleep(0.02)
    assert queue.blocked_seconds > before
    while len(queue) > policy.low_mark:
        assert not queue.has_room
        queue.cut()
    await asyncio.wait_for(waiting, 5)
    stopped = queue.blocked_seconds
    assert stopped > 0.02
    await asyncio.sleep(0.01)
    assert queue.blocked_seconds == stopped
