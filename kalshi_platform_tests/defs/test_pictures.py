import base64
from datetime import UTC, datetime, timedelta
from io import BytesIO
from math import sin

import dagster as dg
import pytest
from matplotlib.image import imread

from kalshi_platform.defs.pictures import MOST_BYTES, coverage, per_minute, spread

START = datetime(2026, 11, 20, tzinfo=UTC)
MINUTES = [START + timedelta(minutes=n) for n in range(1440)]
COUNTS = [int(4_000 + 3_000 * sin(n / 90) + (n * 7919) % 900) for n in range(1440)]

HOURS = [START + timedelta(hours=n) for n in range(25)]
DAY = (START, HOURS[24])
PICTURES = {
    "per_minute": lambda: per_minute("orderbook_deltas, 2026-11-20", DAY, MINUTES, COUNTS),
    "spread": lambda: spread("Spread, 2026-11-20", DAY, MINUTES, [c / 2000 for c in COUNTS], [c / 500 for c in COUNTS]),
    "coverage": lambda: coverage(
        "Who listened, 2026-11-20", DAY,
        {"gatherer-1": [(START, HOURS[24])], "gatherer-2": [(START, HOURS[9]), (HOURS[10], HOURS[24])],
         "gatherer-3": [(HOURS[3], HOURS[20])]},
        [(HOURS[9] + timedelta(minutes=10), HOURS[9] + timedelta(minutes=40))],
    ),
    "silence": lambda: per_minute("trades, 2026-11-20", DAY, [], []),
}  # fmt: skip


def png_of(value: dg.MarkdownMetadataValue) -> bytes:
    """The picture inside a piece of metadata."""
    _, _, encoded = (value.md_str or "").partition("base64,")
    return base64.b64decode(encoded.removesuffix(")"))


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small_and_shows_something(name: str) -> None:
    """Less than 100 kB with its markdown; wide enough to read; more than one colour."""
    value = PICTURES[name]()
    assert len(value.md_str or "") < MOST_BYTES
    pixels = imread(BytesIO(png_of(value)), format="png")
    assert pixels.shape[0] == 240
    assert pixels.shape[1] == 720
    assert len({tuple(pixel) for pixel in pixels.reshape(-1, pixels.shape[2])[::7].tolist()}) > 5
