// The logic of an app on a phone: what is known survives the app, a dial is bounded, and a push message is good news.
// `dial` is the app's own, with iroh-ffi: it ends within the deadline, and throws what iroh-ffi throws.

import java.io.File
import java.time.Duration
import java.time.Instant
import uniffi.peer_health_ffi.*

/** A failed dial, by the name of iroh-ffi's kind: `DialFailed(error.kind().name, ..)` where that is caught. */
class DialFailed(val kind: String, message: String) : Exception(message)

/** Waits for the next event; returns null once the stream is closed and empty. A cancelled wait loses no event. */
suspend fun Events.nextEvent(): Event? {
    while (ready()) nextEvents(1u, Duration.ZERO).firstOrNull()?.let { return it } // null: another was faster
    return null
}

class Phone(private val file: File, private val dial: (ByteArray, Duration) -> Unit) : AutoCloseable {
    val registry: HealthRegistry = start()

    /** Begins with what the app knew, or with nothing if there is no file or a broken one. */
    private fun start(): HealthRegistry {
        if (!file.exists()) return HealthRegistry()
        val age = Duration.between(Instant.ofEpochMilli(file.lastModified()), Instant.now())
        return try {
            HealthRegistry.restored(file.readBytes(), age.takeIf { !it.isNegative })
        } catch (broken: HealthException.Invalid) {
            HealthRegistry()
        }
    }

    /** Calls a peer once; returns null, or how long to leave it alone. */
    fun sync(peer: ByteArray): Duration? {
        val permit = try {
            registry.acquire(peer)
        } catch (refused: HealthException.Refused) {
            return refused.askAgainAfter // no radio is switched on for a peer that does not answer
        }
        return permit.use {
            try {
                dial(peer, Duration.ofSeconds(10)) // below the lease of a probe, which is 15 seconds
                it.success()
                null
            } catch (failed: DialFailed) {
                val blame = classifyIrohError(failed.kind) ?: Classified(ErrorKind.NETWORK, Fault.NOBODY)
                val recorded = it.failure(blame.kind, failed.message ?: "", blame.fault)
                Backoff().use { backoff -> backoff.nextAfter(blame.kind, recorded) ?: Duration.ofMinutes(1) }
            }
        }
    }

    /** A push message, or a call from the peer: it is there, so that its wait ends. Returns whether to sync now. */
    fun wakeUp(peer: ByteArray): Boolean = registry.noteReachable(peer) || !registry.isCircuitOpen(peer)

    /** The app goes to the background: the system may end it at any time from now on. */
    fun background() {
        val next = File(file.path + ".new")
        next.writeBytes(registry.export())
        check(next.renameTo(file)) { "$file is not written" }
    }

    /** Ends the registry and its streams: who awaits an event gets null. */
    override fun close() = registry.close()
}
