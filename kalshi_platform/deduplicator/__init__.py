"""Daemon 2: merges the gatherers' databases into production, nothing lost, nothing twice.

Read `source` (what may be read safely), then `merge` (one transaction), then `sync` (the loops). Kept out: capture,
and anything that looks at the content of a row.
"""
