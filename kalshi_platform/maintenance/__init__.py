"""Care for a database, in passes: what `kalshi-platform maintain` and Dagster's retention both call.

A room of its own because a pass needs two rooms that never import each other: the database and the lake. Kept out:
how each step works, when a pass is due, and who asks for it.
"""
