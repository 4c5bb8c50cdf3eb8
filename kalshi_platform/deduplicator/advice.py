"""What a person should do about the loops, in plain words, for `/health`.

Problems are what nobody makes up for; warnings what others do. Kept out: what other parts know (`standby`), numbers.
"""

from collections.abc import Mapping, Sequence

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, TICKERS, TRADES
from kalshi_platform.deduplicator.sync import SyncLoop

_LIVE = (TRADES, ORDERBOOK_DELTAS, TICKERS)
"""Streams that never rest for long: how far they are heard moves every second."""

_LATE_SECONDS = 1.5
_FIND = (
    "SELECT pid, application_name, state, query FROM pg_stat_activity WHERE backend_xid = '{xid}', or, if it is a "
    "prepared one, SELECT gid, prepared FROM pg_prepared_xacts WHERE transaction = '{xid}'"
)
_EPOCH = 2**32
"""PostgreSQL's views of transactions leave out how often ids have wrapped."""


def problems(loops: Sequence[SyncLoop], now: float, patience: float) -> list[str]:
    """Tables that nobody delivers, gatherers that contradict themselves or us, transactions that hold back rows.

    Args:
        loops: All of them.
        now: The time, seconds since 1970.
        patience: Seconds for which a transaction may hold back a gatherer's rows.
    """
    merged = {loop.table.name for loop in loops if loop.state.connected}
    unmerged = [
        f"{table} is merged from nobody: last_error below says why; start the gatherers' databases, or mend "
        "KALSHI_GATHERERS"
        for table in dict.fromkeys(loop.table.name for loop in loops)
        if table not in merged
    ]
    gatherers = by_gatherer(loops)
    refused = [text for name, ours in gatherers.items() for text in _refused(name, ours)]
    held = [_held(name, ours, now) for name, ours in gatherers.items() if horizon_age(ours, now) > patience]
    return [*unmerged, *refused, *filter(None, map(_misnamed, loops)), *held]


def warnings(loops: Sequence[SyncLoop], now: float, silence: float) -> list[str]:
    """Gatherers that are away, and such as are later than others.

    Args:
        loops: All of them.
        now: The time, seconds since 1970.
        silence: Seconds after which nobody waits for a silent gatherer.
    """
    gatherers = by_gatherer(loops)
    absent = [_absent(name, ours, now, silence) for name, ours in gatherers.items()]
    return [*filter(None, absent), *filter(None, (_late(name, ours, loops) for name, ours in gatherers.items()))]


def by_gatherer(loops: Sequence[SyncLoop]) -> Mapping[str, list[SyncLoop]]:
    """The loops of each gatherer."""
    names = dict.fromkeys(loop.gatherer_id for loop in loops)
    return {name: [loop for loop in loops if loop.gatherer_id == name] for name in names}


def horizon_age(loops: Sequence[SyncLoop], now: float) -> float:
    """For how long one transaction has held back what a gatherer wrote after it, in seconds."""
    return max(loop.state.horizon.age(now) for loop in loops)


def behind(loop: SyncLoop, loops: Sequence[SyncLoop]) -> float | None:
    """Seconds between what is merged of a gatherer's table and of the others'; None where nobody knows."""
    mark = loop.state.watermark
    marks = [one.state.watermark for one in loops if one.table is loop.table and one.state.watermark]
    return (max(marks) - mark).total_seconds() if mark else None


def _refused(gatherer_id: str, loops: Sequence[SyncLoop]) -> list[str]:
    """Each defect once: one of the whole database is every table's."""
    tables: dict[str, list[str]] = {}
    for loop in loops:
        if loop.state.defect:
            tables.setdefault(loop.state.defect, []).append(loop.table.name)
    return [f"{gatherer_id} ({', '.join(names)}) is refused: {defect}" for defect, names in tables.items()]


def _misnamed(loop: SyncLoop) -> str:
    name = loop.state.own_name
    if name in (None, loop.gatherer_id):
        return ""
    return (
        f"what KALSHI_GATHERERS calls {loop.gatherer_id} calls itself {name}: nothing that it heard counts as covered, "
        f"and `maintain gatherer` drops nothing; write {name}=… in KALSHI_GATHERERS, or set its KALSHI_GATHERER_ID"
    )


def _held(gatherer_id: str, loops: Sequence[SyncLoop], now: float) -> str:
    oldest = max((loop.state.horizon for loop in loops), key=lambda horizon: horizon.age(now))
    xid = (oldest.held_by or 0) % _EPOCH
    return (
        f"a transaction at {gatherer_id} has held back its rows for {oldest.age(now):.0f} s; find it there and end it: "
        + _FIND.format(xid=xid)
    )


def _absent(gatherer_id: str, loops: Sequence[SyncLoop], now: float, silence: float) -> str:
    away = [loop for loop in loops if not loop.state.connected and not loop.state.defect]
    if not away:
        return ""
    is_given_up = all(now - loop.state.last_heard > silence for loop in away)
    return (
        f"{gatherer_id} is not merged ({away[0].state.last_error or 'not reached yet'}) and "
        f"{'nobody waits for it' if is_given_up else 'is waited for'}: see to its database and its address; where it "
        "is gone for good, take it out of KALSHI_GATHERERS"
    )


def _late(gatherer_id: str, ours: Sequence[SyncLoop], loops: Sequence[SyncLoop]) -> str:
    late = {loop.table.name: seconds for loop in ours if loop.table in _LIVE and (seconds := behind(loop, loops))}
    tables = sorted(name for name, seconds in late.items() if seconds > _LATE_SECONDS)
    if not tables:
        return ""
    return (
        f"{gatherer_id} is {max(late.values()):.1f} s behind the others ({', '.join(tables)}): it catches up or is "
        "silent, or its clock is slow, which its kalshi_gatherer_clock_ahead_seconds tells"
    )
