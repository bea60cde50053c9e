// Eight threads call, settle, look, ban, fetch events and end on one registry: every permit is counted once, and
// nothing is left. Then eight threads call while their registry is freed. Run under the sanitizers and under
// valgrind; the argument is the number of calls.

#include <peer_health.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 8
#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            char why[256] = ""; \
            ph_last_error(why, sizeof why); \
            fprintf(stderr, "storm.c:%d: %s: %s\n", __LINE__, #condition, why); \
            abort(); \
        } \
    } while (0)

static uint64_t registry;
static long calls_each;

struct counts {
    uint64_t admitted, lost, counted, late;
};

static void *work(void *argument) {
    struct counts *counts = argument;
    unsigned seed = (unsigned)(uintptr_t)argument | 1;
    uint64_t old = 0;
    for (long n = 0; n < calls_each; n++) {
        seed = seed * 1664525u + 1013904223u;
        uint8_t peer[32] = {(uint8_t)(seed >> 24) % 100, 7};
        uint64_t token, wait;
        int32_t code = ph_acquire(registry, peer, sizeof peer, &token, &wait);
        EXPECT(code >= 0);
        if (code == PH_OK) {
            counts->admitted++;
            int how = (int)(seed >> 16) % 8;
            if (how == 0) code = ph_settle(registry, token, PH_FAILURE, PH_ERROR_NETWORK, "lost");
            else if (how == 1) code = ph_settle(registry, token, PH_ABANDONED, PH_ERROR_NONE, NULL);
            else code = ph_settle(registry, token, PH_SUCCESS, PH_ERROR_NONE, NULL);
            // A success and a failure of the network count, unless they are late; what is given up never does.
            if (how == 1) EXPECT(code == PH_NEUTRAL);
            else EXPECT(code == PH_OK || code == PH_LATE);
            counts->counted += code == PH_OK;
            counts->late += code == PH_LATE;
            if (n % 16 == 0) { // a second settle, and one of long ago, are late and change nothing
                EXPECT(ph_settle(registry, token, PH_FAILURE, PH_ERROR_NETWORK, NULL) == PH_LATE);
                if (old) EXPECT(ph_settle(registry, old, PH_SUCCESS, PH_ERROR_NONE, NULL) == PH_LATE);
                old = token;
            }
        } else {
            EXPECT(token == 0);
        }
        if (n % 64 == 0) {
            ph_event events[8];
            size_t count;
            uint64_t lost;
            EXPECT(ph_next_events(registry, events, 8, sizeof events[0], &count, &lost) == PH_OK);
            counts->lost += lost;
            ph_snapshot snapshot = {.struct_size = sizeof snapshot};
            EXPECT(ph_peer_snapshot(registry, peer, sizeof peer, &snapshot) >= 0);
        }
        if (n % 512 == 0) {
            EXPECT(ph_force_open(registry, peer, sizeof peer, 1) == PH_OK);
            EXPECT(ph_end_wait(registry, peer, sizeof peer) >= 0);
            EXPECT(ph_reset(registry, peer, sizeof peer) >= 0);
        }
        if (n % 4096 == 0) { // registries come and go beside, with a permit that nobody settles
            ph_config config = {.struct_size = sizeof config};
            uint64_t other, lost_token;
            EXPECT(ph_config_default(&config) == PH_OK);
            EXPECT(ph_registry_new(&config, &other) == PH_OK);
            EXPECT(ph_acquire(other, peer, sizeof peer, &lost_token, NULL) == PH_OK);
            EXPECT(ph_settle(registry, lost_token, PH_SUCCESS, PH_ERROR_NONE, NULL) == PH_E_TOKEN);
            EXPECT(ph_registry_free(other) == PH_OK);
            EXPECT(ph_settle(other, lost_token, PH_SUCCESS, PH_ERROR_NONE, NULL) == PH_E_REGISTRY);
        }
    }
    return NULL;
}

#define HELD 16

static uint64_t passing;

struct asking {
    int has_held; // whether it holds its permits, read by another thread
    uint64_t held[HELD];
};

// Asks until the registry is freed, and holds the last permits.
static void *ask_until_freed(void *argument) {
    struct asking *asking = argument;
    uint8_t peer[32] = {9};
    uint64_t token;
    for (int n = 0;; n++) {
        int32_t code = ph_acquire(passing, peer, sizeof peer, &token, NULL);
        if (code == PH_E_REGISTRY) break;
        EXPECT(code == PH_OK);
        if (n >= HELD) code = ph_settle(passing, asking->held[n % HELD], PH_SUCCESS, PH_ERROR_NONE, NULL);
        asking->held[n % HELD] = token;
        EXPECT(code == PH_OK || code == PH_E_REGISTRY);
        if (n == HELD) __atomic_store_n(&asking->has_held, 1, __ATOMIC_RELAXED);
        sched_yield();
    }
    EXPECT(ph_end_wait(passing, peer, sizeof peer) == PH_E_REGISTRY);
    return NULL;
}

// A registry that is freed leaves no permit, not even one that was being given.
static void free_beside_calls(long rounds) {
    for (long round = 0; round < rounds; round++) {
        ph_config config = {.struct_size = sizeof config};
        EXPECT(ph_config_default(&config) == PH_OK);
        EXPECT(ph_registry_new(&config, &passing) == PH_OK);
        struct asking asking[THREADS] = {{0}};
        pthread_t threads[THREADS];
        for (int n = 0; n < THREADS; n++)
            EXPECT(pthread_create(&threads[n], NULL, ask_until_freed, &asking[n]) == 0);
        for (int n = 0; n < THREADS; n++)
            while (!__atomic_load_n(&asking[n].has_held, __ATOMIC_RELAXED)) sched_yield();
        EXPECT(ph_registry_free(passing) == PH_OK);
        for (int n = 0; n < THREADS; n++) EXPECT(pthread_join(threads[n], NULL) == 0);
        for (int n = 0; n < THREADS * HELD; n++) {
            uint64_t held = asking[n / HELD].held[n % HELD];
            EXPECT(ph_settle(passing, held, PH_SUCCESS, PH_ERROR_NONE, NULL) == PH_E_REGISTRY);
        }
    }
}

int main(int argc, char **argv) {
    long calls = argc > 1 ? atol(argv[1]) : 100000;
    calls_each = calls / THREADS;
    ph_config config = {.struct_size = sizeof config};
    EXPECT(ph_config_default(&config) == PH_OK);
    config.failure_threshold = 3;
    config.open_timeout_ms = 1;
    EXPECT(ph_registry_new(&config, &registry) == PH_OK);
    pthread_t threads[THREADS];
    struct counts counts[THREADS] = {{0}};
    for (int n = 0; n < THREADS; n++) EXPECT(pthread_create(&threads[n], NULL, work, &counts[n]) == 0);
    uint64_t admitted = 0, lost = 0, counted = 0, late = 0;
    for (int n = 0; n < THREADS; n++) {
        EXPECT(pthread_join(threads[n], NULL) == 0);
        admitted += counts[n].admitted;
        lost += counts[n].lost;
        counted += counts[n].counted;
        late += counts[n].late;
    }
    ph_totals totals = {.struct_size = sizeof totals};
    EXPECT(ph_all_totals(registry, &totals) == PH_OK);
    const ph_counts *all = &totals.all;
    EXPECT(all->succeeded + all->failed + all->neutral + all->abandoned + all->late == admitted);
    EXPECT(all->succeeded + all->failed == counted); // the failures that opened a circuit among them
    EXPECT(all->late >= late);
    EXPECT(all->opened > 0 && all->abandoned > 0 && totals.peers <= 100);
    EXPECT(ph_registry_free(registry) == PH_OK);
    free_beside_calls(calls / 500);
    printf("%ld calls, %llu admitted, %llu events lost\n", calls_each * THREADS, (unsigned long long)admitted,
           (unsigned long long)lost);
    return 0;
}
