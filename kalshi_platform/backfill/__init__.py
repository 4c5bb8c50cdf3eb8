"""Trades of the past, fetched over REST into production: begin with `run`.

A job (what was asked for) is cut into chunks of one market and a month at the most; both are rows of production, so
that a job that was killed goes on where it was. Here belongs what is fetched after the fact. Kept out: live capture
(gatherer), and when a backfill is due (defs, cli).
"""

from kalshi_platform.backfill.report import BackfillReport, Gap, Progress
from kalshi_platform.backfill.request import BackfillRequest
from kalshi_platform.backfill.run import run_backfill

__all__ = ["BackfillReport", "BackfillRequest", "Gap", "Progress", "run_backfill"]
