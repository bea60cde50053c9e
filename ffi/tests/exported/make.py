"""Writes the file of this version beside this one; it stays as it is for later versions to read.

`python ffi/tests/exported/make.py`, with a module that has the feature `testing`.
"""

from datetime import timedelta
from pathlib import Path

import peer_health as ph

YEAR = timedelta(days=365)
config = ph.default_config()
config.failure_threshold, config.open_jitter = 1, 0.0
config.open_timeout, config.open_max = 10 * YEAR, 10 * YEAR
registry = ph.HealthRegistry.on_manual_clock(config, ph.ManualClock())
registry.acquire(b"open").failure(ph.ErrorKind.NETWORK, "reset")
registry.acquire(b"called").success(timedelta(milliseconds=250))
registry.force_open(b"banned", 20 * YEAR)
registry.disable(b"disabled")
registry.metrics_only(b"watched")
version = ".".join(ph.library_version().split(".")[:2])
Path(__file__).with_name(f"{version}.json").write_bytes(registry.export())
