/* Threads, locks and conditions of the system, POSIX or Windows, and how a thread takes denormal numbers. */
#ifndef THREADS_H
#define THREADS_H

#include <stdint.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef SRWLOCK lock;
typedef CONDITION_VARIABLE condition;
#define LOCK_INIT SRWLOCK_INIT
#define CONDITION_INIT CONDITION_VARIABLE_INIT
static inline void lock_take(lock *l) { AcquireSRWLockExclusive(l); }
static inline int lock_try(lock *l) { return TryAcquireSRWLockExclusive(l); }
static inline void lock_leave(lock *l) { ReleaseSRWLockExclusive(l); }
static inline void condition_wait(condition *c, lock *l) { SleepConditionVariableSRW(c, l, INFINITE, 0); }
static inline void condition_tell_all(condition *c) { WakeAllConditionVariable(c); }

#define THREAD_RESULT DWORD WINAPI
static inline int thread_start(THREAD_RESULT (*run)(void *)) {
    HANDLE thread = CreateThread(NULL, 0, run, NULL, 0, NULL);
    if (thread) CloseHandle(thread);
    return thread != NULL;
}
static inline void in_every_child(void (*handler)(void)) { (void)handler; } /* Windows has no fork */

#else
#include <pthread.h>
#include <signal.h>

typedef pthread_mutex_t lock;
typedef pthread_cond_t condition;
#define LOCK_INIT PTHREAD_MUTEX_INITIALIZER
#define CONDITION_INIT PTHREAD_COND_INITIALIZER
static inline void lock_take(lock *l) { pthread_mutex_lock(l); }
static inline int lock_try(lock *l) { return pthread_mutex_trylock(l) == 0; }
static inline void lock_leave(lock *l) { pthread_mutex_unlock(l); }
static inline void condition_wait(condition *c, lock *l) { pthread_cond_wait(c, l); }
static inline void condition_tell_all(condition *c) { pthread_cond_broadcast(c); }

#define THREAD_RESULT void *
/* A thread that leaves signals to the program's own. */
static inline int thread_start(THREAD_RESULT (*run)(void *)) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int started = pthread_create(&thread, NULL, run, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) pthread_detach(thread);
    return started;
}
static inline void in_every_child(void (*handler)(void)) { pthread_atfork(NULL, NULL, handler); }
#endif

static inline void processor_pause(void) {
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

/* In this thread numbers too small for all their digits become 0, with which a processor is up to a hundred times faster.
 * Returns how it was, for `denormals_as`. */
static inline uint64_t denormals_as_zero(void) {
    uint64_t before = 0;
#if defined __x86_64__
    enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x40 };
    before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr((unsigned)before | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
#elif defined __aarch64__
    enum { FLUSH_TO_ZERO = 1 << 24 };
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | FLUSH_TO_ZERO));
#endif
    return before;
}

static inline void denormals_as(uint64_t before) {
#if defined __x86_64__
    __builtin_ia32_ldmxcsr((unsigned)before);
#elif defined __aarch64__
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#endif
}

#endif
