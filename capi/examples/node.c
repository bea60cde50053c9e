// A node that syncs with three peers: one answers, one is dead, one comes back. It shows the whole round: ask
// before a call, settle after it, follow the events, and keep what is known across a restart.
//
//     cc node.c $(pkg-config --cflags --libs peer-health) -o node && ./node

#include <peer_health.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int32_t code, const char *what) {
    if (code >= 0) return; // a negative code is an error of the program
    char why[256];
    ph_last_error(why, sizeof why);
    fprintf(stderr, "%s: %s (%d)\n", what, why, (int)code);
    exit(1);
}

// The call: a program has its network here.
static bool sync_with(const char *peer, int round) {
    if (strcmp(peer, "bob") == 0) return false;
    return strcmp(peer, "carol") != 0 || round > 3;
}

static void call(uint64_t registry, const char *peer, int round) {
    uint64_t token, retry_after_ms;
    int32_t code = ph_acquire(registry, (const uint8_t *)peer, strlen(peer), &token, &retry_after_ms);
    check(code, "ph_acquire");
    if (code != PH_OK) {
        printf("%d: %s is not called, again in %llu ms\n", round, peer, (unsigned long long)retry_after_ms);
        return;
    }
    if (sync_with(peer, round)) {
        check(ph_settle(registry, token, PH_SUCCESS, PH_ERROR_NONE, NULL), "ph_settle");
    } else {
        check(ph_settle(registry, token, PH_FAILURE, PH_ERROR_NETWORK, "timed out"), "ph_settle");
    }
}

static void show_events(uint64_t registry) {
    ph_event events[16];
    size_t count;
    uint64_t lost;
    do {
        check(ph_next_events(registry, events, 16, sizeof events[0], &count, &lost), "ph_next_events");
        for (size_t n = 0; n < count; n++) {
            printf("   event %u of %.*s\n", (unsigned)events[n].kind, (int)events[n].peer_len,
                   (const char *)events[n].peer);
        }
    } while (count == 16);
    if (lost > 0) printf("   %llu events were lost\n", (unsigned long long)lost);
}

int main(void) {
    if (ph_abi_version() != PH_ABI_VERSION) {
        fprintf(stderr, "the library has version %u\n", (unsigned)ph_abi_version());
        return 1;
    }
    ph_config config = {.struct_size = sizeof config};
    check(ph_config_default(&config), "ph_config_default");
    config.failure_threshold = 3;
    uint64_t registry;
    check(ph_registry_new(&config, &registry), "ph_registry_new");

    const char *peers[] = {"alice", "bob", "carol"};
    for (int round = 1; round <= 5; round++) {
        for (size_t n = 0; n < 3; n++) call(registry, peers[n], round);
        // Carol has called us: her wait ends, and she may be probed at once.
        if (round == 3) check(ph_note_reachable(registry, (const uint8_t *)"carol", 5), "ph_note_reachable");
        show_events(registry);
    }

    // What is known goes to a file in a program; here it goes to the next registry.
    uint8_t saved[4096];
    size_t length;
    check(ph_export(registry, saved, sizeof saved, &length), "ph_export");
    check(ph_registry_free(registry), "ph_registry_free");
    check(ph_import(&config, saved, length, 0, &registry), "ph_import");
    int32_t bob, carol;
    check(ph_status(registry, (const uint8_t *)"bob", 3, &bob, NULL), "ph_status");
    check(ph_status(registry, (const uint8_t *)"carol", 5, &carol, NULL), "ph_status");
    check(ph_registry_free(registry), "ph_registry_free");
    printf("after a restart bob is %s, carol is %s\n", bob == PH_OPEN ? "open" : "not open",
           carol == PH_CLOSED ? "closed" : "not closed");
    return bob == PH_OPEN && carol == PH_CLOSED ? 0 : 1;
}
