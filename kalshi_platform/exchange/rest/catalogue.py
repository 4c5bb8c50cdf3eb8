"""The endpoints that list what there is: series, events, milestones, combos."""

from collections.abc import Sequence

from kalshi_platform.exchange.rest.objects import Collection, Event, Market, Milestone, Series, SeriesFeeChange
from kalshi_platform.exchange.rest.pages import Pages, Walk
from kalshi_platform.exchange.rest.records import to_record, to_records
from kalshi_platform.exchange.rest.transport import Transport, read

_FROM_THE_START = Walk()


class CatalogueEndpoints:
    """`/series`, `/events`, `/milestones`, `/multivariate_event_collections`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def series_list(
        self,
        *,
        category: str | None = None,
        tags: Sequence[str] = (),
        include_product_metadata: bool = False,
        include_volume: bool = False,
        min_updated_ts: int | None = None,
    ) -> list[Series]:
        """Every series that matches; they come all at once."""
        return await self._transport.get_list(
            "/series",
            Series,
            "series",
            category=category,
            tags=",".join(tags) or None,
            include_product_metadata=include_product_metadata or None,
            include_volume=include_volume or None,
            min_updated_ts=min_updated_ts,
        )

    async def series(self, ticker: str, *, include_volume: bool = False) -> Series:
        """One series."""
        return await self._transport.get(f"/series/{ticker}", Series, "series", include_volume=include_volume or None)

    async def series_fee_changes(self, ticker: str | None = None, *, historical: bool = True) -> list[SeriesFeeChange]:
        """Changes of fees; without the historical ones the list is usually empty (kalshi-pitfalls.md 42)."""
        return await self._transport.get_list(
            "/series/fee_changes",
            SeriesFeeChange,
            "series_fee_change_arr",
            series_ticker=ticker,
            show_historical=historical,
        )

    def events(
        self,
        *,
        status: str | None = None,
        series_ticker: str | None = None,
        tickers: Sequence[str] = (),
        with_nested_markets: bool = False,
        min_close_ts: int | None = None,
        min_updated_ts: int | None = None,
        walk: Walk = _FROM_THE_START,
    ) -> Pages[Event]:
        """Events without combos; a status matches where any market of the event has it."""
        return self._transport.walk(
            "/events",
            Event,
            "events",
            walk,
            200,
            status=status,
            series_ticker=series_ticker,
            tickers=",".join(tickers) or None,
            with_nested_markets=with_nested_markets or None,
            min_close_ts=min_close_ts,
            min_updated_ts=min_updated_ts,
        )

    async def event(self, ticker: str) -> Event:
        """One event with its markets, wherever the answer carries them."""
        path = f"/events/{ticker}"
        raw = await self._transport.get_raw(path, {"with_nested_markets": True})
        event = read(path, lambda: to_record(raw["event"], Event))
        if event.markets or not raw.get("markets"):
            return event
        beside = read(path, lambda: tuple(to_records(raw["markets"], Market)))
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        return Event(**(fields | {"markets": beside}))

    def multivariate_events(
        self,
        *,
        series_ticker: str | None = None,
        collection_ticker: str | None = None,
        with_nested_markets: bool = False,
        walk: Walk = _FROM_THE_START,
    ) -> Pages[Event]:
        """Combos' events.

        Raises:
            ValueError: Series and collection exclude each other.
        """
        if series_ticker and collection_ticker:
            raise ValueError("series_ticker and collection_ticker exclude each other")
        return self._transport.walk(
            "/events/multivariate",
            Event,
            "events",
            walk,
            200,
            series_ticker=series_ticker,
            collection_ticker=collection_ticker,
            with_nested_markets=with_nested_markets or None,
        )

    def milestones(
        self,
        *,
        minimum_start_date: str | None = None,
        category: str | None = None,
        competition: str | None = None,
        type: str | None = None,  # noqa: A002 - the exchange's name
        source_id: str | None = None,
        related_event_ticker: str | None = None,
        min_updated_ts: int | None = None,
        walk: Walk = _FROM_THE_START,
    ) -> Pages[Milestone]:
        """Milestones; `minimum_start_date` is RFC3339."""
        return self._transport.walk(
            "/milestones",
            Milestone,
            "milestones",
            walk,
            500,
            minimum_start_date=minimum_start_date,
            category=category,
            competition=competition,
            type=type,
            source_id=source_id,
            related_event_ticker=related_event_ticker,
            min_updated_ts=min_updated_ts,
        )

    def collections(
        self,
        *,
        status: str | None = None,
        associated_event_ticker: str | None = None,
        series_ticker: str | None = None,
        walk: Walk = _FROM_THE_START,
    ) -> Pages[Collection]:
        """Kinds of combos."""
        return self._transport.walk(
            "/multivariate_event_collections",
            Collection,
            "multivariate_contracts",
            walk,
            200,
            status=status,
            associated_event_ticker=associated_event_ticker,
            series_ticker=series_ticker,
        )

    async def collection(self, ticker: str) -> Collection:
        """One kind of combo."""
        path = f"/multivariate_event_collections/{ticker}"
        return await self._transport.get(path, Collection, "multivariate_contract")
