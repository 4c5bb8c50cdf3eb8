"""A world in which everything happens in any order, between any two statements of gatherers and deduplicators.

Databases are modelled as PostgreSQL promises them: transaction ids in the order of their beginning, commits in any
order, a log whose end a crash may take, ids given out anew behind what survived. Where there are shards, each of two
processes is set to a number of its own, which changes now and then. What is decided in between is the platform's own
code: `Cursor`, `Gate`, `choose`, `together`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from kalshi_platform.deduplicator.cursors import BEGINNING, Cursor, together
from kalshi_platform.deduplicator.shards import Shard
from kalshi_platform.deduplicator.window import Batch, Gate, Window, Witness, choose

TABLE = "orderbook_deltas"
KEYS = 60
"""So few that gatherers often see the same."""

MOST_ROWS, MOST_BATCHES = 5, 4

Choose = Callable[[Gate, str, int, Sequence[Batch], int, int], Window]
Together = Callable[[Sequence[Cursor], bool], Cursor]


def _together(cursors: Sequence[Cursor], one_history: bool) -> Cursor:
    return together(cursors, one_history=one_history)


@dataclass
class Flush:
    """A transaction of a gatherer: its id, its rows, its time."""

    xid: int
    keys: frozenset[int]
    written_us: int


@dataclass
class Gatherer:
    """One gatherer's database."""

    identity: str
    random: Random
    next_xid: int = 10
    running: dict[int, Flush] = field(default_factory=dict)
    log: list[Flush] = field(default_factory=list)
    flushed: int = 0
    clock_us: int = 1_000_000
    born: int = 0

    def begin(self) -> None:
        """A flush gets its id; the clock may stand still or step back."""
        self.clock_us += self.random.choice((-5_000_000, 0, 1, 1, 1000))
        keys = frozenset(self.random.randrange(KEYS) for _ in range(self.random.randrange(4)))
        self.running[self.next_xid] = Flush(self.next_xid, keys, self.clock_us)
        self.next_xid += 1

    def end(self, *, commits: bool, is_synchronous: bool) -> None:
        """Any running flush ends."""
        if not self.running:
            return
        flush = self.running.pop(self.random.choice(list(self.running)))
        if commits:
            self.log.append(flush)
            if is_synchronous:
                self.flushed = len(self.log)

    def crash(self) -> None:
        """What ran is gone, and with it the end of the log that was not on disk; unused ids come again."""
        self.go_back_to(self.random.randint(self.flushed, len(self.log)))

    def go_back_to(self, moment: int) -> None:
        """Only so much of the log is left; the least id that PostgreSQL may go on with, and a clock gone anywhere.

        The one thing taken for granted: an id that is given out anew is not given out in the very microsecond of its
        first time.
        """
        self.clock_us += self.random.randint(-(10**12), 10**12)
        self.log = self.log[:moment]
        self.flushed = moment
        self.running = {}
        self.next_xid = max((flush.xid for flush in self.log), default=9) + 1

    def rebuild(self) -> None:
        """Another, empty database under this name."""
        self.born += 1
        self.identity = f"{self.identity.partition('/')[0]}/{self.born}"
        self.go_back_to(0)

    def knows(self, witness: Witness | None) -> bool:
        """Whether the log has a batch that was merged."""
        return witness is None or any((f.xid, f.written_us) == (witness.xid, witness.written_us) for f in self.log)

    def gate(self, witness: Witness | None) -> Gate:
        """What a snapshot of now says."""
        return Gate(min(self.running, default=self.next_xid), self.next_xid, self.knows(witness))

    def finished(self, first_xid: int, gate: Gate) -> list[Batch]:
        """The batches that `next_window` asks for, empty heartbeats included."""
        found = sorted((flush for flush in self.log if first_xid <= flush.xid < gate.xmin), key=lambda flush: flush.xid)
        return [Batch(f.xid, len(f.keys), None, None, None, f.written_us) for f in found[:MOST_BATCHES]]

    def keys(self, first_xid: int = 0, next_xid: int = 2**62) -> set[int]:
        """The rows of committed transactions with these ids."""
        return {key for flush in self.log if first_xid <= flush.xid < next_xid for key in flush.keys}


Cursors = tuple[Cursor, ...]
"""Those of one gatherer, one for each shard."""


@dataclass
class Production:
    """Every state that production ever committed; it may fall back to an earlier one."""

    states: list[tuple[frozenset[int], dict[str, Cursors]]] = field(default_factory=lambda: [(frozenset(), {})])

    def cursors(self, name: str) -> Cursors:
        """A gatherer's cursors; none before the first merge."""
        return self.states[-1][1].get(name, ())

    def cursor(self, name: str, shard: Shard) -> Cursor | None:
        """A shard's cursor; None where they are cut for another number of shards."""
        cursors = self.cursors(name)
        return cursors[shard.number - 1] if len(cursors) == shard.of else None

    def commit(self, keys: set[int], name: str, shard: Shard, cursor: Cursor) -> None:
        """Rows and cursor in one transaction."""
        before = self.cursors(name)
        self.cut(keys, name, (*before[: shard.number - 1], cursor, *before[shard.number :]))

    def cut(self, keys: set[int], name: str, cursors: Cursors) -> None:
        """Rows and all cursors of a gatherer in one transaction."""
        rows, others = self.states[-1]
        self.states.append((rows | keys, {**others, name: cursors}))

    @property
    def keys(self) -> frozenset[int]:
        """The rows that it holds."""
        return self.states[-1][0]


class World:
    """One schedule.

    Args:
        random: Decides everything.
        loses: Whether databases may lose what they had committed.
        most_shards: How many deduplicators may share the work.
        decide: The platform's choice of a window, or a worse one.
        unite: The platform's choice of where another number of shards begins, or a worse one.
    """

    def __init__(
        self,
        random: Random,
        *,
        loses: bool,
        most_shards: int = 1,
        decide: Choose = choose,
        unite: Together = _together,
    ) -> None:
        self._random = random
        self._loses = loses
        self._decide = decide
        self._unite = unite
        self._most_shards = most_shards
        self._counts = [1, 1]
        self.gatherers = {f"g{number}": Gatherer(f"g{number}/0", random) for number in range(random.randint(1, 3))}
        self.production = Production()
        self.ever: set[int] = set()
        self._steps: dict[tuple[str, int, Shard], Iterator[None]] = {}

    def run(self, events: int) -> None:
        """So many events, then peace: everything ends, everything is merged."""
        for _ in range(events):
            self._event()
        for name, gatherer in self.gatherers.items():
            while gatherer.running:
                gatherer.end(commits=True, is_synchronous=True)
            self._note(gatherer)
            for _ in range(500):
                before = self.production.cursors(name)
                for shard in self._shards(self._counts[0]):
                    self._finish(self._step(name, shard))
                if self.production.cursors(name) == before:
                    break

    def missing(self) -> set[int]:
        """What gatherers hold and production does not."""
        held: set[int] = set().union(*(gatherer.keys() for gatherer in self.gatherers.values()))
        return (held if self._loses else self.ever) - self.production.keys

    def invented(self) -> set[int]:
        """What production holds and nobody ever committed."""
        return set(self.production.keys) - self.ever

    def _event(self) -> None:
        name = self._random.choice(list(self.gatherers))
        gatherer = self.gatherers[name]
        if self._most_shards > 1 and self._random.random() < 0.05:
            self._counts[self._random.randrange(2)] = self._random.randint(1, self._most_shards)
        dice = self._random.random()
        if dice < 0.25:
            gatherer.begin()
        elif dice < 0.5:
            gatherer.end(commits=self._random.random() < 0.85, is_synchronous=not self._loses)
            self._note(gatherer)
        elif dice < 0.9:
            self._advance(name, self._random.randrange(2))  # two deduplicators, should both believe to lead
        elif dice < 0.93:
            self._steps.clear()  # the deduplicator dies
        elif dice < 0.96:
            self._lose(name, gatherer.crash)
        elif self._loses:
            self._disaster(name, gatherer)

    def _disaster(self, name: str, gatherer: Gatherer) -> None:
        kind = self._random.randrange(4)
        if kind == 0:
            self._lose(name, lambda: gatherer.go_back_to(self._random.randint(0, len(gatherer.log))))
        elif kind == 1:
            self._lose(name, gatherer.rebuild)
        elif kind == 2 and gatherer.log:
            gatherer.flushed = len(gatherer.log)  # a checkpoint
        else:
            del self.production.states[self._random.randint(1, len(self.production.states)) :]
            self._steps.clear()

    def _lose(self, name: str, happen: Callable[[], None]) -> None:
        """A gatherer's database goes down, and with it every connection to it."""
        happen()
        self._steps = {key: step for key, step in self._steps.items() if key[0] != name}

    def _note(self, gatherer: Gatherer) -> None:
        self.ever |= gatherer.keys()

    @staticmethod
    def _shards(count: int) -> list[Shard]:
        return [Shard(number, count) for number in range(1, count + 1)]

    def _advance(self, name: str, process: int) -> None:
        shards = self._shards(self._counts[process])
        shard = shards[0] if len(shards) == 1 else self._random.choice(shards)
        key = (name, process, shard)
        # one shard may run ahead while others sleep
        for _ in range(1 if self._most_shards == 1 else self._random.choice((1, 1, 2, 8, 30))):
            step = self._steps.setdefault(key, self._step(name, shard))
            if next(step, self) is self:
                del self._steps[key]

    def _finish(self, step: Iterator[None]) -> None:
        for _ in step:
            pass

    def _step(self, name: str, shard: Shard) -> Iterator[None]:
        """`SyncLoop.step`, with everybody else at work between its statements."""
        gatherer = self.gatherers[name]
        identity = gatherer.identity
        if self.production.cursor(name, shard) is None:
            yield from self._cut(name, gatherer, shard)
        stored = self.production.cursor(name, shard) or BEGINNING
        yield
        window = self._window(gatherer, stored.on(identity))
        yield
        if window.is_empty:
            return
        keys = {key for key in gatherer.keys(window.first_xid, window.next_xid) if key % shard.of == shard.number - 1}
        yield
        if self.production.cursor(name, shard) == stored:
            self.production.commit(keys, name, shard, Cursor(identity, window.next_xid, None, window.witness))

    def _cut(self, name: str, gatherer: Gatherer, shard: Shard) -> Iterator[None]:
        """`CursorRow._cut`: what it has locked does not change until it writes, else it has not locked it."""
        found = self.production.cursors(name)
        one_history = all(gatherer.knows(cursor.witness) for cursor in found)
        yield
        if self.production.cursors(name) == found and len(found) != shard.of:
            self.production.cut(set(), name, (self._unite(found, one_history),) * shard.of)
        yield

    def _window(self, gatherer: Gatherer, cursor: Cursor) -> Window:
        gate = gatherer.gate(cursor.witness)
        first = cursor.next_xid if gate.reaches(cursor.next_xid) else 0
        return self._decide(gate, TABLE, first, gatherer.finished(first, gate), MOST_ROWS, MOST_BATCHES)
