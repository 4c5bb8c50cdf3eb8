"""A progress bar for long walks, on whatever console there is.

Use it as `with walk_bar("markets") as on_progress:` and give `on_progress` to a `Walk`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from kalshi_platform.exchange.rest import pages

_COLUMNS = (
    SpinnerColumn(),
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("{task.completed:,.0f} rows, {task.fields[pages]:,} pages, {task.fields[rate]:,.0f} rows/s"),
    TimeElapsedColumn(),
)


@contextmanager
def walk_bar(
    name: str, total: int | None = None, console: Console | None = None, begun: int = 0
) -> Iterator[Callable[[pages.Progress], None]]:
    """A bar that is there for as long as the block; without a total it shows that there is life, and how much came.

    Args:
        name: What is walked over.
        total: Rows in all, where that is known.
        console: Where it shows; standard error unless given.
        begun: Rows of an earlier walk, on which this one goes on.
    """
    with Progress(*_COLUMNS, console=console or Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, completed=begun, pages=0, rate=0.0)
        yield lambda progress: _show(bar, task, progress, begun)


def _show(bar: Progress, task: TaskID, progress: pages.Progress, begun: int) -> None:
    is_over = progress.cursor is None
    rows = begun + progress.rows
    bar.update(
        task,
        completed=rows,
        total=rows if is_over else bar.tasks[task].total,
        pages=progress.pages,
        rate=progress.rows / max(progress.seconds, 1e-9),
    )
