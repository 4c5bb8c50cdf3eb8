"""Speaks QuestDB: an optional second home of the streams, for those who run it; the extra `questdb` brings its client.

Off unless KALSHI_QUESTDB is set. It never holds up capture: PostgreSQL is the record, this is a copy to look at.
Kept out: the record itself, and where the copy goes later (tools).
"""
