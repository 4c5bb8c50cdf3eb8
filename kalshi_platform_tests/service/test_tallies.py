"""Our counters and histograms say what Prometheus' own would say."""

import random

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from kalshi_platform.service.tallies import SpreadHistogram, TallyCounter

_BUCKETS = (0.005, 0.1, 1.0, 60.0)


def _samples(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_they_read_like_prometheus_own() -> None:
    """Line by line, values on the edges of buckets included."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counters = (
        TallyCounter("frames", "Frames.", "role", ours),
        Counter("frames", "Frames.", ["role"], registry=theirs),
    )
    histograms = (
        SpreadHistogram("lag_seconds", "Lag.", "stage", _BUCKETS, ours),
        Histogram("lag_seconds", "Lag.", ["stage"], buckets=_BUCKETS, registry=theirs),
    )
    chance = random.Random(1)  # noqa: S311 - a fixed seed for a test
    values = [0.0, *_BUCKETS, 100.0, *(chance.expovariate(1.0) for _ in range(200))]
    for counter, histogram in zip(counters, histograms, strict=True):
        counter.labels("trade").inc()
        counter.labels("trade").inc(5)
        counter.labels("orderbook").inc()
        for stage in ("received", "committed"):
            for value in values:
                histogram.labels(stage).observe(value)
    assert _samples(ours) == _samples(theirs)
