"""One circuit breaker for each peer of a node.

Everything of the generated module is here, and what it lacks: `with registry.permit(peer) as permit:`, which settles
a permit in every case, since a garbage collector would do it late; `await events.next_event()`, which loses no event
when it is cancelled; and objects that refuse to be copied or pickled, since a copy would hold the same address, and
free it twice.
"""

from __future__ import annotations

import time
import typing
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps

from ._generated import *  # noqa: F403
from ._generated import Backoff, Event, Events, HealthRegistry, Permit
from ._generated.peer_health_ffi import InternalError, _uniffi_check_api_checksums, _UniffiLib  # noqa: F401

# The generator writes this check and calls it nowhere: without it, a library of another version reads wrong memory.
_uniffi_check_api_checksums(_UniffiLib)


@contextmanager
def _permit(self, peer):
    """Acquires a permit for a block; unsettled at its end, or ended by an exception, it counts as abandoned.

    Raises HealthError.Refused before the block if the peer is not to be called now.
    """
    permit = self.acquire(peer)
    try:
        yield permit
    finally:
        permit.abandon()


_poll = Events.next_events
_SLICE = timedelta(milliseconds=500)


@wraps(_poll)
def _next_events(self, max, timeout):  # noqa: A002
    # Python handles Ctrl-C between calls of the library, so that no single one waits for long.
    end = time.monotonic() + timeout.total_seconds()
    told = _poll(self, max, min(timeout, _SLICE))
    while not told and not self.ended():
        left = end - time.monotonic()
        if left <= 0:
            break
        told = _poll(self, max, min(timedelta(seconds=left), _SLICE))
    return told


async def _next_event(self) -> typing.Optional[Event]:
    """Waits for the next event; returns None once the stream is closed and empty. A cancelled call loses no event.

    Before the interpreter ends, a program calls `stop()` and lets its awaits return, and it awaits in no daemon
    thread: what the library wakes while the interpreter is torn down may abort the process.
    """
    while await self.ready():
        told = self.next_events(1, timedelta(0))  # none if another task was faster
        if told:
            return told[0]
    return None


def _not_copied(self, *_):
    raise TypeError(f"{type(self).__name__} is neither copied nor pickled: it is one object of this process")


HealthRegistry.permit = _permit
Events.next_event, Events.next_events = _next_event, _next_events
for _class in (Backoff, Events, HealthRegistry, Permit):
    _class.__reduce_ex__ = _class.__copy__ = _class.__deepcopy__ = _not_copied
del _class
