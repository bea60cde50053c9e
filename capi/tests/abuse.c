// Every bad argument is a code and a message, and never a crash; after each of them, and after a panic inside,
// the registry is as it was.

#include "check.h"

#include <pthread.h>

static void numbers_that_are_no_registry(uint64_t registry) {
    ph_config config = defaults();
    uint64_t token, wrong[] = {0, 1, registry + 1, registry + 1024, registry ^ 1, UINT64_MAX};
    ph_snapshot snapshot = {.struct_size = sizeof snapshot};
    ph_totals totals = {.struct_size = sizeof totals};
    ph_outcome outcome = {.struct_size = sizeof outcome, .latency_ms = PH_UNKNOWN};
    size_t size;
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++) {
        uint64_t no = wrong[n];
        IS(ph_acquire(no, PEER, &token, NULL), PH_E_REGISTRY, "there is no registry");
        TRUE(token == 0);
        IS(ph_settle(no, 1, PH_SUCCESS, PH_ERROR_NONE, NULL), PH_E_REGISTRY, "there is no registry");
        IS(ph_settle_with(no, 1, &outcome), PH_E_REGISTRY, "there is no registry");
        IS(ph_status(no, PEER, NULL, NULL), PH_E_REGISTRY, "there is no registry");
        IS(ph_peer_snapshot(no, PEER, &snapshot), PH_E_REGISTRY, "there is no registry");
        IS(ph_all_totals(no, &totals), PH_E_REGISTRY, "there is no registry");
        IS(ph_force_open(no, PEER, PH_UNKNOWN), PH_E_REGISTRY, "there is no registry");
        IS(ph_reset(no, PEER), PH_E_REGISTRY, "there is no registry");
        IS(ph_end_wait(no, PEER), PH_E_REGISTRY, "there is no registry");
        IS(ph_note_reachable(no, PEER), PH_E_REGISTRY, "there is no registry");
        IS(ph_next_events(no, NULL, 0, sizeof(ph_event), &size, NULL), PH_E_REGISTRY, "there is no registry");
        IS(ph_export(no, NULL, 0, &size), PH_E_REGISTRY, "there is no registry");
        IS(ph_configure(no, &config), PH_E_REGISTRY, "there is no registry");
        IS(ph_registry_free(no), PH_E_REGISTRY, "there is no registry");
    }
}

static void pointers_that_are_null(uint64_t registry) {
    ph_config config = defaults();
    uint64_t number = 7;
    size_t size;
    IS(ph_config_default(NULL), PH_E_NULL, "config is null");
    IS(ph_registry_new(NULL, &number), PH_E_NULL, "config is null");
    TRUE(number == 0);
    IS(ph_registry_new(&config, NULL), PH_E_NULL, "registry is null");
    IS(ph_configure(registry, NULL), PH_E_NULL, "config is null");
    IS(ph_acquire(registry, NULL, 5, &number, NULL), PH_E_NULL, "peer is null");
    IS(ph_acquire(registry, PEER, NULL, NULL), PH_E_NULL, "token is null");
    IS(ph_settle_with(registry, 1, NULL), PH_E_NULL, "outcome is null");
    IS(ph_status(registry, NULL, 5, NULL, NULL), PH_E_NULL, "peer is null");
    IS(ph_peer_snapshot(registry, PEER, NULL), PH_E_NULL, "snapshot is null");
    IS(ph_all_totals(registry, NULL), PH_E_NULL, "totals is null");
    IS(ph_force_open(registry, NULL, 5, PH_UNKNOWN), PH_E_NULL, "peer is null");
    IS(ph_reset(registry, NULL, 5), PH_E_NULL, "peer is null");
    IS(ph_end_wait(registry, NULL, 5), PH_E_NULL, "peer is null");
    IS(ph_note_reachable(registry, NULL, 5), PH_E_NULL, "peer is null");
    IS(ph_next_events(registry, NULL, 1, sizeof(ph_event), &size, NULL), PH_E_NULL, "events is null");
    IS(ph_next_events(registry, NULL, 0, sizeof(ph_event), NULL, NULL), PH_E_NULL, "count is null");
    IS(ph_export(registry, NULL, 1, &size), PH_E_NULL, "buffer is null");
    IS(ph_export(registry, NULL, 0, NULL), PH_E_NULL, "length is null");
    IS(ph_import(&config, NULL, 1, 0, &number), PH_E_NULL, "data is null");
    IS(ph_import(NULL, ALICE, 1, 0, &number), PH_E_NULL, "config is null");
    IS(ph_import(&config, ALICE, 1, 0, NULL), PH_E_NULL, "registry is null");
}

static void sizes_and_keys(uint64_t registry) {
    uint64_t number;
    size_t count;
    ph_event event;
    uint32_t sizes[] = {0, 4, sizeof(ph_config) - 8, sizeof(ph_config) + 8, UINT32_MAX};
    for (size_t n = 0; n < sizeof sizes / sizeof sizes[0]; n++) {
        // Only so much memory as the struct says: what lies behind it is not read.
        uint32_t *few = malloc(sizeof *few);
        *few = sizes[n];
        IS(ph_config_default((ph_config *)few), PH_E_STRUCT_SIZE, "config.struct_size is");
        IS(ph_registry_new((ph_config *)few, &number), PH_E_STRUCT_SIZE, "config.struct_size is");
        IS(ph_configure(registry, (ph_config *)few), PH_E_STRUCT_SIZE, "config.struct_size is");
        IS(ph_settle_with(registry, 1, (ph_outcome *)few), PH_E_STRUCT_SIZE, "outcome.struct_size is");
        IS(ph_peer_snapshot(registry, PEER, (ph_snapshot *)few), PH_E_STRUCT_SIZE, "snapshot.struct_size is");
        IS(ph_all_totals(registry, (ph_totals *)few), PH_E_STRUCT_SIZE, "totals.struct_size is");
        IS(ph_next_events(registry, &event, 1, sizes[n], &count, NULL), PH_E_STRUCT_SIZE, "event_size is");
        free(few);
    }
    uint8_t key[PH_MAX_PEER + 1] = {0};
    IS(ph_acquire(registry, key, 0, &number, NULL), PH_E_PEER, "peer_len is 0");
    IS(ph_acquire(registry, key, PH_MAX_PEER + 1, &number, NULL), PH_E_PEER, "peer_len is 65");
    IS(ph_acquire(registry, key, SIZE_MAX, &number, NULL), PH_E_PEER, "must be from 1 to 64");
    IS(ph_status(registry, key, 0, NULL, NULL), PH_E_PEER, "peer_len is 0");
    // Keys of all lengths are peers of their own, a zero at the end counts.
    for (size_t length = 1; length <= PH_MAX_PEER; length++)
        IS(ph_force_open(registry, key, length, PH_UNKNOWN), PH_OK, NULL);
    ph_totals totals = {.struct_size = sizeof totals};
    IS(ph_all_totals(registry, &totals), PH_OK, NULL);
    TRUE(totals.peers == PH_MAX_PEER);
    for (size_t n = 0; n < 4; n++) TRUE(totals.all.reserved[n] == 0);
}

static void values_that_make_no_sense(uint64_t registry) {
    uint64_t number;
    ph_config config;
#define WRONG(field, value, says) \
    config = defaults(); \
    config.field = (value); \
    IS(ph_registry_new(&config, &number), PH_E_VALUE, says); \
    IS(ph_configure(registry, &config), PH_E_VALUE, says)
    WRONG(success_threshold, 65, "success_threshold is 65");
    WRONG(open_multiplier, 0.5, "open_multiplier is 0.5");
    WRONG(failure_rate, 7, "failure_rate is 7");
    WRONG(half_open_mode, 2, "half_open_mode is 2");
    WRONG(outage_guard, 2, "outage_guard is 2");
    WRONG(reserved, 1, "reserved is 1");
    WRONG(max_peers, 0, "max_peers is 0");
    config = defaults();
    config.window_calls = config.window_ms = 5;
    IS(ph_registry_new(&config, &number), PH_E_VALUE, "window_ms is 5");
}

static void tokens(uint64_t registry) {
    ph_config config = defaults();
    uint64_t other, token, foreign;
    IS(ph_registry_new(&config, &other), PH_OK, NULL);
    IS(ph_acquire(registry, PEER, &token, NULL), PH_OK, NULL);
    IS(ph_acquire(other, PEER, &foreign, NULL), PH_OK, NULL);
    IS(ph_settle(registry, foreign, PH_SUCCESS, PH_ERROR_NONE, NULL), PH_E_TOKEN, "another registry");
    uint64_t never[] = {0, 1, 17, token + ((uint64_t)1 << 28), token ^ ((uint64_t)1 << 20), UINT64_MAX};
    for (size_t n = 0; n < sizeof never / sizeof never[0]; n++)
        IS(ph_settle(registry, never[n], PH_SUCCESS, PH_ERROR_NONE, NULL), PH_E_TOKEN, "no permit has it");

    // What is wrong about an outcome leaves the permit as it is.
    IS(ph_settle(registry, token, 4, PH_ERROR_NONE, NULL), PH_E_VALUE, "outcome is 4");
    IS(ph_settle(registry, token, -1, PH_ERROR_NONE, NULL), PH_E_VALUE, "outcome is -1");
    IS(ph_settle(registry, token, PH_FAILURE, PH_ERROR_NONE, NULL), PH_E_VALUE, "kind is 0");
    IS(ph_settle(registry, token, PH_FAILURE, 9, NULL), PH_E_VALUE, "kind is 9");
    IS(ph_settle(registry, token, PH_SUCCESS, PH_ERROR_NETWORK, NULL), PH_E_VALUE, "it is no failure");
    IS(ph_settle(registry, token, PH_FAILURE, PH_ERROR_NETWORK, "\xff\xfe"), PH_E_TEXT, "message is not UTF-8");
    ph_outcome outcome = {.struct_size = sizeof outcome, .outcome = PH_FAILURE, .kind = PH_ERROR_NETWORK};
    outcome.fault = 6;
    IS(ph_settle_with(registry, token, &outcome), PH_E_VALUE, "fault is 6");
    outcome.fault = PH_FAULT_LOCAL;
    outcome.message = "\xc3";
    IS(ph_settle_with(registry, token, &outcome), PH_E_TEXT, "message is not UTF-8");
    outcome.message = "our disk is full, \xc3\xa4";
    IS(ph_settle_with(registry, token, &outcome), PH_NEUTRAL, NULL);
    IS(ph_settle_with(registry, token, &outcome), PH_LATE, NULL);
    IS(ph_settle(registry, token, PH_SUCCESS, PH_ERROR_NONE, NULL), PH_LATE, NULL);
    ph_snapshot seen = {.struct_size = sizeof seen};
    IS(ph_peer_snapshot(registry, PEER, &seen), PH_OK, NULL);
    TRUE(seen.totals.neutral == 1 && seen.totals.succeeded == 0 && seen.last_error == PH_ERROR_NETWORK);
    TRUE(strstr((const char *)seen.last_error_text, "our disk is full, \xc3\xa4") != NULL);
    // A token that has ended is late also when another permit has its place.
    uint64_t next;
    IS(ph_acquire(registry, PEER, &next, NULL), PH_OK, NULL);
    TRUE(next != token && next % (1 << 28) == token % (1 << 28));
    IS(ph_settle(registry, token, PH_FAILURE, PH_ERROR_NETWORK, NULL), PH_LATE, NULL);
    IS(ph_settle(registry, next, PH_SUCCESS, PH_ERROR_NONE, NULL), PH_OK, NULL);
    // A long text is cut off between two characters.
    char text[4000];
    for (size_t n = 0; n + 2 < sizeof text; n += 2) memcpy(text + n, "\xc3\xa4", 3);
    IS(ph_acquire(registry, PEER, &token, NULL), PH_OK, NULL);
    IS(ph_settle(registry, token, PH_FAILURE, PH_ERROR_PROTOCOL, text), PH_OK, NULL);
    IS(ph_peer_snapshot(registry, PEER, &seen), PH_OK, NULL);
    TRUE(strlen((const char *)seen.last_error_text) >= PH_ERROR_TEXT - 2);
    // A registry takes its permits along, and frees nothing twice.
    IS(ph_registry_free(other), PH_OK, NULL);
    IS(ph_registry_free(other), PH_E_REGISTRY, "is freed");
    IS(ph_settle(other, foreign, PH_SUCCESS, PH_ERROR_NONE, NULL), PH_E_REGISTRY, "is freed");
    IS(ph_settle(registry, foreign, PH_SUCCESS, PH_ERROR_NONE, NULL), PH_LATE, NULL);
}

// What a settle returns says whether the outcome counts: the failure that opens the circuit does.
static void what_counts(void) {
    ph_config config = defaults();
    uint64_t registry, token, late;
    int32_t status;
    config.failure_threshold = 1;
    IS(ph_registry_new(&config, &registry), PH_OK, NULL);
    IS(ph_acquire(registry, PEER, &token, NULL), PH_OK, NULL);
    IS(ph_settle(registry, token, PH_FAILURE, PH_ERROR_DOCUMENT, NULL), PH_NEUTRAL, NULL);
    IS(ph_acquire(registry, PEER, &token, NULL), PH_OK, NULL);
    IS(ph_settle(registry, token, PH_IGNORED, PH_ERROR_NONE, NULL), PH_NEUTRAL, NULL);
    IS(ph_acquire(registry, PEER, &token, NULL), PH_OK, NULL);
    IS(ph_settle(registry, token, PH_SUCCESS, PH_ERROR_NONE, NULL), PH_OK, NULL);
    IS(ph_acquire(registry, PEER, &token, NULL), PH_OK, NULL);
    IS(ph_acquire(registry, PEER, &late, NULL), PH_OK, NULL);
    IS(ph_settle(registry, token, PH_FAILURE, PH_ERROR_NETWORK, NULL), PH_OK, NULL);
    IS(ph_status(registry, PEER, &status, NULL), PH_OK, NULL);
    TRUE(status == PH_OPEN);
    IS(ph_settle(registry, late, PH_FAILURE, PH_ERROR_NETWORK, NULL), PH_LATE, NULL);
    IS(ph_registry_free(registry), PH_OK, NULL);
}

// Times that nobody filled in are 0: such a ban is refused, and such a latency is measured.
static void times_that_are_zero(void) {
    ph_config config = defaults();
    uint64_t registry, token, next;
    int32_t status;
    ph_snapshot seen = {.struct_size = sizeof seen};
    IS(ph_test_registry_new(&config, &registry), PH_OK, NULL);
    IS(ph_force_open(registry, PEER, 0), PH_E_VALUE, "duration_ms is 0");
    IS(ph_peer_snapshot(registry, PEER, &seen), PH_NOTHING, NULL);
    IS(ph_force_open(registry, PEER, 5), PH_OK, NULL);
    IS(ph_status(registry, PEER, &status, &next), PH_OK, NULL);
    TRUE(status == PH_FORCED_OPEN && next == 5);
    IS(ph_test_set_clock(registry, 5), PH_OK, NULL);
    IS(ph_status(registry, PEER, &status, &next), PH_OK, NULL);
    TRUE(status == PH_CLOSED && next == 0);
    IS(ph_force_open(registry, PEER, PH_UNKNOWN), PH_OK, NULL);
    IS(ph_status(registry, PEER, &status, &next), PH_OK, NULL);
    TRUE(status == PH_FORCED_OPEN && next == PH_UNKNOWN);
    IS(ph_reset(registry, PEER), PH_OK, NULL);

    config.window_calls = 10;
    config.slow_call_ms = 250;
    config.slow_rate = 1;
    IS(ph_configure(registry, &config), PH_OK, NULL);
    uint64_t latencies[] = {0, PH_UNKNOWN};
    for (size_t n = 0; n < 2; n++) {
        uint8_t peer = (uint8_t)n;
        ph_outcome outcome = {.struct_size = sizeof outcome, .latency_ms = latencies[n]};
        IS(ph_acquire(registry, &peer, 1, &token, NULL), PH_OK, NULL);
        IS(ph_test_set_clock(registry, 5 + 250 * (n + 1)), PH_OK, NULL);
        IS(ph_settle_with(registry, token, &outcome), PH_OK, NULL);
        IS(ph_peer_snapshot(registry, &peer, 1, &seen), PH_OK, NULL);
        TRUE(seen.latency_us == 250000 && seen.window_slow == 1);
    }
    IS(ph_registry_free(registry), PH_OK, NULL);
}

static void data_that_is_none(void) {
    ph_config config = defaults();
    uint64_t registry, number;
    uint8_t data[2048];
    size_t length;
    IS(ph_registry_new(&config, &registry), PH_OK, NULL);
    IS(ph_force_open(registry, PEER, PH_UNKNOWN), PH_OK, NULL);
    IS(ph_force_open(registry, (const uint8_t *)"\xff\x00\x7f", 3, 1000), PH_OK, NULL);
    IS(ph_export(registry, NULL, 0, &length), PH_E_BUFFER, "capacity is 0");
    IS(ph_export(registry, data, sizeof data, &length), PH_OK, NULL);
    // The rest of the ban may have become shorter, the length of its number too.
    IS(ph_export(registry, data, 16, &length), PH_E_BUFFER, "capacity is 16");
    IS(ph_export(registry, data, sizeof data, &length), PH_OK, NULL);
    IS(ph_import(&config, data, length, PH_UNKNOWN, &number), PH_OK, NULL);
    IS(ph_registry_free(number), PH_OK, NULL);
    for (size_t n = 0; n < length; n++) IS(ph_import(&config, data, n, 0, &number), PH_E_DATA, "data of");
    data[length] = 0;
    IS(ph_import(&config, data, length + 1, 0, &number), PH_E_DATA, "is damaged");
    // Whatever is damaged is an error or another export, and no crash.
    for (size_t n = 0; n < length; n++) {
        for (uint8_t bit = 1; bit; bit = (uint8_t)(bit << 1)) {
            data[n] ^= bit;
            int32_t code = ph_import(&config, data, length, 0, &number);
            if (code == PH_OK) IS(ph_registry_free(number), PH_OK, NULL);
            else TRUE(code == PH_E_DATA);
            data[n] ^= bit;
        }
    }
    const char *keys[] = {"", "0", "0g", "zz", "é", "+1"};
    for (size_t n = 0; n < sizeof keys / sizeof keys[0]; n++) {
        char text[128];
        snprintf(text, sizeof text, "peer-health 1\n[{\"version\":1,\"peer\":\"%s\",\"answered\":true}]", keys[n]);
        IS(ph_import(&config, (uint8_t *)text, strlen(text), 0, &number), PH_E_DATA, "1 to 64 bytes in hexadecimal");
    }
    IS(ph_registry_free(registry), PH_OK, NULL);
}

static void *errors_of_a_thread(void *unused) {
    (void)unused;
    TRUE(ph_last_error(NULL, 0) == 0);
    return NULL;
}

static void the_last_error(uint64_t registry) {
    pthread_t thread;
    char text[9];
    IS(ph_acquire(registry, NULL, 5, NULL, NULL), PH_E_NULL, "token is null");
    TRUE(ph_last_error(text, sizeof text) == strlen("token is null") && !strcmp(text, "token is"));
    TRUE(ph_last_error(text, 1) == strlen("token is null") && text[0] == 0);
    TRUE(ph_last_error(NULL, 0) == strlen("token is null") && ph_last_error(NULL, 9) > 0);
    TRUE(!pthread_create(&thread, NULL, errors_of_a_thread, NULL) && !pthread_join(thread, NULL));
}

static void the_queue(void) {
    ph_config config = defaults();
    uint64_t registry, lost;
    ph_event events[8];
    size_t count;
    config.event_capacity = 4;
    IS(ph_registry_new(&config, &registry), PH_OK, NULL);
    for (int n = 0; n < 3; n++) {
        IS(ph_force_open(registry, PEER, PH_UNKNOWN), PH_OK, NULL);
        IS(ph_reset(registry, PEER), PH_OK, NULL);
    }
    // Who does not ask for the number that was lost leaves it to the next call.
    IS(ph_next_events(registry, NULL, 0, sizeof events[0], &count, NULL), PH_OK, NULL);
    TRUE(count == 0);
    IS(ph_next_events(registry, events, 3, sizeof events[0], &count, &lost), PH_OK, NULL);
    TRUE(count == 3 && lost == 2 && events[0].kind == PH_EVENT_OVERRIDDEN && events[0].status == PH_FORCED_OPEN);
    TRUE(events[1].kind == PH_EVENT_RESET && events[0].generation < events[1].generation);
    TRUE(events[0].peer_len == sizeof ALICE - 1 && !memcmp(events[0].peer, PEER));
    IS(ph_next_events(registry, events, 8, sizeof events[0], &count, &lost), PH_OK, NULL);
    TRUE(count == 1 && lost == 0);
    IS(ph_registry_free(registry), PH_OK, NULL);
}

static void a_panic_inside(uint64_t registry) {
    uint64_t token;
    IS(ph_acquire(registry, PEER, &token, NULL), PH_OK, NULL);
    IS(ph_test_panic(registry), PH_E_PANIC, "panicked: asked to");
    IS(ph_settle(registry, token, PH_SUCCESS, PH_ERROR_NONE, NULL), PH_OK, NULL);
}

static void too_many_registries(void) {
    static uint64_t made[1024];
    ph_config config = defaults();
    uint64_t number;
    size_t count = 0;
    int32_t code;
    config.max_peers = 1;
    while ((code = ph_registry_new(&config, &number)) == PH_OK) made[count++] = number;
    IS(code, PH_E_FULL, "there are 1024 registries");
    while (count > 0) IS(ph_registry_free(made[--count]), PH_OK, NULL);
}

int main(void) {
    ph_config config = defaults();
    uint64_t registry;
    TRUE(ph_abi_version() == PH_ABI_VERSION);
    IS(ph_registry_new(&config, &registry), PH_OK, NULL);
    numbers_that_are_no_registry(registry);
    pointers_that_are_null(registry);
    values_that_make_no_sense(registry);
    sizes_and_keys(registry);
    tokens(registry);
    what_counts();
    times_that_are_zero();
    data_that_is_none();
    the_last_error(registry);
    the_queue();
    a_panic_inside(registry);
    too_many_registries();
    IS(ph_registry_free(registry), PH_OK, NULL);
    printf("every bad argument was a code and a message\n");
    return 0;
}
