"""Live numbers of the daemons, read from their `/metrics` as Prometheus would.

Kept out: how they are shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Reading:
    """One scrape of one daemon; empty where it did not answer."""

    samples: Mapping[str, list[tuple[Mapping[str, str], float]]] = field(default_factory=dict)

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that carry these labels."""
        return sum(
            value for found, value in self.samples.get(name, []) if all(found.get(k) == v for k, v in labels.items())
        )

    def quantile(self, name: str, share: float, **labels: str) -> float | None:
        """The upper bound of the histogram bucket that holds this share of observations; None without any."""
        buckets: dict[float, float] = {}
        for found, value in self.samples.get(f"{name}_bucket", []):
            if all(found.get(k) == v for k, v in labels.items()):
                bound = float(found["le"])
                buckets[bound] = buckets.get(bound, 0.0) + value
        wanted = max(buckets.values(), default=0.0) * share
        return next((bound for bound in sorted(buckets) if buckets[bound] >= wanted), None) if wanted else None


def scrape(client: httpx.Client, port: int) -> Reading:
    """What the daemon on this port of this machine reports now."""
    try:
        text = client.get(f"http://127.0.0.1:{port}/metrics").text
    except httpx.TransportError:
        return Reading()
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return Reading(samples)
