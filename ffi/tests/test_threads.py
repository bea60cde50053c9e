"""Sixty-four threads at once: everything is counted once, and each event comes once."""

import asyncio
import gc
import random
import threading
from datetime import timedelta

import peer_health as ph

THREADS, CALLS, PEERS = 64, 500, 16


def together(work):
    """Runs `work(number)` on all threads; raises what one of them raised."""
    errors = []

    def run(number):
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def test_each_permit_is_counted_once():
    config = ph.default_config()
    config.failure_threshold, config.open_timeout = 3, timedelta(milliseconds=1)
    registry = ph.HealthRegistry(config)
    events = registry.events(capacity=1_000_000)
    asked, refused, lock = [0], [0], threading.Lock()

    def work(number):
        chance, mine = random.Random(number), [0, 0]
        for call in range(CALLS):
            peer = bytes([chance.randrange(PEERS)])
            mine[0] += 1
            try:
                permit = registry.acquire(peer)
            except ph.HealthError.Refused:
                mine[1] += 1
                continue
            way = chance.randrange(6)
            if way == 0:
                permit.failure(ph.ErrorKind.NETWORK, "reset")
            elif way == 1:
                permit.neutral()
            elif way == 2:
                permit.abandon()
            elif way == 3:
                del permit
            else:
                permit.success()
            if call % 50 == 0:
                registry.snapshot(peer), registry.export(), registry.note_reachable(peer)
        with lock:
            asked[0] += mine[0]
            refused[0] += mine[1]

    together(work)
    gc.collect()
    sums = registry.totals().all
    settled = sums.succeeded + sums.failed + sums.neutral + sums.abandoned + sums.late
    refusals = sums.refused_open + sums.refused_probes + sums.refused_forced
    assert (settled + refusals, refusals) == (THREADS * CALLS, refused[0]) and asked[0] == THREADS * CALLS
    told = events.next_events(1_000_000, timedelta(0))
    assert sum(event.kind.is_OPENED() for event in told) == sums.opened > 0 == events.missed()


def test_one_permit_settled_by_all_threads_counts_once():
    registry = ph.HealthRegistry()
    for _ in range(20):
        permit, results = registry.acquire(b"peer"), []
        together(lambda _: results.append(permit.success()))
        assert results.count(ph.Recorded.COUNTED()) == 1
        assert results.count(ph.Recorded.LATE()) == THREADS - 1
    assert registry.totals().all.succeeded == 20


def test_threads_that_poll_share_the_events():
    registry, taken, lock = ph.HealthRegistry(), [], threading.Lock()
    events = registry.events()

    def work(number):
        registry.force_open(bytes([number]))
        got = events.next_events(1, timedelta(seconds=60))
        with lock:
            taken.extend(event.peer for event in got)

    together(work)
    assert sorted(taken) == [bytes([number]) for number in range(THREADS)]


def test_an_event_of_another_thread_wakes_those_who_await():
    async def run():
        registry = ph.HealthRegistry()
        events = registry.events()
        waiting = [asyncio.ensure_future(events.next_event()) for _ in range(THREADS)]
        await asyncio.sleep(0)
        await asyncio.to_thread(together, lambda number: registry.force_open(bytes([number])))
        told = await asyncio.wait_for(asyncio.gather(*waiting), 60)
        assert sorted(event.peer for event in told) == [bytes([number]) for number in range(THREADS)]

    asyncio.run(run())
