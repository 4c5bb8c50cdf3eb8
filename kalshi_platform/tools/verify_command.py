"""`kalshi-platform verify` as a person sees it: progress, the verdict, the first findings, a file with all of them.

Kept out: the judging (verify).
"""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from kalshi_platform.database.urls import checked
from kalshi_platform.tools.verify import Judge, Verdict


def verify(ledger: Path, url: str, output: Path | None, *, as_json: bool) -> bool:
    """Judge, tell, and return whether everything is exact.

    Raises:
        ConfigurationError: Where the ledger, the database or the output cannot be used.
    """
    verdict, findings = _judged(ledger, checked(url), output)
    if as_json:
        told = {**verdict.as_dict(), "findings": findings, "output": None if output is None else str(output)}
        sys.stdout.write(json.dumps(told, default=str) + "\n")
    else:
        _show(verdict, output, findings)
    return verdict.is_exact


def _judged(ledger: Path, url: str, output: Path | None) -> tuple[Verdict, int | None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"reading {ledger}")
        judge = Judge(ledger)

        def tell(kind: str, rows: int) -> None:
            progress.update(task, description=f"comparing {kind}s: {rows:,} rows of production read")

        verdict = Verdict(rows=judge.rows(url, tell))
        if output is None:
            return verdict, None
        progress.update(task, description=f"writing {output}")
        return verdict, judge.write_findings(output)


def _show(verdict: Verdict, output: Path | None, findings: int | None) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "sent", "in production", "missing", "doubled", "invented"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for one in verdict.rows:
        numbers = (one.sent, one.kept, one.missing, one.doubled, one.invented)
        table.add_row(f"{one.kind}s", *(f"{number:,}" for number in numbers))
    console.print(table)
    for sample in (sample for one in verdict.rows for sample in one.samples):
        console.print(f"  {sample}", style="red", markup=False, highlight=False)
    if output is not None:
        console.print(f"{findings:,} findings in {output}", markup=False)
    word = "[bold green]exact" if verdict.is_exact else "[bold red]NOT exact"
    console.print(f"verdict: {word}")
