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
from kalshi_platform.defs.checks.partitioned import judged, judged_files, partition_check
from kalshi_platform.defs.checks.spans import Span
from kalshi_platform.defs.checks.verdict import Figures, Verdict, clock
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.quality import read_file
from kalshi_platform.lake.replayed import Break, Replay, replay

_DAY = timedelta(days=1)
_CLOCKS = timedelta(seconds=5)
_BATCH_ROWS = 50_000


@partition_check(
    ORDERBOOK_DELTAS,
    "replay",
    "From checkpoint to checkpoint no level goes below nothing, no book crosses, and every book ends as the next "
    "checkpoint says. What falls into an interval that nobody heard is counted as explained.",
    "a change is missing that nobody noticed: look into `book_differences` and `capture_gaps`",
)
def replay_check(
    context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
) -> dg.AssetCheckResult:
    """Replays every file of the run between production's checkpoints."""
    folder = lake.lake()

    def judge(span: Span) -> Verdict:
        found = _replayed(span, production, folder)
        gaps = production.uncovered("orderbook_delta", span.start - _DAY, span.end) if found.breaks else []
        return _told(found, [one for one in found.breaks if not _is_explained(one, gaps)])

    return judged_files(context, ORDERBOOK_DELTAS, folder, judge)


def _told(found: Replay, broken: Sequence[Break]) -> Verdict:
    figures = {
        "markets": found.markets,
        "deltas_replayed": found.deltas,
        "deltas_before_first_checkpoint": found.unstarted,
        "checkpoints_compared": found.compared,
        "breaks": len(broken),
        "breaks_explained": len(found.breaks) - len(broken),
    }
    if found.markets and not found.compared:
        nothing = [f"no checkpoint follows the changes of {found.markets:,} markets: nothing was proven"]
        return Verdict(nothing, "", figures, dg.AssetCheckSeverity.WARN)
    well = f"{found.compared:,} checkpoints follow from {found.deltas:,} deltas"
    findings = [f"{one.ticker} at {clock(one.moment)}: {one.what}" for one in broken]
    return Verdict(findings, well, figures, more=found.broken - len(found.breaks))


def _replayed(span: Span, production: ProductionDatabase, lake: Lake) -> Replay:
    batches = read_file(lake, ORDERBOOK_DELTAS, span.start).to_batches(batch_size=_BATCH_ROWS, use_threads=False)
    with production.read_checkpoints(span.start, span.end) as checkpoints:
        return replay(batches, checkpoints)


def _is_explained(found: Break, gaps: Sequence[Uncovered]) -> bool:
    since, until = datetime_from_us(found.since) - _CLOCKS, datetime_from_us(found.moment) + _CLOCKS
    return any(gap.ticker in (found.ticker, "") and gap.from_at < until and gap.until_at > since for gap in gaps)


def _copies_agree(table: Table, what: str) -> dg.AssetChecksDefinition:
    @partition_check(
        table,
        "copies_agree",
        f"{what} All are in `merge_conflicts`.",
        "look into `merge_conflicts`, which has both versions: one gatherer erred",
    )
    def copies_agree(
        context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
    ) -> dg.AssetCheckResult:
        """Asks for what the deduplicator noted while it merged."""
        brought = sum(one.table_name == table.name for one in production.merged())

        def judge(span: Span) -> Verdict:
            found = production.conflicts(table, span.start, span.end)
            total = found[0].total if found else 0
            findings = [
                f"{one.ticker} at {clock(one.moment)}: {one.gatherer_id} brought another version" for one in found
            ]
            gatherers = ", ".join(sorted({one.gatherer_id for one in found}))
            figures: Figures = {"conflicts": total, "gatherers": gatherers, "gatherers_compared": brought}
            well = (
                "all copies agree" if brought > 1 else f"{brought} gatherers brought rows: there was nothing to compare"
            )
            return Verdict(findings, well, figures, more=total - len(found))

        return judged(context, table, lake.lake(), judge)

    return copies_agree


BOOK_CHECKS = [
    replay_check,
    _copies_agree(ORDERBOOK_SNAPSHOTS, "Every checkpoint has one book, whichever gatherer kept it."),
    _copies_agree(TRADES, "Every trade id has one content, whoever heard it."),
]
"""The proof by replay, and the agreement of the gatherers."""
