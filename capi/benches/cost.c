// The cost of an acquire and a success from C, in nanoseconds: the best of seven rounds. benches/cost.rs runs it
// beside the same in Rust.

#include <peer_health.h>
#include <stdio.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int main(void) {
    enum { PEERS = 64, CALLS = 1000000 };
    ph_config config = {.struct_size = sizeof config};
    uint64_t registry, token;
    if (ph_config_default(&config) != PH_OK || ph_registry_new(&config, &registry) != PH_OK) return 1;
    static uint8_t peers[PEERS][32];
    for (int n = 0; n < PEERS; n++) peers[n][0] = (uint8_t)n;
    double best = 1e30;
    for (int round = 0; round < 7; round++) {
        double begin = now();
        for (int n = 0; n < CALLS; n++) {
            if (ph_acquire(registry, peers[n % PEERS], 32, &token, NULL) != PH_OK) return 1;
            if (ph_settle(registry, token, PH_SUCCESS, PH_ERROR_NONE, NULL) != PH_OK) return 1;
        }
        double each = (now() - begin) / CALLS;
        if (each < best) best = each;
    }
    printf("%.1f\n", best);
    return ph_registry_free(registry) == PH_OK ? 0 : 1;
}
