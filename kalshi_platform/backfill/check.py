"""Whether all is there: what production holds of each market and day against what the exchange's candles say.

Hours are compared where they lie wholly in what was fetched, and told by days (UTC); a day that holds less than its
candles is a gap. Nobody says on which side of its edge a candle counts, so a trade of the very edge counts for both
days. Kept out: what is done about a gap.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from kalshi_platform.backfill.jobs import JobStore
from kalshi_platform.backfill.plan import life_of, markets_of
from kalshi_platform.backfill.report import Gap
from kalshi_platform.backfill.request import BackfillRequest
from kalshi_platform.backfill.volumes import Volume, volumes
from kalshi_platform.exchange.rest.client import RestClient

_AT_ONCE = 100
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_HOLDS = """
SELECT one.ticker, day, coalesce(sum(size), 0)::bigint AS whole,
       coalesce(sum(size) FILTER (WHERE exchange_ts < upper), 0)::bigint AS size
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[]) AS one (ticker, day, lower, upper)
LEFT JOIN LATERAL (
    SELECT size, exchange_ts FROM trades WHERE trades.ticker = one.ticker AND exchange_ts BETWEEN lower AND upper
    AND exchange_ts BETWEEN $5 AND $6
) AS held ON true GROUP BY 1, 2
"""

Span = tuple[str, datetime, datetime]
Days = dict[tuple[str, datetime], int]
"""Ticker and midnight, and the contracts of that day's candles, hundredths."""


@dataclass(slots=True)
class Verdict:
    """What was compared, and where it differs."""

    checked: int = 0
    unchecked: int = 0
    surplus: int = 0
    gaps: list[tuple[Gap, datetime, datetime]] = field(default_factory=list)
    """Each with the stretch of its day that belongs to the job."""


async def check(
    rest: RestClient,
    jobs: JobStore,
    request: BackfillRequest,
    start: datetime,
    end: datetime,
    on_progress: Callable[[int], None],
) -> Verdict:
    """Compare every market of a job with its candles.

    Args:
        rest: The exchange.
        jobs: The job's rows, and production.
        request: What was asked for.
        start: From here on everything is fetched.
        end: Up to here.
        on_progress: Told how many markets are compared.
    """
    verdict = Verdict()
    if _ceiling(start) >= _floor(end):
        return verdict  # no hour is whole
    done = 0
    async for spans in _spans(rest, jobs, request, start, end):
        await _compare(rest, jobs, spans, verdict)
        done += len(spans)
        on_progress(done)
    return verdict


async def _spans(
    rest: RestClient, jobs: JobStore, request: BackfillRequest, start: datetime, end: datetime
) -> AsyncIterator[list[Span]]:
    """The job's markets, some at a time, each with the stretch that is fetched of it."""
    if not request.all_markets:
        after = ""
        while found := await jobs.spans(after, _AT_ONCE):
            yield found
            after = found[-1][0]
        return
    group: list[Span] = []
    async for market in markets_of(rest, request, start):
        life = life_of(market, start, end)
        if life is not None:
            group.append((market.ticker, *life))
        if len(group) == _AT_ONCE:
            yield group
            group = []
    yield group


async def _compare(rest: RestClient, jobs: JobStore, spans: Sequence[Span], verdict: Verdict) -> None:
    whole = {ticker: (_ceiling(start), _floor(end)) for ticker, start, end in spans}
    whole = {ticker: span for ticker, span in whole.items() if span[0] < span[1]}
    if not whole:
        return
    first, last = min(start for start, _ in whole.values()), max(end for _, end in whole.values())
    said: Days = {}
    async for ticker, found in volumes(rest, list(whole), first, last, minutes=60):
        if found is None:
            verdict.unchecked += 1
        else:
            said |= _by_day(ticker, found, *whole[ticker])
    verdict.checked += len(said)
    held = await _held(jobs, said, whole)
    for (ticker, midnight), expected in said.items():
        size, with_edge = held[ticker, midnight]
        if with_edge < expected:
            start, end = _within(midnight, whole[ticker])
            verdict.gaps.append((Gap(ticker, midnight.date(), expected, size), start, end))
        verdict.surplus += size > expected


def _by_day(ticker: str, found: Sequence[Volume], start: datetime, end: datetime) -> Days:
    """What candles of hours say of each day with any."""
    said: Days = {}
    for stop, size in found:
        hour = datetime.fromtimestamp(stop, UTC) - _HOUR
        if size and start <= hour < end:
            key = ticker, hour.replace(hour=0)
            said[key] = said.get(key, 0) + size
    return said


async def _held(
    jobs: JobStore, said: Days, whole: Mapping[str, tuple[datetime, datetime]]
) -> dict[tuple[str, datetime], tuple[int, int]]:
    """What production holds of the same days: without and with what stands on their later edge."""
    if not said:
        return {}
    bounds = [_within(midnight, whole[ticker]) for ticker, midnight in said]
    lower, upper = [start for start, _ in bounds], [end for _, end in bounds]
    names, midnights = [ticker for ticker, _ in said], [midnight for _, midnight in said]
    records = await jobs.fetch(_HOLDS, names, midnights, lower, upper, min(lower), max(upper))
    return {(one["ticker"], one["day"]): (one["size"], one["whole"]) for one in records}


def _within(midnight: datetime, span: tuple[datetime, datetime]) -> tuple[datetime, datetime]:
    return max(midnight, span[0]), min(midnight + _DAY, span[1])


def _floor(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _ceiling(moment: datetime) -> datetime:
    floor = _floor(moment)
    return floor if floor == moment else floor + _HOUR
