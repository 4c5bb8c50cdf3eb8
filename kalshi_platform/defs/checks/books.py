"""Books: the record of changes leads from each checkpoint to the next, and all gatherers kept the same books.

- Add here: proofs about books and the changes between them.
- Keep out: how a book is kept (`core.book`) and replayed (`lake.replayed`).
- A break that falls into an interval that nobody heard is explained: `coverage` reports that interval.
"""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, TRADES, Table
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.quality import Uncovered
from kalshi_platform.defs.checks.spans import Span, spans
from kalshi_platform.defs.checks.verdict import Figures, clock, verdict
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.quality import read_file
from kalshi_platform.lake.replayed import Break, Replay, replay

_DAY = timedelta(days=1)
_CLOCKS = timedelta(seconds=5)
_BATCH_ROWS = 50_000


@dg.asset_check(
    asset=raw_key(ORDERBOOK_DELTAS),
    name="replay",
    description="From checkpoint to checkpoint no level goes below nothing, no book crosses, and every book ends as "
    "the next checkpoint says. What falls into an interval that nobody heard is counted as explained.",
)
def replay_check(
    context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
) -> dg.AssetCheckResult:
    """Replays every file of the run between production's checkpoints."""
    folder = lake.lake()
    there = [span for span in spans(context, ORDERBOOK_DELTAS, folder) if span.has_file]
    replays = [(span, _replayed(span, production, folder)) for span in there]
    broken: list[str] = []
    explained = 0
    for span, found in replays:
        gaps = production.uncovered("orderbook_delta", span.start - _DAY, span.end) if found.breaks else []
        unexplained = [one for one in found.breaks if not _is_explained(one, gaps)]
        explained += len(found.breaks) - len(unexplained)
        broken += [f"{span.key}: {one.ticker} at {clock(one.moment)}: {one.what}" for one in unexplained]
    figures = {
        "partitions": len(there),
        "markets": sum(found.markets for _, found in replays),
        "deltas_replayed": sum(found.deltas for _, found in replays),
        "deltas_before_first_checkpoint": sum(found.unstarted for _, found in replays),
        "checkpoints_compared": sum(found.compared for _, found in replays),
        "breaks": len(broken),
        "breaks_explained": explained,
    }
    uncounted = sum(found.broken - len(found.breaks) for _, found in replays)
    well = f"{figures['checkpoints_compared']:,} checkpoints follow from {figures['deltas_replayed']:,} deltas"
    return verdict(broken, well, figures, more=uncounted)


def _replayed(span: Span, production: ProductionDatabase, lake: Lake) -> Replay:
    batches = read_file(lake, ORDERBOOK_DELTAS, span.start).to_batches(batch_size=_BATCH_ROWS, use_threads=False)
    with production.read_checkpoints(span.start, span.end) as checkpoints:
        return replay(batches, checkpoints)


def _is_explained(found: Break, gaps: Sequence[Uncovered]) -> bool:
    since, until = datetime_from_us(found.since) - _CLOCKS, datetime_from_us(found.moment) + _CLOCKS
    return any(gap.ticker in (found.ticker, "") and gap.from_at < until and gap.until_at > since for gap in gaps)


def _copies_agree(table: Table, what: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=raw_key(table), name="copies_agree", description=f"{what} All are in `merge_conflicts`.")
    def copies_agree(
        context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
    ) -> dg.AssetCheckResult:
        """Asks for what the deduplicator noted while it merged."""
        looked_at = list(spans(context, table, lake.lake()))
        found = [(span, one) for span in looked_at for one in production.conflicts(table, span.start, span.end)]
        findings = [
            f"{span.key}: {one.ticker} at {clock(one.moment)}: {one.gatherer_id} brought another version"
            for span, one in found
        ]
        totals = {span.key: one.total for span, one in found}
        figures: Figures = {
            "partitions": len(looked_at),
            "conflicts": sum(totals.values()),
            "gatherers": ", ".join(sorted({one.gatherer_id for _, one in found})),
        }
        return verdict(
            findings,
            f"all copies of {len(looked_at)} partitions agree",
            figures,
            more=sum(totals.values()) - len(found),
        )

    return copies_agree


BOOK_CHECKS = [
    replay_check,
    _copies_agree(ORDERBOOK_SNAPSHOTS, "Every checkpoint has one book, whichever gatherer kept it."),
    _copies_agree(TRADES, "Every trade id has one content, whoever heard it."),
]
"""The proof by replay, and the agreement of the gatherers."""
