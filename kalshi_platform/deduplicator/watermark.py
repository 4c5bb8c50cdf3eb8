"""The watermark: the exchange time up to which every live gatherer has been merged.

Partitions close on it, not on the wall clock. Kept out: reading and merging.
"""

from collections.abc import Iterable
from datetime import datetime

from kalshi_platform.deduplicator.state import SyncState


def watermark(states: Iterable[SyncState], now: float, silence: float) -> datetime | None:
    """The least watermark among gatherers heard of within `silence` seconds; None where one has none yet.

    A gatherer that was silent for longer is not waited for: what it still holds arrives late, which is told apart
    from lost. Where all are silent, all are waited for.
    """
    known = list(states)
    live = [state for state in known if now - state.last_heard <= silence] or known
    marks = [state.watermark for state in live]
    return None if None in marks else min((mark for mark in marks if mark is not None), default=None)
