/* Vectors of floats: as many as a register of the processor that is compiled for holds. */
#ifndef VECTOR_H
#define VECTOR_H

#if defined __AVX__
#include <immintrin.h>
#elif defined __ARM_NEON
#include <arm_neon.h>
#endif

#include "base.h"

/* Sums are kept in registers, as many as there are: STRIP pixels of a depthwise convolution, POINTWISE_PIXELS pixels of
 * a pointwise one, SQUARE rows of a product of matrices. */
#if defined __AVX512F__
#define LANES 16
enum { STRIP = 16, POINTWISE_PIXELS = 8, SQUARE = 8 };
#elif defined __AVX__
#define LANES 8
enum { STRIP = 8, POINTWISE_PIXELS = 6, SQUARE = 4 };
#else
#define LANES 4
enum { STRIP = 16, POINTWISE_PIXELS = 6, SQUARE = 4 };
#endif
enum { WIDE = 16 / LANES }; /* vectors of 16 channels */

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int int_vector __attribute__((vector_size(4 * LANES)));

INLINE vector load(const float *from) { return *(const vector *)from; }
/* Loaded once, though the compiler would rather read it from memory wherever it is used. */
INLINE vector keep_in_register(const float *from) {
    vector value = load(from);
#if defined __AVX__
    __asm__("" : "+v"(value));
#elif defined __ARM_NEON
    __asm__("" : "+w"(value));
#endif
    return value;
}
INLINE void store(float *to, vector value) { *(vector *)to = value; }
/* The same past the caches, for what they cannot hold until it is read; else a cache line is read to be written. `to` is
 * aligned; `streamed` comes before another thread reads. */
INLINE void stream(float *to, vector value) {
#if defined __AVX512F__
    _mm512_stream_ps(to, (__m512)value);
#elif defined __AVX__
    _mm256_stream_ps(to, (__m256)value);
#else
    store(to, value);
#endif
}
INLINE void streamed(void) {
#if defined __AVX__
    _mm_sfence();
#endif
}
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
#elif defined __ARM_NEON
    return (vector)vmaxq_f32((float32x4_t)z, (float32x4_t)(z * slope));
#else
    return choose(z > 0, z, z * slope);
#endif
}

#endif
