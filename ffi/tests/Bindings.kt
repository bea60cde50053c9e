// The bindings from Kotlin: what a garbage collector, threads, coroutines and a panic do, and the example of a phone.
// `main` prints each check, and ends with an exit code; `main cost` measures.

import java.io.File
import java.nio.file.Files
import java.time.Duration
import java.util.concurrent.ConcurrentLinkedQueue
import java.util.concurrent.atomic.AtomicLong
import kotlin.concurrent.thread
import kotlin.system.exitProcess
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.DelicateCoroutinesApi
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.GlobalScope
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import uniffi.peer_health_ffi.*

val ALICE = "alice".toByteArray()
val BOB = ByteArray(64) { 7 }
val SECOND: Duration = Duration.ofSeconds(1)

fun strict() = defaultConfig().copy(failureThreshold = 1u, successThreshold = 1u, openJitter = 0.0)

fun manual(): Pair<HealthRegistry, ManualClock> {
    val clock = ManualClock()
    return HealthRegistry.onManualClock(strict(), clock) to clock
}

fun HealthRegistry.fail(peer: ByteArray = ALICE) = acquire(peer).use { it.failure(ErrorKind.NETWORK, "reset") }

fun same(got: Any?, expected: Any?) = check(got == expected) { "got $got, expected $expected" }

inline fun <reified E : Throwable> throws(call: () -> Unit): E {
    try {
        call()
    } catch (error: Throwable) {
        return error as? E ?: throw error
    }
    error("nothing was thrown")
}

fun circuits() {
    val (registry, clock) = manual()
    same(registry.fail(), Recorded.Opened(SECOND.multipliedBy(5)))
    val refused = throws<HealthException.Refused> { registry.acquire(ALICE) }
    same(refused.reason to refused.retryAfter, RefusalReason.OPEN to SECOND.multipliedBy(5))
    clock.advance(SECOND.multipliedBy(5))
    registry.acquire(ALICE).use { probe ->
        check(probe.isProbe())
        same(probe.success(SECOND), Recorded.Counted)
        same(probe.success(), Recorded.Late)
    }
    same(registry.status(ALICE), Status.CLOSED)
    same(registry.snapshot(ALICE)!!.latency, SECOND)
    check(registry.acquire(BOB).use { it.isTracked() })
    same(registry.totals().all.abandoned, 1uL) // `use` gave it back
    same(registry.peers().size, 2)
}

fun badInput() {
    val (registry, _) = manual()
    val peer = throws<HealthException.Invalid> { registry.acquire(ByteArray(65)) }
    same(listOf(peer.field, peer.value, peer.rule), listOf("peer", "65 bytes long", "must have from 1 to 64 bytes"))
    val config = throws<HealthException.Invalid> { registry.setConfig(strict().copy(openJitter = 1.5)) }
    same(config.field to config.value, "open_jitter" to "1.5")
    throws<HealthException.Invalid> { HealthRegistry.restored(ByteArray(3)) }
    same(registry.config(), strict())
    same(defaultConfig().probeLease, SECOND.multipliedBy(15))
}

fun collected() {
    val (registry, clock) = manual()
    registry.fail()
    clock.advance(SECOND.multipliedBy(5))
    fun lose() = check(registry.acquire(ALICE).isProbe())
    lose()
    val end = System.nanoTime() + 60_000_000_000
    while (registry.totals().all.abandoned == 0uL) {
        check(System.nanoTime() < end) { "a lost permit is not collected" }
        System.gc()
        Thread.onSpinWait()
    }
    check(registry.acquire(ALICE).use { it.isProbe() })
}

fun threads() {
    val registry = HealthRegistry(defaultConfig().copy(openTimeout = Duration.ofMillis(1)))
    val events = registry.events(1_000_000u)
    val refused = AtomicLong()
    val errors = ConcurrentLinkedQueue<Throwable>()
    List(64) { number ->
        thread(isDaemon = true) {
            try {
                for (call in 0 until 200) {
                    val peer = byteArrayOf((call % 16).toByte())
                    try {
                        registry.acquire(peer).use {
                            when ((call + number) % 5) {
                                0 -> it.success()
                                1 -> it.neutral()
                                2 -> Unit
                                else -> it.failure(ErrorKind.PROTOCOL)
                            }
                        }
                    } catch (_: HealthException.Refused) {
                        refused.incrementAndGet()
                    }
                }
            } catch (error: Throwable) {
                errors += error
            }
        }
    }.forEach { it.join(120_000) }
    errors.peek()?.let { throw it }
    val all = registry.totals().all
    val settled = all.succeeded + all.failed + all.neutral + all.abandoned + all.late
    same(settled.toLong() + refused.get(), 64L * 200)
    val opened = events.nextEvents(1_000_000u, Duration.ZERO).count { it.kind is EventKind.Opened }
    same(opened.toULong(), all.opened)
}

@OptIn(DelicateCoroutinesApi::class)
fun events() {
    val (registry, _) = manual()
    registry.events().use { events ->
        runBlocking {
            val next = GlobalScope.async(Dispatchers.Default, CoroutineStart.UNDISPATCHED) { events.nextEvent() }
            registry.fail()
            check(withTimeout(60_000) { next.await() }!!.kind is EventKind.Opened)
            val cancelled = GlobalScope.async(Dispatchers.Default, CoroutineStart.UNDISPATCHED) { events.nextEvent() }
            cancelled.cancel()
            registry.reset(ALICE)
            same(withTimeout(60_000) { events.nextEvent() }!!.kind, EventKind.Reset)
            registry.forceOpen(ALICE)
            check(withTimeout(60_000) { events.ready() } && !events.ended()) // it takes none
            same(events.nextEvents(9u, Duration.ZERO).map { it.kind }, listOf(EventKind.Overridden(Status.FORCED_OPEN)))
        }
        registry.forceOpen(BOB)
        same(events.nextEvents(9u, SECOND).map { it.kind }, listOf(EventKind.Overridden(Status.FORCED_OPEN)))
        events.stop()
        same(events.nextEvents(9u, Duration.ofDays(1)), listOf<Event>())
        same(events.missed(), 0uL)
    }
}

@OptIn(DelicateCoroutinesApi::class)
fun ends() {
    val phone = Phone(File(Files.createTempDirectory("phone").toFile(), "peers.json"), { _, _ -> })
    val (registry, _) = manual()
    for ((events, close) in listOf(registry.events() to registry::close, phone.registry.events() to phone::close)) {
        events.use {
            runBlocking {
                val next = GlobalScope.async(Dispatchers.Default, CoroutineStart.UNDISPATCHED) { it.nextEvent() }
                check(!it.ended())
                close()
                same(withTimeout(60_000) { next.await() }, null)
                check(it.ended())
            }
        }
    }
}

fun panics() {
    val (registry, _) = manual()
    repeat(10) { throws<InternalException> { registry.panicInside() } }
    same(registry.acquire(ALICE).use { it.success() }, Recorded.Counted)
}

fun restored() {
    val (registry, _) = manual()
    registry.fail()
    HealthRegistry.restored(registry.export(), SECOND).use { same(it.status(ALICE), Status.OPEN) }
    HealthRegistry.restored(registry.export()).use { same(it.status(ALICE), Status.CLOSED) }
    Backoff(seed = 1uL).use { same(it.nextDelay() == null, false) }
    same(classifyIrohError("TIMEOUT"), Classified(ErrorKind.NETWORK, Fault.LINK))
    same(apiVersion(), 1u)
}

fun phone() {
    val file = File(Files.createTempDirectory("phone").toFile(), "peers.json")
    var dials = 0
    val silent = { _: ByteArray, _: Duration -> dials += 1; throw DialFailed("TIMEOUT", "no answer") }
    Phone(file, silent).use { phone ->
        repeat(9) { checkNotNull(phone.sync(ALICE)) }
        same(dials, 5) // then the circuit was open
        phone.background()
    }
    Phone(file, { _, _ -> dials += 1 }).use { phone ->
        checkNotNull(phone.sync(ALICE)) // still open after the restart
        check(phone.wakeUp(ALICE))
        same(phone.sync(ALICE) to dials, null to 6)
    }
    file.writeText("torn")
    Phone(file, silent).use { same(it.registry.len(), 0uL) }
}

fun cost() {
    HealthRegistry().use { registry ->
        repeat(5) {
            val begin = System.nanoTime()
            repeat(20_000) { registry.acquire(ALICE).use { permit -> permit.success() } }
            println("acquire and success from Kotlin: %.1f us".format((System.nanoTime() - begin) / 20_000 / 1e3))
        }
    }
}

fun main(arguments: Array<String>) {
    if (arguments.contentEquals(arrayOf("cost"))) return cost()
    val checks = listOf(::circuits, ::badInput, ::collected, ::threads, ::events, ::ends, ::panics, ::restored, ::phone)
    val failed = checks.count { check ->
        val result = runCatching { check() }
        println("${check.name} ... ${result.exceptionOrNull()?.stackTraceToString() ?: "ok"}")
        result.isFailure
    }
    exitProcess(if (failed == 0) 0 else 1)
}
