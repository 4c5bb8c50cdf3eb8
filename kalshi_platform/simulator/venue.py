"""What every exchange of this room has, whether its traffic is invented or recorded: markets, a clock, an account.

Sockets and REST see an exchange through this class alone. Where the traffic comes from is `exchange`'s and `replay`'s
business.
"""

from kalshi_platform.simulator.agenda import Timetable
from kalshi_platform.simulator.catalogue import Catalogue
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Fact, Ledger
from kalshi_platform.simulator.market import Market
from kalshi_platform.simulator.trade_tape import TradeTape


class Venue:
    """The markets, and what is said about them.

    Args:
        catalogue: Everything that is listed.
        hub: Everybody who listens.
        ledger: The account of what is sent.
        recent_trades: Trades that REST remembers.
    """

    def __init__(self, catalogue: Catalogue, hub: Hub, ledger: Ledger, recent_trades: int) -> None:
        self._hub = hub
        self._ledger = ledger
        if ledger.is_kept:
            hub.tell = self.note
        self.catalogue = catalogue
        self.tape = TradeTape(recent_trades)
        self.timetable = Timetable()
        """What is due by the clock: closings, pauses."""
        self.is_paused = False
        """Whether the whole exchange trades nothing for a while; `pause` and `resume` of the simulator set it."""
        self.now_ms = hub.sending_ms
        """The stamp of what happened last; what happens next is not older."""
        self._introduced = bytearray(catalogue.founding_markets)

    def has(self, ticker: str) -> bool:
        """Whether sockets know a market with this name."""
        return self.catalogue.has(ticker)

    def find(self, ticker: str) -> Market:
        """The market that sockets know by this name."""
        return self.catalogue.find(ticker)

    def ticker_of(self, market_id: str) -> str | None:
        """The name of the market with this UUID."""
        return self.catalogue.ticker_of(market_id)

    def last_ticker(self, market: Market) -> str | None:
        """The last ticker message of a market; here there are none."""
        del market
        return None

    def introduce(self, market: Market) -> None:
        """Tell the ledger a book before somebody gets its snapshot or its first change."""
        if not market.is_introduced:
            place = self.catalogue.markets.place(market.ticker)
            if place is not None and place < len(self._introduced):
                if self._introduced[place]:
                    return
                self._introduced[place] = True
            market.is_introduced = True
            self._ledger.book(self.now_ms, market.ticker, market.book)

    def note(self, fact: Fact) -> None:
        """Tell the ledger of something that is no message."""
        self._ledger.note(self.now_ms, fact)

    def keep_time(self, ts_ms: int) -> None:
        """Do what is due by the clock."""
        self.now_ms = ts_ms
        for due in self.timetable.due(ts_ms):
            due(ts_ms)
