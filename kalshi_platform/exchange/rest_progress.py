"""A progress bar for long walks, on whatever console there is.

Use it as `with walk_bar("markets") as on_progress:` and give `on_progress` to a `Walk`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from kalshi_platform.exchange import pages

_COLUMNS = (
    SpinnerColumn(),
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("{task.completed:,.0f} rows, {task.fields[pages]:,} pages, {task.fields[rate]:,.0f} rows/s"),
    TimeElapsedColumn(),
)


@contextmanager
def walk_bar(
    name: str, total: int | None = None, console: Console | None = None
) -> Iterator[Callable[[pages.Progress], None]]:
    """A bar that is there for as long as the block; without a total it shows that there is life, and how much came."""
    with Progress(*_COLUMNS, console=console or Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, pages=0, rate=0.0)
        yield lambda progress: _show(bar, task, progress)


def _show(bar: Progress, task: TaskID, progress: pages.Progress) -> None:
    is_over = progress.cursor is None
    bar.update(
        task,
        completed=progress.rows,
        total=progress.rows if is_over else bar.tasks[task].total,
        pages=progress.pages,
        rate=progress.rows / max(progress.seconds, 1e-9),
    )
