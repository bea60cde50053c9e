"""Registries on a manual clock, for the tests."""

from datetime import timedelta

import peer_health as ph

ALICE, BOB = b"alice", b"b" * 64
SECOND = timedelta(seconds=1)


def strict(**changes):
    """Settings under which one failure opens a circuit for exactly five seconds."""
    config = ph.default_config()
    config.failure_threshold, config.success_threshold, config.open_jitter = 1, 1, 0.0
    for field, value in changes.items():
        setattr(config, field, value)
    return config


def manual(**changes):
    clock = ph.ManualClock()
    return ph.HealthRegistry.on_manual_clock(strict(**changes), clock), clock


def fail(registry, peer=ALICE, kind=ph.ErrorKind.NETWORK, **rest):
    return registry.acquire(peer).failure(kind, "reset", **rest)
