/* Parallel separable convolutions as the caller describes them, and the lines of their images. */
#ifndef LAYER_H
#define LAYER_H

#include "pairs.h"

/* Keep both structures in step with _Branch and _Layer of src/rescrnet/ops/separable.py.
 *
 * One branch: k×k kernel of dilation d on the channels [in, in + channels), giving `filters` from channel `out` on. */
typedef struct {
    size k, dilation, in, channels, out, add;
    const float *depthwise;     /* (k, k, channels) */
    const float *pointwise;     /* (channels, filters) */
    const float *bias;          /* (filters) */
    float *grad_depthwise;      /* (parts, k, k, channels) */
    float *grad_pointwise;      /* (parts, channels, filters) */
    float *grad_bias;           /* (parts, filters) */
} branch;

typedef struct {
    size n, height, width, channels;          /* of the input */
    size top, left, out_height, out_width;    /* zeros before the input; size of the result */
    size out_channels, filters, branches, parts;
    const element *x;
    const float *scale, *shift;               /* null where x is read as it is */
    float slope;
    element *result;
    double *sums;                             /* (parts, 4, out_channels): a pivot, the sum and the sum of squares of
                                                 what lies above it, and how many; or null */
    const element *grad_result;               /* of the result */
    const float *factor;                      /* (n, out_channels) on it, or null */
    element *grad_input;                      /* by scale * x + shift, or null */
    double *affine_sums;                      /* (parts, 2, channels): by shift, by scale */
    const branch *branch;
} layer;

/* Whether all indices that follow from these numbers lie where they should. */
static int branch_fits(const layer *l, const branch *b) {
    if (!within(1, b->k, LARGEST_KERNEL) || b->k % 2 == 0 || !within(1, b->dilation, LARGEST_REACH)) return 0;
    if (b->k / 2 * b->dilation > LARGEST_REACH || !whole_vectors(b->channels)) return 0;
    if (!within(0, b->in, l->channels) || b->in % 16 || b->in + b->channels > l->channels) return 0;
    if (!within(0, b->out, l->out_channels) || b->out % 16 || b->out + l->filters > l->out_channels) return 0;
    return b->depthwise && b->pointwise && b->bias;
}

static int layer_fits(const layer *l) {
    size pixels = times(l->n, times(l->height, l->width));
    if (!within(1, l->height, TOO_LARGE) || !within(1, l->width, TOO_LARGE) || !within(1, l->n, TOO_LARGE)) return 0;
    if (!within(1, l->out_height, l->height) || !within(1, l->out_width, l->width)) return 0;
    if (!whole_vectors(l->channels) || !whole_vectors(l->out_channels) || !whole_vectors(l->filters)) return 0;
    if (!addressable(times(pixels, MAX(l->channels, l->out_channels)))) return 0;
    if (!within(1, l->branches, LARGEST_COUNT) || !within(1, l->parts, LARGEST_COUNT)) return 0;
    if (!l->branch || !l->x || !l->scale != !l->shift) return 0;
    for (size i = 0; i < l->branches; i++)
        if (!branch_fits(l, l->branch + i)) return 0;
    return 1;
}

/* From a pixel of the input on, and a channel; and of the gradient of a result of the same size. */
INLINE const element *input_line(const layer *l, size channel, size image, size y, size x) {
    return l->x + ((image * l->height + y) * l->width + x) * l->channels + channel;
}
INLINE const element *gradient_line(const layer *l, size channel, size image, size y, size x) {
    return l->grad_result + ((image * l->height + y) * l->width + x) * l->out_channels + channel;
}

/* A line that is fetched into the cache while others are worked on. */
typedef struct {
    const element *pixels; /* null: there is none */
    size stride, channels;
} line_ahead;

enum { CACHE_LINE = 64 / sizeof(element) };

INLINE void prefetch(line_ahead line, size width, int to_write) {
    for (size p = 0; line.pixels && p < width; p++)
        for (size c = 0; c < line.channels; c += CACHE_LINE)
            if (to_write) __builtin_prefetch(line.pixels + p * line.stride + c, 1, 2);
            else __builtin_prefetch(line.pixels + p * line.stride + c, 0, 2);
}

/* Pixels [from, from + count) of a line of the input, activated, zero beyond the border: channels [in, in + channels).
 * Those `dilation` apart are paired. */
static void activated_line(const layer *l, size in, size channels, size dilation, size image, size y, size from,
                           size count, size pitch, float *line) {
    size before = MIN(MAX(-from, 0), count), after = MAX(MIN(l->width - from, count), before);
    if (y < 0 || y >= l->height) before = after = 0;
    size stride = l->channels;
    float slope = l->slope;
    for (size g = 0; g < channels / LANES; g++) {
        float *to = line + g * pitch * LANES;
        const element *x = input_line(l, in + g * LANES, image, y, from);
        memset(to, 0, 4 * LANES * before);
        if (l->scale) {
            vector scale = load(l->scale + in + g * LANES), shift = load(l->shift + in + g * LANES);
            for (size p = before; p < after; p++)
                store(to + p * LANES, leaky(scale * read(x + p * stride) + shift, slope));
        } else
            for (size p = before; p < after; p++) store(to + p * LANES, read(x + p * stride));
        memset(to + after * LANES, 0, 4 * LANES * (count - after));
        pair_up(to, count, dilation);
    }
}

#endif
