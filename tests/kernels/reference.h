/* What the kernels compute, written as plainly as it can be, in double precision. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <math.h>
#include <stdlib.h>

#include "layer.h"
#include "scan.h"

static double leaky_of(double z, double slope) { return z > 0 ? z : slope * z; }

/* One pixel and channel of the input, activated; zero beyond the border. */
static double activated(const layer *l, const double *x, size image, size y, size column, size c) {
    if (y < 0 || y >= l->height || column < 0 || column >= l->width) return 0;
    double value = x[((image * l->height + y) * l->width + column) * l->channels + c];
    return l->scale ? leaky_of(l->scale[c] * value + l->shift[c], l->slope) : value;
}

/* The largest reach of all branches, from which `top` and `left` count. */
static size reach_of(const layer *l) {
    size reach = 0;
    for (size i = 0; i < l->branches; i++) reach = MAX(reach, l->branch[i].k / 2 * l->branch[i].dilation);
    return reach;
}

/* The pixel of the input that lies under the middle of the kernel. */
static size centre(size at, size reach, size cut) { return at + reach - cut; }

static double depthwise_at(const layer *l, const branch *b, const double *x, size image, size y, size column, size c) {
    double sum = 0;
    for (size ky = 0; ky < b->k; ky++)
        for (size kx = 0; kx < b->k; kx++)
            sum += b->depthwise[(ky * b->k + kx) * b->channels + c] *
                   activated(l, x, image, y + (ky - b->k / 2) * b->dilation, column + (kx - b->k / 2) * b->dilation,
                             b->in + c);
    return sum;
}

static void reference_forward(const layer *l, const double *x, double *result) {
    size reach = reach_of(l);
    for (size i = 0; i < l->branches; i++) {
        const branch *b = l->branch + i;
        for (size image = 0; image < l->n; image++)
            for (size y = 0; y < l->out_height; y++)
                for (size column = 0; column < l->out_width; column++) {
                    size pixel = (image * l->out_height + y) * l->out_width + column;
                    double *to = result + pixel * l->out_channels + b->out;
                    for (size f = 0; f < l->filters; f++) to[f] = (b->add ? to[f] : 0) + b->bias[f];
                    for (size c = 0; c < b->channels; c++) {
                        double sum = depthwise_at(l, b, x, image, centre(y, reach, l->top),
                                                  centre(column, reach, l->left), c);
                        for (size f = 0; f < l->filters; f++) to[f] += sum * b->pointwise[c * l->filters + f];
                    }
                }
    }
}

/* The gradients of one branch, and, added to grad_x, that by the affine map of the input. */
static void reference_backward(const layer *l, const branch *b, const double *x, const double *grad, double *depthwise,
                               double *pointwise, double *bias, double *grad_x) {
    for (size image = 0; image < l->n; image++)
        for (size y = 0; y < l->height; y++)
            for (size column = 0; column < l->width; column++) {
                const double *g = grad + ((image * l->height + y) * l->width + column) * l->out_channels + b->out;
                const float *factor = l->factor ? l->factor + image * l->out_channels + b->out : NULL;
                for (size f = 0; f < l->filters; f++) bias[f] += g[f] * (factor ? factor[f] : 1);
                for (size c = 0; c < b->channels; c++) {
                    double sum = depthwise_at(l, b, x, image, y, column, c), back = 0;
                    for (size f = 0; f < l->filters; f++) {
                        double by = g[f] * (factor ? factor[f] : 1);
                        pointwise[c * l->filters + f] += by * sum;
                        back += by * b->pointwise[c * l->filters + f];
                    }
                    for (size ky = 0; ky < b->k; ky++)
                        for (size kx = 0; kx < b->k; kx++) {
                            size row = y + (ky - b->k / 2) * b->dilation, at = column + (kx - b->k / 2) * b->dilation;
                            size tap = (ky * b->k + kx) * b->channels + c, channel = b->in + c;
                            depthwise[tap] += back * activated(l, x, image, row, at, channel);
                            if (row < 0 || row >= l->height || at < 0 || at >= l->width) continue;
                            size pixel = ((image * l->height + row) * l->width + at) * l->channels + channel;
                            double z = l->scale ? l->scale[channel] * x[pixel] + l->shift[channel] : 1;
                            grad_x[pixel] += back * b->depthwise[tap] * (z > 0 ? 1 : l->slope);
                        }
                }
            }
}

static double hard(double z) { return fmin(fmax(0.2 * z + 0.5, 0), 1); }

/* z += weight (4·channels, 3, count) at a gate * lines (count, length) at a pixel. */
static double line_product(const double *weight, const double *lines, size count, size stride, size length, size at) {
    double sum = 0;
    for (size tap = 0; tap < 3; tap++)
        for (size c = 0; c < count; c++)
            if (at + tap - 1 >= 0 && at + tap - 1 < length) sum += weight[tap * count + c] * lines[c * stride + at + tap - 1];
    return sum;
}

/* The states after every step, summed over filters, of one direction of one image; weights in double precision. */
static void reference_scan(const scan *s, size direction, size image, const double *x, const double *input,
                           const double *bias, const double *recurrent, double *out) {
    size n = s->channels, k = s->classes, length = s->length, area = s->steps * length;
    double *h = calloc((size_t)(6 * n * length), sizeof(double)), *cell = h + n * length, *masked = cell + n * length;
    const double *wi = input + direction * 12 * n * k, *wb = bias + direction * 4 * n, *wr = recurrent + direction * 12 * n * n;
    for (size i = 0; s->state && i < 2 * n * length; i++)
        h[i] = s->state[(direction * s->images + image) * 2 * n * length + i];
    for (size step = 0; step < s->steps; step++) {
        size row = direction + s->reversed == 1 ? s->steps - 1 - step : step;
        for (size gate = 0; gate < 4; gate++)
            for (size i = 0; i < n * length; i++) {
                size c = i / length, at = i % length;
                size place = (((direction * 4 + gate) * n + c) * s->images + image) * length + at;
                masked[gate * n * length + i] = h[i] * (s->dropout ? s->dropout[place] : 1);
            }
        for (size c = 0; c < n; c++)
            for (size at = 0; at < length; at++) {
                double z[4];
                for (size gate = 0; gate < 4; gate++) {
                    size g = gate * n + c;
                    z[gate] = wb[g] + line_product(wi + g * 3 * k, x + image * k * area + row * length, k, area, length, at) +
                              line_product(wr + g * 3 * n, masked + gate * n * length, n, length, length, at);
                }
                double *value = cell + c * length + at;
                *value = hard(z[1]) * *value + hard(z[0]) * tanh(z[3]);
                h[c * length + at] = hard(z[2]) * tanh(*value);
            }
        for (size c = 0; c < k; c++)
            for (size at = 0; at < length; at++) {
                double sum = 0;
                for (size f = c; f < n; f += k) sum += h[f * length + at];
                out[((direction * s->images + image) * k + c) * area + row * length + at] = sum;
            }
    }
    free(h);
}

#endif
