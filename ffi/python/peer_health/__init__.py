"""One circuit breaker for each peer of a node.

Everything of the generated module is here, and two things that it lacks: `with registry.permit(peer) as permit:`,
which settles a permit in every case, since a garbage collector would do it late; and objects that refuse to be
copied or pickled, since a copy would hold the same address, and free it twice.
"""

from contextlib import contextmanager

from ._generated import *  # noqa: F403
from ._generated import Backoff, Events, HealthRegistry, Permit
from ._generated.peer_health_ffi import InternalError  # noqa: F401


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


def _not_copied(self, *_):
    raise TypeError(f"{type(self).__name__} is neither copied nor pickled: it is one object of this process")


HealthRegistry.permit = _permit
for _class in (Backoff, Events, HealthRegistry, Permit):
    _class.__reduce_ex__ = _class.__copy__ = _class.__deepcopy__ = _not_copied
del _class
