/* What all files agree on: sizes that do not overflow, what an entry returns, and what a library shows. */
#ifndef BASE_H
#define BASE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

typedef ptrdiff_t size; /* of 64 bits on every system, and signed: a line may begin before its image */

/* What an entry returns. */
enum { DONE = 0, OUT_OF_MEMORY = 1, OUT_OF_BOUNDS = 2 };

/* Bounds of an entry's arguments: of a kernel, of how far it reaches, of counts. */
enum { LARGEST_KERNEL = 63, LARGEST_REACH = 4096, LARGEST_COUNT = 1 << 20 };

/* Products and sums of sizes: what is negative or beyond half of the memory that can be addressed becomes TOO_LARGE. */
#define TOO_LARGE (PTRDIFF_MAX / 2)
static inline size times(size a, size b) {
    size product;
    int bad = a < 0 || b < 0 || a >= TOO_LARGE || b >= TOO_LARGE || __builtin_mul_overflow(a, b, &product);
    return bad || product >= TOO_LARGE ? TOO_LARGE : product;
}
static inline size plus(size a, size b) {
    return a < 0 || b < 0 || a >= TOO_LARGE || b >= TOO_LARGE || a + b >= TOO_LARGE ? TOO_LARGE : a + b;
}
static inline int within(size low, size value, size high) { return low <= value && value <= high; }
/* Whether there can be an array of so many elements of eight bytes or less. */
static inline int addressable(size elements) { return times(elements, 8) < TOO_LARGE; }
/* A number of channels. */
static inline int whole_vectors(size channels) { return within(16, channels, LARGEST_COUNT) && channels % 16 == 0; }

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* The same source is compiled for several processors; each has names of its own, such as separable_forward_avx2. */
#define JOIN_(name, variant) name##_##variant
#define JOIN(name, variant) JOIN_(name, variant)
#define ENTRY(name) EXPORT int JOIN(name, VARIANT)

/* Loops over what lies in registers must be unrolled, or it does not stay there. */
#define PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define UNROLL(count) PRAGMA(clang loop unroll_count(count))
#define UNROLL_ALL PRAGMA(clang loop unroll(full))
#else
#define UNROLL(count) PRAGMA(GCC unroll count)
#define UNROLL_ALL PRAGMA(GCC unroll 32)
#endif

#endif
