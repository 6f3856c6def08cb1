"""The native program runner and its thread pool, as LLVM IR text.

`i64 @symc_run(ptr table, i64 first, i64 last, ptr scratch, i64 scratch_stride)` runs table entries in order and returns
-1, or the index of the entry whose kernel returned non-zero; `i64 @symc_launch(ptr)`, the module's entry point, takes
the same arguments from memory. It is compiled once and serves every program.

The pool lives in one block of memory that Python owns and gives to the linker as `@symc_pool` (layout below). Each
worker has a slot of its own: an *offer* of work, and a flag that says it sleeps. Whoever turns an offer from 1 to 0
computes that part: the worker, or the caller if it has finished its own part before the worker got a processor (waking
a sleeping one takes 100 microseconds). The job is read only by those who took an offer, and the caller waits for them
all, so it never changes under a reader. Waiting spins for a bounded time, since the next kernel usually follows within
microseconds, then sleeps in the kernel (futex). A caller that finds the pool taken, by another thread or by an outer
run, computes alone: kernels give the same result for any partition.
"""

from __future__ import annotations

import platform
import string
import sys

MAX_THREADS = 256
CACHE_LINE = 64

# The pool's memory, in bytes from its start. Words that different threads write are a cache line or more apart.
# Its first word, i32, is 1 while a caller uses the pool.
THREADS = 64  # i32: wanted threads, the caller included
STARTED = 68  # i32: running workers
SPINS = 72  # i32: pauses before a waiting thread sleeps
PENDING = 128  # i32, futex: offered parts that are not finished
WAITING = 132  # i32: 1 while the caller sleeps until PENDING is 0
FAILED = 192  # i32: 1 if a worker's part returned non-zero
JOB = 256  # ptr fn, ptr args, i64 extent, i64 parts, ptr scratch, i64 scratch stride
SLOTS = 320  # a cache line per worker: i32 offer (futex), i32 sleeping
POOL_BYTES = SLOTS + MAX_THREADS * CACHE_LINE

_FUTEX_SYSCALL = {"x86_64": 202, "aarch64": 98}
# (the intrinsic that pauses, how to call it, pauses that make up roughly 50 microseconds)
_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()", 1500),
    "aarch64": ("declare void @llvm.aarch64.isb(i32)", "call void @llvm.aarch64.isb(i32 15)", 5000),
}


def has_pool() -> bool:
    """True where the pool can run: Linux on x86-64 and aarch64. Elsewhere programs run on the calling thread."""
    return sys.platform.startswith("linux") and platform.machine() in _FUTEX_SYSCALL


def default_spins() -> int:
    """Pauses before sleeping: about 50 microseconds, long for the gap between kernels, short for a time slice."""
    return _PAUSE[platform.machine()][2] if has_pool() else 0


def runner_text() -> str:
    """The module that defines `@symc_launch` for this machine."""
    if not has_pool():
        return _RUN + _SERIAL
    machine = platform.machine()
    declaration, pause, _ = _PAUSE[machine]
    pool = string.Template(_POOL).substitute(
        THREADS=THREADS,
        STARTED=STARTED,
        SPINS=SPINS,
        PENDING=PENDING,
        WAITING=WAITING,
        FAILED=FAILED,
        JOB=JOB,
        SLOTS=SLOTS,
        FUTEX=_FUTEX_SYSCALL[machine],
        PAUSE=pause,
    )
    return _RUN + pool + declaration + "\n"


_RUN = """
define i64 @symc_run(ptr %table, i64 %first, i64 %last, ptr %scratch, i64 %stride) nounwind {
entry:
  %some = icmp slt i64 %first, %last
  br i1 %some, label %next, label %finished
next:
  %i = phi i64 [ %first, %entry ], [ %i1, %passed ]
  %e = getelementptr [4 x i64], ptr %table, i64 %i
  %fn = load ptr, ptr %e
  %pargs = getelementptr i8, ptr %e, i64 8
  %args = load ptr, ptr %pargs
  %pextent = getelementptr i8, ptr %e, i64 16
  %extent = load i64, ptr %pextent
  %pgrain = getelementptr i8, ptr %e, i64 24
  %grain = load i64, ptr %pgrain
  %alone = icmp sle i64 %grain, 0
  br i1 %alone, label %direct, label %shared
direct:
  %r0 = call i32 %fn(ptr %args, i64 0, i64 %extent, ptr %scratch)
  br label %check
shared:
  %r1 = call i32 @parallel(ptr %fn, ptr %args, i64 %extent, i64 %grain, ptr %scratch, i64 %stride)
  br label %check
check:
  %r = phi i32 [ %r0, %direct ], [ %r1, %shared ]
  %good = icmp eq i32 %r, 0
  br i1 %good, label %passed, label %stopped
passed:
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %last
  br i1 %more, label %next, label %finished
stopped:
  ret i64 %i
finished:
  ret i64 -1
}

; The same with the arguments in memory, as Python pays for every argument of a native call.
define i64 @symc_launch(ptr %launch) nounwind {
  %table = load ptr, ptr %launch
  %p1 = getelementptr i8, ptr %launch, i64 8
  %first = load i64, ptr %p1
  %p2 = getelementptr i8, ptr %launch, i64 16
  %last = load i64, ptr %p2
  %p3 = getelementptr i8, ptr %launch, i64 24
  %scratch = load ptr, ptr %p3
  %p4 = getelementptr i8, ptr %launch, i64 32
  %stride = load i64, ptr %p4
  %r = tail call i64 @symc_run(ptr %table, i64 %first, i64 %last, ptr %scratch, i64 %stride)
  ret i64 %r
}
"""

_SERIAL = """
define internal i32 @parallel(ptr %fn, ptr %args, i64 %extent, i64 %grain, ptr %scratch, i64 %stride) nounwind {
  %r = call i32 %fn(ptr %args, i64 0, i64 %extent, ptr %scratch)
  ret i32 %r
}
"""

_POOL = """
@symc_pool = external global i8
declare i64 @syscall(i64, ...)
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)

define internal void @sleep_while(ptr %word, i32 %value) nounwind {
  %r = call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %word, i32 128, i32 %value, ptr null, ptr null, i32 0)
  ret void
}

define internal void @wake(ptr %word) nounwind {
  %r = call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %word, i32 129, i32 1, ptr null, ptr null, i32 0)
  ret void
}

; Part %t of the job: iterations [extent * t / parts, extent * (t + 1) / parts).
define internal i32 @part(ptr %fn, ptr %args, i64 %extent, i64 %parts, ptr %scratch, i64 %stride, i64 %t) nounwind {
  %a = mul i64 %extent, %t
  %lo = udiv i64 %a, %parts
  %b = add i64 %a, %extent
  %hi = udiv i64 %b, %parts
  %offset = mul i64 %stride, %t
  %own = getelementptr i8, ptr %scratch, i64 %offset
  %r = call i32 %fn(ptr %args, i64 %lo, i64 %hi, ptr %own)
  ret i32 %r
}

; Worker %t (1, 2, ...): take an offer, compute, report, for ever.
define internal ptr @worker(ptr %id) nounwind {
entry:
  %t = ptrtoint ptr %id to i64
  %place = shl i64 %t, 6
  %offset = add i64 %place, $SLOTS
  %offer = getelementptr i8, ptr @symc_pool, i64 %offset
  %sleeping = getelementptr i8, ptr %offer, i64 4
  %pspins = getelementptr i8, ptr @symc_pool, i64 $SPINS
  %pending = getelementptr i8, ptr @symc_pool, i64 $PENDING
  %waiting = getelementptr i8, ptr @symc_pool, i64 $WAITING
  %failed = getelementptr i8, ptr @symc_pool, i64 $FAILED
  %pfn = getelementptr i8, ptr @symc_pool, i64 $JOB
  %pargs = getelementptr i8, ptr %pfn, i64 8
  %pextent = getelementptr i8, ptr %pfn, i64 16
  %pparts = getelementptr i8, ptr %pfn, i64 24
  %pscratch = getelementptr i8, ptr %pfn, i64 32
  %pstride = getelementptr i8, ptr %pfn, i64 40
  br label %idle
idle:
  %spins = load atomic i32, ptr %pspins monotonic, align 4
  br label %look
look:
  %n = phi i32 [ 0, %idle ], [ %n1, %pause ], [ 0, %asleep ], [ 0, %claim ]
  %now = load atomic i32, ptr %offer monotonic, align 4
  %offered = icmp ne i32 %now, 0
  br i1 %offered, label %claim, label %bored
claim:
  %claimed = cmpxchg ptr %offer, i32 1, i32 0 acquire monotonic
  %mine = extractvalue { i32, i1 } %claimed, 1
  br i1 %mine, label %work, label %look
bored:
  %patient = icmp ult i32 %n, %spins
  br i1 %patient, label %pause, label %asleep
pause:
  $PAUSE
  %n1 = add i32 %n, 1
  br label %look
asleep:
  store atomic i32 1, ptr %sleeping seq_cst, align 4
  call void @sleep_while(ptr %offer, i32 0)
  store atomic i32 0, ptr %sleeping seq_cst, align 4
  br label %look
work:
  %fn = load ptr, ptr %pfn
  %args = load ptr, ptr %pargs
  %extent = load i64, ptr %pextent
  %parts = load i64, ptr %pparts
  %scratch = load ptr, ptr %pscratch
  %stride = load i64, ptr %pstride
  %r = call i32 @part(ptr %fn, ptr %args, i64 %extent, i64 %parts, ptr %scratch, i64 %stride, i64 %t)
  %good = icmp eq i32 %r, 0
  br i1 %good, label %report, label %bad
bad:
  store atomic i32 1, ptr %failed monotonic, align 4
  br label %report
report:
  %before = atomicrmw sub ptr %pending, i32 1 seq_cst
  %final = icmp eq i32 %before, 1
  br i1 %final, label %notify, label %done
notify:
  %w = load atomic i32, ptr %waiting seq_cst, align 4
  %awaited = icmp ne i32 %w, 0
  br i1 %awaited, label %wakeup, label %done
wakeup:
  call void @wake(ptr %pending)
  br label %done
done:
  br label %idle
}

; Start workers until %want run; returns how many do. Called with the pool taken.
define internal i64 @grow(i64 %want) nounwind noinline cold {
entry:
  %handle = alloca i64
  %pstarted = getelementptr i8, ptr @symc_pool, i64 $STARTED
  br label %look
look:
  %started = load i32, ptr %pstarted
  %have = zext i32 %started to i64
  %enough = icmp uge i64 %have, %want
  br i1 %enough, label %out, label %start
start:
  %t = add i64 %have, 1
  %place = shl i64 %t, 6
  %offset = add i64 %place, $SLOTS
  %offer = getelementptr i8, ptr @symc_pool, i64 %offset
  store atomic i32 0, ptr %offer seq_cst, align 4
  %id = inttoptr i64 %t to ptr
  %error = call i32 @pthread_create(ptr %handle, ptr null, ptr @worker, ptr %id)
  %created = icmp eq i32 %error, 0
  br i1 %created, label %count, label %out
count:
  %h = load i64, ptr %handle
  %d = call i32 @pthread_detach(i64 %h)
  %t32 = trunc i64 %t to i32
  store i32 %t32, ptr %pstarted
  br label %look
out:
  ret i64 %have
}

define internal i32 @parallel(ptr %fn, ptr %args, i64 %extent, i64 %grain, ptr %scratch, i64 %stride) noinline {
entry:
  %pthreads = getelementptr i8, ptr @symc_pool, i64 $THREADS
  %pspins = getelementptr i8, ptr @symc_pool, i64 $SPINS
  %pstarted = getelementptr i8, ptr @symc_pool, i64 $STARTED
  %pending = getelementptr i8, ptr @symc_pool, i64 $PENDING
  %waiting = getelementptr i8, ptr @symc_pool, i64 $WAITING
  %failed = getelementptr i8, ptr @symc_pool, i64 $FAILED
  %threads32 = load atomic i32, ptr %pthreads monotonic, align 4
  %threads = zext i32 %threads32 to i64
  %single = icmp ult i64 %threads, 2
  br i1 %single, label %alone, label %split
split:
  %chunks = sdiv i64 %extent, %grain
  %worth = icmp sgt i64 %chunks, 1
  br i1 %worth, label %take, label %alone
take:
  %few = icmp slt i64 %chunks, %threads
  %wanted = select i1 %few, i64 %chunks, i64 %threads
  %taken = cmpxchg ptr @symc_pool, i32 0, i32 1 acquire monotonic
  %mine = extractvalue { i32, i1 } %taken, 1
  br i1 %mine, label %staff, label %alone
staff:
  %started32 = load i32, ptr %pstarted
  %started = zext i32 %started32 to i64
  %need = sub i64 %wanted, 1
  %short = icmp ult i64 %started, %need
  br i1 %short, label %hire, label %plan
hire:
  %hired = call i64 @grow(i64 %need)
  br label %plan
plan:
  %workers = phi i64 [ %need, %staff ], [ %hired, %hire ]
  %nobody = icmp eq i64 %workers, 0
  br i1 %nobody, label %give_up, label %post
give_up:
  store atomic i32 0, ptr @symc_pool release, align 4
  br label %alone
post:
  %parts = add i64 %workers, 1
  %pfn = getelementptr i8, ptr @symc_pool, i64 $JOB
  store ptr %fn, ptr %pfn
  %pargs = getelementptr i8, ptr %pfn, i64 8
  store ptr %args, ptr %pargs
  %pextent = getelementptr i8, ptr %pfn, i64 16
  store i64 %extent, ptr %pextent
  %pparts = getelementptr i8, ptr %pfn, i64 24
  store i64 %parts, ptr %pparts
  %pscratch = getelementptr i8, ptr %pfn, i64 32
  store ptr %scratch, ptr %pscratch
  %pstride = getelementptr i8, ptr %pfn, i64 40
  store i64 %stride, ptr %pstride
  store atomic i32 0, ptr %failed monotonic, align 4
  %workers32 = trunc i64 %workers to i32
  store atomic i32 %workers32, ptr %pending release, align 4
  br label %hand_out
hand_out:
  %t = phi i64 [ 1, %post ], [ %t1, %handed ]
  %place = shl i64 %t, 6
  %offset = add i64 %place, $SLOTS
  %offer = getelementptr i8, ptr @symc_pool, i64 %offset
  %psleeping = getelementptr i8, ptr %offer, i64 4
  store atomic i32 1, ptr %offer seq_cst, align 4
  %s = load atomic i32, ptr %psleeping seq_cst, align 4
  %sleeps = icmp ne i32 %s, 0
  br i1 %sleeps, label %rouse, label %handed
rouse:
  call void @wake(ptr %offer)
  br label %handed
handed:
  %t1 = add i64 %t, 1
  %again = icmp ult i64 %t1, %parts
  br i1 %again, label %hand_out, label %own
own:
  %r0 = call i32 @part(ptr %fn, ptr %args, i64 %extent, i64 %parts, ptr %scratch, i64 %stride, i64 0)
  br label %sweep
sweep:
  %q = phi i64 [ 1, %own ], [ %q1, %swept ]
  %r = phi i32 [ %r0, %own ], [ %rs, %swept ]
  %qplace = shl i64 %q, 6
  %qoffset = add i64 %qplace, $SLOTS
  %qoffer = getelementptr i8, ptr @symc_pool, i64 %qoffset
  %qnow = load atomic i32, ptr %qoffer monotonic, align 4
  %untaken = icmp ne i32 %qnow, 0
  br i1 %untaken, label %claim, label %swept
claim:
  %claimed = cmpxchg ptr %qoffer, i32 1, i32 0 acquire monotonic
  %got = extractvalue { i32, i1 } %claimed, 1
  br i1 %got, label %help, label %swept
help:
  %rq = call i32 @part(ptr %fn, ptr %args, i64 %extent, i64 %parts, ptr %scratch, i64 %stride, i64 %q)
  %rboth = or i32 %r, %rq
  %minus = atomicrmw sub ptr %pending, i32 1 seq_cst
  br label %swept
swept:
  %rs = phi i32 [ %r, %sweep ], [ %r, %claim ], [ %rboth, %help ]
  %q1 = add i64 %q, 1
  %unswept = icmp ult i64 %q1, %parts
  br i1 %unswept, label %sweep, label %wait
wait:
  %spins = load atomic i32, ptr %pspins monotonic, align 4
  br label %look
look:
  %n = phi i32 [ 0, %wait ], [ %n1, %pause ]
  %left = load atomic i32, ptr %pending acquire, align 4
  %over = icmp eq i32 %left, 0
  br i1 %over, label %joined, label %bored
bored:
  %patient = icmp ult i32 %n, %spins
  br i1 %patient, label %pause, label %doze
pause:
  $PAUSE
  %n1 = add i32 %n, 1
  br label %look
doze:
  store atomic i32 1, ptr %waiting seq_cst, align 4
  br label %check
check:
  %still = load atomic i32, ptr %pending seq_cst, align 4
  %out = icmp eq i32 %still, 0
  br i1 %out, label %awake, label %snooze
snooze:
  call void @sleep_while(ptr %pending, i32 %still)
  br label %check
awake:
  store atomic i32 0, ptr %waiting seq_cst, align 4
  br label %joined
joined:
  %f = load atomic i32, ptr %failed monotonic, align 4
  %result = or i32 %rs, %f
  store atomic i32 0, ptr @symc_pool release, align 4
  ret i32 %result
alone:
  %ra = call i32 %fn(ptr %args, i64 0, i64 %extent, ptr %scratch)
  ret i32 %ra
}
"""
