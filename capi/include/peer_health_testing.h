// What the tests need beside peer_health.h, in a library built with the feature `testing`.
// Made from the source: do not edit.

#ifndef PEER_HEALTH_TESTING_H
#define PEER_HEALTH_TESTING_H

#include <stddef.h>
#include <stdint.h>
#include "peer_health.h"

// Control: forced open until a reset.
#define PH_TEST_FORCE_OPEN 0

// Control: disabled.
#define PH_TEST_DISABLE 1

// Control: metrics only.
#define PH_TEST_METRICS_ONLY 2

// Control: forgotten.
#define PH_TEST_REMOVE 3

// Control: a whole pass over the table, whatever the peer.
#define PH_TEST_SWEEP 4

// Reply: the call may be made at once, or the circuit is closed.
#define PH_TEST_NOW 0

// Reply: the circuit is open.
#define PH_TEST_OPEN 1

// Reply: after a while, or never.
#define PH_TEST_OTHER 2

// Reply: nothing, to a success.
#define PH_TEST_NONE 3

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes a registry whose time stands still: `ph_test_set_clock` moves it.
//
// Memory:
//
// As `ph_registry_new`.
int32_t ph_test_registry_new(const ph_config *config, uint64_t *registry);

// Sets the time since the registry was made.
int32_t ph_test_set_clock(uint64_t registry, uint64_t elapsed_ms);

// Reports without a permit: an error of this kind, or with `PH_ERROR_NONE` a success.
//
// Memory:
//
// `peer` leads to `peer_len` bytes, `reply` to a number that may be written.
int32_t ph_test_report(uint64_t registry, const uint8_t *peer, size_t peer_len, int32_t kind, int32_t *reply);

// Asks `is_circuit_open`: `PH_TEST_OPEN` or `PH_TEST_NOW`.
//
// Memory:
//
// As `ph_test_report`.
int32_t ph_test_ask(uint64_t registry, const uint8_t *peer, size_t peer_len, int32_t *reply);

// Runs a control: `PH_TEST_DISABLE` and so on.
//
// Memory:
//
// `peer` leads to `peer_len` bytes.
int32_t ph_test_control(uint64_t registry, const uint8_t *peer, size_t peer_len, int32_t action);

// Tells the next admission in nanoseconds: 0 now, `PH_UNKNOWN`.
//
// Memory:
//
// `peer` leads to `peer_len` bytes, `nanos` to a number that may be written.
int32_t ph_test_next_admission(uint64_t registry, const uint8_t *peer, size_t peer_len, uint64_t *nanos);

// Returns `PH_OK` if the registry keeps the peer of this permit, and `PH_NOTHING` if not.
int32_t ph_test_is_tracked(uint64_t registry, uint64_t token);

// Panics inside, as a defect of the library would, while permits are out.
int32_t ph_test_panic(uint64_t registry);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PEER_HEALTH_TESTING_H */
