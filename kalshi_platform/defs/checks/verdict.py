"""Verdicts: what a check says, in the same shape everywhere.

- Add here: turning findings into what Dagster keeps and people read.
- Keep out: finding.
- A verdict names the first few findings, counts all of them, and stays short whatever happened.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

Figures = Mapping[str, int | float | str]

SHOWN = 10
"""Findings that a verdict names."""


def verdict(
    findings: Sequence[str],
    well: str,
    figures: Figures,
    *,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    more: int = 0,
) -> dg.AssetCheckResult:
    """Passed where there are no findings.

    Args:
        findings: What is wrong and where, the worst first.
        well: What is said where nothing is.
        figures: Numbers of the whole, which Dagster plots from run to run.
        severity: How bad it is where something is.
        more: Findings that were only counted.
    """
    left = len(findings) - SHOWN + more if len(findings) > SHOWN else more
    rest = f" … and {left:,} more" if left else ""
    return dg.AssetCheckResult(
        passed=not findings,
        severity=severity,
        description="; ".join(findings[:SHOWN]) + rest if findings else well,
        metadata=dict(figures),
    )


def clock(moment: datetime | int) -> str:
    """A moment for people, to the millisecond where it has any; microseconds since 1970 will do."""
    if isinstance(moment, int):
        moment = datetime.fromtimestamp(moment / 1_000_000, UTC)
    text = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    return text.removesuffix(".000").removesuffix(":00")
