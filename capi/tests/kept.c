// What may not change while the version of the interface is the same: sizes, places, numbers, and the files that a
// program has written.

#include "check.h"

// What programs that are built already rely on. Who has to change a line here, other than to a size that an added
// field makes larger, raises PH_ABI_VERSION; a larger size needs memory.rs to take the older one as well.
#define GLUED(one, other) one##other
#define PIN(line, condition) typedef char GLUED(pinned_, line)[(condition) ? 1 : -1]
#define PINNED(condition) PIN(__LINE__, condition)
PINNED(PH_ABI_VERSION == 1);
PINNED(PH_OK == 0);
PINNED(PH_REFUSED_OPEN == 1);
PINNED(PH_REFUSED_FORCED == 3);
PINNED(PH_NEUTRAL == 4);
PINNED(PH_LATE == 5);
PINNED(PH_NOTHING == 6);
PINNED(PH_E_NULL == -1);
PINNED(PH_E_VALUE == -5);
PINNED(PH_E_PANIC == -11);
PINNED(PH_MAX_PEER == 64);
PINNED(PH_ERROR_TEXT == 128);
PINNED(PH_UNKNOWN == UINT64_MAX);
PINNED(PH_SUCCESS == 0);
PINNED(PH_ABANDONED == 3);
PINNED(PH_ERROR_NETWORK == 1);
PINNED(PH_ERROR_BANDWIDTH == 8);
PINNED(PH_FAULT_NOBODY == 5);
PINNED(PH_CLOSED == 0);
PINNED(PH_METRICS_ONLY == 5);
PINNED(PH_EVENT_OPENED == 1);
PINNED(PH_EVENT_OTHER == 11);
#if UINTPTR_MAX == UINT64_MAX // where a pointer is shorter, places differ
PINNED(sizeof(ph_config) == 160);
PINNED(sizeof(ph_outcome) == 40);
PINNED(sizeof(ph_counts) == 104);
PINNED(sizeof(ph_snapshot) == 304);
PINNED(sizeof(ph_totals) == 144);
PINNED(sizeof(ph_event) == 96);
PINNED(offsetof(ph_config, failure_rate) == 40);
PINNED(offsetof(ph_config, probe_lease_ms) == 112);
PINNED(offsetof(ph_config, reserved) == 156);
PINNED(offsetof(ph_outcome, latency_ms) == 24);
PINNED(offsetof(ph_outcome, message) == 32);
PINNED(offsetof(ph_counts, reserved) == 72);
PINNED(offsetof(ph_snapshot, totals) == 72);
PINNED(offsetof(ph_snapshot, last_error_text) == 176);
PINNED(offsetof(ph_totals, peers) == 112);
PINNED(offsetof(ph_event, kind) == 16);
PINNED(offsetof(ph_event, peer) == 32);
#endif

// Makes a registry of a committed file.
static uint64_t of_file(const char *name, uint64_t downtime_ms) {
    ph_config config = defaults();
    uint64_t registry;
    char path[128];
    static uint8_t data[4096];
    snprintf(path, sizeof path, "tests/exports/%s", name);
    FILE *file = fopen(path, "rb");
    if (!file) perror(path);
    TRUE(file != NULL);
    size_t length = fread(data, 1, sizeof data, file);
    TRUE(!fclose(file) && length > 0);
    IS(ph_import(&config, data, length, downtime_ms, &registry), PH_OK, NULL);
    return registry;
}

// The files are of users by now: who cannot read one of them any more has broken the form, and the core that writes
// `Saved` otherwise is what is to be mended. A file is never written anew.
static void exports_of_earlier_versions(void) {
    static const struct {
        const char *name;
        int32_t status;
        uint64_t least, most, latency_us;
    } files[] = {
        {"open", PH_OPEN, 50000, 60000, PH_UNKNOWN},
        {"ban", PH_FORCED_OPEN, 3590000, 3600000, PH_UNKNOWN},
        {"ban-for-ever", PH_FORCED_OPEN, PH_UNKNOWN, PH_UNKNOWN, PH_UNKNOWN},
        {"disabled", PH_DISABLED, 0, 0, PH_UNKNOWN},
        {"metrics-only", PH_METRICS_ONLY, 0, 0, PH_UNKNOWN},
        {"latency", PH_CLOSED, 0, 0, 12500},
        {"later", PH_OPEN, 50000, 60000, PH_UNKNOWN}, // with fields that this version does not know
    };
    for (size_t n = 0; n < sizeof files / sizeof files[0]; n++) {
        uint64_t registry = of_file(files[n].name, 0);
        ph_snapshot seen = {.struct_size = sizeof seen};
        is(__LINE__, files[n].name, ph_peer_snapshot(registry, PEER, &seen), PH_OK, NULL);
        is(__LINE__, files[n].name, seen.status, files[n].status, NULL);
        TRUE(files[n].least <= seen.next_admission_ms && seen.next_admission_ms <= files[n].most);
        TRUE(seen.latency_us == files[n].latency_us);
        IS(ph_registry_free(registry), PH_OK, NULL);
    }
}

int main(void) {
    exports_of_earlier_versions();
    printf("sizes, places, numbers and files are what they were\n");
    return 0;
}
