//! The numbers of the interface. A number never gets another meaning; new ones may be added.

/// The version of the binary interface that the header describes; `ph_abi_version` returns that of the
/// library. It rises when a function, a field or a number changes its meaning.
pub const PH_ABI_VERSION: u32 = 1;

/// Done; of `ph_acquire`: admitted; of `ph_settle`: the outcome counts.
pub const PH_OK: i32 = 0;
/// Refused, the circuit is open: ask again after the time that was given.
pub const PH_REFUSED_OPEN: i32 = 1;
/// Refused, the circuit is half-open and its probes are out: ask again after the time that was given.
pub const PH_REFUSED_PROBES: i32 = 2;
/// Refused, an operator forced the circuit open.
pub const PH_REFUSED_FORCED: i32 = 3;
/// The permit has ended, and its outcome decides nothing: it was neutral, or the fault was not the peer's.
pub const PH_NEUTRAL: i32 = 4;
/// The outcome came too late and changed nothing: the phase or the lease is over, or it was settled before.
pub const PH_LATE: i32 = 5;
/// There was nothing to do or to show: the peer is not known, or was not open.
pub const PH_NOTHING: i32 = 6;

/// A pointer is null that must not be.
pub const PH_E_NULL: i32 = -1;
/// The registry does not exist: it was never made, or is freed.
pub const PH_E_REGISTRY: i32 = -2;
/// The token is none, or belongs to another registry.
pub const PH_E_TOKEN: i32 = -3;
/// `struct_size` is not what the header says, or the library is older than the header.
pub const PH_E_STRUCT_SIZE: i32 = -4;
/// A value makes no sense: the message names the field, the value and the rule.
pub const PH_E_VALUE: i32 = -5;
/// The key of a peer is empty, or longer than `PH_MAX_PEER`.
pub const PH_E_PEER: i32 = -6;
/// A text is not UTF-8.
pub const PH_E_TEXT: i32 = -7;
/// There is no room: in the table for a control, or for another registry or permit in the process.
pub const PH_E_FULL: i32 = -8;
/// The buffer is too small: the length that it needs was written.
pub const PH_E_BUFFER: i32 = -9;
/// The data is none that `ph_export` wrote.
pub const PH_E_DATA: i32 = -10;
/// The library panicked, which is a defect of it. The registry stays usable.
pub const PH_E_PANIC: i32 = -11;

/// The longest key of a peer in bytes. iroh's `EndpointId` has 32.
pub const PH_MAX_PEER: usize = 64;
/// The size of the text of the last error in `ph_snapshot`, with the NUL at its end.
pub const PH_ERROR_TEXT: usize = 128;
/// A time in milliseconds that nobody knows.
pub const PH_UNKNOWN: u64 = u64::MAX;

/// The call succeeded.
pub const PH_SUCCESS: i32 = 0;
/// The call failed.
pub const PH_FAILURE: i32 = 1;
/// The call ended otherwise: it says nothing about the peer.
pub const PH_IGNORED: i32 = 2;
/// The call was given up before it ended.
pub const PH_ABANDONED: i32 = 3;

/// No error; of an outcome that is no failure.
pub const PH_ERROR_NONE: i32 = 0;
/// The transport failed. Counts.
pub const PH_ERROR_NETWORK: i32 = 1;
/// A document is corrupt. Never counts against the peer.
pub const PH_ERROR_DOCUMENT: i32 = 2;
/// No way to the peer is known. Counts.
pub const PH_ERROR_PEER_NOT_FOUND: i32 = 3;
/// The peer sent what is not of the protocol. Counts.
pub const PH_ERROR_PROTOCOL: i32 = 4;
/// The state of the sync does not fit together. Counts.
pub const PH_ERROR_STATE: i32 = 5;
/// The peer has run out of something. Counts.
pub const PH_ERROR_RESOURCES: i32 = 6;
/// Our own circuit refused. Never counts.
pub const PH_ERROR_CIRCUIT_OPEN: i32 = 7;
/// Our own quota is used up. Never counts.
pub const PH_ERROR_BANDWIDTH: i32 = 8;

/// The fault is the usual one of the kind of error.
pub const PH_FAULT_USUAL: i32 = 0;
/// The peer did it. Counts.
pub const PH_FAULT_PEER: i32 = 1;
/// The way to the peer. Counts.
pub const PH_FAULT_LINK: i32 = 2;
/// This node did it. Never counts.
pub const PH_FAULT_LOCAL: i32 = 3;
/// The document is bad. Never counts.
pub const PH_FAULT_DOCUMENT: i32 = 4;
/// Nobody did. Never counts.
pub const PH_FAULT_NOBODY: i32 = 5;

/// A status that this version of the interface has no number for, or none.
pub const PH_STATUS_OTHER: i32 = -1;
/// Closed: calls are admitted.
pub const PH_CLOSED: i32 = 0;
/// Open: calls are refused until the wait is over.
pub const PH_OPEN: i32 = 1;
/// Half-open: a few probes are admitted.
pub const PH_HALF_OPEN: i32 = 2;
/// Forced open by an operator.
pub const PH_FORCED_OPEN: i32 = 3;
/// Disabled by an operator: every call is admitted, nothing is recorded.
pub const PH_DISABLED: i32 = 4;
/// Set to metrics only by an operator: every call is admitted and recorded, nothing opens.
pub const PH_METRICS_ONLY: i32 = 5;

/// Half-open: the first failure reopens.
pub const PH_MODE_ALL: u32 = 0;
/// Half-open: the rates decide when all probes have ended.
pub const PH_MODE_RATE: u32 = 1;

/// The circuit opened for `retry_after_ms`.
pub const PH_EVENT_OPENED: u32 = 1;
/// The circuit opened again for `retry_after_ms`: a probe failed.
pub const PH_EVENT_REOPENED: u32 = 2;
/// The wait is over, and probes may go out.
pub const PH_EVENT_HALF_OPENED: u32 = 3;
/// The probes succeeded.
pub const PH_EVENT_CLOSED: u32 = 4;
/// An operator imposed `status`.
pub const PH_EVENT_OVERRIDDEN: u32 = 5;
/// An operator reset the circuit.
pub const PH_EVENT_RESET: u32 = 6;
/// The peer was forgotten to make room, or because it was idle.
pub const PH_EVENT_EVICTED: u32 = 7;
/// The peer was removed.
pub const PH_EVENT_REMOVED: u32 = 8;
/// So many peers would be open that this node is probably cut off.
pub const PH_EVENT_LOCAL_OUTAGE: u32 = 9;
/// That is over.
pub const PH_EVENT_LOCAL_RECOVERED: u32 = 10;
/// An event that this version of the interface has no number for.
pub const PH_EVENT_OTHER: u32 = 11;
