"""The lake: the record as Parquet, read with DuckDB.

Researchers need `connect`, `book_at`, `books`, `books_at`, `deltas`, `trades`, `candles`, `best_bid_offer` and
`coverage`. To change it, read `datasets` (what there is), `layout` (where it lies), `schema` (what a row is), then
`writer` and `reader`. Kept out: PostgreSQL, Dagster, and anything that decides *when* a partition is written.
"""

from kalshi_platform.lake.all_books import books_at
from kalshi_platform.lake.books import Book, BookUnknown, book_at, books
from kalshi_platform.lake.datasets import AGGREGATES, DATASETS, PROCESSED, RAW, Dataset, Layer, Period
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.questions import best_bid_offer, candles, coverage, deltas, trades
from kalshi_platform.lake.reader import connect
from kalshi_platform.lake.writer import PartitionFacts, write_partition

__all__ = [
    "AGGREGATES",
    "DATASETS",
    "PROCESSED",
    "RAW",
    "Book",
    "BookUnknown",
    "Dataset",
    "Lake",
    "Layer",
    "PartitionFacts",
    "Period",
    "best_bid_offer",
    "book_at",
    "books",
    "books_at",
    "candles",
    "connect",
    "coverage",
    "deltas",
    "trades",
    "write_partition",
]
