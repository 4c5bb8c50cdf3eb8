"""The registry asks: is the exchange open, which markets are there; it hears lifecycle messages and watches the clock.

What follows from the answers is `listing`'s decision; here it is published to whoever follows markets. Kept out:
connections.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from kalshi_platform.core.errors import ExchangeError, ExchangeRefused, ExchangeUnavailable, FrameRejected
from kalshi_platform.core.messages import LifecycleFrame, MultivariateLifecycleFrame
from kalshi_platform.core.units import SECOND, us_from_rfc3339
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.rest.markets import chunks
from kalshi_platform.exchange.rest.objects import ExchangeStatus, Market
from kalshi_platform.exchange.rest.pages import PatientPages, Progress, Walk
from kalshi_platform.exchange.schedule import Pause, pauses
from kalshi_platform.exchange.staleness import Hours
from kalshi_platform.gatherer.listing import Changes, Listing
from kalshi_platform.service.metrics import GathererMetrics

STATUS_SECONDS = 15.0
"""How often the exchange is asked whether it is open: sooner than silence is an alarm."""

MOST_CLOSED = 0.5
"""Shards pause alone (kalshi-pitfalls.md 47). With so much of the traffic gone, the rest sounds as ever: half as often,
where twenty times as rarely would be an alarm. With more of it gone, silence says nothing."""

WORST_CLOCK_SECONDS = 5.0
"""A clock that is further off is an error: the exchange refuses signatures from 30 s on."""

_OVERDUE_SECONDS = 2.0
_SCHEDULE_US = 3_600 * SECOND
_TURN_SECONDS = 1.0
_TELL_US = 10 * SECOND
_LISTED = ("unopened", "open", "paused")
"""Filters that find what is followed, in the order in which markets move on while one walks."""
_TICKERS_A_CALL = 100
_OUTAGES_A_WALK = 12
_FEW = 1_000

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Followers:
    """Whoever follows order books.

    Attributes:
        follow: Called with tickers that have come; returns those that it has no room for, which are offered again.
        leave: Called with tickers that are over.
        displace: Called with tickers that go on, and are followed no more.
        renew: Called with tickers whose books are to be asked for anew.
    """

    follow: Callable[[Iterable[str]], Sequence[str]]
    leave: Callable[[Iterable[str]], None]
    displace: Callable[[Iterable[str]], None]
    renew: Callable[[Sequence[str]], None] = lambda _: None


class Registry:
    """Knows the markets and the exchange's hours.

    Args:
        rest: The exchange.
        followers: Told of every change.
        metrics: Told of what is known.
        retry_waits: Makes the waits between attempts, in seconds.
        now_us: The clock, µs since 1970.
        include_multivariate: Whether combos are followed too.
        reconcile_seconds: Time between two walks over the whole list.
        sleep: Waits so many seconds.

    Attributes:
        listing: The markets.
        hours: When the exchange sends, as it said last; silence in its pauses is no alarm.
        has_walked: Whether the whole list was walked once.
    """

    def __init__(
        self,
        rest: RestClient,
        followers: Followers,
        metrics: GathererMetrics,
        retry_waits: Callable[[], Iterator[float]],
        now_us: Callable[[], int],
        *,
        include_multivariate: bool,
        reconcile_seconds: float = 300.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._rest = rest
        self._followers = followers
        self._metrics = metrics
        self._retry_waits = retry_waits
        self._now_us = now_us
        self._combos = None if include_multivariate else "exclude"  # they dominate the listing (kalshi-pitfalls.md 34)
        self._reconcile_seconds = reconcile_seconds
        self._sleep = sleep
        self._is_open = asyncio.Event()
        self._is_walk_due = asyncio.Event()
        self.has_walked = False
        self._schedule_us = -_SCHEDULE_US
        self._closed: frozenset[int] = frozenset()
        self.listing = Listing()
        self.hours = Hours()

    async def run(self) -> None:
        """Ask, hear and watch until cancelled.

        Raises:
            ExchangeRefused: The exchange will not have us; later refusals are told and borne, for what is followed
                already goes on.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._reconcile())
            tasks.create_task(self._keep_time())

    async def look(self) -> float:
        """Ask whether the exchange is open; returns after how many seconds to ask again.

        Closed, it says when it means to be back: then it is asked again on the dot.
        """
        status = await self._rest.status()
        now_us = self._now_us()
        if now_us >= self._schedule_us + _SCHEDULE_US:
            await self._read_schedule(now_us)
        self._note_hours(status, self.hours.windows)
        if status.exchange_active and not self._is_open.is_set():
            self._is_open.set()
            self._is_walk_due.set()
        elif not status.exchange_active:
            self._is_open.clear()
        return STATUS_SECONDS if self.hours.is_active else _patience(status.exchange_estimated_resume_time, now_us)

    async def walk(self) -> None:
        """Ask for every market that is or will be open, once; follow the new and leave those that are over."""
        listing, started_us = self.listing, self._now_us()
        listing.begin_walk(started_us)
        rows = [await self._list(status) for status in _LISTED]
        await self._ask_after(listing.end_walk(self._now_us()))
        self._publish(listing.offers())
        self.has_walked = True
        self._report(sum(rows), started_us)

    def on_lifecycle(self, frame: LifecycleFrame | MultivariateLifecycleFrame) -> None:
        """Take one change of a market's life, as the exchange tells it."""
        changes = self.listing.hear(frame.msg, self._now_us())
        self._publish(changes)
        for event, tickers in (("market came", changes.follow), ("market went", changes.leave)):
            for ticker in tickers:
                _log.info(event, ticker=ticker, message=frame.msg.event_type)

    def turn(self) -> None:
        """Let the clock open and close markets."""
        self._publish(self.listing.tick(self._now_us()))

    async def _watch(self) -> None:
        while True:
            wait = STATUS_SECONDS
            try:
                wait = await self.look()
                self._look_at_the_clock()
            except ExchangeUnavailable as error:
                _log.warning("the exchange does not say whether it is open", error=str(error))
                self._is_open.set()  # nor that it is closed: then its list is worth a try
            except ExchangeRefused as error:
                self._bear(error)
            await self._sleep(wait)

    def _look_at_the_clock(self) -> None:
        """Stamps of receipt and signatures depend on this machine's clock."""
        ahead = self._rest.clock_ahead
        if ahead is None:
            return
        self._metrics.clock_ahead.set(ahead)
        if abs(ahead) > WORST_CLOCK_SECONDS:
            word = "ahead of" if ahead > 0 else "behind"
            _log.error(f"this machine's clock is {abs(ahead):.0f} s {word} the exchange's: set it by NTP")

    async def _reconcile(self) -> None:
        waits = self._retry_waits()
        while True:
            await self._is_open.wait()
            self._is_walk_due.clear()
            try:
                await self.walk()
            except ExchangeError as error:
                if isinstance(error, ExchangeRefused):
                    self._bear(error)
                else:
                    _log.warning("cannot list markets, trying again", error=str(error))
                await self._sleep(next(waits))
                continue
            waits = self._retry_waits()
            await self._until_due()

    async def _until_due(self) -> None:
        """Wait for the next walk, or for the exchange to come back."""
        try:
            async with asyncio.timeout(self._reconcile_seconds):
                await self._is_walk_due.wait()
        except TimeoutError:
            return

    async def _keep_time(self) -> None:
        while True:
            self.turn()
            await self._sleep(_TURN_SECONDS)

    def _bear(self, error: ExchangeRefused) -> None:
        """A refusal before anything is known ends the gatherer; later it would end what still works."""
        if not self.listing and not self.has_walked:
            raise error
        _log.error("the exchange refuses to be asked; what is followed goes on", error=str(error))

    async def _list(self, status: str) -> int:
        """Walk over one state's markets, publishing page by page; returns how many there are."""
        filters = MarketFilters(status=status, mve_filter=self._combos)
        progress = _ProgressLog(status, self._now_us)
        pages: PatientPages[Market] = PatientPages(
            lambda walk: self._rest.markets(filters, walk),
            Walk(on_progress=progress.note),
            lambda: islice(self._retry_waits(), _OUTAGES_A_WALK),
            sleep=self._sleep,
        )
        asked_us = self._now_us()
        async for page in pages.pages():
            self._publish(self.listing.take(page, asked_us, self._now_us()))
            asked_us = self._now_us()
        return progress.rows

    async def _ask_after(self, tickers: Sequence[str]) -> None:
        """Ask by name for markets that are in no list any more; those that nobody knows are gone."""
        if len(tickers) > max(_FEW, len(self.listing) // 2):
            _log.error("the list lacks most markets and is not believed", missing=len(tickers), known=len(self.listing))
            return
        for chunk in chunks(tickers, _TICKERS_A_CALL):
            asked_us = self._now_us()
            found = [market async for market in self._rest.markets(MarketFilters(tickers=chunk))]
            self._publish(self.listing.take(found, asked_us, self._now_us()))
            self._publish(self.listing.vanished(set(chunk) - {market.ticker for market in found}))

    def _publish(self, changes: Changes) -> None:
        if changes.leave:
            self._followers.leave(changes.leave)
        if changes.displaced:
            self._followers.displace(changes.displaced)
        if changes.follow:
            self.listing.homeless(self._followers.follow(changes.follow))
        if changes.restructured:
            _log.info("prices have another grid", markets=len(changes.restructured), first=changes.restructured[0])
            self._followers.renew(changes.restructured)

    async def _read_schedule(self, now_us: int) -> None:
        try:
            windows = pauses(await self._rest.schedule(), now_us)
        except ExchangeError as error:  # refused, too: endpoints come and go, and the weekly pause is known without
            _log.warning("the exchange does not say when it pauses", error=str(error))
            return
        self._schedule_us = now_us
        self.hours = Hours(self.hours.is_active, self.hours.active_since_us, windows)

    def _note_hours(self, status: ExchangeStatus, windows: Sequence[Pause]) -> None:
        is_active = status.exchange_active and status.trading_active and self._is_enough_open(status)
        if is_active == self.hours.is_active:
            return
        resumes = status.exchange_estimated_resume_time
        _log.warning("the exchange trades again" if is_active else "the exchange pauses", resumes=resumes)
        self._metrics.exchange_active.set(is_active)
        if is_active:
            self._is_walk_due.set()
        self.hours = Hours(is_active=is_active, active_since_us=self._now_us(), windows=windows)

    def _is_enough_open(self, status: ExchangeStatus) -> bool:
        """Whether shards that pause leave enough that silence still tells something."""
        closed = frozenset(
            one.exchange_index
            for one in status.exchange_index_statuses
            if one.exchange_active is False or one.trading_active is False
        )
        share = self.listing.share(closed) if closed else 0.0
        if closed != self._closed:
            _log.warning("shards of the exchange pause", shards=sorted(closed), share=round(share, 2))
            if self._closed - closed:
                self._is_walk_due.set()
            self._closed = closed
        return share <= MOST_CLOSED

    def _report(self, rows: int, started_us: int) -> None:
        now_us, counts = self._now_us(), self.listing.counts()
        for state, markets in counts.items():
            self._metrics.listed.labels(state.name.lower()).set(markets)
        self._metrics.listed_at.set(now_us / SECOND)
        known = {state.name.lower(): markets for state, markets in counts.items()}
        _log.info("markets listed", rows=rows, seconds=round((now_us - started_us) / SECOND, 1), **known)


class _ProgressLog:
    """Tells of a long walk now and then."""

    def __init__(self, status: str, now_us: Callable[[], int]) -> None:
        self._status = status
        self._now_us = now_us
        self._told_us = now_us()
        self.rows = 0

    def note(self, progress: Progress) -> None:
        """A page is done."""
        self.rows = progress.rows
        if self._now_us() >= self._told_us + _TELL_US:
            self._told_us = self._now_us()
            rate = round(progress.rows / max(progress.seconds, 1e-9))
            _log.info("listing markets", status=self._status, rows=progress.rows, pages=progress.pages, rate=rate)


def _patience(resumes: str | None, now_us: int) -> float:
    """Seconds until the exchange means to be back, if that is before it would be asked anyway."""
    try:
        left = (us_from_rfc3339(resumes) - now_us) / SECOND if resumes else STATUS_SECONDS
    except FrameRejected:
        return STATUS_SECONDS
    return min(STATUS_SECONDS, left) if left > 0 else _OVERDUE_SECONDS
