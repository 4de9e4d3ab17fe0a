"""How often somebody may call: a bucket of calls that fills up again. Knows neither requests nor sessions."""

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_KEYS = 10_000
"""Buckets kept; whoever has not called for longest starts with a full one."""


class RateLimit:
    """At most `per_minute` calls at once, and so many in each minute that follows; 0 = no limit."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key → (calls left, when)

    def seconds_to_wait(self, key: str) -> float:
        """Take a call out of the bucket of `key`: 0, or how long until there is one, and nothing is taken."""
        if not self._most:
            return 0.0
        now = self._clock()
        left, then = self._buckets.pop(key, (self._most, now))
        left = min(self._most, left + (now - then) * self._most / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / self._most
        self._buckets[key] = (left if wait else left - 1, now)
        if len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        return wait
