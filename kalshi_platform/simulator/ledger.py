"""The ledger: what the exchange sent, as it happened, one JSON object per line; the judge of every end-to-end test.

Its format is documented in this room's README. It is written by the exchange alone and read by nobody in here.
"""

from pathlib import Path
from typing import TextIO

import msgspec

from kalshi_platform.simulator.book import Book, Side
from kalshi_platform.simulator.market import Quote
from kalshi_platform.simulator.mishaps import Mishap
from kalshi_platform.simulator.order_flow import Delta, Trade
from kalshi_platform.simulator.prices import DOLLAR, PRICE_TEXT, size_text

_MAX_WAITING = 10_000


class Ledger:
    """Counts what was sent and, where a path is given, writes it down.

    A few lines wait in memory until `flush`, which the pulse of the exchange calls many times a second. Every text in a
    line is the simulator's own ASCII, so a line is formatted instead of encoded: this is the hottest path of all.
    """

    def __init__(self, path: Path | None) -> None:
        self.deltas = 0
        self.trades = 0
        self.tickers = 0
        self._waiting: list[str] = []
        self._file: TextIO | None = path.open("w", encoding="ascii", newline="\n") if path else None

    def book(self, ts_ms: int, ticker: str, book: Book) -> None:
        """A market was created with this book, or closed and emptied."""
        sides = ",".join(f'"{side}":[{_levels(book, side)}]' for side in ("yes", "no"))
        self._note(f'{{"kind":"book","ts_ms":{ts_ms},"ticker":"{ticker}",{sides}}}\n')

    def delta(self, ts_ms: int, ticker: str, delta: Delta, recipients: int) -> None:
        """One level changed."""
        self.deltas += 1
        self._note(
            f'{{"kind":"delta","ts_ms":{ts_ms},"ticker":"{ticker}","side":"{delta.side}",'
            f'"price":"{PRICE_TEXT[delta.price]}","delta":"{size_text(delta.change)}","recipients":{recipients}}}\n'
        )

    def trade(self, ts_ms: int, trade_id: str, ticker: str, trade: Trade, recipients: int) -> None:
        """Somebody traded."""
        self.trades += 1
        self._note(
            f'{{"kind":"trade","ts_ms":{ts_ms},"trade_id":"{trade_id}","ticker":"{ticker}",'
            f'"yes_price":"{PRICE_TEXT[trade.yes_price]}","no_price":"{PRICE_TEXT[DOLLAR - trade.yes_price]}",'
            f'"count":"{size_text(trade.size)}","taker_side":"{trade.taker}",'
            f'"is_block_trade":{"true" if trade.is_block else "false"},"recipients":{recipients}}}\n'
        )

    def ticker(self, ts_ms: int, ticker: str, quote: Quote, recipients: int) -> None:
        """Best prices, their sizes or the statistics changed."""
        self.tickers += 1
        self._note(
            f'{{"kind":"ticker","ts_ms":{ts_ms},"ticker":"{ticker}","price":"{PRICE_TEXT[quote.last_price]}",'
            f'"yes_bid":"{PRICE_TEXT[quote.yes_bid]}","yes_ask":"{PRICE_TEXT[quote.yes_ask]}",'
            f'"yes_bid_size":"{size_text(quote.yes_bid_size)}","yes_ask_size":"{size_text(quote.yes_ask_size)}",'
            f'"last_trade_size":"{size_text(quote.last_trade_size)}","volume":"{size_text(quote.volume)}",'
            f'"open_interest":"{size_text(quote.open_interest)}","dollar_volume":{whole_dollars(quote.volume)},'
            f'"dollar_open_interest":{whole_dollars(quote.open_interest)},"recipients":{recipients}}}\n'
        )

    def fault(self, ts_ms: int, mishap: Mishap) -> None:
        """Something went wrong on purpose; `withheld` if the message did not go out as composed."""
        self._note(msgspec.json.encode({"kind": "fault", "ts_ms": ts_ms, **mishap._asdict()}).decode() + "\n")

    def end(self, ts_ms: int) -> None:
        """The traffic stopped; nothing follows."""
        self._note(
            f'{{"kind":"end","ts_ms":{ts_ms},"deltas":{self.deltas},"trades":{self.trades},"tickers":{self.tickers}}}\n'
        )
        self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system."""
        if self._file and self._waiting:
            self._file.write("".join(self._waiting))
            self._file.flush()
        self._waiting.clear()

    def close(self) -> None:
        """Flush and give the file back."""
        self.flush()
        if self._file:
            self._file.close()

    def _note(self, line: str) -> None:
        if self._file:
            self._waiting.append(line)
            if len(self._waiting) >= _MAX_WAITING:
                self.flush()


def whole_dollars(contracts: int) -> int:
    """The exchange counts half a dollar per contract, rounded down (all ten recorded ticker frames do)."""
    return contracts // 200


def _levels(book: Book, side: Side) -> str:
    return ",".join(f'["{PRICE_TEXT[price]}","{size_text(size)}"]' for price, size in book.ladder(side))
