"""Daemon 1: listens to the exchange and writes what it hears into its own database.

Read `daemon` (what is started), then `connections` (who listens to what), then `router` (what becomes of a frame).
Kept out: merging, exports, and every decision about content, which `core` makes.
"""
