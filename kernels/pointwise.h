/* Pointwise (1×1) convolution of a line, its transpose and its gradient, POINTWISE_PIXELS pixels and 16 channels at a
 * time. */
#ifndef POINTWISE_H
#define POINTWISE_H

#include "pairs.h"

/* result[x] = weight · line[x] + bias, added to what is there or written past the caches if asked for, and summed as the
 * `sums` of a layer. The line is overwritten. */
static void pointwise_line(float *line, size pitch, size channels, const float *weight, const float *bias, size filters,
                           element *result, size stride, size width, int add, int past, double *sums,
                           size sums_stride) {
    enum { APART = LANES / STEP };
    for (size g = 0; STEP > 1 && g < channels / LANES; g++)
        for (size x = 0; x < width; x++) {
            float *from = line + g * pitch * LANES;
            write((element *)(from + x * APART), load(from + x * LANES));
        }
    for (size f = 0; f < filters; f += 16) {
        vector total[WIDE], squares[WIDE], pivot[WIDE];
        for (int v = 0; v < WIDE; v++) {
            total[v] = squares[v] = pivot[v] = (vector){0};
            for (int i = 0; sums && i < LANES; i++) pivot[v][i] = sums[f + v * LANES + i];
        }
        for (size x = 0; x < width; x += POINTWISE_PIXELS) {
            vector sum[POINTWISE_PIXELS][WIDE];
            for (int p = 0; p < POINTWISE_PIXELS; p++)
                for (int v = 0; v < WIDE; v++) sum[p][v] = load(bias + f + v * LANES);
            for (size g = 0; g < channels / LANES; g++) {
                const float *from = line + g * pitch * LANES + x * APART;
                const float *row = weight + g * LANES / STEP * filters + f;
                UNROLL(2)
                for (int c = 0; c < LANES / STEP; c++) {
                    vector w[WIDE];
                    for (int v = 0; v < WIDE; v++) w[v] = keep_in_register(row + c * filters + v * LANES);
                    UNROLL_ALL
                    for (int p = 0; p < POINTWISE_PIXELS; p++)
                        for (int v = 0; v < WIDE; v++) sum[p][v] = add_scaled(sum[p][v], w[v], from + p * APART + c);
                }
            }
            UNROLL_ALL
            for (int p = 0; p < POINTWISE_PIXELS; p++)
                for (int v = 0; v < WIDE && x + p < width; v++) {
                    element *to = result + (x + p) * stride + f + v * LANES;
                    if (add) sum[p][v] += read(to);
                    if (past) write_past(to, sum[p][v]);
                    else write(to, sum[p][v]);
                    total[v] += sum[p][v] - pivot[v];
                    squares[v] += (sum[p][v] - pivot[v]) * (sum[p][v] - pivot[v]);
                }
        }
        for (int i = 0; sums && i < 16; i++) {
            sums[sums_stride + f + i] += total[i / LANES][i % LANES];
            sums[2 * sums_stride + f + i] += squares[i / LANES][i % LANES];
            sums[3 * sums_stride + f + i] += width;
        }
    }
}

INLINE void pointwise_transpose_pixels(const float *gradient, size stride, const float *weight, size filters,
                                       size channels, float *to, size pitch, int count) {
    vector sum[POINTWISE_PIXELS][WIDE];
    for (int p = 0; p < count; p++)
        for (int v = 0; v < WIDE; v++) sum[p][v] = (vector){0};
    UNROLL(2)
    for (size f = 0; f < filters / STEP; f++) {
        vector w[WIDE];
        for (int v = 0; v < WIDE; v++) w[v] = keep_in_register(weight + f * channels + v * LANES);
        UNROLL_ALL
        for (int p = 0; p < count; p++)
            for (int v = 0; v < WIDE; v++) sum[p][v] = add_scaled(sum[p][v], w[v], gradient + p * stride + f);
    }
    for (int p = 0; p < count; p++)
        for (int v = 0; v < WIDE; v++) store(to + (v * pitch + p) * LANES, sum[p][v]);
}

/* line[x] = weight · gradient[x] for pixels [from, from + count) of an image line, zero beyond the border.
 * `weight` is (filters, channels), its rows paired; so are pixels d apart of the line. */
static void pointwise_transpose_line(const element *gradient, size stride, size width, const float *weight,
                                     size filters, size channels, size from, size count, size d, size pitch,
                                     float *line) {
    size before = MIN(MAX(-from, 0), count), after = MAX(MIN(width - from, count), before);
    if (!gradient) before = after = 0;
    for (size c = 0; c < channels; c += 16) {
        float *to = line + c * pitch;
        for (int v = 0; v < WIDE; v++) {
            memset(to + v * pitch * LANES, 0, 4 * LANES * before);
            memset(to + (v * pitch + after) * LANES, 0, 4 * LANES * (count - after));
        }
        size x = before;
        for (; x + POINTWISE_PIXELS <= after; x += POINTWISE_PIXELS)
            pointwise_transpose_pixels(factors(gradient + (from + x) * stride), stride / STEP, weight + c, filters,
                                       channels, to + x * LANES, pitch, POINTWISE_PIXELS);
        for (; x < after; x++)
            pointwise_transpose_pixels(factors(gradient + (from + x) * stride), stride / STEP, weight + c, filters,
                                       channels, to + x * LANES, pitch, 1);
        for (int v = 0; v < WIDE; v++) pair_up(to + v * pitch * LANES, count, d);
    }
}

/* to[c, f] += sum over a line of line[x, c] * gradient[x, f]; bias likewise. The line is overwritten; `paired` is room
 * for (width, filters). */
static void pointwise_gradient_line(float *line, size pitch, size channels, const element *gradient, size stride,
                                    size filters, size width, float *to, float *bias, float *paired) {
    for (size f = 0; f < filters; f += LANES) {
        vector total = {0};
        for (size x = 0; x < width; x++) {
            vector grad = read(gradient + x * stride + f);
            total += grad;
            if (STEP > 1) store(paired + x * filters + f, grad);
        }
        store(bias + f, load(bias + f) + total);
    }
    pair_up(paired, width * filters / LANES, filters / LANES);
    for (size g = 0; g < channels / LANES; g++) pair_up(line + g * pitch * LANES, width, 1);
    const float *factor = STEP > 1 ? paired : factors(gradient);
    if (STEP > 1) stride = filters;
    for (size f = 0; f < filters; f += 16)
        for (size c = 0; c < channels; c += SQUARE) {
            const float *from = line + c / LANES * pitch * LANES + c % LANES;
            vector sum[SQUARE][WIDE];
            UNROLL_ALL
            for (int i = 0; i < SQUARE; i++)
                for (int v = 0; v < WIDE; v++) sum[i][v] = (vector){0};
            UNROLL(2)
            for (size x = 0; x < width; x += STEP) {
                vector grad[WIDE];
                for (int v = 0; v < WIDE; v++) grad[v] = keep_in_register(factor + x * stride + f + v * LANES);
                UNROLL_ALL
                for (int i = 0; i < SQUARE; i++)
                    for (int v = 0; v < WIDE; v++) sum[i][v] = add_scaled(sum[i][v], grad[v], from + x * LANES + i);
            }
            for (int i = 0; i < SQUARE; i++)
                for (int v = 0; v < WIDE; v++) {
                    float *into = to + (c + i) * filters + f + v * LANES;
                    store(into, load(into) + sum[i][v]);
                }
        }
}

#endif
