/* A pool of threads that sleep when there is nothing to do.
 *
 * One call has the pool at a time. A second one that comes meanwhile, of another model in another thread of the program,
 * works alone: nobody waits for anybody, and the processor has no more threads than were asked for by much. Results
 * do not depend on it, since work is cut into the same items for any number of threads.
 */
#include "pool.h"

#include <stdlib.h>

#include "threads.h"

enum { MOST_THREADS = 512, SPINS = 2000 };

static lock owner = LOCK_INIT; /* whoever has the pool */
static lock guard = LOCK_INIT; /* of the fields below */
static condition begun = CONDITION_INIT, ended = CONDITION_INIT, met = CONDITION_INIT;

typedef struct {
    pool_work *work;
    pool_teamwork *teamwork; /* instead */
    const void *context;
    size count;
} task;

static struct {
    task now;
    size next;                 /* item to be begun */
    size threads, working;     /* that were started; that work on the task */
    size places;               /* how many more may join */
    unsigned long turn;        /* of tasks */
    size arrived;              /* of a team, at a meeting */
    unsigned long meetings;
} pool;

/* Memory of the owner, 0, and of the threads; it stays for the next task. */
static struct {
    float *floats;
    void *block;
    size have;
} memory[MOST_THREADS];

static float *room_for(size floats, void **block) {
    size bytes = plus(times(floats, sizeof(float)), 64);
    *block = bytes < TOO_LARGE ? malloc((size_t)bytes) : NULL;
    return *block ? (float *)(((uintptr_t)*block + 63) / 64 * 64) : NULL;
}

static int has_room(size thread, size floats) {
    if (memory[thread].have >= floats) return 1;
    memory[thread].have = 0; /* first, for a child may be made at any moment */
    free(memory[thread].block);
    memory[thread].floats = room_for(floats, &memory[thread].block);
    memory[thread].have = memory[thread].floats ? floats : 0;
    return memory[thread].floats != NULL;
}

/* What fills up a vector is rubbish of earlier tasks and is computed with, too; denormal rubbish must not slow that. */
static void do_item(const task *t, size item, float *room) {
    uint64_t before = denormals_as_zero();
    if (t->teamwork) t->teamwork(t->context, (pool_member){item, t->count});
    else t->work(t->context, item, room);
    denormals_as(before);
}

static void do_items(const task *t, float *room) {
    for (;;) {
        size item = __atomic_fetch_add(&pool.next, 1, __ATOMIC_RELAXED);
        if (item >= t->count) return;
        do_item(t, item, room);
    }
}

static THREAD_RESULT thread_life(void *unused) {
    (void)unused;
    lock_take(&guard);
    unsigned long done = pool.turn - (pool.places > 0); /* the task that it was started for is there already */
    for (;;) {
        while (pool.turn == done || pool.places == 0) condition_wait(&begun, &guard);
        done = pool.turn;
        task mine = pool.now;
        float *room = memory[pool.places--].floats;
        pool.working++;
        lock_leave(&guard);
        do_items(&mine, room);
        lock_take(&guard);
        if (--pool.working == 0) condition_tell_all(&ended);
    }
    return 0;
}

/* A child has a copy of everything but the threads. */
static void begin_anew(void) {
    static const lock fresh_lock = LOCK_INIT;
    static const condition fresh_condition = CONDITION_INIT;
    owner = guard = fresh_lock;
    begun = ended = met = fresh_condition;
    pool.threads = pool.working = pool.places = pool.arrived = 0;
}

/* Start what is missing; with the caller there are so many afterwards. */
static size available(size threads) {
    static int told;
    if (!told) in_every_child(begin_anew), told = 1;
    while (pool.threads + 1 < threads && thread_start(thread_life)) pool.threads++;
    return MIN(threads, pool.threads + 1);
}

/* Have a task done by the caller and `others` threads; for its owner. */
static void run(task t, size others) {
    lock_take(&guard);
    pool.now = t;
    __atomic_store_n(&pool.next, 0, __ATOMIC_RELAXED);
    pool.places = others;
    pool.turn++;
    condition_tell_all(&begun);
    lock_leave(&guard);
    do_items(&t, memory[0].floats);
    /* The others are at their last items, unless something else has their processor. */
    for (int i = 0; i < SPINS && __atomic_load_n(&pool.working, __ATOMIC_RELAXED); i++) processor_pause();
    lock_take(&guard);
    pool.places = 0; /* whoever wakes up now is too late, and not waited for */
    while (pool.working > 0) condition_wait(&ended, &guard);
    lock_leave(&guard);
}

int pool_share(size count, size threads, size floats, pool_work *work, const void *context) {
    task t = {.work = work, .context = context, .count = count};
    threads = MAX(MIN(MIN(threads, count), MOST_THREADS), 1);
    if (!lock_try(&owner)) {
        void *block;
        float *room = room_for(floats, &block);
        if (!room) return OUT_OF_MEMORY;
        for (size item = 0; item < count; item++) do_item(&t, item, room);
        free(block);
        return DONE;
    }
    threads = available(threads);
    int enough = 1;
    for (size thread = 0; thread < threads; thread++) enough &= has_room(thread, floats);
    if (enough) run(t, threads - 1);
    lock_leave(&owner);
    return enough ? DONE : OUT_OF_MEMORY;
}

void pool_together(size threads, pool_teamwork *work, const void *context) {
    task t = {.teamwork = work, .context = context, .count = 1};
    threads = MAX(MIN(threads, MOST_THREADS), 1);
    if (threads == 1 || !lock_try(&owner)) {
        do_item(&t, 0, NULL);
        return;
    }
    t.count = available(threads);
    run(t, t.count - 1);
    lock_leave(&owner);
}

void pool_meet(pool_member member) {
    if (member.count == 1) return;
    unsigned long meeting = __atomic_load_n(&pool.meetings, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&pool.arrived, 1, __ATOMIC_ACQ_REL) == member.count) {
        __atomic_store_n(&pool.arrived, 0, __ATOMIC_RELAXED);
        lock_take(&guard);
        __atomic_store_n(&pool.meetings, meeting + 1, __ATOMIC_RELEASE);
        condition_tell_all(&met);
        lock_leave(&guard);
        return;
    }
    /* The others come within microseconds, unless something else has their processor. */
    for (int i = 0; i < SPINS; i++) {
        if (__atomic_load_n(&pool.meetings, __ATOMIC_ACQUIRE) != meeting) return;
        processor_pause();
    }
    lock_take(&guard);
    while (__atomic_load_n(&pool.meetings, __ATOMIC_ACQUIRE) == meeting) condition_wait(&met, &guard);
    lock_leave(&guard);
}
