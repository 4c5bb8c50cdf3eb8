"""Tools that people and tests run: the local stack behind the demo, replay, the embedded PostgreSQL.

Here belongs what starts, feeds or inspects the platform from outside. Kept out: anything a daemon needs to do its
work; daemons never import this room.
"""
