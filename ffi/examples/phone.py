"""The logic of an app on a phone, or of a small service: what is known survives the process, a call is bounded, and
a push message is good news. `python ffi/examples/phone.py` shows it with a peer that is silent for a while."""

import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import peer_health as ph


class DialFailed(Exception):
    """A failed dial, by the name of iroh-ffi's kind: `DialFailed(error.kind().name)` where that is caught."""

    def __init__(self, kind, message=""):
        super().__init__(message)
        self.kind = kind


class Phone:
    def __init__(self, path, dial, config=None):
        self.path, self.dial = Path(path), dial
        self.registry = self._start(config)

    def _start(self, config):
        """Begins with what the app knew, or with nothing if there is no file or a broken one."""
        try:
            age = time.time() - self.path.stat().st_mtime
            downtime = timedelta(seconds=age) if age >= 0 else None  # a clock that went back tells nothing
            return ph.HealthRegistry.restored(self.path.read_bytes(), downtime, config)
        except (FileNotFoundError, ph.HealthError.Invalid):
            return ph.HealthRegistry(config)

    def sync(self, peer):
        """Calls a peer once; returns None, or how long to leave it alone."""
        try:
            with self.registry.permit(peer) as permit:
                try:
                    self.dial(peer, timedelta(seconds=10))  # below the lease of a probe, which is 15 seconds
                    permit.success()
                    return None
                except DialFailed as failed:
                    blame = ph.classify_iroh_error(failed.kind)
                    kind, fault = (blame.kind, blame.fault) if blame else (ph.ErrorKind.NETWORK, ph.Fault.NOBODY)
                    recorded = permit.failure(kind, str(failed), fault)
                    return ph.Backoff().next_after(kind, recorded) or timedelta(minutes=1)
        except ph.HealthError.Refused as refused:
            return refused.ask_again_after  # no radio is switched on for a peer that does not answer

    def wake_up(self, peer):
        """A push message, or a call from the peer: its wait ends. Returns whether to sync now."""
        return self.registry.note_reachable(peer) or not self.registry.is_circuit_open(peer)

    def background(self):
        """The app goes to the background: the system may end it at any time from now on."""
        new = self.path.with_suffix(".new")
        new.write_bytes(self.registry.export())
        os.replace(new, self.path)


def main():
    silent, alice = [True], b"alice"

    def dial(peer, deadline):
        if silent[0]:
            raise DialFailed("TIMEOUT", f"no answer within {deadline.seconds} s")

    with tempfile.TemporaryDirectory() as folder:
        phone = Phone(Path(folder, "peers.json"), dial)
        for attempt in range(7):
            print("attempt", attempt, "leaves alice alone for", phone.sync(alice))
        phone.background()
        phone = Phone(phone.path, dial)
        print("after a restart alice is", phone.registry.status(alice).name)
        silent[0] = False
        print("a push message: sync now?", phone.wake_up(alice))
        print("synced" if phone.sync(alice) is None else "refused")


if __name__ == "__main__":
    main()
