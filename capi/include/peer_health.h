// The health registry of a peer-to-peer node: one circuit breaker for each peer.
// README.md of the folder `capi` shows how to use it. Made from the source: do not edit.

#ifndef PEER_HEALTH_H
#define PEER_HEALTH_H

#include <stddef.h>
#include <stdint.h>

// The version of the binary interface that the header describes; `ph_abi_version` returns that of the
// library. It rises when a function, a field or a number changes its meaning.
#define PH_ABI_VERSION 1

// Done; of `ph_acquire`: admitted; of `ph_settle`: the outcome counts.
#define PH_OK 0

// Refused, the circuit is open: ask again after the time that was given.
#define PH_REFUSED_OPEN 1

// Refused, the circuit is half-open and its probes are out: ask again after the time that was given.
#define PH_REFUSED_PROBES 2

// Refused, an operator forced the circuit open.
#define PH_REFUSED_FORCED 3

// The permit has ended, and its outcome decides nothing: it was neutral, or the fault was not the peer's.
#define PH_NEUTRAL 4

// The outcome came too late and changed nothing: the phase or the lease is over, or it was settled before.
#define PH_LATE 5

// There was nothing to do or to show: the peer is not known, or was not open.
#define PH_NOTHING 6

// A pointer is null that must not be.
#define PH_E_NULL -1

// The registry does not exist: it was never made, or is freed.
#define PH_E_REGISTRY -2

// The token is none, or belongs to another registry.
#define PH_E_TOKEN -3

// `struct_size` is not what the header says, or the library is older than the header.
#define PH_E_STRUCT_SIZE -4

// A value makes no sense: the message names the field, the value and the rule.
#define PH_E_VALUE -5

// The key of a peer is empty, or longer than `PH_MAX_PEER`.
#define PH_E_PEER -6

// A text is not UTF-8.
#define PH_E_TEXT -7

// There is no room: in the table for a control, or for another registry or permit in the process.
#define PH_E_FULL -8

// The buffer is too small: the length that it needs was written.
#define PH_E_BUFFER -9

// The data is none that `ph_export` wrote.
#define PH_E_DATA -10

// The library panicked, which is a defect of it. The registry stays usable.
#define PH_E_PANIC -11

// The longest key of a peer in bytes. iroh's `EndpointId` has 32.
#define PH_MAX_PEER 64

// The size of the text of the last error in `ph_snapshot`, with the NUL at its end.
#define PH_ERROR_TEXT 128

// A time in milliseconds that nobody knows.
#define PH_UNKNOWN UINT64_MAX

// The call succeeded.
#define PH_SUCCESS 0

// The call failed.
#define PH_FAILURE 1

// The call ended otherwise: it says nothing about the peer.
#define PH_IGNORED 2

// The call was given up before it ended.
#define PH_ABANDONED 3

// No error; of an outcome that is no failure.
#define PH_ERROR_NONE 0

// The transport failed. Counts.
#define PH_ERROR_NETWORK 1

// A document is corrupt. Never counts against the peer.
#define PH_ERROR_DOCUMENT 2

// No way to the peer is known. Counts.
#define PH_ERROR_PEER_NOT_FOUND 3

// The peer sent what is not of the protocol. Counts.
#define PH_ERROR_PROTOCOL 4

// The state of the sync does not fit together. Counts.
#define PH_ERROR_STATE 5

// The peer has run out of something. Counts.
#define PH_ERROR_RESOURCES 6

// Our own circuit refused. Never counts.
#define PH_ERROR_CIRCUIT_OPEN 7

// Our own quota is used up. Never counts.
#define PH_ERROR_BANDWIDTH 8

// The fault is the usual one of the kind of error.
#define PH_FAULT_USUAL 0

// The peer did it. Counts.
#define PH_FAULT_PEER 1

// The way to the peer. Counts.
#define PH_FAULT_LINK 2

// This node did it. Never counts.
#define PH_FAULT_LOCAL 3

// The document is bad. Never counts.
#define PH_FAULT_DOCUMENT 4

// Nobody did. Never counts.
#define PH_FAULT_NOBODY 5

// A status that this version of the interface has no number for, or none.
#define PH_STATUS_OTHER -1

// Closed: calls are admitted.
#define PH_CLOSED 0

// Open: calls are refused until the wait is over.
#define PH_OPEN 1

// Half-open: a few probes are admitted.
#define PH_HALF_OPEN 2

// Forced open by an operator.
#define PH_FORCED_OPEN 3

// Disabled by an operator: every call is admitted, nothing is recorded.
#define PH_DISABLED 4

// Set to metrics only by an operator: every call is admitted and recorded, nothing opens.
#define PH_METRICS_ONLY 5

// Half-open: the first failure reopens.
#define PH_MODE_ALL 0

// Half-open: the rates decide when all probes have ended.
#define PH_MODE_RATE 1

// The circuit opened for `retry_after_ms`.
#define PH_EVENT_OPENED 1

// The circuit opened again for `retry_after_ms`: a probe failed.
#define PH_EVENT_REOPENED 2

// The wait is over, and probes may go out.
#define PH_EVENT_HALF_OPENED 3

// The probes succeeded.
#define PH_EVENT_CLOSED 4

// An operator imposed `status`.
#define PH_EVENT_OVERRIDDEN 5

// An operator reset the circuit.
#define PH_EVENT_RESET 6

// The peer was forgotten to make room, or because it was idle.
#define PH_EVENT_EVICTED 7

// The peer was removed.
#define PH_EVENT_REMOVED 8

// So many peers would be open that this node is probably cut off.
#define PH_EVENT_LOCAL_OUTAGE 9

// That is over.
#define PH_EVENT_LOCAL_RECOVERED 10

// An event that this version of the interface has no number for.
#define PH_EVENT_OTHER 11

// What opens a circuit, for how long, and what closes it again. `ph_config_default` fills it in; times are in
// milliseconds, and 0 switches off what may be off.
typedef struct ph_config {
  // `sizeof(ph_config)`, set by the caller.
  uint32_t struct_size;
  // Consecutive failures that open the circuit; 0 is off. Default 5.
  uint32_t failure_threshold;
  // The longest time between a failure and the next failing call of a streak; 0 is off. Default off.
  uint64_t streak_gap_ms;
  // The window over which rates are computed: the last so many calls; 0 is none. Default none.
  uint32_t window_calls;
  // The number of buckets of a window by time, 1 to 64.
  uint32_t window_buckets;
  // The window by time: its length; 0 is none. Default none. One of the two windows at most.
  uint64_t window_ms;
  // The calls that the window must hold before a rate is judged; 0 is the default of 10, or of the size of
  // the window if that is smaller.
  uint32_t min_calls;
  // `PH_MODE_ALL` (default) or `PH_MODE_RATE`.
  uint32_t half_open_mode;
  // The failure rate that opens the circuit, above 0 and up to 1; 0 is off. Default off.
  double failure_rate;
  // A call that takes so long is slow; 0 is off. Default off.
  uint64_t slow_call_ms;
  // The rate of slow calls that opens the circuit; 0 is off. Default off.
  double slow_rate;
  // How long the circuit stays open the first time. Default 5,000.
  uint64_t open_timeout_ms;
  // By how much the wait grows with each half-open phase that failed, at least 1. Default 2.
  double open_multiplier;
  // The longest wait. Default 300,000.
  uint64_t open_max_ms;
  // The part of the wait, 0 to 1, that may be cut off at random. Default 0.1.
  double open_jitter;
  // The number of probes, and of successes that close a half-open circuit: 1 to 64. Default 2.
  uint32_t success_threshold;
  // 1 holds trips back when so many peers would be open that this node is probably cut off. Default 0.
  uint32_t outage_guard;
  // The age from which on a half-open phase is ended by the next call; 0 is off. Default off.
  uint64_t half_open_max_ms;
  // How long a probe may take before its slot is given again; 0 lets a lost token hold it for ever.
  // Default 30,000, half of what Rust has: a token that is lost is not dropped by anyone.
  uint64_t probe_lease_ms;
  // How many peers are tracked at most. Default 65,536.
  uint64_t max_peers;
  // A clean peer that was not used for so long may be forgotten. Default 600,000.
  uint64_t idle_timeout_ms;
  // A peer in trouble that was not used for so long may be forgotten too. Default 3,600,000.
  uint64_t forget_after_ms;
  // The part of the peers that may be open while the guard is on, 1 to 100 per cent. Default 50.
  uint32_t outage_max_open_percent;
  // The guard holds nothing back while fewer peers than this are in use. Default 3.
  uint32_t outage_min_peers;
  // How many events wait for `ph_next_events`; 0 keeps none. Default 1,024. `ph_configure` does not change
  // it.
  uint32_t event_capacity;
  // Zero.
  uint32_t reserved;
} ph_config;

// How a call ended, where `ph_settle` does not say enough.
typedef struct ph_outcome {
  // `sizeof(ph_outcome)`.
  uint32_t struct_size;
  // `PH_SUCCESS`, `PH_FAILURE`, `PH_IGNORED` or `PH_ABANDONED`.
  int32_t outcome;
  // Of a failure: `PH_ERROR_NETWORK` and so on.
  int32_t kind;
  // Of a failure: whose fault it was; `PH_FAULT_USUAL` is that of the kind.
  int32_t fault;
  // Of a failure: how long the peer asked us to stay away; 0 is not at all.
  uint64_t retry_after_ms;
  // How long the call took; with 0 and `PH_UNKNOWN` it is measured from the admission on, if
  // `ph_config.slow_call_ms` asks for it.
  uint64_t latency_ms;
  // Of a failure: what went wrong, in UTF-8 and with a NUL at the end, or null. The first kibibyte is kept.
  const char *message;
} ph_outcome;

// Counts of all time. Every permit ends in exactly one of the first five.
typedef struct ph_counts {
  // The permits that ended in success.
  uint64_t succeeded;
  // The permits that ended in a failure that counts.
  uint64_t failed;
  // The permits that ended in no outcome.
  uint64_t neutral;
  // The permits that were given up.
  uint64_t abandoned;
  // The permits whose phase was over when they ended.
  uint64_t late;
  // The transitions into open.
  uint64_t opened;
  // The calls refused by an open circuit.
  uint64_t refused_open;
  // The calls refused by a half-open circuit whose probes were out.
  uint64_t refused_probes;
  // The calls refused by a circuit that was forced open.
  uint64_t refused_forced;
  // Zero. This struct lies in the middle of others: what is counted in future takes these places.
  uint64_t reserved[4];
} ph_counts;

// What is known of a peer.
typedef struct ph_snapshot {
  // `sizeof(ph_snapshot)`, set by the caller.
  uint32_t struct_size;
  // `PH_CLOSED` and so on.
  int32_t status;
  // Rises with each phase.
  uint64_t generation;
  // The consecutive failures; while open and half-open, those of the trip.
  uint32_t consecutive_failures;
  // The errors since the last success.
  uint32_t retry_attempt;
  // The calls in the window, or in the half-open phase; 0 without a window.
  uint64_t window_total;
  // Of these, the failures.
  uint64_t window_failures;
  // Of these, the slow ones.
  uint64_t window_slow;
  // In how many milliseconds a call may be admitted: 0 is now, `PH_UNKNOWN` not by time alone.
  uint64_t next_admission_ms;
  // The average latency in microseconds, or `PH_UNKNOWN`.
  uint64_t latency_us;
  // The probes that are out.
  uint32_t probes_in_flight;
  // The kind of the last error: `PH_ERROR_NONE` if there was none.
  int32_t last_error;
  // The counts of all time.
  struct ph_counts totals;
  // The text of the last error, cut off where the field ends, with a NUL at its end.
  uint8_t last_error_text[PH_ERROR_TEXT];
} ph_snapshot;

// The counts of all peers, forgotten ones included.
typedef struct ph_totals {
  // `sizeof(ph_totals)`, set by the caller.
  uint32_t struct_size;
  // Zero.
  uint32_t reserved;
  // The sum over all peers.
  struct ph_counts all;
  // The peers that are tracked now.
  uint64_t peers;
  // How often the table had no room for a new peer.
  uint64_t untracked;
  // The peers that were forgotten.
  uint64_t evicted;
  // The peers that were removed.
  uint64_t removed;
} ph_totals;

// What happened to the circuit of one peer.
typedef struct ph_event {
  // Orders the events of a peer: higher is later.
  uint64_t generation;
  // For how long the circuit opened, in milliseconds; else 0.
  uint64_t retry_after_ms;
  // What happened: `PH_EVENT_..`.
  uint32_t kind;
  // The status that an operator imposed (`PH_EVENT_OVERRIDDEN`), or else that which began: `PH_CLOSED` and so
  // on; `PH_STATUS_OTHER` where the event says nothing of it.
  int32_t status;
  // The length of the key in bytes.
  uint32_t peer_len;
  // Zero.
  uint32_t reserved;
  // The key, with zeros behind it.
  uint8_t peer[PH_MAX_PEER];
} ph_event;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Fills in the defaults. The caller sets `struct_size` to `sizeof(ph_config)` first.
//
// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`.
//
// Memory:
//
// `config` leads to a struct that may be read and written.
int32_t ph_config_default(struct ph_config *config);

// Returns the version of the binary interface of this library. A program compares it with `PH_ABI_VERSION`
// before anything else: a library of another version is another interface.
uint32_t ph_abi_version(void);

// Copies the message of the last error on this thread, with a NUL at its end, and cut off where `capacity`
// ends. Returns the length of the whole message without the NUL; 0 if there was no error. A call that succeeds
// leaves the message as it is. With a capacity of 0, `buffer` may be null.
//
// Memory:
//
// `buffer` is null or leads to `capacity` bytes that may be written.
size_t ph_last_error(char *buffer,
                     size_t capacity);

// Makes a registry, and writes its number to `registry`: 0 if there is an error. All functions may be called
// with the number from any thread, until it is freed. A process has at most 1,024 at a time.
//
// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`, `PH_E_VALUE` (the message names the field), `PH_E_FULL`.
//
// Memory:
//
// `config` leads to a struct, `registry` to a number that may be written.
int32_t ph_registry_new(const struct ph_config *config,
                        uint64_t *registry);

// Frees a registry. Its permits end as abandoned; calls that are going on in other threads end well, and later
// ones return `PH_E_REGISTRY`. The work is proportional to the permits that the process holds, and to the peers. Each
// thread keeps the registry that it asked last, without its peers, until it calls with another or ends.
//
// Returns `PH_OK`, or `PH_E_REGISTRY`: freeing twice is an error, and harmless.
int32_t ph_registry_free(uint64_t registry);

// Replaces the configuration while the registry is in use. If it makes no sense, nothing changes.
//
// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`, `PH_E_VALUE` (the message names the field),
// `PH_E_REGISTRY`.
//
// Memory:
//
// `config` leads to a struct.
int32_t ph_configure(uint64_t registry, const struct ph_config *config);

// Asks whether a peer may be called now. With `PH_OK`, `token` gets the permit, which is settled once, by any
// thread: a token that is lost holds the slot of a probe until its lease is over, and its peer in memory. With
// a refusal, `token` gets 0, and `retry_after_ms`, which may be null, the time after which to ask again: where
// nobody knows it, a hint of a second at most.
//
// Returns `PH_OK`, `PH_REFUSED_OPEN`, `PH_REFUSED_PROBES`, `PH_REFUSED_FORCED`, or `PH_E_NULL`, `PH_E_PEER`,
// `PH_E_REGISTRY`, `PH_E_FULL`.
//
// Memory:
//
// `peer` leads to `peer_len` bytes, `token` and `retry_after_ms` to a number each that may be written.
int32_t ph_acquire(uint64_t registry,
                   const uint8_t *peer,
                   size_t peer_len,
                   uint64_t *token,
                   uint64_t *retry_after_ms);

// Says how a call ended, once. `kind` and `message` belong to `PH_FAILURE`: `kind` says what went wrong
// (`PH_ERROR_NETWORK` and so on), and so whether it counts; `message`, which may be null, is kept for display.
// For other outcomes they are `PH_ERROR_NONE` and null.
//
// Returns `PH_OK` (it counts), `PH_NEUTRAL`, `PH_LATE` (the phase is over, or the token was settled before:
// nothing has changed), or `PH_E_VALUE`, `PH_E_TEXT`, `PH_E_REGISTRY`, `PH_E_TOKEN`: then the permit, if there
// is one, is still held.
//
// Memory:
//
// `message` is null or ends in NUL.
int32_t ph_settle(uint64_t registry,
                  uint64_t token,
                  int32_t outcome,
                  int32_t kind,
                  const char *message);

// Says how a call ended, with its latency, whose fault it was, and how long the peer asked us to stay away.
//
// Returns what `ph_settle` does, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`.
//
// Memory:
//
// `outcome` leads to a struct, whose message is null or ends in NUL.
int32_t ph_settle_with(uint64_t registry, uint64_t token, const struct ph_outcome *outcome);

// Tells how a peer stands: `status` gets `PH_CLOSED` and so on, `next_admission_ms` the time until a call may
// be admitted (0 is now, `PH_UNKNOWN` not by time alone). Either may be null. An unknown peer is closed.
//
// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_PEER`, `PH_E_REGISTRY`.
//
// Memory:
//
// `peer` leads to `peer_len` bytes, the others to a number each that may be written.
int32_t ph_status(uint64_t registry,
                  const uint8_t *peer,
                  size_t peer_len,
                  int32_t *status,
                  uint64_t *next_admission_ms);

// Shows what is known of a peer.
//
// Returns `PH_OK`; `PH_NOTHING` if the peer is not known, and `snapshot` stays as it is; or `PH_E_NULL`,
// `PH_E_STRUCT_SIZE`, `PH_E_PEER`, `PH_E_REGISTRY`.
//
// Memory:
//
// `peer` leads to `peer_len` bytes, `snapshot` to a struct that may be read and written.
int32_t ph_peer_snapshot(uint64_t registry,
                         const uint8_t *peer,
                         size_t peer_len,
                         struct ph_snapshot *snapshot);

// Counts all peers together. The work is proportional to the table.
//
// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`, `PH_E_REGISTRY`.
//
// Memory:
//
// `totals` leads to a struct that may be read and written.
int32_t ph_all_totals(uint64_t registry, struct ph_totals *totals);

// Bans a peer: every call is refused for `duration_ms`, or with `PH_UNKNOWN` until `ph_reset`. 0 is an error: a
// field that nobody filled in bans nobody.
//
// Returns `PH_OK`, or `PH_E_VALUE`, `PH_E_FULL`, `PH_E_NULL`, `PH_E_PEER`, `PH_E_REGISTRY`.
//
// Memory:
//
// `peer` leads to `peer_len` bytes.
int32_t ph_force_open(uint64_t registry,
                      const uint8_t *peer,
                      size_t peer_len,
                      uint64_t duration_ms);

// Closes a circuit, and clears what was held against the peer.
//
// Returns `PH_OK`; `PH_NOTHING` if the peer is not known; or `PH_E_NULL`, `PH_E_PEER`, `PH_E_REGISTRY`.
//
// Memory:
//
// `peer` leads to `peer_len` bytes.
int32_t ph_reset(uint64_t registry, const uint8_t *peer, size_t peer_len);

// Ends the wait of an open circuit: the next call may be a probe.
//
// Returns `PH_OK`; `PH_NOTHING` if the circuit does not wait; or `PH_E_NULL`, `PH_E_PEER`, `PH_E_REGISTRY`.
//
// Memory:
//
// `peer` leads to `peer_len` bytes.
int32_t ph_end_wait(uint64_t registry, const uint8_t *peer, size_t peer_len);

// Tells that a peer has called us: its wait ends, unless it has told so too often and then failed.
//
// Returns `PH_OK`; `PH_NOTHING` if nothing changed; or `PH_E_NULL`, `PH_E_PEER`, `PH_E_REGISTRY`.
//
// Memory:
//
// `peer` leads to `peer_len` bytes.
int32_t ph_note_reachable(uint64_t registry, const uint8_t *peer, size_t peer_len);

// Fetches the events that happened since the last call, the oldest first, and at most `capacity`. It waits for
// none. The queue holds as many as `ph_config.event_capacity` says; then the oldest is lost, and counted.
//
// `event_size` is `sizeof(ph_event)`. `count` gets the number of events; `lost`, the number that
// was lost since it was last asked for: it may be null, and the next call gets it. After a loss, `ph_status` tells
// how a peer stands.
//
// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`, `PH_E_REGISTRY`.
//
// Memory:
//
// `events` leads to `capacity` events that may be written, `count` and `lost` to a number each.
int32_t ph_next_events(uint64_t registry,
                       struct ph_event *events,
                       size_t capacity,
                       size_t event_size,
                       size_t *count,
                       uint64_t *lost);

// Writes what is worth keeping of all peers across a restart: waits, bans, latencies, and who ever answered.
// `length` gets the length of the data. With `PH_E_BUFFER` nothing else was written, and the caller comes
// again with more room: peers may have been added meanwhile. With a capacity of 0, `buffer` may be null. The
// work is proportional to the table.
//
// Returns `PH_OK`, or `PH_E_BUFFER`, `PH_E_NULL`, `PH_E_REGISTRY`.
//
// Memory:
//
// `buffer` leads to `capacity` bytes that may be written, `length` to a number.
int32_t ph_export(uint64_t registry, uint8_t *buffer, size_t capacity, size_t *length);

// Makes a registry as `ph_registry_new` does, with what `ph_export` wrote. `downtime_ms` is the time since
// then: waits and bans are shorter by it; `PH_UNKNOWN` if it is not known.
//
// Returns what `ph_registry_new` does, or `PH_E_DATA`.
//
// Memory:
//
// `config` leads to a struct, `data` to `length` bytes, `registry` to a number that may be written.
int32_t ph_import(const struct ph_config *config,
                  const uint8_t *data,
                  size_t length,
                  uint64_t downtime_ms,
                  uint64_t *registry);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PEER_HEALTH_H */
