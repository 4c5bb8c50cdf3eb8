"""Error codes of the WebSocket that mean something to us (kalshi-protocol.md §3.3); the enum stays open.

Kept out: what is done about them (session).
"""

ALREADY_SUBSCRIBED = 6
UNKNOWN_SID = 7
UNKNOWN_CHANNEL = 8
MARKET_LIMIT = 26
TOO_FAST = 27

TERMINAL = frozenset({10, 25})
"""Channel error and buffer overflow: the subscription is dead, the socket may be healthy."""

AGAIN_LATER = frozenset({10, 17, 18, 25, TOO_FAST})
"""Answers to a command that may be different in a moment; 17 is retired and was an internal error."""
