/* Depthwise convolution of a line, and its gradient: k lines of the input, a vector of channels at a time. */
#ifndef DEPTHWISE_H
#define DEPTHWISE_H

#include "layer.h"

enum { GRADIENT_STRIP = 8 }; /* pixels of the gradient that are kept in registers */

/* `count` pixels d apart share the inputs they have in common; meanwhile pixels of the line `ahead` are fetched. */
INLINE void depthwise_strip(float *const *lines, size offset, const float *taps, size stride, float *to, size k, size d,
                            int count, const element *ahead, size ahead_stride) {
    vector sum[STRIP];
    for (int p = 0; p < count; p++) sum[p] = (vector){0};
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
                             size k, size d, const element *ahead, size ahead_stride) {
    for (size phase = 0; phase < d; phase++) {
        size x = phase;
        for (; x + (STRIP / 2) * d < width; x += STRIP * d)
            depthwise_strip(lines, offset + x * LANES, taps, stride, to + x * LANES, k, d, STRIP,
                            ahead ? ahead + x * ahead_stride : NULL, ahead_stride);
        for (; x < width; x += STRIP / 2 * d)
            depthwise_strip(lines, offset + x * LANES, taps, stride, to + x * LANES, k, d, STRIP / 2,
                            ahead ? ahead + x * ahead_stride : NULL, ahead_stride);
    }
}

/* Any other kernel size. */
static void depthwise_any_size(float *const *lines, size offset, const float *taps, size stride, float *to, size width,
                               size k, size d) {
    for (size x = 0; x < width; x++) {
        const float *w = taps;
        vector sum = {0};
        for (size ky = 0; ky < k; ky++)
            for (size t = 0; t < k; t += STEP, w += stride)
                sum = add_product(sum, load(w), load(lines[ky] + offset + (x + t * d) * LANES));
        store(to + x * LANES, sum);
    }
}

/* The kernels of a branch as `depthwise_line` reads them, rotated grad 180° if asked for. */
static const float *arranged_taps(const branch *b, int rotated, float *to) {
    size row = b->k * b->channels, paired_row = (b->k + STEP - 1) / STEP * b->channels;
    for (size ky = 0; ky < b->k; ky++)
        pair_rows(b->depthwise + (rotated ? b->k - 1 - ky : ky) * row, b->k, b->channels, rotated,
                  to + ky * paired_row);
    return to;
}

/* to[x] = sum of taps * lines[x + tap * d], for all channels; meanwhile another line is fetched. */
static void depthwise_line(float *const *lines, size pitch, const float *taps, size channels, float *to, size width,
                           size k, size d, line_ahead next) {
    for (size g = 0; g < channels / LANES; g++) {
        size offset = g * pitch * LANES;
        const float *w = taps + g * LANES;
        float *result = to + offset;
        int fetch = next.pixels && g * LANES < next.channels && g * LANES % CACHE_LINE == 0;
        const element *ahead = fetch ? next.pixels + g * LANES : NULL;
        if (k == 3) depthwise_phases(lines, offset, w, channels, result, width, 3, d, ahead, next.stride);
        else if (k == 5) depthwise_phases(lines, offset, w, channels, result, width, 5, d, ahead, next.stride);
        else if (k == 7) depthwise_phases(lines, offset, w, channels, result, width, 7, d, ahead, next.stride);
        else depthwise_any_size(lines, offset, w, channels, result, width, k, d);
    }
}

INLINE void gradient_strip(const float *line, const float *g, size width, size d, vector *sum, int k) {
    for (size phase = 0; phase < d; phase++) {
        size x = phase;
        for (; x + (GRADIENT_STRIP - 1) * d < width; x += GRADIENT_STRIP * d) {
            vector grad[GRADIENT_STRIP];
            UNROLL_ALL
            for (int p = 0; p < GRADIENT_STRIP; p += STEP) grad[p] = load(g + (x + p * d) * LANES);
            UNROLL_ALL
            for (int j = 0; j < GRADIENT_STRIP + k - 1; j++) {
                vector a = load(line + (x + j * d) * LANES);
                UNROLL_ALL
                for (int t = 0; t < k; t++)
                    if (j - t >= 0 && j - t < GRADIENT_STRIP && (j - t) % STEP == 0)
                        sum[t] = add_product(sum[t], grad[j - t], a);
            }
        }
        for (; x < width; x += d) {
            vector grad = first_of_pairs(load(g + x * LANES));
            UNROLL_ALL
            for (int t = 0; t < k; t++) sum[t] = add_product(sum[t], grad, load(line + (x + t * d) * LANES));
        }
    }
}

INLINE void gradient_taps(const float *line, const float *g, size width, size d, float *to, size stride, int k) {
    vector sum[7];
    for (int t = 0; t < k; t++) sum[t] = (vector){0};
    gradient_strip(line, g, width, d, sum, k);
    for (int t = 0; t < k; t++) store(to + t * stride, load(to + t * stride) + sum[t]);
}

/* to[ky, kx] += sum over the pixels of a line of lines[ky][x + kx * d] * g[x]. */
static void depthwise_gradient_line(float *const *lines, size pitch, const float *gradient, float *to, size channels,
                                    size width, size k, size d) {
    for (size g = 0; g < channels / LANES; g++)
        for (size ky = 0; ky < k; ky++) {
            const float *line = lines[ky] + g * pitch * LANES, *grad = gradient + g * pitch * LANES;
            float *sum = to + ky * k * channels + g * LANES;
            if (k == 3) gradient_taps(line, grad, width, d, sum, channels, 3);
            else if (k == 5) gradient_taps(line, grad, width, d, sum, channels, 5);
            else if (k == 7) gradient_taps(line, grad, width, d, sum, channels, 7);
            else
                for (size t = 0; t < k; t++)
                    gradient_taps(line + t * d * LANES, grad, width, d, sum + t * channels, 0, 1);
        }
}

#endif
