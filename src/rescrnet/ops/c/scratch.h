/* Memory for intermediate results. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdlib.h>

#include "vector.h"

/* Memory of the calling thread, kept from call to call. */
static float *scratch(size floats) {
    static __thread float *memory;
    static __thread size have;
    if (have < floats) {
        free(memory);
        memory = aligned_alloc(64, (4 * floats + 63) / 64 * 64);
        have = floats;
    }
    return memory;
}

#endif
