"""The REST endpoints under /trade-api/v2 (protocol §2): which path leads to which handler, through which gate.

Nothing here changes anything. Authentication and error bodies are put around these handlers by `server`; the handlers
are in `exchange`, `listings`, `lookups`, `markets` and `candles`.
"""

from collections.abc import Callable

from aiohttp import web

from kalshi_platform.simulator.rest.candles import CandleHandlers
from kalshi_platform.simulator.rest.exchange import ExchangeHandlers
from kalshi_platform.simulator.rest.gate import Gate, Handler
from kalshi_platform.simulator.rest.listings import ListingHandlers
from kalshi_platform.simulator.rest.lookups import LookupHandlers
from kalshi_platform.simulator.rest.markets import MarketHandlers
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform.simulator.rest.state import RestState
from kalshi_platform.simulator.venue import Venue

PREFIX = "/trade-api/v2"


class Rest:
    """All handlers around one exchange, and what tests may look at and turn."""

    def __init__(self, exchange: Venue, options: RestOptions, clock: Callable[[], int]) -> None:
        self.state = RestState(exchange, options, clock)
        """Its `cutoff_ms` may be moved."""
        self.gate = Gate(options, clock)
        """Its buckets say what each key took; its `failures` may be added to."""

    def routes(self) -> list[web.RouteDef]:
        """Every path with its handler; fixed paths win over `{ticker}` because they come first."""
        paths = self._exchange() | self._listings() | self._candles() | self._markets()
        return [web.get(PREFIX + path, self.gate.before(path, handler)) for path, handler in paths.items()]

    def _exchange(self) -> dict[str, Handler]:
        handlers = ExchangeHandlers(self.state)
        return {
            "/exchange/status": handlers.status,
            "/exchange/schedule": handlers.schedule,
            "/account/limits": handlers.limits,
            "/account/endpoint_costs": handlers.costs,
        }

    def _listings(self) -> dict[str, Handler]:
        handlers, lookups = ListingHandlers(self.state), LookupHandlers(self.state)
        return {
            "/series": handlers.series_list,
            "/series/fee_changes": handlers.series_fee_changes,
            "/series/{ticker}": handlers.series,
            "/events": handlers.events,
            "/events/multivariate": handlers.multivariate,
            "/events/fee_changes": lookups.event_fee_changes,
            "/events/{ticker}": handlers.event,
            "/events/{ticker}/metadata": lookups.event_metadata,
            "/milestones": handlers.milestones,
            "/multivariate_event_collections": handlers.collections,
            "/multivariate_event_collections/{ticker}": handlers.collection,
            "/structured_targets": lookups.structured_targets,
            "/structured_targets/{ticker}": lookups.structured_target,
            "/search/tags_by_categories": lookups.tags,
        }

    def _candles(self) -> dict[str, Handler]:
        handlers = CandleHandlers(self.state)
        return {
            "/series/{series}/markets/{ticker}/candlesticks": handlers.single,
            "/series/{series}/events/{ticker}/candlesticks": handlers.event,
            "/markets/candlesticks": handlers.batch,
            "/historical/markets/{ticker}/candlesticks": handlers.historical,
        }

    def _markets(self) -> dict[str, Handler]:
        handlers = MarketHandlers(self.state)
        return {
            "/markets": handlers.markets,
            "/markets/orderbooks": handlers.orderbooks,
            "/markets/trades": handlers.trades,
            "/markets/{ticker}": handlers.market,
            "/markets/{ticker}/orderbook": handlers.orderbook,
            "/historical/cutoff": handlers.cutoff,
            "/historical/trades": handlers.historical_trades,
            "/historical/markets": handlers.historical_markets,
            "/historical/markets/{ticker}": handlers.historical_market,
        }
