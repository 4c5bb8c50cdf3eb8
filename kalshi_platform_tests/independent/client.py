"""A stranger to this project: lists markets, reads a book and streams, with nothing but `pykalshi`.

Run by an interpreter that has it; prints what it saw as JSON. Arguments: REST address, WebSocket address, key id,
private key. The library knows two WebSocket addresses only, which is why its attribute is set.
"""

import importlib.metadata
import json
import logging
import sys
import threading
from collections import Counter

from pykalshi import KalshiClient
from pykalshi.feed import OrderbookDeltaMessage, OrderbookSnapshotMessage, TickerMessage, TradeMessage

ENOUGH = {"snapshot": 5, "delta": 50, "trade": 5, "ticker": 20}
KINDS = {
    OrderbookSnapshotMessage: "snapshot", OrderbookDeltaMessage: "delta", TradeMessage: "trade",
    TickerMessage: "ticker",
}  # fmt: skip


def stream(client: KalshiClient, ws_url: str, tickers: list[str]) -> Counter[str]:
    """Count parsed messages until there is enough of each; one the library could not parse counts as `raw`."""
    seen: Counter[str] = Counter()
    done = threading.Event()

    def count(message: object) -> None:
        seen[KINDS.get(type(message), "raw")] += 1
        if all(seen[kind] >= number for kind, number in ENOUGH.items()):
            done.set()

    feed = client.feed()
    feed._ws_url = ws_url
    for channel in ("orderbook_delta", "trade", "ticker"):
        feed.on(channel, count)
        feed.subscribe(channel, **({"market_tickers": tickers} if channel == "orderbook_delta" else {}))
    with feed:
        done.wait(timeout=30)
    return seen


def main() -> None:
    """Look at everything, and say so."""
    logging.basicConfig(level=logging.WARNING)
    rest_url, ws_url, key_id, private_key = sys.argv[1:]
    with KalshiClient(api_key_id=key_id, private_key_path=private_key, api_base=rest_url) as client:
        markets = client.get_markets(limit=20)
        book = markets[0].get_orderbook()
        report = {
            "version": importlib.metadata.version("pykalshi"),
            "markets": [market.ticker for market in markets],
            "status": sorted({str(market.status) for market in markets}),
            "book": book.model_dump(mode="json"),
            "stream": stream(client, ws_url, [market.ticker for market in markets]),
        }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
