"""Streams of events, polled and awaited, and what ends them."""

import asyncio
import gc
from datetime import timedelta

import peer_health as ph
import pytest
from registries import ALICE, BOB, SECOND, fail, manual


def test_events_are_polled_in_order_and_what_does_not_fit_is_counted():
    registry, clock = manual()
    events = registry.events()
    small = registry.events(capacity=1)
    fail(registry)
    clock.advance(5 * SECOND)
    registry.acquire(ALICE).success()
    registry.force_open(BOB)
    kinds = ph.EventKind
    expected = [(ALICE, kinds.OPENED(retry_after=5 * SECOND, reopened=False)), (ALICE, kinds.HALF_OPENED()),
                (ALICE, kinds.CLOSED()), (BOB, kinds.OVERRIDDEN(status=ph.Status.FORCED_OPEN))]
    first = events.next_events(1, SECOND)
    rest = events.next_events(10, SECOND)
    assert [(event.peer, event.kind) for event in first + rest] == expected
    assert [event.generation for event in first + rest][:3] == sorted(event.generation for event in first + rest[:2])
    assert len(small.next_events(10, SECOND)) == 1 and small.missed() == 3 and events.missed() == 0
    assert events.next_events(10, timedelta(0)) == []
    events.stop()
    registry.reset(BOB)
    assert events.next_events(10, timedelta(days=1)) == []  # returns at once
    for call, field in [(lambda: events.next_events(0, SECOND), "max"), (lambda: registry.events(0), "capacity")]:
        with pytest.raises(ph.HealthError.Invalid) as invalid:
            call()
        assert invalid.value.field == field


def test_a_long_wait_is_many_short_ones(monkeypatch):
    registry, _ = manual()
    events, polled, poll = registry.events(), [], ph._poll

    def third(stream, most, timeout):
        polled.append(timeout)
        if len(polled) == 3:
            registry.force_open(ALICE)
        return poll(stream, most, timedelta(0))

    monkeypatch.setattr(ph, "_poll", third)
    assert [event.peer for event in events.next_events(9, timedelta(days=1))] == [ALICE]
    assert polled == [ph._SLICE] * 3 and ph._SLICE <= SECOND
    assert events.next_events(9, timedelta(0)) == [] and polled[3:] == [timedelta(0)]
    events.stop()
    assert events.next_events(9, timedelta(days=1)) == [] and len(polled) == 5


def test_events_are_awaited_and_a_cancelled_wait_loses_none():
    async def run():
        registry, _ = manual()
        events = registry.events()
        waiting = asyncio.ensure_future(events.next_event())
        await asyncio.sleep(0)
        await asyncio.to_thread(fail, registry)
        assert (await asyncio.wait_for(waiting, 60)).kind.is_OPENED()
        cancelled = asyncio.ensure_future(events.next_event())
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        registry.reset(ALICE)
        assert (await asyncio.wait_for(events.next_event(), 60)).kind.is_RESET()
        registry.force_open(ALICE)
        late = asyncio.ensure_future(events.next_event())  # the event is there, and it is cancelled on its way
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        assert await asyncio.wait_for(events.ready(), 60) and not events.ended()
        assert [event.kind.is_OVERRIDDEN() for event in events.next_events(9, timedelta(0))] == [True]
        ends = asyncio.ensure_future(events.next_event())
        await asyncio.sleep(0)
        events.stop()
        assert await asyncio.wait_for(ends, 60) is None
        assert events.ended() and not await events.ready()

    asyncio.run(run())


def test_a_stream_ends_with_its_registry():
    async def run():
        registry, _ = manual()
        events, kept = registry.events(), registry.events()
        registry.force_open(ALICE)
        assert (await asyncio.wait_for(events.next_event(), 60)).peer == ALICE
        ends = asyncio.ensure_future(events.next_event())
        await asyncio.sleep(0)
        del registry
        gc.collect()
        assert await asyncio.wait_for(ends, 60) is None
        assert events.next_events(9, timedelta(days=1)) == [] and events.ended()  # at once
        assert not kept.ended() and len(kept.next_events(9, timedelta(0))) == 1  # what was told is still to be had
        assert kept.ended() and kept.missed() == 0

    asyncio.run(run())
