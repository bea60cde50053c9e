// The logic of an app on a phone, as examples/Phone.kt has it. It was written against the generated Swift module and
// has not been compiled: the machines that test this library have no Swift.

import Foundation

/// A failed dial, by the name of iroh-ffi's kind: `DialFailed(kind: "\(error.kind())")` where that is caught.
struct DialFailed: Error {
    let kind: String
    var message = ""
}

extension Events {
    /// Waits for the next event; returns nil once the stream is closed and empty. A cancelled wait loses no event.
    func nextEvent() async throws -> Event? {
        while await ready() {
            if let event = try nextEvents(max: 1, timeout: 0).first { return event }
        }
        return nil
    }
}

final class Phone {
    let registry: HealthRegistry
    private let file: URL
    private let dial: (Data, TimeInterval) async throws -> Void

    init(file: URL, dial: @escaping (Data, TimeInterval) async throws -> Void) throws {
        self.file = file
        self.dial = dial
        registry = try Phone.start(file)
    }

    /// Begins with what the app knew, or with nothing if there is no file or a broken one.
    private static func start(_ file: URL) throws -> HealthRegistry {
        guard let saved = try? Data(contentsOf: file) else { return try HealthRegistry() }
        let written = (try? file.resourceValues(forKeys: [.contentModificationDateKey]))?.contentModificationDate
        let age = written.map { Date().timeIntervalSince($0) }
        do {
            return try HealthRegistry.restored(saved: saved, downtime: age.flatMap { $0 >= 0 ? $0 : nil })
        } catch HealthError.Invalid {
            return try HealthRegistry()
        }
    }

    /// Calls a peer once; returns nil, or how long to leave it alone.
    func sync(_ peer: Data) async throws -> TimeInterval? {
        let permit: Permit
        do {
            permit = try registry.acquire(peer: peer)
        } catch let HealthError.Refused(_, _, askAgainAfter) {
            return askAgainAfter // no radio is switched on for a peer that does not answer
        }
        defer { _ = permit.abandon() } // does nothing to a permit that is settled
        do {
            try await dial(peer, 10) // below the lease of a probe, which is 15 seconds
            _ = permit.success()
            return nil
        } catch let failed as DialFailed {
            let blame = classifyIrohError(kind: failed.kind) ?? Classified(kind: .network, fault: .nobody)
            let recorded = permit.failure(kind: blame.kind, message: failed.message, fault: blame.fault)
            return try Backoff().nextAfter(kind: blame.kind, recorded: recorded) ?? 60
        }
    }

    /// A push message, or a call from the peer: its wait ends. Returns whether to sync now.
    func wakeUp(_ peer: Data) throws -> Bool {
        try registry.noteReachable(peer: peer) || !registry.isCircuitOpen(peer: peer)
    }

    /// The app goes to the background: the system may end it at any time from now on.
    func background() throws {
        try registry.export().write(to: file, options: .atomic)
    }
}
