"""What each key may ask: one token bucket a key, which refuses with 429 and keeps its own measurements.

Protocol §2.2: continuous refill, no penalty, no word on when to come back. Kept out: what an answer to 429 looks like.
"""

from kalshi_platform.simulator.rest.options import TIERS, RestOptions


class KeyBucket:
    """The read tokens of one key."""

    def __init__(self, rate: int, capacity: int, now_ms: int) -> None:
        self.rate = rate
        self.capacity = capacity
        self.lowest = float(capacity)
        """The fewest tokens that were ever left; below the cost of a request only by a refusal."""
        self.granted = 0
        """Requests that were paid for."""
        self.refused = 0
        """Requests that found too few tokens."""
        self._level = float(capacity)
        self._looked_ms = now_ms

    def take(self, cost: int, now_ms: int) -> bool:
        """Pay for a request; a refused one costs nothing."""
        elapsed = max(0, now_ms - self._looked_ms) / 1000
        self._level = min(self.capacity, self._level + elapsed * self.rate)
        self._looked_ms = max(now_ms, self._looked_ms)
        if self._level < cost:
            self.refused += 1
            return False
        self._level -= cost
        self.granted += 1
        self.lowest = min(self.lowest, self._level)
        return True


class Limits:
    """The buckets of all keys."""

    def __init__(self, options: RestOptions) -> None:
        self._options = options
        self.buckets: dict[str, KeyBucket] = {}
        """Key id → its bucket, with what was measured."""

    def take(self, key_id: str, path: str, now_ms: int) -> bool:
        """Pay for one request of a key; the path as in the routes."""
        bucket = self.buckets.get(key_id)
        if bucket is None:
            rate, capacity, _, _ = TIERS[self._options.tier]
            bucket = self.buckets[key_id] = KeyBucket(rate, capacity, now_ms)
        return bucket.take(self._options.endpoint_costs.get(path, self._options.default_cost), now_ms)
