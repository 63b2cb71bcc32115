/* Elements of images, float32 or, compiled with BFLOAT16, bfloat16, and their products.
 *
 * What is bfloat16 is multiplied two by two: taps d pixels apart, or channels, or pixels side by side. A pair lies where
 * the first of its members lay. Weights, statistics and sums are float32 all the same.
 */
#ifndef PAIRS_H
#define PAIRS_H

#include "vector.h"

#if defined BFLOAT16 && !defined __AVX512BF16__ && !defined __ARM_FEATURE_BF16_VECTOR_ARITHMETIC
#error "this processor does not multiply bfloat16"
#endif

/* What is multiplied comes in pairs, STEP = 2, or one by one. */
#ifdef BFLOAT16
enum { STEP = 2 };
typedef unsigned short element;
typedef int pair_bits __attribute__((may_alias));
#ifdef __AVX512BF16__
INLINE vector read(const element *from) {
    return (vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)from)), 16);
}
INLINE void write(element *to, vector value) {
    _mm256_storeu_si256((__m256i_u *)to, (__m256i)_mm512_cvtneps_pbh((__m512)value));
}
INLINE vector as_written(vector value) {
    return (vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)value)), 16);
}
INLINE vector pair(vector first, vector second) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                           5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (vector)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
}
INLINE vector add_product(vector sum, vector a, vector b) {
    return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
INLINE vector same_pair(pair_bits bits) { return (vector)_mm512_set1_epi32(bits); }
#else
INLINE vector read(const element *from) { return (vector)vshll_n_u16(vld1_u16(from), 16); }
INLINE uint16x4_t rounded(vector value) { return vreinterpret_u16_bf16(vcvt_bf16_f32((float32x4_t)value)); }
INLINE void write(element *to, vector value) { vst1_u16(to, rounded(value)); }
INLINE vector as_written(vector value) { return (vector)vshll_n_u16(rounded(value), 16); }
INLINE vector pair(vector first, vector second) {
    uint16x4_t a = rounded(first), b = rounded(second);
    return (vector)vcombine_u16(vzip1_u16(a, b), vzip2_u16(a, b));
}
INLINE vector add_product(vector sum, vector a, vector b) {
    return (vector)vbfdotq_f32((float32x4_t)sum, (bfloat16x8_t)a, (bfloat16x8_t)b);
}
INLINE vector same_pair(pair_bits bits) { return (vector)vdupq_n_s32(bits); }
#endif
INLINE void write_past(element *to, vector value) { write(to, value); } /* half a cache line */
INLINE vector first_of_pairs(vector pairs) { return (vector)((int_vector)pairs & 0xffff); }
/* The same factor for all lanes. */
INLINE vector add_scaled(vector sum, vector a, const float *factor) {
    return add_product(sum, a, same_pair(*(const pair_bits *)factor));
}
#else
enum { STEP = 1 };
typedef float element;
INLINE vector read(const element *from) { return load(from); }
INLINE void write(element *to, vector value) { store(to, value); }
INLINE void write_past(element *to, vector value) { stream(to, value); }
INLINE vector as_written(vector value) { return value; }
INLINE vector pair(vector first, vector second) { return first; }
INLINE vector first_of_pairs(vector pairs) { return pairs; }
INLINE vector add_product(vector sum, vector a, vector b) { return sum + a * b; }
INLINE vector add_scaled(vector sum, vector a, const float *factor) { return sum + a * *factor; }
#endif

/* Pixels of an image as factors: neighbouring channels lie in pairs there already. */
INLINE const float *factors(const element *pixels) { return (const float *)pixels; }

/* Each of `count` vectors is paired with the one `apart` vectors on, or with zeros beyond the last. */
static void pair_up(float *vectors, size count, size apart) {
    size i = 0;
    if (STEP == 1) return;
    for (; i < count - apart; i++)
        store(vectors + i * LANES, pair(load(vectors + i * LANES), load(vectors + (i + apart) * LANES)));
    for (; i < count; i++) store(vectors + i * LANES, pair(load(vectors + i * LANES), (vector){0}));
}

/* Rows of a matrix, `stride` apart, backwards if asked for, each STEP of them paired; the last may be alone. */
static const float *pair_rows(const float *rows, size count, size stride, size columns, int backwards, float *to) {
    for (size r = 0; r < count; r += STEP)
        for (size c = 0; c < columns; c += LANES) {
            const float *first = rows + (backwards ? count - 1 - r : r) * stride + c;
            vector second = {0};
            if (r + 1 < count) second = load(backwards ? first - stride : first + stride);
            store(to + r / STEP * columns + c, pair(load(first), second));
        }
    return to;
}

#endif
