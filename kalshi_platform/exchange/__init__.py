"""Speaks Kalshi: signing, REST, and the WebSocket as a pure state machine with a thin asyncio shell.

Here belongs whatever is true of the exchange's interface. Kept out: databases, settings, and what a daemon does with
what it hears.
"""
