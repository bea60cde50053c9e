"""Every function of the bindings, from one thread."""

import copy
import gc
import pickle
from datetime import timedelta
from pathlib import Path

import peer_health as ph
import pytest
from registries import ALICE, BOB, SECOND, fail, manual, strict


def test_a_peer_that_fails_is_refused_probed_and_called_again():
    registry, clock = manual()
    assert registry.is_empty() and registry.status(ALICE) == ph.Status.CLOSED
    assert fail(registry) == ph.Recorded.OPENED(retry_after=5 * SECOND)
    with pytest.raises(ph.HealthError.Refused) as refused:
        registry.acquire(ALICE)
    assert refused.value.reason == ph.RefusalReason.OPEN
    assert refused.value.retry_after == refused.value.ask_again_after == 5 * SECOND
    assert registry.is_circuit_open(ALICE)
    assert registry.next_admission(ALICE) == ph.NextAdmission.AFTER(wait=5 * SECOND)
    clock.advance(5 * SECOND)
    probe = registry.acquire(ALICE)
    assert probe.is_probe() and probe.is_tracked()
    with pytest.raises(ph.HealthError.Refused) as refused:
        registry.acquire(ALICE)
    assert refused.value.reason == ph.RefusalReason.PROBES_IN_FLIGHT
    assert refused.value.retry_after is None and refused.value.ask_again_after <= SECOND
    assert registry.next_admission(ALICE) == ph.NextAdmission.UNKNOWN()
    assert probe.success(latency=SECOND) == ph.Recorded.COUNTED()
    assert registry.snapshot(ALICE).latency == SECOND
    assert registry.status(ALICE) == ph.Status.CLOSED and registry.len() == 1


def test_a_second_settle_is_late_and_never_an_error():
    registry, _ = manual()
    permit = registry.acquire(ALICE)
    assert permit.neutral() == ph.Recorded.NEUTRAL()
    assert permit.success() == permit.neutral() == permit.failure(ph.ErrorKind.STATE) == ph.Recorded.LATE()
    assert not permit.abandon()
    assert registry.totals().all.neutral == 1 and registry.totals().all.failed == 0


def test_the_fault_decides_whether_a_failure_counts():
    registry, _ = manual()
    for kind in [ph.ErrorKind.DOCUMENT, ph.ErrorKind.BANDWIDTH_EXHAUSTED]:
        assert fail(registry, kind=kind) == ph.Recorded.NEUTRAL()
    assert fail(registry, fault=ph.Fault.LOCAL) == ph.Recorded.NEUTRAL()
    assert registry.snapshot(ALICE).last_error.fault == ph.Fault.LOCAL
    for peer, kind in enumerate([ph.ErrorKind.PEER_NOT_FOUND, ph.ErrorKind.PROTOCOL, ph.ErrorKind.STATE,
                                 ph.ErrorKind.RESOURCE_EXHAUSTION]):
        assert fail(registry, bytes([peer]), kind).is_OPENED(), kind
    asked = fail(registry, BOB, ph.ErrorKind.DOCUMENT, fault=ph.Fault.PEER, retry_after=9 * SECOND)
    assert asked == ph.Recorded.OPENED(retry_after=9 * SECOND)
    assert registry.snapshot(BOB).last_error.text == "document failure: reset"


def test_a_peer_is_one_to_64_bytes():
    registry, _ = manual()
    calls = ["acquire", "status", "is_circuit_open", "next_admission", "snapshot", "contains", "force_open",
             "disable", "metrics_only", "reset", "end_wait", "note_reachable", "remove"]
    for name in calls:
        for peer in [b"", b"x" * 65]:
            with pytest.raises(ph.HealthError.Invalid) as invalid:
                getattr(registry, name)(peer)
            assert (invalid.value.field, invalid.value.value) == ("peer", f"{len(peer)} bytes long"), name
            assert invalid.value.rule == "must have from 1 to 64 bytes"
    for wrong in ["text", None, 7]:
        with pytest.raises(TypeError):
            registry.acquire(wrong)
    registry.acquire(BOB).success()
    assert [view.peer for view in registry.peers()] == [BOB]


def test_bad_settings_say_field_value_and_rule_and_change_nothing():
    registry, _ = manual()
    before = registry.config()
    for field, value, shown in [("failure_threshold", 0, "0"), ("open_jitter", 1.5, "1.5"), ("open_multiplier", 0.5, "0.5"),
                                ("success_threshold", 65, "65"), ("probe_lease", timedelta(0), "0ns"), ("max_peers", 0, "0"),
                                ("window", ph.Window.COUNT(size=0), "0"), ("outage_min_peers", 0, "0")]:
        for call in [registry.set_config, ph.HealthRegistry, ph.check_config]:
            with pytest.raises(ph.HealthError.Invalid) as invalid:
                call(strict(**{field: value}))
            assert invalid.value.field.startswith(field) and invalid.value.value == shown, field
            assert invalid.value.rule.startswith("must be")
    assert registry.config() == before
    for value in [-SECOND, 2**32, "1"]:
        with pytest.raises((ValueError, TypeError, AttributeError)):
            registry.set_config(strict(open_timeout=value) if value == -SECOND else strict(success_threshold=value))
    assert registry.config() == before


def test_settings_come_back_as_they_were_given():
    config = strict(window=ph.Window.TIME(length=SECOND, buckets=5), failure_rate=0.5, slow_call=SECOND, slow_rate=0.25,
                    half_open_mode=ph.HalfOpenMode.RATE, streak_gap=SECOND, min_calls=3, half_open_max=SECOND,
                    probe_lease=None, max_peers=7, open_timeout=timedelta(microseconds=1), outage_guard=True, open_max=timedelta.max)
    ph.check_config(config)
    registry = ph.HealthRegistry(config)
    shown = registry.config()
    assert shown.open_max > timedelta(days=365_000)  # for ever
    shown.open_max = config.open_max
    assert shown == config
    config.success_threshold = 3
    registry.set_config(config)
    assert registry.config().success_threshold == 3
    assert ph.default_config().probe_lease == 15 * SECOND


def test_what_an_operator_sets_holds_until_it_is_reset():
    registry, clock = manual()
    registry.force_open(ALICE)
    assert registry.status(ALICE) == ph.Status.FORCED_OPEN
    with pytest.raises(ph.HealthError.Refused) as refused:
        registry.acquire(ALICE)
    assert refused.value.reason == ph.RefusalReason.FORCED_OPEN
    registry.force_open(ALICE, 3 * SECOND)
    clock.advance(3 * SECOND)
    registry.acquire(ALICE).success()
    registry.disable(ALICE)
    assert registry.status(ALICE) == ph.Status.DISABLED
    registry.metrics_only(ALICE)
    assert registry.status(ALICE) == ph.Status.METRICS_ONLY
    assert not fail(registry).is_OPENED()
    assert registry.reset(ALICE) and not registry.reset(BOB)
    assert registry.status(ALICE) == ph.Status.CLOSED


def test_a_ban_of_no_time_is_an_error_and_changes_nothing():
    registry, _ = manual()
    with pytest.raises(ph.HealthError.Invalid) as invalid:
        registry.force_open(ALICE, timedelta(0))
    assert (invalid.value.field, invalid.value.value) == ("duration", "0ns")
    assert not registry.contains(ALICE)
    registry.force_open(ALICE, timedelta(microseconds=1))
    assert registry.status(ALICE) == ph.Status.FORCED_OPEN


def test_max_peers_is_taken_by_set_config():
    registry, _ = manual(max_peers=1)
    fail(registry)
    assert not registry.acquire(BOB).is_tracked()
    registry.set_config(strict(max_peers=2))
    assert registry.config().max_peers == 2 and registry.acquire(BOB).is_tracked()
    registry.set_config(strict(max_peers=1))
    assert registry.sweep() == 1 and registry.contains(ALICE) and not registry.contains(BOB)


def test_a_full_table_serves_newcomers_untracked_and_says_so():
    registry, _ = manual(max_peers=1)
    fail(registry)
    assert not registry.acquire(BOB).is_tracked()
    with pytest.raises(ph.HealthError.TableFull):
        registry.force_open(BOB)
    assert registry.totals().untracked == 2 and not registry.contains(BOB)
    assert registry.remove(ALICE) and not registry.remove(ALICE)
    assert registry.totals().removed == 1


def test_good_news_ends_a_wait_and_idle_peers_are_forgotten():
    registry, clock = manual(idle_timeout=SECOND)
    fail(registry), fail(registry, BOB)
    assert registry.end_wait(ALICE) and registry.acquire(ALICE).is_probe()
    assert registry.note_reachable(BOB) and not registry.note_reachable(b"stranger")
    assert not registry.local_outage()
    registry.acquire(b"idle").success()
    assert registry.sweep() == 0
    clock.advance(2 * SECOND)
    assert registry.sweep() == 1 and not registry.contains(b"idle")
    assert registry.totals().evicted == 1


EXPORTED = sorted((Path(__file__).parent / "exported").glob("*.json"))


@pytest.mark.parametrize("path", EXPORTED, ids=lambda path: path.stem)
def test_what_each_version_exported_is_restored(path):
    year = timedelta(days=365)
    config = strict(open_timeout=10 * year, open_max=10 * year)
    registry = ph.HealthRegistry.restored(path.read_bytes(), downtime=timedelta(minutes=10), config=config)
    assert registry.len() == 5
    assert registry.status(b"open") == ph.Status.OPEN and registry.status(b"banned") == ph.Status.FORCED_OPEN
    assert 9 * year < registry.next_admission(b"open").wait < 10 * year < registry.next_admission(b"banned").wait
    assert registry.status(b"disabled") == ph.Status.DISABLED
    assert registry.status(b"watched") == ph.Status.METRICS_ONLY
    assert registry.snapshot(b"called").latency == timedelta(milliseconds=250)


def test_there_is_an_export_of_this_version():
    assert "0.1" in [path.stem for path in EXPORTED]
    assert ph.library_version().startswith("0.1."), "another version adds a file: python ffi/tests/exported/make.py"


def test_what_is_exported_is_restored_and_shorter_by_the_downtime():
    registry, _ = manual(open_timeout=60 * SECOND)
    fail(registry)
    registry.acquire(BOB).success()
    registry.disable(b"\x00\xff")
    saved = registry.export()
    again = ph.HealthRegistry.restored(saved, downtime=20 * SECOND, config=strict(success_threshold=3))
    assert again.status(ALICE) == ph.Status.OPEN and again.status(b"\x00\xff") == ph.Status.DISABLED
    assert 30 * SECOND < again.next_admission(ALICE).wait <= 40 * SECOND
    assert again.contains(BOB) and again.config().success_threshold == 3
    assert ph.HealthRegistry.restored(saved).status(ALICE) == ph.Status.CLOSED  # nobody knows how old it is
    for broken in [b"", b"{}", saved[:-1], saved.replace(b'"616c696365"', b'"61x"'), saved.replace(b'"616c696365"', b'""')]:
        with pytest.raises(ph.HealthError.Invalid) as invalid:
            ph.HealthRegistry.restored(broken)
        assert invalid.value.field == "saved"


def test_delays_grow_and_heed_the_circuit():
    policy = ph.default_retry_policy()
    policy.jitter_factor, policy.max_attempts = 0.0, 3
    backoff = ph.Backoff(policy)
    milli = timedelta(milliseconds=1)
    assert [backoff.next_delay() for _ in range(3)] == [100 * milli, 200 * milli, None]
    assert backoff.attempts() == 2
    opened = ph.Recorded.OPENED(retry_after=7 * SECOND)
    assert ph.Backoff(policy).next_after(ph.ErrorKind.NETWORK, opened) == 7 * SECOND
    asked = ph.Backoff(policy).next_after(ph.ErrorKind.NETWORK, ph.Recorded.COUNTED(), retry_after=9 * SECOND)
    assert asked == 9 * SECOND
    assert ph.Backoff(policy).next_after(ph.ErrorKind.DOCUMENT, ph.Recorded.NEUTRAL()) is None
    jitters = [ph.Backoff(jitter=ph.Jitter.FULL, seed=seed).next_delay() for seed in [1, 1, 2]]
    assert jitters[0] == jitters[1] != jitters[2]
    policy.backoff_multiplier = 0.5
    with pytest.raises(ph.HealthError.Invalid) as invalid:
        ph.Backoff(policy)
    assert invalid.value.field == "backoff_multiplier"


def test_every_kind_of_iroh_ffi_has_a_side_that_is_to_blame():
    kinds = {"LINK": ["CONNECT", "CONNECTION", "TIMEOUT", "STREAM", "DATAGRAM"], "PEER": ["ALPN"],
             "LOCAL": ["RELAY", "BIND", "INVALID_INPUT", "KEY_PARSING", "TICKET_PARSING", "CALLBACK", "INTERNAL"],
             "NOBODY": ["CLOSED"]}
    assert sum(map(len, kinds.values())) == 14
    for fault, names in kinds.items():
        for name in names:
            for spelling in [name, name.lower(), name.title().replace("_", "")]:
                assert ph.classify_iroh_error(spelling).fault == ph.Fault[fault], spelling
    assert ph.classify_iroh_error("Surprise") is None


def test_a_block_settles_its_permit_in_every_case():
    registry, _ = manual()
    with registry.permit(ALICE) as permit:
        permit.success()
    with pytest.raises(KeyError), registry.permit(ALICE) as raised:
        raise KeyError
    with registry.permit(ALICE) as forgotten:  # both names hold on to their permit
        pass
    assert (registry.totals().all.succeeded, registry.totals().all.abandoned) == (1, 2)
    assert raised.success() == forgotten.success() == ph.Recorded.LATE()
    fail(registry)
    with pytest.raises(ph.HealthError.Refused), registry.permit(ALICE):
        pytest.fail("a refused call began")


def test_a_permit_that_is_collected_frees_its_place():
    registry, clock = manual()
    fail(registry)
    clock.advance(5 * SECOND)
    probe = [registry.acquire(ALICE)]
    probe.append(probe)  # a circle, which only the collector finds
    del probe
    gc.collect()
    assert registry.totals().all.abandoned == 1
    assert registry.acquire(ALICE).is_probe()


def test_a_lost_probe_keeps_its_place_for_the_lease_and_no_longer():
    registry, clock = manual(probe_lease=15 * SECOND)
    fail(registry)
    clock.advance(5 * SECOND)
    lost = registry.acquire(ALICE)
    clock.advance(14 * SECOND)
    with pytest.raises(ph.HealthError.Refused):
        registry.acquire(ALICE)
    clock.advance(1 * SECOND)
    assert registry.acquire(ALICE).is_probe()
    assert lost.success() == ph.Recorded.LATE()


def test_a_panic_inside_is_an_error_and_the_registry_goes_on():
    registry, _ = manual()
    held = registry.acquire(ALICE)
    for _ in range(100):
        with pytest.raises(ph.InternalError, match="a test asked for"):
            registry.panic_inside()
    assert held.success() == ph.Recorded.COUNTED()
    registry.acquire(BOB).success()
    assert registry.totals().all.succeeded == 2


def test_reports_without_a_permit_and_versions():
    registry, _ = manual()
    assert registry.report(ALICE, None) is None
    assert registry.report(ALICE, ph.ErrorKind.NETWORK) == "open"
    assert ph.api_version() == 1 and ph.library_version().count(".") == 2


def test_no_object_is_copied_or_pickled():
    registry = ph.HealthRegistry()
    for one in [registry, registry.acquire(ALICE), registry.events(), ph.Backoff()]:
        for way in [pickle.dumps, copy.copy, copy.deepcopy]:
            with pytest.raises(TypeError, match="neither copied nor pickled"):
                way(one)
