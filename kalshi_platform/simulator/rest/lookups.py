"""What REST says besides the lists: fees and faces of events, what markets are about, tags.

Kept out: the lists (`listings`), and when a fee changes (`lifecycle`).
"""

from itertools import islice

from aiohttp import web

from kalshi_platform.simulator.market import Event
from kalshi_platform.simulator.requests import (
    NotFoundError,
    answer,
    invalid_parameter,
    read_cursor,
    read_integer,
    read_limit,
)
from kalshi_platform.simulator.rest import objects
from kalshi_platform.simulator.rest.state import RestState, take_page

_MOST_TARGETS = 2000
_USUAL_TARGETS = 100


class LookupHandlers:
    """`/events/fee_changes`, `/events/{ticker}/metadata`, `/structured_targets`, `/search`."""

    def __init__(self, state: RestState) -> None:
        self._state = state
        self._catalogue = state.catalogue

    async def event_fee_changes(self, request: web.Request) -> web.Response:
        """GET /events/fee_changes: those that sockets were told of, in that order."""
        query = request.query
        limit = read_limit(query, "GetEventFeeChanges", most=1000, usual=100)
        ticker = query.get("event_ticker")
        changes = self._catalogue.fee_changes
        found, cursor = take_page(
            changes, read_cursor(query), limit, lambda one: ticker in (None, "", one.event.ticker)
        )
        return self._state.page("event_fee_changes", map(objects.event_fee_change, found), cursor)

    async def event_metadata(self, request: web.Request) -> web.Response:
        """GET /events/{ticker}/metadata."""
        event = self._state.event(request)
        return answer(objects.event_metadata(event, self._state.live_markets(event)))

    async def structured_targets(self, request: web.Request) -> web.Response:
        """GET /structured_targets: one for each event; the size of a page is `page_size` here."""
        query = request.query
        size = read_integer(query, "page_size", _USUAL_TARGETS)
        if not 1 <= size <= _MOST_TARGETS:
            raise invalid_parameter(f"page_size must lie in 1..{_MOST_TARGETS}")
        kind, competition = query.get("type"), query.get("competition")

        def matches(event: Event) -> bool:
            body = self._target(event)
            return kind in (None, "", body["type"]) and competition in (None, "", body["details"]["competition"])

        found, cursor = take_page(self._catalogue.events_in_order, read_cursor(query), size, matches)
        return self._state.page("structured_targets", map(self._target, found), cursor)

    async def structured_target(self, request: web.Request) -> web.Response:
        """GET /structured_targets/{id}."""
        wanted = request.match_info["ticker"]
        for event in self._catalogue.events_in_order:
            body = self._target(event)
            if body["id"] == wanted:
                return answer({"structured_target": body})
        raise NotFoundError(wanted)

    async def tags(self, _: web.Request) -> web.Response:
        """GET /search/tags_by_categories: every category; the simulator's series have no tags."""
        series = islice(self._catalogue.series.values(), _MOST_TARGETS)  # their categories repeat after a few
        return answer({"tags_by_categories": {one.category: [] for one in series}})

    def _target(self, event: Event) -> objects.Json:
        return objects.structured_target(event, self._state.category(event))
