/* Work that several threads share: a pool of our own, for there must be no second OpenMP beside PyTorch's. */
#ifndef POOL_H
#define POOL_H

#include "base.h"

/* Does one of the items; `memory` is the thread's own, with any content. */
typedef void pool_work(const void *context, size item, float *memory);

/* Do items 0 … count - 1, each once, by at most `threads` threads, with room for `floats` each. Which thread does which
 * item is left to chance. DONE or, before anything is done, OUT_OF_MEMORY. */
int pool_share(size count, size threads, size floats, pool_work *work, const void *context);

/* One of several threads that work at the same time on the same thing. */
typedef struct {
    size index, count;
} pool_member;

typedef void pool_teamwork(const void *context, pool_member member);

/* Let `threads` threads, or as many as are free, do `work` at the same time. */
void pool_together(size threads, pool_teamwork *work, const void *context);

/* Returns when all members of the team have called it. */
void pool_meet(pool_member member);

#endif
