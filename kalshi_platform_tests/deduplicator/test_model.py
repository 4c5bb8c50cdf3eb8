"""Whatever happens in whatever order, production is the union of what gatherers committed: thousands of schedules."""

import os
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from kalshi_platform.deduplicator.cursors import Cursor, together
from kalshi_platform.deduplicator.window import Batch, Gate, Window, choose
from kalshi_platform_tests.deduplicator.model import Choose, Together, World

SCHEDULES = int(os.environ.get("KALSHI_TEST_SCHEDULES", "5000"))
"""Of each of two worlds; more by the environment, the first are always the same."""


def failures(schedules: int, *, loses: bool, **worse: Any) -> list[int]:
    """Seeds after which production lacks something or has something that never was; every other one has shards."""
    found = []
    for seed in range(schedules):
        random = Random(seed)  # noqa: S311 - a schedule
        world = World(random, loses=loses, most_shards=1 + seed % 2 * 2, **worse)
        world.run(random.randint(20, 160))
        if world.missing() or world.invented():
            found.append(seed)
    return found


@pytest.mark.slow
def test_production_is_the_union_of_everything_committed() -> None:
    """Writers, commit orders, clock steps, crashes of every process between any two statements."""
    assert failures(SCHEDULES, loses=False) == []


@pytest.mark.slow
def test_nothing_that_a_gatherer_still_has_is_skipped_after_a_disaster() -> None:
    """Commits lost in a crash, gatherers restored in place or rebuilt empty, production restored as well."""
    assert failures(SCHEDULES, loses=True) == []


def up_to_xmin(
    gate: Gate, table: str, first: int, batches: Sequence[Batch], most_rows: int, most_batches: int
) -> Window:
    """The cursor that moves to the horizon, behind ids that are given out anew after a crash: seed 264 and others."""
    window = choose(gate, table, first, batches, most_rows, most_batches)
    return window if window.is_full or window.is_empty else replace(window, next_xid=gate.xmin)


def without_witness(
    gate: Gate, table: str, first: int, batches: Sequence[Batch], most_rows: int, most_batches: int
) -> Window:
    """The cursor that does not know its source again."""
    return replace(choose(gate, table, first, batches, most_rows, most_batches), witness=None)


@pytest.mark.parametrize("decide", [up_to_xmin, without_witness])
def test_lesser_cursors_are_caught(decide: Choose) -> None:
    """The model tells a cursor that skips rows from one that does not."""
    assert failures(300, loses=True, decide=decide)


def from_the_latest(cursors: Sequence[Cursor], one_history: bool) -> Cursor:
    """Another number of shards that begins where the fastest of the old ones was."""
    earliest = together(cursors, one_history=one_history)
    return max(cursors, key=lambda cursor: cursor.next_xid) if earliest.source else earliest


def of_any_history(cursors: Sequence[Cursor], one_history: bool) -> Cursor:
    """Another number of shards that compares ids of before and after a restore."""
    return together(cursors, one_history=True)


@pytest.mark.parametrize(("unite", "schedules"), [(from_the_latest, 100), (of_any_history, 700)])
def test_a_careless_change_of_the_number_of_shards_is_caught(unite: Together, schedules: int) -> None:
    """The earliest cursor counts, and only where all of them have read one history."""
    assert failures(schedules, loses=True, unite=unite)


def test_a_cursor_beyond_running_transactions_is_caught() -> None:
    """Whoever reads past the horizon loses what commits late, without any disaster."""

    class Hasty(World):
        def _window(self, gatherer, cursor):  # type: ignore[no-untyped-def]
            gate = gatherer.gate(cursor.witness)
            beyond = replace(gate, xmin=gate.xmax)
            batches = gatherer.finished(cursor.next_xid, beyond)
            return choose(beyond, "", cursor.next_xid, batches, 5, 4)

    worlds = [Hasty(Random(seed), loses=False) for seed in range(50)]  # noqa: S311 - schedules
    for world in worlds:
        world.run(80)
    assert any(world.missing() for world in worlds)
