"""Pictures for the pages of assets: small PNGs inside the metadata itself, so that no server has to keep them.

- Add here: how figures look. Every picture fits a page of metadata and weighs less than 100 kB.
- Keep out: gathering the figures (`lake.figures`, `database.quality`).
- The library of pictures is heavy and not thread-safe through its `pyplot`; figures are made without it.
- Dagster's word: markdown metadata, https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BYTES = 100_000
"""A picture is stored with every materialization: more than this would fill Dagster's database."""

_INK, _FAINT, _FIRST = "#1f2937", "#d1d5db", "#2563eb"
_COLOURS = (_FIRST, "#d97706", "#059669", "#9333ea", "#dc2626")
_INCHES, _DOTS = (7.2, 2.4), 100
_TINTS = 64
"""Colours of a picture: enough for smooth edges, a third of the bytes."""

Span = tuple[datetime, datetime]


def per_minute(
    title: str, window: Span, minutes: Sequence[datetime], counts: Sequence[int]
) -> dg.MarkdownMetadataValue:
    """Messages in each minute, as a filled line; the busiest minute is named."""

    def draw(axes: "Axes") -> None:
        ends = [*minutes, *(minute + timedelta(minutes=1) for minute in minutes[-1:])]  # the last one has its width too
        heights = [*counts, *counts[-1:]]
        axes.fill_between(_dates(ends), heights, step="post", color=_FIRST, alpha=0.25, linewidth=0)
        axes.step(_dates(ends), heights, where="post", color=_FIRST, linewidth=1.2)
        most, busiest = max(zip(counts, minutes, strict=True), default=(0, window[0]))
        axes.set_ylim(0, None if most else 1)
        told = f"most: {most:,} at {busiest:%H:%M}" if most else "none at all"
        axes.set_title(told, loc="right", fontsize=8, color=_INK)

    return _picture(title, window, draw, "messages a minute")


def spread(
    title: str, window: Span, minutes: Sequence[datetime], median: Sequence[float], wide: Sequence[float]
) -> dg.MarkdownMetadataValue:
    """The median spread of all markets through a day in cents, and that of the widest tenth."""

    def draw(axes: "Axes") -> None:
        axes.plot(_dates(minutes), wide, color=_COLOURS[1], linewidth=1.0, label="widest tenth from here")
        axes.plot(_dates(minutes), median, color=_FIRST, linewidth=1.6, label="median market")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2, fontsize=8, frameon=False)

    return _picture(title, window, draw, "spread, cents")


def coverage(
    title: str, window: Span, heard: Mapping[str, Sequence[Span]], lost: Sequence[Span] = ()
) -> dg.MarkdownMetadataValue:
    """One bar a gatherer where it listened, and in red what nobody heard."""
    rows = [*sorted(heard), *(["nobody"] if lost else [])]

    def draw(axes: "Axes") -> None:
        for row, name in enumerate(reversed(rows)):
            spans, colour = (lost, _COLOURS[4]) if name == "nobody" and lost else (heard[name], _COLOURS[2])
            bars = [(since, until - since) for since, until in map(_dates, spans)]
            edge = 1.5 if colour == _COLOURS[4] else 0  # ten seconds of a day must be seen
            axes.broken_barh(bars, (row - 0.36, 0.72), facecolors=colour, edgecolors=colour, linewidth=edge)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(range(len(rows)), list(reversed(rows)))

    return _picture(title, window, draw, "")


def per_hour(title: str, hours: Sequence[datetime], counts: Mapping[str, Sequence[int]]) -> dg.MarkdownMetadataValue:
    """Messages of several kinds in each hour, stacked; the most numerous kind stands at the bottom."""

    def draw(axes: "Axes") -> None:
        below = [0] * len(hours)
        for name, colour in zip(sorted(counts, key=lambda one: -sum(counts[one])), _COLOURS, strict=False):
            axes.bar(_dates(hours), counts[name], 0.034, bottom=below, color=colour, label=name, align="edge")
            below = [low + high for low, high in zip(below, counts[name], strict=True)]
        axes.set_ylim(0, max(1, *below) * 1.25)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g} M" if value >= 1e6 else f"{value:,.0f}")
        axes.legend(loc="upper right", fontsize=8, frameon=False, ncols=len(counts))

    return _picture(title, (hours[0], hours[-1] + (hours[1] - hours[0])), draw, "")


def data_uri(picture: dg.MarkdownMetadataValue) -> str:
    """The picture alone, for a page of one's own."""
    return str(picture.value).rpartition("(")[2].removesuffix(")")


def _picture(title: str, window: Span, draw: Callable[["Axes"], None], unit: str) -> dg.MarkdownMetadataValue:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, DateFormatter
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter
    from numpy import asarray
    from PIL import Image

    figure = Figure(figsize=_INCHES, dpi=_DOTS)
    figure.subplots_adjust(left=0.1, right=0.97, top=0.87, bottom=0.12)  # an automatic layout draws everything twice
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if unit:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    draw(axes)
    axes.set_xlim(*_dates(window))
    axes.xaxis.set_major_locator(AutoDateLocator(tz=UTC, maxticks=13))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))  # type: ignore[no-untyped-call]
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold", color=_INK)
    axes.set_ylabel(unit, fontsize=8, color=_INK)
    axes.tick_params(labelsize=8, colors=_INK, length=0)
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for edge, spine in axes.spines.items():
        spine.set_visible(edge == "bottom")
        spine.set_color(_FAINT)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = Image.fromarray(pixels).convert("RGB").quantize(_TINTS)
    file = BytesIO()
    picture.save(file, "png", optimize=True)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(file.getvalue()).decode()})")


def _dates(moments: Sequence[datetime]) -> list[float]:
    from matplotlib.dates import date2num

    return [float(date2num(moment)) for moment in moments]  # type: ignore[no-untyped-call]
