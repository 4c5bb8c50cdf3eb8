"""Our order book with best bid and offer read after each delta, against cryptofeed's C book on the same deltas.

Deci-cent prices over a thousand books, integers as keys for both: what is fastest for the C book too. Needs
`pip install -e '.[benchmarks]'`. Run: python benchmarks/book.py
"""

import sys

from measure import NEEDS_EXTRA, arguments, ratio
from tape_server import books, deltas

from kalshi_platform.core.book import OrderBook

try:
    from order_book import OrderBook as TheirBook
except ImportError:
    sys.exit(NEEDS_EXTRA)

MARKETS, DELTAS = 1_000, 300_000
DOLLAR = 1_000

CHANGES = [
    (int(name.rpartition("T")[2]), side == "yes", price, change)
    for _, name, side, price, change in deltas(DELTAS, MARKETS)
]


def ours() -> int:
    """Apply, then read both bests."""
    state = [OrderBook(book["yes"].items(), book["no"].items()) for book in books(MARKETS)]
    for market, side, price, change in CHANGES:
        book = state[market]
        book.apply(side, price, change)
        _ = book.best_yes_bid, book.best_yes_ask
    return len(CHANGES)


def theirs() -> int:
    """The same: it keeps sizes, not changes, and sides as bids and asks."""
    state = []
    for book in books(MARKETS):
        one = TheirBook()
        one.bids = dict(book["yes"])
        one.asks = {DOLLAR - price: size for price, size in book["no"].items()}
        state.append(one)
    for market, side, price, change in CHANGES:
        book = state[market]
        levels, key = (book.bids, price) if side else (book.asks, DOLLAR - price)
        size = levels[key] + change if key in levels else change
        if size:
            levels[key] = size
        else:
            del levels[key]
        _ = book.bids.index(0), book.asks.index(0)
    return len(CHANGES)


if __name__ == "__main__":
    arguments(__doc__)
    sys.exit(not ratio("book with best bid and offer, deci-cent", ours, theirs, of="cryptofeed's C book", budget=2))
