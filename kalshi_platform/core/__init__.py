"""The domain in plain Python: units, messages, books, keys, schema.

Here belongs what is true of Kalshi's market data whoever stores it. Kept out: I/O of any kind, asyncio, the
environment, database drivers. This room imports no other room of the platform.
"""
