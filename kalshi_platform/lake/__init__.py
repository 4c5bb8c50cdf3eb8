"""The lake: the record as Parquet, read with DuckDB.

Read `layout` (where things lie), `schema` (what a row is), then `writer` and `reader`, and `books` for the book of a
market at any instant. Kept out: PostgreSQL, Dagster, and anything that decides *when* a partition is written.
"""

from kalshi_platform.lake.books import Book, BookUnknown, book_at, books_at
from kalshi_platform.lake.layout import Lake, Layer
from kalshi_platform.lake.reader import connect
from kalshi_platform.lake.writer import PartitionFacts, write_partition

__all__ = [
    "Book",
    "BookUnknown",
    "Lake",
    "Layer",
    "PartitionFacts",
    "book_at",
    "books_at",
    "connect",
    "write_partition",
]
