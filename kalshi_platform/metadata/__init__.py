"""Series, events and markets: what the exchange lists, walked over REST and kept in production.

Read `sync` (the walks), then `orphans` (what trades name and no list shows). Here belongs how the exchange's objects
become production's rows. Kept out: the endpoints (`exchange.rest`), the upserts (`database.metadata`), and when to
walk, which whoever calls decides.
"""
