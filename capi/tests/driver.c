// Makes the calls of the scenarios: reads a line, calls one function or two, answers with a line of numbers.
// tests/conformance.rs reads the scenarios and judges the answers.

#include <inttypes.h>
#include <peer_health_testing.h>
#include <stdio.h>
#include <string.h>

// What comes of a peer's snapshot in one line.
static int32_t look(uint64_t registry, const uint8_t *peer, size_t length) {
    int32_t status;
    uint64_t next;
    ph_snapshot seen;
    memset(&seen, 0, sizeof seen);
    seen.struct_size = sizeof seen;
    uint64_t wait_ms;
    int32_t code = ph_status(registry, peer, length, &status, &wait_ms);
    if (code == PH_OK) code = ph_test_next_admission(registry, peer, length, &next);
    if (code != PH_OK) return code;
    code = ph_peer_snapshot(registry, peer, length, &seen);
    if (code < 0) return code;
    if (code == PH_OK && seen.next_admission_ms != wait_ms) wait_ms = PH_UNKNOWN - 1; // both show one time
    printf("%d %d %" PRIu64 " %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " ", PH_OK, status, next,
           (unsigned)seen.consecutive_failures, seen.window_total, seen.window_failures, seen.window_slow,
           seen.totals.late, seen.totals.opened);
    printf("%d %" PRIu64 "\n", code == PH_OK, wait_ms);
    return PH_OK;
}

static int read_config(const char *line, ph_config *config) {
    config->struct_size = sizeof *config;
    if (ph_config_default(config) != PH_OK) return 0;
    config->open_jitter = 0;
    return sscanf(line,
                  "%" SCNu32 " %" SCNu64 " %" SCNu32 " %" SCNu32 " %" SCNu64 " %" SCNu32 " %" SCNu32
                  " %lf %" SCNu64 " %lf %" SCNu64 " %lf %" SCNu64 " %" SCNu32 " %" SCNu64 " %" SCNu64
                  " %" SCNu64 " %" SCNu64,
                  &config->failure_threshold, &config->streak_gap_ms, &config->window_calls,
                  &config->window_buckets, &config->window_ms, &config->min_calls, &config->half_open_mode,
                  &config->failure_rate, &config->slow_call_ms, &config->slow_rate, &config->open_timeout_ms,
                  &config->open_multiplier, &config->open_max_ms, &config->success_threshold,
                  &config->half_open_max_ms, &config->probe_lease_ms, &config->max_peers,
                  &config->idle_timeout_ms) == 18;
}

int main(void) {
    char line[1024];
    while (fgets(line, sizeof line, stdin)) {
        char op[16], name[PH_MAX_PEER + 1] = "";
        uint64_t registry = 0;
        int used = 0;
        if (sscanf(line, "%15s %" SCNu64 " %n", op, &registry, &used) < 2) return 2;
        const char *rest = line + used;
        int with_peer = !strcmp(op, "acquire") || !strcmp(op, "report") || !strcmp(op, "ask") ||
                        !strcmp(op, "control") || !strcmp(op, "look");
        if (with_peer) {
            if (sscanf(rest, "%64s %n", name, &used) < 1) return 2;
            rest += used;
        }
        const uint8_t *peer = (const uint8_t *)name;
        size_t length = strlen(name);
        int32_t code, number = 0;
        uint64_t answer = 0;
        ph_config config;
        if (!strcmp(op, "new")) {
            if (!read_config(rest, &config)) return 2;
            code = ph_test_registry_new(&config, &answer);
        } else if (!strcmp(op, "configure")) {
            if (!read_config(rest, &config)) return 2;
            code = ph_configure(registry, &config);
        } else if (!strcmp(op, "clock")) {
            if (sscanf(rest, "%" SCNu64, &answer) != 1) return 2;
            code = ph_test_set_clock(registry, answer);
        } else if (!strcmp(op, "acquire")) {
            uint64_t wait;
            code = ph_acquire(registry, peer, length, &answer, &wait);
            if (code > 0 && (wait == 0 || answer != 0)) return 3; // a refusal says when to ask again
            if (code > 0) answer = wait;
        } else if (!strcmp(op, "tracked")) {
            if (sscanf(rest, "%" SCNu64, &answer) != 1) return 2;
            code = ph_test_is_tracked(registry, answer);
        } else if (!strcmp(op, "settle")) {
            ph_outcome end = {.struct_size = sizeof end, .message = NULL};
            if (sscanf(rest, "%" SCNu64 " %" SCNd32 " %" SCNd32 " %" SCNu64 " %" SCNu64, &answer, &end.outcome,
                       &end.kind, &end.latency_ms, &end.retry_after_ms) != 5)
                return 2;
            if (end.kind != PH_ERROR_NONE) end.message = "as the scenario says";
            if (end.latency_ms == PH_UNKNOWN && end.retry_after_ms == 0)
                code = ph_settle(registry, answer, end.outcome, end.kind, end.message);
            else
                code = ph_settle_with(registry, answer, &end);
        } else if (!strcmp(op, "report")) {
            if (sscanf(rest, "%" SCNd32, &number) != 1) return 2;
            code = ph_test_report(registry, peer, length, number, &number);
            answer = (uint64_t)number;
        } else if (!strcmp(op, "ask")) {
            code = ph_test_ask(registry, peer, length, &number);
            answer = (uint64_t)number;
        } else if (!strcmp(op, "control")) {
            if (sscanf(rest, "%" SCNd32, &number) != 1) return 2;
            if (number == PH_TEST_FORCE_OPEN) code = ph_force_open(registry, peer, length, PH_UNKNOWN);
            else if (number < 0) code = ph_reset(registry, peer, length);
            else code = ph_test_control(registry, peer, length, number);
        } else if (!strcmp(op, "look")) {
            code = look(registry, peer, length);
            if (code == PH_OK) {
                fflush(stdout);
                continue;
            }
        } else if (!strcmp(op, "totals")) {
            ph_totals totals = {.struct_size = sizeof totals};
            code = ph_all_totals(registry, &totals);
            printf("%d %" PRIu64 " ", code, totals.peers);
            answer = totals.untracked;
            code = PH_OK;
            printf("%" PRIu64 "\n", answer);
            fflush(stdout);
            continue;
        } else if (!strcmp(op, "free")) {
            code = ph_registry_free(registry);
        } else {
            return 2;
        }
        char why[256] = "";
        if (code < 0) ph_last_error(why, sizeof why);
        printf("%d %" PRIu64 " %s\n", code, answer, why);
        fflush(stdout);
    }
    return 0;
}
