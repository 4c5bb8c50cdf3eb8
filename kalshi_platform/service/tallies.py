"""Counters and histograms for what happens with every message: no lock, no look-up, a tenth of the CPU.

They are written by one thread, the event loop's, and read by the one that serves `/metrics`: a scrape may miss the
message of that very moment, never one before. Kept out: what is counted.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Tally:
    """How often something happened."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """It happened."""
        self.value += amount


class TallyCounter(Collector):
    """A counter with one label; use it like `prometheus_client.Counter`."""

    def __init__(self, name: str, meaning: str, label: str, registry: CollectorRegistry) -> None:
        self._name, self._meaning, self._label = name, meaning, label
        self._tallies: dict[str, Tally] = {}
        registry.register(self)

    def labels(self, value: str) -> Tally:
        """The tally of one label's value."""
        return self._tallies.setdefault(value, Tally())

    def collect(self) -> Iterable[Metric]:
        """All tallies."""
        family = CounterMetricFamily(self._name, self._meaning, labels=[self._label])
        for value, tally in list(self._tallies.items()):
            family.add_metric([value], tally.value)
        yield family


class Spread:
    """How often each size of something was seen."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """It was seen once more."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Sequence[float]) -> None:
        """Each was seen once more."""
        counts, bounds = self.counts, self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.total += sum(values)


class SpreadHistogram(Collector):
    """A histogram with one label; use it like `prometheus_client.Histogram`."""

    def __init__(
        self, name: str, meaning: str, label: str, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._meaning, self._label = name, meaning, label
        self._bounds = tuple(buckets)
        self._edges = [*map(str, self._bounds), "+Inf"]
        self._spreads: dict[str, Spread] = {}
        registry.register(self)

    def labels(self, value: str) -> Spread:
        """The spread of one label's value."""
        found = self._spreads.get(value)
        if found is None:
            found = self._spreads[value] = Spread(self._bounds)
        return found

    def collect(self) -> Iterable[Metric]:
        """All spreads."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=[self._label])
        for value, spread in list(self._spreads.items()):
            family.add_metric([value], list(zip(self._edges, accumulate(spread.counts), strict=True)), spread.total)
        yield family
