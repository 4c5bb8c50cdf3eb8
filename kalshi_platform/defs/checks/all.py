"""All checks, in the order in which a page shows them.

- Add here: a new family's list.
- Keep out: checks.
"""

import dagster as dg

from kalshi_platform.defs.checks.books import BOOK_CHECKS
from kalshi_platform.defs.checks.candles import CANDLE_CHECKS
from kalshi_platform.defs.checks.coverage import COVERAGE_CHECKS
from kalshi_platform.defs.checks.files import FILE_CHECKS
from kalshi_platform.defs.checks.freshness import LAKE_FRESHNESS, PRODUCTION_FRESHNESS
from kalshi_platform.defs.checks.parity import PARITY_CHECKS
from kalshi_platform.defs.checks.reference import REFERENCE_CHECKS
from kalshi_platform.defs.checks.trades import TRADE_CHECKS

CHECKS: list[dg.AssetChecksDefinition] = [
    *PARITY_CHECKS,
    *FILE_CHECKS,
    *BOOK_CHECKS,
    *TRADE_CHECKS,
    *COVERAGE_CHECKS,
    *CANDLE_CHECKS,
    *REFERENCE_CHECKS,
    *LAKE_FRESHNESS,
    *PRODUCTION_FRESHNESS,
]
"""Every check of this location."""

SPECS: list[dg.AssetCheckSpec] = [spec for check in CHECKS for spec in check.check_specs]
"""What each is called and whether it has partitions."""
