"""A bucket of calls. Run: pytest tests/web/test_rate_limit.py"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medi_core.errors import InvalidRequestError
from medi_core.settings import Settings
from medi_core.web.rate_limit import MAX_KEYS, RateLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@settings(deadline=None)
@given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=200))
def test_never_more_than_the_bucket_and_what_has_flowed_into_it(per_minute, pauses):
    clock, passed = Clock(), 0
    limit = RateLimit(per_minute, clock)
    for pause in pauses:
        clock.now += pause
        passed += not limit.seconds_to_wait("a")
        assert passed <= per_minute * (1 + clock.now / 60) + 1e-6


def test_who_waits_as_long_as_told_may_call():
    clock = Clock()
    limit = RateLimit(3, clock)
    assert [limit.seconds_to_wait("a") for _ in range(3)] == [0, 0, 0]
    wait = limit.seconds_to_wait("a")
    assert wait == 20
    clock.now += wait - 1
    assert limit.seconds_to_wait("a") > 0
    clock.now += 1.001
    assert limit.seconds_to_wait("a") == 0


def test_no_limit_is_none():
    limit = RateLimit(0)
    assert not any(limit.seconds_to_wait("a") for _ in range(1000))


def test_a_limit_that_would_lock_everybody_out_is_refused(monkeypatch):
    monkeypatch.setenv("MEDI_RATE_LIMIT", "-1")
    with pytest.raises(InvalidRequestError, match=r"MEDI_RATE_LIMIT = -1: .* 0 = no limit"):
        Settings.from_environment()


def test_memory_has_an_end():
    limit = RateLimit(1, Clock())
    for i in range(MAX_KEYS + 50):
        limit.seconds_to_wait(str(i))
    assert len(limit._buckets) == MAX_KEYS
