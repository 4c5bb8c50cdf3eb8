"""Which markets a request asks for: the filters of protocol §2.4, with the combinations that are refused."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from kalshi_platform.simulator.catalogue import Catalogue
from kalshi_platform.simulator.market import Market, Status
from kalshi_platform.simulator.requests import invalid_parameter, read_integer, read_names

STATUS_FILTERS: dict[str, frozenset[Status]] = {
    "unopened": frozenset({Status.INITIALIZED}),
    "open": frozenset({Status.ACTIVE}),
    "paused": frozenset({Status.INACTIVE}),
    "closed": frozenset({Status.CLOSED, Status.DETERMINED}),
    "settled": frozenset({Status.FINALIZED}),
}
"""What may be asked for is not what is answered (protocol §2.4)."""

_TIMES: dict[str, tuple[Callable[[Market], int], frozenset[str]]] = {
    "created": (lambda market: market.listing.created_ms, frozenset({"", "unopened", "open"})),
    "close": (lambda market: market.close_ms, frozenset({"", "closed"})),
    "settled": (lambda market: market.settled_ms, frozenset({"", "settled"})),
    "updated": (lambda market: market.updated_ms, frozenset({""})),
}
"""Family of time filters → the time it is about, and the statuses that go with it."""

_HISTORICAL = ("tickers", "event_ticker", "series_ticker", "mve_filter")
_LATEST = 2**40

Test = Callable[[Market], bool]


def statuses(text: str | None) -> frozenset[Status] | None:
    """The states that a status filter means; None is all of them.

    Raises:
        BadRequestError: No such filter.
    """
    if not text:
        return None
    if text not in STATUS_FILTERS:
        raise invalid_parameter(f"status must be one of {', '.join(STATUS_FILTERS)}")
    return STATUS_FILTERS[text]


def market_test(query: Mapping[str, str]) -> Test:
    """Whether a market passes the filters on status, time and combos.

    Raises:
        BadRequestError: Filters that are wrong or exclude each other.
    """
    tests = [*_status_test(query), *_combo_test(query), *_time_test(query)]
    return lambda market: all(test(market) for test in tests)


def check_historical(query: Mapping[str, str]) -> None:
    """Refuse filters that exclude each other in the archive.

    Raises:
        BadRequestError: More than one was given.
    """
    if sum(1 for name in _HISTORICAL if query.get(name)) > 1:
        raise invalid_parameter(f"{', '.join(_HISTORICAL)} are mutually exclusive")


def candidates(catalogue: Catalogue, query: Mapping[str, str]) -> Sequence[Market]:
    """The markets that the filters by name leave, in the order of listing; the shortest way to them."""
    tickers, event, series = read_names(query, "tickers"), query.get("event_ticker"), query.get("series_ticker")
    rows: Sequence[Market] = catalogue.markets_in_order
    if tickers is not None:
        places = sorted(place for place in map(catalogue.markets.place, tickers) if place is not None)
        rows = [catalogue.markets_in_order[place] for place in places]
    elif event:
        rows = list(_of_event(catalogue, event))
    elif series:
        rows = list(_of_series(catalogue, series))
    if tickers is None:
        return rows
    named = [one for one in rows if not event or one.listing.event_ticker == event]
    return [one for one in named if not series or one.listing.series_ticker == series]


def _of_event(catalogue: Catalogue, ticker: str) -> Iterable[Market]:
    combo = catalogue.combos_by_event.get(ticker)
    return catalogue.markets_by_event.get(ticker, []) if combo is None else [combo]


def _of_series(catalogue: Catalogue, ticker: str) -> Iterable[Market]:
    for event in catalogue.events_of_series(ticker):
        if event.series_ticker == ticker:  # that of combos has no events of its own
            yield from catalogue.markets_by_event[event.ticker]
    for combo in catalogue.combos_by_event.values():
        if combo.listing.series_ticker == ticker:
            yield combo


def _status_test(query: Mapping[str, str]) -> Iterable[Test]:
    wanted = statuses(query.get("status"))
    if wanted is not None:
        yield lambda market: market.status in wanted


def _combo_test(query: Mapping[str, str]) -> Iterable[Test]:
    text = query.get("mve_filter", "")
    if text not in ("", "only", "exclude"):
        raise invalid_parameter("mve_filter must be only or exclude")
    if text:
        yield lambda market: market.listing.is_combo is (text == "only")


def _time_test(query: Mapping[str, str]) -> Iterable[Test]:
    given = [name for name in _TIMES if query.get(f"min_{name}_ts") or query.get(f"max_{name}_ts")]
    if len(given) > 1:
        raise invalid_parameter(f"time filters on {' and '.join(given)} are mutually exclusive")
    for name in given:
        yield _between(name, query)


def _between(name: str, query: Mapping[str, str]) -> Test:
    moment, allowed = _TIMES[name]
    if query.get("status", "") not in allowed:
        raise invalid_parameter(f"this status does not go with a time filter on {name}")
    if name == "updated" and (query.get("event_ticker") or query.get("tickers")):
        raise invalid_parameter("min_updated_ts goes with mve_filter and series_ticker only")
    first = read_integer(query, f"min_{name}_ts", 0) * 1000
    last = read_integer(query, f"max_{name}_ts", _LATEST) * 1000
    return lambda market: first <= moment(market) <= last
