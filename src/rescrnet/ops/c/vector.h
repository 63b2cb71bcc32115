/* Vectors of floats: as many as a register of this processor holds. */
#ifndef VECTOR_H
#define VECTOR_H

#ifdef __AVX__
#include <immintrin.h>
#endif
#include <string.h>

/* Sums are kept in registers, as many as there are: STRIP pixels of a depthwise convolution, POINTWISE_PIXELS pixels of
 * a pointwise one, SQUARE rows of a product of matrices. */
#ifdef __AVX512F__
#define LANES 16
enum { STRIP = 16, POINTWISE_PIXELS = 8, SQUARE = 8 };
#else
#define LANES 8
enum { STRIP = 8, POINTWISE_PIXELS = 6, SQUARE = 4 };
#endif
enum { WIDE = 16 / LANES }; /* vectors of 16 channels */

#define INLINE static inline __attribute__((always_inline))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int int_vector __attribute__((vector_size(4 * LANES)));
typedef long size;

INLINE vector load(const float *from) { return *(const vector *)from; }
/* Loaded once, though the compiler would rather read it from memory wherever it is used. */
INLINE vector keep_in_register(const float *from) {
    vector value = load(from);
#ifdef __AVX__
    __asm__("" : "+v"(value));
#endif
    return value;
}
INLINE void store(float *to, vector value) { *(vector *)to = value; }
INLINE vector choose(int_vector which, vector yes, vector no) {
    return (vector)(((int_vector)yes & which) | ((int_vector)no & ~which));
}
INLINE vector broadcast(float value) { return (vector){0} + value; }

/* LeakyReLU, of a slope between 0 and 1. */
INLINE vector leaky(vector z, float slope) {
#if defined __AVX512F__
    return (vector)_mm512_max_ps((__m512)z, (__m512)(z * slope));
#elif defined __AVX__
    return (vector)_mm256_max_ps((__m256)z, (__m256)(z * slope));
#else
    return choose(z > 0, z, z * slope);
#endif
}

#endif
