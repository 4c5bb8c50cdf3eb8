"""What daemons share and nothing else: settings, logging, metrics, health, lifecycle.

Kept out: anything that one daemon alone needs, and anything that knows the exchange or a database.
"""
