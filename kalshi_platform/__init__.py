"""Captures every order-book change, trade and ticker of Kalshi, merges three copies exactly, keeps the record.

Start with `core` (the domain), then one daemon, then `definitions`. Each room's docstring says what belongs in it.
"""
