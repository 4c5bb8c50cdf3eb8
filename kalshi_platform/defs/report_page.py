"""The page of the daily report: one day in words, pictures and tables, as HTML for itself and as Markdown for Dagster.

- Add here: how a day is shown.
- Keep out: gathering it (`report`).
- The page is one file without anything from elsewhere: it can be mailed, archived and read without a network.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape

from kalshi_platform.database.listening import Listening
from kalshi_platform.database.quality import Merged, Uncovered
from kalshi_platform.defs.checks.verdict import clock
from kalshi_platform.defs.pictures import coverage, data_uri, per_hour
from kalshi_platform.lake.day import Busy

_HOUR = timedelta(hours=1)
_NAMES = {"orderbook_delta": "order books", "trade": "trades", "ticker": "tickers"}

_STYLE = """
:root{--ink:#1f2937;--soft:#6b7280;--line:#e5e7eb;--good:#047857;--bad:#b91c1c;--wash:#f9fafb}
*{box-sizing:border-box}body{margin:0;background:var(--wash);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:860px;margin:0 auto;padding:32px 24px 64px}h1{font-size:26px;margin:0}
h2{font-size:17px;margin:36px 0 10px}p.lead{color:var(--soft);margin:4px 0 22px}
.cards{display:grid;grid-template-columns:repeat(4,1fr);gap:12px}
.card{background:#fff;border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.card b{display:block;font-size:24px;line-height:1.2;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:13px}.good b{color:var(--good)}.bad b{color:var(--bad)}
img{width:100%;background:#fff;border:1px solid var(--line);border-radius:10px;padding:10px;margin:0 0 12px}
table{width:100%;border-collapse:collapse;background:#fff;border:1px solid var(--line);border-radius:10px;
overflow:hidden}
th,td{text-align:left;padding:6px 12px;border-top:1px solid var(--line);
font-variant-numeric:tabular-nums;vertical-align:top}
tr:first-child th{border-top:0;color:var(--soft);font-weight:600;font-size:13px}
td.n,th.n{text-align:right}td.good{color:var(--good)}td.bad{color:var(--bad)}td small{color:var(--soft)}
p.none{color:var(--good);margin:0}@media(max-width:640px){.cards{grid-template-columns:repeat(2,1fr)}}
"""


@dataclass(slots=True)
class CheckDay:
    """What one check said in a day."""

    name: str
    passed: int = 0
    failed: int = 0
    is_failing: bool = False
    last_failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day's capture.

    Attributes:
        start: Its beginning.
        end: Its end, or now.
        known_until: How far the lake has all of it.
        rows: Per stream table, the rows of each hour.
        markets: Markets whose book changed.
        busiest: Those with the most changes.
        listening: Per channel, who listened when, and what nobody heard.
        gaps: The longest intervals that nobody heard, with their channels.
        uncovered_seconds: Their length in all, summed over markets.
        uncovered_markets: Markets that they concern, at the most in one hour.
        merged: What each gatherer brought so far.
        checks: What the checks said, failing ones first.
    """

    start: datetime
    end: datetime
    known_until: datetime
    rows: Mapping[str, Sequence[int]]
    markets: int
    busiest: Sequence[Busy]
    listening: Mapping[str, Listening]
    gaps: Sequence[tuple[str, Uncovered]]
    uncovered_seconds: float
    uncovered_markets: int
    merged: Sequence[Merged]
    checks: Sequence[CheckDay] = field(default_factory=list)

    @property
    def messages(self) -> int:
        """Rows of all streams."""
        return sum(sum(hours) for hours in self.rows.values())

    @property
    def known_share(self) -> float:
        """Which share of all that was read production had already; two thirds where three gatherers hear all."""
        read = sum(one.rows_read for one in self.merged)
        return 1 - sum(one.rows_merged for one in self.merged) / read if read else 0.0

    @property
    def failing(self) -> int:
        """Checks that failed when they were last run."""
        return sum(check.is_failing for check in self.checks)


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    kind: str = ""


_Row = Sequence[_Cell]


def as_html(day: Day) -> str:
    """The page as one file."""
    title = f"{day.start:%A, %d %B %Y}"
    parts = [
        f"<h1>{title}</h1><p class=lead>{escape(_lead(day))}</p>",
        f"<div class=cards>{''.join(_cards(day))}</div>",
        "<h2>Messages by table and hour</h2>" + _image(_hours(day)),
        "<h2>Who listened</h2>" + "".join(_image(uri) for uri in _heard(day)),
        "<h2>What nobody heard</h2>" + (_table(_gap_rows(day)) if day.gaps else "<p class=none>Nothing.</p>"),
        "<h2>Busiest markets</h2>" + _table(_busy_rows(day)),
        "<h2>What the gatherers had in common</h2>" + _table(_merged_rows(day)),
        "<h2>Checks</h2>" + _table(_check_rows(day)),
    ]
    head = (
        f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>Kalshi capture, {title}</title>"
    )
    return f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main>"


def as_markdown(day: Day) -> str:
    """The same for the asset's page, which has less room."""
    pictures = [_hours(day), *_heard(day)]
    shown = "\n\n".join(f"![{day.start:%Y-%m-%d}]({uri})" for uri in pictures)
    checks = f"{day.failing} of {len(day.checks)} checks fail" if day.failing else f"{len(day.checks)} checks pass"
    tables = {"What nobody heard": _gap_rows(day) if day.gaps else [], "Busiest markets": _busy_rows(day)}
    parts = [f"### {day.start:%A, %d %B %Y}", f"{_lead(day)} {checks}.", shown]
    parts += [f"**{name}**\n\n{_markdown_table(rows)}" for name, rows in tables.items() if rows]
    return "\n\n".join(parts)


def _lead(day: Day) -> str:
    gatherers = {name for one in day.listening.values() for name in one.heard}
    heard = f"{len(gatherers)} gatherers" if len(gatherers) != 1 else "one gatherer"
    told = (
        f"{day.messages:,} messages of {day.markets:,} markets, heard by {heard}, until {clock(day.known_until)} UTC."
    )
    if day.end - day.known_until < _HOUR:  # of a day that lasts, the hour that is going on is not exported yet
        return told
    return f"{told} What came after that is not in the lake yet: write this page again once it is."


def _cards(day: Day) -> Iterator[str]:
    lost = "good" if not day.uncovered_seconds else "bad"
    checks = "bad" if day.failing else "good"
    passing = len(day.checks) - day.failing
    for number, words, kind in (
        (f"{day.messages:,}", "messages", ""),
        (f"{day.markets:,}", "markets with a change", ""),
        (f"{day.uncovered_seconds:,.0f} s", f"heard by nobody, {day.uncovered_markets:,} markets", lost),
        (f"{passing} / {len(day.checks)}", "checks pass", checks),
    ):
        yield f"<div class='card {kind}'><b>{number}</b><span>{words}</span></div>"


def _hours(day: Day) -> str:
    hours = [day.start + number * _HOUR for number in range(24)]
    return data_uri(per_hour("messages an hour", hours, day.rows))


def _heard(day: Day) -> Iterator[str]:
    for channel, one in day.listening.items():
        if one.heard or one.lost:
            title = _NAMES.get(channel, channel)
            yield data_uri(coverage(title, (day.start, day.start + 24 * _HOUR), one.heard, one.lost))


def _gap_rows(day: Day) -> list[_Row]:
    rows: list[_Row] = [_head("channel", "market", "from", "seconds:n")]
    for channel, gap in day.gaps:
        seconds = (gap.until_at - gap.from_at).total_seconds()
        market = gap.ticker or "every market"
        cells = (_NAMES.get(channel, channel), market, clock(gap.from_at))
        rows.append([*map(_Cell, cells), _Cell(f"{seconds:,.1f}", "n")])
    return rows


def _busy_rows(day: Day) -> list[_Row]:
    rows: list[_Row] = [_head("market", "changes of its book:n", "trades:n", "contracts:n")]
    for one in day.busiest:
        numbers = (f"{one.changes:,}", f"{one.trades:,}", f"{one.volume:,.2f}")
        rows.append([_Cell(one.ticker), *(_Cell(number, "n") for number in numbers)])
    return rows


def _merged_rows(day: Day) -> list[_Row]:
    rows: list[_Row] = [_head("table", "gatherer", "read so far:n", "new to production:n", "known already:n")]
    for one in day.merged:
        known = f"{1 - one.rows_merged / one.rows_read:.1%}"
        numbers = (f"{one.rows_read:,}", f"{one.rows_merged:,}", known)
        rows.append([_Cell(one.table_name), _Cell(one.gatherer_id), *(_Cell(number, "n") for number in numbers)])
    rows.append([_Cell("all"), _Cell(""), _Cell(""), _Cell(""), _Cell(f"{day.known_share:.1%}", "n")])
    return rows


def _check_rows(day: Day) -> list[_Row]:
    rows: list[_Row] = [_head("check", "now", "passed:n", "failed:n", "what it last found")]
    for one in day.checks:
        now = _Cell("fails", "bad") if one.is_failing else _Cell("passes", "good")
        numbers = (_Cell(f"{one.passed:,}", "n"), _Cell(f"{one.failed:,}", "n"))
        rows.append([_Cell(one.name), now, *numbers, _Cell(one.last_failure[:300])])
    return rows


def _head(*names: str) -> _Row:
    return [_Cell(*name.split(":")) for name in names]


def _table(rows: Sequence[_Row]) -> str:
    head, *body = rows
    lines = [_line("th", head), *(_line("td", row) for row in body)]
    return f"<table>{''.join(lines)}</table>"


def _line(tag: str, row: _Row) -> str:
    return "<tr>" + "".join(f"<{tag} class='{cell.kind}'>{escape(cell.text)}</{tag}>" for cell in row) + "</tr>"


def _markdown_table(rows: Sequence[_Row]) -> str:
    head, *body = rows
    lines = [" | ".join(cell.text for cell in head), " | ".join("---:" if cell.kind else "---" for cell in head)]
    lines += [" | ".join(cell.text.replace("|", "\\|") for cell in row) for row in body]
    return "\n".join(f"| {line} |" for line in lines)


def _image(uri: str) -> str:
    return f"<img alt='' src='{uri}'>"
