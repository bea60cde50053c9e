"""Measures what a call costs from Python; it judges nothing. `python ffi/tests/cost.py`, with a wheel for users."""

import threading
import time

import peer_health as ph

CALLS = 20_000


def measure(name, call):
    best = min(run(call) for _ in range(5))
    print(f"{name}: {best / CALLS * 1e6:.1f} us")


def run(call):
    begin = time.perf_counter()
    for _ in range(CALLS):
        call()
    return time.perf_counter() - begin


def block(registry):
    with registry.permit(b"alice") as permit:
        permit.success()


def main():
    registry = ph.HealthRegistry()
    measure("acquire and success", lambda: registry.acquire(b"alice").success())
    measure("with registry.permit", lambda: block(registry))
    registry.force_open(b"mallory")
    measure("is_circuit_open", lambda: registry.is_circuit_open(b"mallory"))
    threads = [threading.Thread(target=run, args=(lambda: registry.acquire(b"alice").success(),)) for _ in range(4)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"acquire and success, four threads: {(time.perf_counter() - begin) / CALLS / 4 * 1e6:.1f} us")


if __name__ == "__main__":
    main()
