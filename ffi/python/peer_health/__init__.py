"""One circuit breaker for each peer of a node.

Everything of the generated module is here, and `with registry.permit(peer) as permit:`, which settles a permit
in every case: a garbage collector would do it late.
"""

from contextlib import contextmanager

from ._generated import *  # noqa: F403
from ._generated import HealthRegistry


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


HealthRegistry.permit = _permit
