"""The conformance scenarios of the library, played through the bindings on a manual clock.

`python ffi/tests/conformance.py FILE ..` plays files of yours; their format is in tests/conformance/README.md.
What is not known here is an error, never skipped.
"""

import json
import sys
from datetime import timedelta

import peer_health as ph

ONLY = "peer"
DEFAULT = ph.default_config()


def time(milliseconds):
    """Milliseconds; more than Python can hold is the longest there is."""
    if milliseconds is None:
        return None
    try:
        return timedelta(milliseconds=milliseconds)
    except OverflowError:
        return timedelta.max


class Fields:
    """An object whose keys are all asked for by the end."""

    def __init__(self, what, values):
        self.what, self.values = what, dict(values)

    def take(self, key, default=None):
        value = self.values.pop(key, None)
        return default if value is None else value

    def need(self, key):
        assert self.values.get(key) is not None, f"`{key}` is missing in {self.what}"
        return self.values.pop(key)

    def end(self):
        assert not self.values, f"unknown key {sorted(self.values)} in {self.what}"


def window(values):
    if values is None:
        return None
    given = Fields("window", values)
    kind = given.need("kind")
    if kind == "count":
        made = ph.Window.COUNT(size=given.need("size"))
    else:
        assert kind == "time", f"unknown window kind {kind}"
        made = ph.Window.TIME(length=time(given.need("ms")), buckets=given.need("buckets"))
    given.end()
    return made


def breaker(values, max_peers=DEFAULT.max_peers, idle=DEFAULT.idle_timeout):
    given, config = Fields("config", values), ph.default_config()
    config.max_peers, config.idle_timeout = max_peers, idle
    config.failure_threshold = given.take("consecutive_failures")
    config.streak_gap = time(given.take("failure_window_ms") or None)
    config.window = window(given.take("window"))
    config.min_calls = given.take("min_calls", 1)
    config.failure_rate = given.take("failure_rate")
    config.slow_call = time(given.take("slow_call_ms"))
    config.slow_rate = given.take("slow_rate")
    config.open_timeout = time(given.take("open_ms", 60_000))
    config.open_multiplier = float(given.take("open_multiplier", 1.0))
    config.open_max = time(given.take("open_max_ms", float("inf")))
    config.open_jitter = 0.0
    config.success_threshold = given.take("half_open_permits", 1)
    config.half_open_mode = ph.HalfOpenMode[given.take("half_open_mode", "all").upper()]
    config.half_open_max = time(given.take("half_open_max_ms"))
    config.probe_lease = time(given.take("probe_lease_ms"))
    given.end()
    return config


def many(values):
    given = Fields("config", values)
    capacity = given.take("capacity", DEFAULT.max_peers)
    idle = time(given.take("idle_ms")) or DEFAULT.idle_timeout
    config = breaker(given.take("breaker", {}), capacity, idle)
    given.end()
    return config


class World:
    def __init__(self, kind, config):
        assert kind in ("breaker", "registry"), f"unknown kind {kind}"
        self.kind = kind
        self.clock = ph.ManualClock()
        self.config = breaker(config) if kind == "breaker" else many(config)
        self.registry = ph.HealthRegistry.on_manual_clock(self.config, self.clock)
        self.permits = {}

    def acquire(self, peer):
        try:
            return self.registry.acquire(peer)
        except ph.HealthError.Refused:
            return None

    def finish(self, permit, given):
        outcome, latency = given.need("outcome"), time(given.take("latency_ms"))
        asked = time(given.take("retry_after_ms"))
        if outcome == "success":
            permit.success(latency=latency)
        elif outcome == "failure":
            permit.failure(ph.ErrorKind.NETWORK, "reset", retry_after=asked, latency=latency)
        elif outcome == "fatal_document":
            permit.failure(ph.ErrorKind.DOCUMENT, "damaged", retry_after=asked, latency=latency)
        elif outcome == "neutral":
            permit.neutral(latency=latency)
        else:
            assert outcome == "drop", f"unknown outcome {outcome}"
            permit.abandon()

    def act(self, step):
        """Makes the step; returns its peer, what it has shown itself, and what is expected."""
        given = Fields("step", step)
        self.clock.set(time(given.need("t")))
        op, expect = given.need("op"), given.take("expect", {})
        name = ONLY if self.kind == "breaker" else given.take("peer")
        peer = name.encode() if name else None
        seen = {}
        if op == "acquire":
            key = given.need("id")
            assert key not in self.permits, f"id {key} still holds a permit"
            permit = self.acquire(peer)
            seen["admit"] = [permit is not None]
            seen["tracked"] = permit is None or permit.is_tracked()
            if permit:
                self.permits[key] = permit
        elif op == "settle":
            permit = self.permits.pop(given.need("id"))
            seen["tracked"] = permit.is_tracked()
            self.finish(permit, given)
        elif op == "call":
            seen["admit"], repeat, rest = [], given.take("repeat", 1), given.values
            for _ in range(repeat):
                permit, given = self.acquire(peer), Fields("step", rest)
                seen["admit"].append(permit is not None)
                seen["tracked"] = permit is None or permit.is_tracked()
                if permit:
                    self.finish(permit, given)
                else:
                    given = Fields("step", {})
        elif op == "report":
            kinds = {"success": None, "failure": ph.ErrorKind.NETWORK, "fatal_document": ph.ErrorKind.DOCUMENT}
            before = self.registry.totals().untracked
            seen["reply"] = self.registry.report(peer, kinds[given.need("outcome")])
            seen["tracked"] = self.registry.totals().untracked == before
        elif op == "ask":
            seen["reply"] = "open" if self.registry.is_circuit_open(peer) else "closed"
        elif op == "control":
            action = given.need("action")
            assert action in ("force_open", "disable", "metrics_only", "reset"), f"unknown action {action}"
            try:
                getattr(self.registry, action)(peer)
                seen["tracked"] = True
            except ph.HealthError.TableFull:
                seen["tracked"] = False
        elif op == "configure":
            config = given.need("config")
            if self.kind == "registry" and {"breaker", "capacity", "idle_ms"} & set(config):
                self.config = many(config)
            else:
                self.config = breaker(config, self.config.max_peers, self.config.idle_timeout)
            self.registry.set_config(self.config)
        elif op == "sweep":
            self.registry.sweep()
        elif op == "remove":
            self.registry.remove(peer)
        else:
            assert op == "observe", f"unknown operation {op}"
        given.end()
        return peer, seen, expect

    def look(self, peer, seen, field, of, wanted):
        """What is to be seen of one field."""
        peer = of.encode() if of and field != "counts" else peer
        view = self.registry.snapshot(peer) if peer else None
        if field == "admit":
            return next((admit for admit in seen["admit"] if admit != wanted), wanted)
        if field in ("reply", "tracked"):
            return seen.get(field)
        if field == "len":
            return self.registry.len()
        if field == "contains":
            return self.registry.contains(peer)
        if field in ("state", "states"):
            return self.registry.status(peer).name.lower()
        if field == "retry_after_ms":
            after = self.registry.next_admission(peer)
            if after.is_NOW():
                return 0
            return after.wait / timedelta(milliseconds=1) if after.is_AFTER() else None
        if field in ("streak", "streaks"):
            return view.consecutive_failures if view else 0
        if field == "late_results":
            return view.totals.late if view else 0
        if field == "opens":
            return view.totals.opened if view else 0
        assert field == "counts", f"unknown expectation {field}"
        names = {"total": "window_calls", "failures": "window_failures", "slow": "window_slow"}
        return getattr(view, names[of]) if view else 0


def play(scenario):
    """Plays one scenario; returns every mismatch as a line."""
    given = Fields("scenario", scenario)
    name, kind, steps = given.need("id"), given.need("kind"), given.need("steps")
    given.take("title"), given.take("notes")
    world = World(kind, given.need("config"))
    given.end()
    assert steps, "`steps` is empty"
    lines = []
    for number, step in enumerate(steps):
        peer, seen, expect = world.act(step)
        for field, value in expect.items():
            parts = value.items() if isinstance(value, dict) else [(None, value)]
            for of, wanted in parts:
                got = world.look(peer, seen, field, of, wanted)
                if got != wanted:
                    part = f".{of}" if of else ""
                    lines.append(f"{name}: step {number}: {field}{part}: got {got}, expected {wanted}")
    return lines


def scenarios(path):
    """The scenarios of a file; at least one."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    assert document["format"] == "breaker-conformance/1", f"unknown format in {path}"
    assert document["scenarios"], f"no scenario in {path}"
    return document["scenarios"]


if __name__ == "__main__":
    told = [line for path in sys.argv[1:] for scenario in scenarios(path) for line in play(scenario)]
    print("\n".join(told) or "all as expected")
    sys.exit(bool(told))
