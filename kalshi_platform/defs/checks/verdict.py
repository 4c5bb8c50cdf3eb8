"""Verdicts: what a check says, in the same shape everywhere.

- Add here: turning findings into what Dagster keeps and people read.
- Keep out: finding, and which partition a verdict is of (`partitioned`).
- A verdict names the first few findings, counts all of them, and stays short whatever happened. One that is not good
  also says what a person does about it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

Figures = Mapping[str, int | float | str]

SHOWN = 10
"""Findings that a verdict names."""

WHAT_TO_DO = "what_to_do"
"""Metadata of each check, and of each of its verdicts that is not good; docs/dagster.md has the same words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in one piece of the record; passed where nothing is wrong.

    Attributes:
        findings: What is wrong and where, the worst first.
        well: What is said where nothing is.
        figures: Numbers of the whole, which Dagster plots from run to run.
        severity: How bad it is where something is.
        more: Findings that were only counted.
    """

    findings: Sequence[str]
    well: str
    figures: Figures
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    more: int = 0

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def said(self) -> str:
        """In words."""
        left = max(0, len(self.findings) - SHOWN) + self.more
        rest = f" … and {left:,} more" if left else ""
        return "; ".join(self.findings[:SHOWN]) + rest if self.findings else self.well

    def result(self, advice: str, metadata: Mapping[str, dg.MetadataValue] | None = None) -> dg.AssetCheckResult:
        """As a check returns it.

        Args:
            advice: What a person does where something is wrong.
            metadata: What Dagster keeps beside the figures.
        """
        what_to_do = {} if self.passed else {WHAT_TO_DO: advice}
        return dg.AssetCheckResult(
            passed=self.passed,
            severity=self.severity,
            description=self.said,
            metadata={**self.figures, **(metadata or {}), **what_to_do},
        )


def clock(moment: datetime | int) -> str:
    """A moment for people, to the millisecond where it has any; microseconds since 1970 will do."""
    if isinstance(moment, int):
        moment = datetime.fromtimestamp(moment / 1_000_000, UTC)
    text = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    return text.removesuffix(".000").removesuffix(":00")
