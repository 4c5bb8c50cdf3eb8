"""The ledger: what the exchange sent, to whom and when, as it happened; the judge of every end-to-end test.

Its format is documented in this room's README. It is written by the exchange alone and read by nobody in here.
"""

from pathlib import Path

import msgspec

from kalshi_platform.simulator.account import Connected, Disconnected, Ended, Gap, Handed, Subscribed
from kalshi_platform.simulator.book import Book, Side
from kalshi_platform.simulator.ledger_file import LINES_WAITING, open_ledger
from kalshi_platform.simulator.market import Quote
from kalshi_platform.simulator.mishaps import Mishap
from kalshi_platform.simulator.order_flow import Delta, Trade
from kalshi_platform.simulator.prices import DOLLAR, PRICE_TEXT, size_text

Fact = Mishap | Connected | Disconnected | Subscribed | Ended | Gap

_KINDS: dict[type[Fact], str] = {
    Mishap: "fault",
    Connected: "connected",
    Disconnected: "disconnected",
    Subscribed: "subscribed",
    Ended: "ended",
    Gap: "gap",
}


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
        self._file = open_ledger(path) if path else None

    @property
    def is_kept(self) -> bool:
        """Whether anything is written down; once the traffic has ended, nothing is."""
        return self._file is not None

    def book(self, ts_ms: int, ticker: str, book: Book) -> None:
        """A market was created with this book, or closed and emptied."""
        if self._file is None:
            return
        sides = ",".join(f'"{side}":[{_levels(book, side)}]' for side in ("yes", "no"))
        self._note(f'{{"kind":"book","ts_ms":{ts_ms},"ticker":"{ticker}",{sides}}}\n')

    def delta(self, ts_ms: int, ticker: str, delta: Delta, handed: Handed) -> None:
        """One level changed."""
        self.deltas += 1
        if self._file is None:
            return
        self._note(
            f'{{"kind":"delta","ts_ms":{ts_ms},"ticker":"{ticker}","side":"{delta.side}",'
            f'"price":"{PRICE_TEXT[delta.price]}","delta":"{size_text(delta.change)}",{_handed(handed)}}}\n'
        )

    def trade(self, ts_ms: int, trade_id: str, ticker: str, trade: Trade, handed: Handed) -> None:
        """Somebody traded."""
        self.trades += 1
        if self._file is None:
            return
        self._note(
            f'{{"kind":"trade","ts_ms":{ts_ms},"trade_id":"{trade_id}","ticker":"{ticker}",'
            f'"yes_price":"{PRICE_TEXT[trade.yes_price]}","no_price":"{PRICE_TEXT[DOLLAR - trade.yes_price]}",'
            f'"count":"{size_text(trade.size)}","taker_side":"{trade.taker}",'
            f'"is_block_trade":{"true" if trade.is_block else "false"},{_handed(handed)}}}\n'
        )

    def ticker(self, ts_ms: int, ticker: str, quote: Quote, handed: Handed) -> None:
        """Best prices, their sizes or the statistics changed."""
        self.tickers += 1
        if self._file is None:
            return
        self._note(
            f'{{"kind":"ticker","ts_ms":{ts_ms},"ticker":"{ticker}","price":"{PRICE_TEXT[quote.last_price]}",'
            f'"yes_bid":"{PRICE_TEXT[quote.yes_bid]}","yes_ask":"{PRICE_TEXT[quote.yes_ask]}",'
            f'"yes_bid_size":"{size_text(quote.yes_bid_size)}","yes_ask_size":"{size_text(quote.yes_ask_size)}",'
            f'"last_trade_size":"{size_text(quote.last_trade_size)}","volume":"{size_text(quote.volume)}",'
            f'"open_interest":"{size_text(quote.open_interest)}","dollar_volume":{whole_dollars(quote.volume)},'
            f'"dollar_open_interest":{whole_dollars(quote.open_interest)},{_handed(handed)}}}\n'
        )

    def note(self, ts_ms: int, fact: Fact) -> None:
        """Something happened that is no message: a fault, a gap, a coming or going."""
        if self._file:
            line = {"kind": _KINDS[type(fact)], "ts_ms": ts_ms, **fact._asdict()}
            self._note(msgspec.json.encode(line).decode("ascii", "backslashreplace") + "\n")

    def end(self, ts_ms: int) -> None:
        """The traffic stopped; nothing follows, and the file is complete."""
        self._note(
            f'{{"kind":"end","ts_ms":{ts_ms},"deltas":{self.deltas},"trades":{self.trades},"tickers":{self.tickers}}}\n'
        )
        self.close()

    def flush(self) -> None:
        """Hand over what waits, as far as the form of the file allows before the end."""
        if self._file:
            self._file.write(self._waiting, all_of_them=False)

    def close(self) -> None:
        """Complete the file; a second call does nothing."""
        if self._file:
            self._file.write(self._waiting, all_of_them=True)
            self._file.close()
            self._file = None

    def _note(self, line: str) -> None:
        if self._file:
            self._waiting.append(line)
            if len(self._waiting) >= LINES_WAITING:
                self.flush()


def whole_dollars(contracts: int) -> int:
    """The exchange counts half a dollar per contract, rounded down (all ten recorded ticker frames do)."""
    return contracts // 200


def _handed(handed: Handed) -> str:
    return f'"recipients":{handed.recipients},"sent_ms":{handed.sent_ms},"to":[{handed.to}]'


def _levels(book: Book, side: Side) -> str:
    return ",".join(f'["{PRICE_TEXT[price]}","{size_text(size)}"]' for price, size in book.ladder(side))
