/* Depthwise convolution of a line, and its gradient: k lines of the input, a vector of channels at a time. */
#ifndef DEPTHWISE_H
#define DEPTHWISE_H

#include "layer.h"

enum { GRADIENT_STRIP = LANES == 8 ? 4 : 8 }; /* pixels of the gradient that are kept in registers */

/* `count` pixels d apart share the inputs they have in common; meanwhile pixels of the line `ahead` are fetched. */
INLINE void depthwise_strip(float *const *lines, size offset, const float *taps, size stride, float *to, size k, size d,
                            int count, int add, const element *ahead, size ahead_stride) {
    vector sum[STRIP];
    for (int p = 0; p < count; p++) sum[p] = add ? load(to + p * d * LANES) : (vector){0};
    if (ahead)
        for (int p = 0; p < count; p++) __builtin_prefetch(ahead + p * d * ahead_stride, 0, 2);
    for (int ky = 0; ky < k; ky++) {
        const float *line = lines[ky] + offset;
        vector w[7];
        for (int t = 0; t < k; t += STEP, taps += stride) w[t] = load(taps);
        UNROLL_ALL
        for (int j = 0; j < count + k - 1; j++) {
            vector a = keep_in_register(line + j * d * LANES);
            UNROLL_ALL
            for (int t = 0; t < k; t += STEP)
                if (j - t >= 0 && j - t < count) sum[j - t] = add_product(sum[j - t], w[t], a);
        }
    }
    for (int p = 0; p < count; p++) store(to + p * d * LANES, sum[p]);
}

INLINE void depthwise_phases(float *const *lines, size offset, const float *taps, size stride, float *to, size width,
                             size k, size d, int add, const element *ahead, size ahead_stride) {
#define STRIP_OF(count)                                                                                                \
    depthwise_strip(lines, offset + x * LANES, taps, stride, to + x * LANES, k, d, count, add,                         \
                    ahead ? ahead + x * ahead_stride : NULL, ahead_stride),                                            \
        x += (count) * d
    for (size phase = 0; phase < d; phase++)
        for (size x = phase; x < width;) {
            if (x + STRIP / 2 * d < width) STRIP_OF(STRIP);
            else if (x + STRIP / 4 * d < width) STRIP_OF(STRIP / 2);
            else STRIP_OF(STRIP / 4);
        }
#undef STRIP_OF
}

/* Any other kernel size. */
static void depthwise_any_size(float *const *lines, size offset, const float *taps, size stride, float *to, size width,
                               size k, size d, int add) {
    for (size x = 0; x < width; x++) {
        const float *w = taps;
        vector sum = add ? load(to + x * LANES) : (vector){0};
        for (size ky = 0; ky < k; ky++)
            for (size t = 0; t < k; t += STEP, w += stride)
                sum = add_product(sum, load(w), load(lines[ky] + offset + (x + t * d) * LANES));
        store(to + x * LANES, sum);
    }
}

/* Kernels (k, k, channels) as `depthwise_line` reads them, `stride` from tap to tap, rotated by 180° if asked for. */
static void arrange_taps(const float *taps, size k, size stride, size channels, int rotated, float *to) {
    for (size ky = 0; ky < k; ky++)
        pair_rows(taps + (rotated ? k - 1 - ky : ky) * k * stride, k, stride, channels, rotated,
                  to + ky * ((k + STEP - 1) / STEP) * channels);
}

/* to[x] = sum of taps * lines[x + tap * d], for all channels, added to what is there if asked for; meanwhile another
 * line is fetched. */
static void depthwise_line(float *const *lines, size pitch, const float *taps, size channels, float *to, size width,
                           size k, size d, int add, line_ahead next) {
    for (size g = 0; g < channels / LANES; g++) {
        size offset = g * pitch * LANES;
        const float *w = taps + g * LANES;
        float *result = to + offset;
        int fetch = next.pixels && g * LANES < next.channels && g * LANES % CACHE_LINE == 0;
        const element *ahead = fetch ? next.pixels + g * LANES : NULL;
        if (k == 3) depthwise_phases(lines, offset, w, channels, result, width, 3, d, add, ahead, next.stride);
        else if (k == 5) depthwise_phases(lines, offset, w, channels, result, width, 5, d, add, ahead, next.stride);
        else if (k == 7) depthwise_phases(lines, offset, w, channels, result, width, 7, d, add, ahead, next.stride);
        else depthwise_any_size(lines, offset, w, channels, result, width, k, d, add);
    }
}

/* Sums for k taps of each of several lines, so that there are enough of them to be added to at the same time. */
INLINE void gradient_rows(float *const *lines, size offset, const float *gradient, float *to, size stride, size width,
                          size d, int k, int rows) {
    vector sum[3][7];
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < k; t++) sum[r][t] = (vector){0};
    for (size phase = 0; phase < d; phase++) {
        size x = phase;
        for (; x + (GRADIENT_STRIP - 1) * d < width; x += GRADIENT_STRIP * d) {
            vector grad[GRADIENT_STRIP];
            UNROLL_ALL
            for (int p = 0; p < GRADIENT_STRIP; p += STEP) grad[p] = load(gradient + (x + p * d) * LANES);
            UNROLL_ALL
            for (int r = 0; r < rows; r++) {
                const float *line = lines[r] + offset + x * LANES;
                UNROLL_ALL
                for (int j = 0; j < GRADIENT_STRIP + k - 1; j++) {
                    vector a = load(line + j * d * LANES);
                    UNROLL_ALL
                    for (int t = 0; t < k; t++)
                        if (j - t >= 0 && j - t < GRADIENT_STRIP && (j - t) % STEP == 0)
                            sum[r][t] = add_product(sum[r][t], grad[j - t], a);
                }
            }
        }
        for (; x < width; x += d) {
            vector grad = first_of_pairs(load(gradient + x * LANES));
            UNROLL_ALL
            for (int r = 0; r < rows; r++) {
                const float *line = lines[r] + offset + x * LANES;
                UNROLL_ALL
                for (int t = 0; t < k; t++) sum[r][t] = add_product(sum[r][t], grad, load(line + t * d * LANES));
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < k; t++) store(to + (r * k + t) * stride, load(to + (r * k + t) * stride) + sum[r][t]);
}

/* to[ky, kx] += sum over the pixels of a line of lines[ky][x + kx * d] * g[x]. */
static void depthwise_gradient_line(float *const *lines, size pitch, const float *gradient, float *to, size channels,
                                    size width, size k, size d) {
    for (size g = 0; g < channels / LANES; g++) {
        size offset = g * pitch * LANES;
        const float *grad = gradient + offset;
        float *sum = to + g * LANES;
        if (k == 3) gradient_rows(lines, offset, grad, sum, channels, width, d, 3, 3);
        else if (k == 5) {
            for (size ky = 0; ky < 4; ky += 2)
                gradient_rows(lines + ky, offset, grad, sum + ky * 5 * channels, channels, width, d, 5, 2);
            gradient_rows(lines + 4, offset, grad, sum + 20 * channels, channels, width, d, 5, 1);
        } else if (k == 7)
            for (size ky = 0; ky < 7; ky++)
                gradient_rows(lines + ky, offset, grad, sum + ky * 7 * channels, channels, width, d, 7, 1);
        else
            for (size tap = 0; tap < k * k; tap++)
                gradient_rows(lines + tap / k, offset + tap % k * d * LANES, grad, sum + tap * channels, channels,
                              width, d, 1, 1);
    }
}

#endif
