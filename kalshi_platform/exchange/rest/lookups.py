"""The endpoints that say more about what is listed: fees and faces of events, what markets are about, tags.

Kept out: the lists themselves (`catalogue`).
"""

from kalshi_platform.exchange.rest.objects import EventFeeChange, EventMetadata, StructuredTarget
from kalshi_platform.exchange.rest.pages import Pages, Walk
from kalshi_platform.exchange.rest.transport import Transport, Value, read

_FROM_THE_START = Walk()
_FEE_CHANGES_A_PAGE = 1000
_TARGETS_A_PAGE = 2000


class LookupEndpoints:
    """`/events/fee_changes`, `/events/{ticker}/metadata`, `/structured_targets`, `/search`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def event_fee_changes(
        self, *, event_ticker: str | None = None, walk: Walk = _FROM_THE_START
    ) -> Pages[EventFeeChange]:
        """Changes of fees that concern one event each; those of whole series are `series_fee_changes`."""
        return self._transport.walk(
            "/events/fee_changes",
            EventFeeChange,
            "event_fee_changes",
            walk,
            _FEE_CHANGES_A_PAGE,
            event_ticker=event_ticker,
        )

    async def event_metadata(self, ticker: str) -> EventMetadata:
        """Pictures, colours and settlement sources of one event."""
        return await self._transport.get(f"/events/{ticker}/metadata", EventMetadata)

    def structured_targets(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the exchange's name
        competition: str | None = None,
        walk: Walk = _FROM_THE_START,
    ) -> Pages[StructuredTarget]:
        """The persons, teams and things that markets are about."""
        query: dict[str, Value] = {"type": type, "competition": competition}
        size = {"page_size": walk.limit or _TARGETS_A_PAGE}  # this list alone calls it so (kalshi-protocol.md §2.3)
        path = "/structured_targets"
        return self._transport.walk_with(path, StructuredTarget, "structured_targets", walk, query | size)

    async def structured_target(self, target_id: str) -> StructuredTarget:
        """One of them."""
        return await self._transport.get(f"/structured_targets/{target_id}", StructuredTarget, "structured_target")

    async def tags_by_categories(self) -> dict[str, tuple[str, ...]]:
        """Every category of series with the tags that `series_list` may be asked for."""
        path = "/search/tags_by_categories"
        raw = await self._transport.get_raw(path, {})
        return read(path, lambda: {name: tuple(tags or ()) for name, tags in raw["tags_by_categories"].items()})
