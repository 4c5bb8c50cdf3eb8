"""The Dagster room: production and lake as assets, their checks, and the sensors that drive them.

Dagster watches, exports and checks; it never carries the stream. Read `tables` (what is there), `lake` (what is
made of it), `checks` (whether it is whole) and `sensors` (when). Kept out: SQL and Parquet, which the rooms
`database` and `lake` speak, and every daemon.
"""
