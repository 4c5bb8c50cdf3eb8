"""How a status looks: one section a question, 80 columns, colour only repeats. Kept out: facts."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.text import Text

from kalshi_platform.core.schema import Home
from kalshi_platform.database.survey import Survey, TableLayout
from kalshi_platform.tools.market_view import plain_table, titled
from kalshi_platform.tools.status.facts import Database, Status

ALIVE_SECONDS = 10.0
"""Since the last sign of life; heartbeats come every second."""


def show_status(status: Status, console: Console) -> None:
    """Draw it."""
    console.print(titled(_running(status), "running"))
    if status.databases:
        console.print(titled(_databases(status), "databases"))
    if any(one.survey.cursors for one in status.databases):
        console.print(titled(_merged(status), "merged"))
    if any(one.survey.coverage for one in status.databases):
        console.print(titled(_coverage(status), "coverage of the last day"))
    console.print(titled(_files(status), "files"))
    for problem in status.problems:
        console.print(Text(problem, style="red"))


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def seconds(value: float | None) -> str:
    """A duration for people."""
    if value is None:
        return "-"
    if value < 120:
        return f"{value:.1f} s"
    for most, length, unit in ((7200, 60, "min"), (172_800, 3600, "h")):
        if value < most:
            return f"{value / length:.0f} {unit}"
    return f"{value / 86_400:.0f} d"


def _running(status: Status) -> RenderableType:
    lines = [Text(", ".join(f"{name} {number}" for name, number in status.versions.items()))]
    if status.daemon is None:
        lines.append(Text(f"no daemon answers on {status.metrics_address}"))
    else:
        state = "healthy" if status.daemon.is_healthy else "NOT healthy"
        lines.append(Text(f"{status.daemon.name} answers on {status.metrics_address}: {state}"))
        lines += [Text(text) for key in ("problems", "warnings") for text in status.daemon.report.get(key, ())]
    lines += [Text(f"{one.name}: {_sign_of_life(one.survey)}") for one in status.databases if not one.survey.error]
    return Group(*lines)


def _sign_of_life(found: Survey) -> str:
    if found.home is Home.GATHERER:
        word, ago = "writes", found.silence_seconds
    else:
        word, ago = "is merged into", min((one.quiet_seconds for one in found.cursors), default=None)
    if ago is None:
        return "never written" if found.home is Home.GATHERER else "nothing was merged yet"
    return f"{word}, {seconds(ago)} ago" if ago < ALIVE_SECONDS else f"SILENT for {seconds(ago)}"


def _databases(status: Status) -> RenderableType:
    table = plain_table("", "PostgreSQL", "TimescaleDB", "schema", ("size", "right"), "partitions")
    for one in status.databases:
        found = one.survey
        if found.error:
            table.add_row(one.name, "not reached")
            continue
        schema = "none" if found.revision is None else found.revision
        schema += "" if found.revision == one.newest else f", not {one.newest}"
        table.add_row(one.name, found.version, found.timescale or "no", schema, size(found.bytes), _cut(one))
    return table


def _cut(database: Database) -> str:
    """Native partitions or hypertables, and how many."""
    layouts = database.survey.layouts
    if not layouts:
        return "-"
    return ", ".join(filter(None, (_kind(layouts, is_hypertable=True), _kind(layouts, is_hypertable=False))))


def _kind(layouts: Sequence[TableLayout], *, is_hypertable: bool) -> str:
    chosen = [one for one in layouts if one.is_hypertable is is_hypertable]
    if not chosen:
        return ""
    count = sum(one.partitions for one in chosen)
    if not is_hypertable:
        return f"{count} native"
    return f"{count} chunks, {sum(one.compressed for one in chosen)} compressed"


def _merged(status: Status) -> RenderableType:
    numbers = ((name, "right") for name in ("lag", "rows read", "new"))
    table = plain_table("gatherer", "table", *numbers, "watermark (UTC)")
    for one in status.databases:
        for cursor in one.survey.cursors:
            table.add_row(
                cursor.gatherer_id, cursor.table, seconds(cursor.lag_seconds), f"{cursor.rows_read:,}",
                f"{cursor.rows_merged:,}", _moment(cursor.watermark),
            )  # fmt: skip
    marks = [Text(f"watermark of {name}: {_moment(mark)}") for name, mark in status.watermarks.items()]
    return Group(table, *marks)


def _coverage(status: Status) -> RenderableType:
    numbers = ((name, "right") for name in ("hours", "markets with a hole", "unheard"))
    table = plain_table("channel", *numbers, "newest hour (UTC)")
    for one in status.databases:
        for channel in one.survey.coverage:
            table.add_row(
                channel.channel, f"{channel.hours}", f"{channel.uncovered_markets:,}",
                seconds(channel.uncovered_seconds), _moment(channel.newest_hour),
            )  # fmt: skip
    return table


def _files(status: Status) -> RenderableType:
    return Group(*map(Text, _file_lines(status)))


def _file_lines(status: Status) -> Iterator[str]:
    yield f"lake at {status.lake_root}"
    for one in status.lake:
        if one.newest is not None:
            yield f"  {one.name}: {one.partitions:,} partitions, newest {_moment(one.newest)}"
    if not any(one.newest for one in status.lake):
        yield "  empty"
    for disk in status.disks:
        used = "" if disk.used is None else f", holds {size(disk.used)}"
        yield f"{disk.purpose} at {disk.path}{used}"
        yield f"  disk: {size(disk.free)} of {size(disk.total)} free"


def _moment(when: datetime | None) -> str:
    return "-" if when is None else f"{when:%m-%d %H:%M:%S}"
