"""What is listed besides markets: series, events with or without combos, milestones, collections."""

from collections.abc import Sequence
from itertools import islice

from aiohttp import web

from kalshi_platform.simulator.invention import COMBO_COLLECTION, COMBO_SERIES
from kalshi_platform.simulator.market import Event
from kalshi_platform.simulator.requests import (
    NotFoundError,
    answer,
    invalid_parameter,
    read_cursor,
    read_flag,
    read_integer,
    read_limit,
    read_names,
)
from kalshi_platform.simulator.rest import objects
from kalshi_platform.simulator.rest.filters import statuses
from kalshi_platform.simulator.rest.state import RestState, find, take_page


class ListingHandlers:
    """`/series`, `/events`, `/milestones`, `/multivariate_event_collections`."""

    def __init__(self, state: RestState) -> None:
        self._state = state
        self._catalogue = state.catalogue

    async def series_list(self, request: web.Request) -> web.Response:
        """GET /series: all of them at once, there is no cursor."""
        query = request.query
        category, since = query.get("category"), read_integer(query, "min_updated_ts", 0) * 1000
        found = [
            objects.series(one)
            for one in self._catalogue.series.values()
            if category in (None, "", one.category) and one.created_ms >= since
        ]
        return answer({"series": found if not query.get("tags") else []})

    async def series(self, request: web.Request) -> web.Response:
        """GET /series/{ticker}."""
        return answer({"series": objects.series(find(self._catalogue.series, request))})

    async def series_fee_changes(self, request: web.Request) -> web.Response:
        """GET /series/fee_changes: one for each series, all of them past, so nothing unless history is asked for."""
        ticker = request.query.get("series_ticker")
        past = read_flag(request.query, "show_historical")
        found = [one for one in self._catalogue.series.values() if past and ticker in (None, "", one.ticker)]
        return answer({"series_fee_change_arr": [objects.fee_change(one) for one in found]})

    async def events(self, request: web.Request) -> web.Response:
        """GET /events: without combos."""
        query = request.query
        limit, nested = read_limit(query, "GetEvents", most=200, usual=200), read_flag(query, "with_nested_markets")
        wanted, tickers = statuses(query.get("status")), read_names(query, "tickers")
        since = read_integer(query, "min_updated_ts", 0) * 1000
        closing = read_integer(query, "min_close_ts", 0) * 1000

        def matches(event: Event) -> bool:
            return (
                (tickers is None or event.ticker in tickers)
                and event.created_ms >= since
                and event.strike_ms >= closing
                and (wanted is None or any(market.status in wanted for market in self._state.live_markets(event)))
            )

        rows = self._events(query.get("series_ticker"))
        found, cursor = take_page(rows, read_cursor(query), limit, matches)
        return self._state.page("events", (self._body(one, nested=bool(nested)) for one in found), cursor)

    async def multivariate(self, request: web.Request) -> web.Response:
        """GET /events/multivariate: combos' events."""
        query = request.query
        limit = read_limit(query, "GetMultivariateEvents", most=200, usual=100)
        nested = bool(read_flag(query, "with_nested_markets"))
        series, collection = query.get("series_ticker"), query.get("collection_ticker")
        if series and collection:
            raise invalid_parameter("series_ticker and collection_ticker are mutually exclusive")
        is_ours = series in (None, "", COMBO_SERIES) and collection in (None, "", COMBO_COLLECTION)
        rows = list(self._catalogue.combo_events.values()) if is_ours else []
        found, cursor = take_page(rows, read_cursor(query), limit, lambda _: True)
        return self._state.page("events", (self._body(one, nested=nested) for one in found), cursor)

    async def event(self, request: web.Request) -> web.Response:
        """GET /events/{ticker}: the markets stand beside the event, or inside it when asked for."""
        event = self._state.event(request)
        if read_flag(request.query, "with_nested_markets"):
            return answer({"event": self._body(event, nested=True)})
        beside = [objects.market(market) for market in self._state.live_markets(event)]
        return answer({"event": self._body(event, nested=False), "markets": beside})

    async def milestones(self, request: web.Request) -> web.Response:
        """GET /milestones: the moment on which each event's markets hang; `limit` must be given."""
        query = request.query
        if not query.get("limit"):
            raise invalid_parameter("limit is required")
        limit = read_limit(query, "GetMilestones", most=500, usual=500)
        related, category, kind = query.get("related_event_ticker"), query.get("category"), query.get("type")
        earliest = query.get("minimum_start_date", "")

        def matches(event: Event) -> bool:
            body = self._milestone(event)
            return (
                category in (None, "", body["category"])
                and kind in (None, "", body["type"])
                and body["start_date"] >= earliest
            )

        rows = self._catalogue.events_in_order if not related else self._named(related)
        found, cursor = take_page(rows, read_cursor(query), limit, matches)
        return self._state.page("milestones", map(self._milestone, found), cursor)

    async def collections(self, request: web.Request) -> web.Response:
        """GET /multivariate_event_collections: there is one."""
        query = request.query
        read_limit(query, "GetMultivariateEventCollections", most=200, usual=100)
        matches = query.get("series_ticker") in (None, "", COMBO_SERIES) and query.get("status") in (None, "", "open")
        found = [self._collection()] if matches else []
        event = query.get("associated_event_ticker")
        kept = [one for one in found if not event or any(event == each["ticker"] for each in one["associated_events"])]
        return self._state.page("multivariate_contracts", kept, None)

    async def collection(self, request: web.Request) -> web.Response:
        """GET /multivariate_event_collections/{ticker}."""
        if request.match_info["ticker"] != COMBO_COLLECTION:
            raise NotFoundError(request.match_info["ticker"])
        return answer({"multivariate_contract": self._collection()})

    def _events(self, series: str | None) -> Sequence[Event]:
        if not series:
            return self._catalogue.events_in_order
        return [one for one in self._catalogue.events_of_series(series) if one.series_ticker == series]

    def _named(self, ticker: str) -> list[Event]:
        return [self._catalogue.events[ticker]] if ticker in self._catalogue.events else []

    def _body(self, event: Event, *, nested: bool) -> objects.Json:
        state = self._state
        return objects.event(event, state.category(event), state.live_markets(event) if nested else None)

    def _milestone(self, event: Event) -> objects.Json:
        return objects.milestone(event, self._state.category(event))

    def _collection(self) -> objects.Json:
        return objects.collection(COMBO_COLLECTION, COMBO_SERIES, list(islice(self._catalogue.events_in_order, 5)))
