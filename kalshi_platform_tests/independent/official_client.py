"""The exchange's own generated SDK: lists markets, reads a book and trades over REST; it has no WebSocket.

Run by an interpreter that has `kalshi_python_async` of 3.31 or newer; prints what it saw as JSON. Arguments as of
`client.py`.
"""

import asyncio
import json
import sys
from pathlib import Path

import kalshi_python_async as kalshi


async def main() -> None:
    """Look at everything, and say so."""
    rest_url, _, key_id, private_key = sys.argv[1:]
    configuration = kalshi.Configuration(host=rest_url)
    configuration.api_key_id = key_id
    configuration.private_key_pem = Path(private_key).read_text()  # noqa: ASYNC240
    async with kalshi.ApiClient(configuration) as client:
        api = kalshi.MarketApi(client)
        listed = await api.get_markets(limit=20)
        book = await api.get_market_orderbook(listed.markets[0].ticker)
        trades = await api.get_trades(limit=5)
    report = {
        "version": kalshi.__version__,
        "markets": [market.ticker for market in listed.markets],
        "book": book.to_dict(),
        "trades": len(trades.trades),
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
