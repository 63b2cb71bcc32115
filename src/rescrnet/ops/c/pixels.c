/* Sums over the pixels of whole images, and affine maps of every pixel, channels last.
 *
 * Numbers of channels are multiples of 16. Every sum over pixels is made in parts that do not depend on the number of
 * threads; the caller adds them up.
 */
#include "pairs.h"
#include "scratch.h"

/* Add the products of a few channels of a, less their pivot, with those of b over `width` pixels. */
INLINE void product_line(const float *a, size a_stride, const float *b, size b_stride, size width, float *to,
                         size to_stride, int vectors) {
    vector sum[SQUARE][3];
#pragma GCC unroll 8
    for (int i = 0; i < SQUARE; i++)
        for (int v = 0; v < vectors; v++) sum[i][v] = (vector){0};
#pragma GCC unroll 1
    for (size x = 0; x < width; x += STEP) {
        vector factor[3];
        for (int v = 0; v < vectors; v++) factor[v] = keep_in_register(b + x * b_stride + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < SQUARE; i++)
            for (int v = 0; v < vectors; v++) sum[i][v] = add_scaled(sum[i][v], factor[v], a + x * a_stride + i);
    }
    for (int i = 0; i < SQUARE; i++)
        for (int v = 0; v < vectors; v++) {
            float *into = to + i * to_stride + v * LANES;
            store(into, load(into) + sum[i][v]);
        }
}

/* Copy pixels less their pivot, and add them to `sum`. */
static void subtract_pivot(const element *from, const float *pivot, size channels, size width, float *to, float *sum) {
    for (size c = 0; c < channels; c += LANES) {
        vector less = {0}, total = {0};
        if (pivot) less = load(pivot + c);
        for (size x = 0; x < width; x++) {
            vector value = read(from + x * channels + c) - less;
            store(to + x * channels + c, value);
            total += value;
        }
        if (sum) store(sum + c, load(sum + c) + total);
    }
}

/* sums[part] = (b_channels), products[part] = (a_channels, b_channels): sums of b and of a·b over the pixels of a part,
 * both less their pivot where there is one: products (rows, columns) of parts that lie within one image. */
void pixel_products(const element *a, const element *b, const float *pivot_a, const float *pivot_b, size images,
                    size pixels, size a_channels, size b_channels, size parts, float *sums, float *products) {
    enum { RUN = 256 };
#pragma omp parallel for schedule(dynamic)
    for (size part = 0; part < images * parts; part++) {
        size image = part / parts, first = part % parts * pixels / parts, last = (part % parts + 1) * pixels / parts;
        float *memory = scratch(RUN * (a_channels + b_channels)), *left = memory, *right = memory + RUN * a_channels;
        float *sum = sums + part * b_channels, *product = products + part * a_channels * b_channels;
        memset(sum, 0, 4 * b_channels);
        memset(product, 0, 4 * a_channels * b_channels);
        for (size from = first; from < last; from += RUN) {
            size width = MIN(RUN, last - from);
            subtract_pivot(a + (image * pixels + from) * a_channels, pivot_a, a_channels, width, left, NULL);
            subtract_pivot(b + (image * pixels + from) * b_channels, pivot_b, b_channels, width, right, sum);
            pair_up(left, width * a_channels / LANES, a_channels / LANES);
            pair_up(right, width * b_channels / LANES, b_channels / LANES);
            for (size i = 0; i < a_channels; i += SQUARE) {
                size c = 0;
                for (; c + 3 * LANES <= b_channels; c += 3 * LANES)
                    product_line(left + i, a_channels, right + c, b_channels, width, product + i * b_channels + c,
                                 b_channels, 3);
                for (; c < b_channels; c += LANES)
                    product_line(left + i, a_channels, right + c, b_channels, width, product + i * b_channels + c,
                                 b_channels, 1);
            }
        }
    }
}

INLINE void add_matrix_product(const float *x, size x_channels, const float *weight, size stride, vector (*sum)[3],
                               int pixels, int vectors) {
    size apart = x_channels / STEP;
    for (size c = 0; c < apart; c++) {
        vector w[3];
        for (int v = 0; v < vectors; v++) w[v] = keep_in_register(weight + c * stride + v * LANES);
#pragma GCC unroll 8
        for (int p = 0; p < pixels; p++)
            for (int v = 0; v < vectors; v++) sum[p][v] = add_scaled(sum[p][v], w[v], x + p * apart + c);
    }
}

INLINE void affine_pixels(element *out, size channels, const float *scale, const element *x, size x_channels,
                          const float *matrix_x, const element *y, size y_channels, const float *matrix_y,
                          const float *shift, int pixels, int vectors) {
    vector sum[SQUARE][3];
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++)
            sum[p][v] = load(shift + v * LANES) + load(scale + v * LANES) * read(out + p * channels + v * LANES);
    add_matrix_product(factors(x), x_channels, matrix_x, channels, sum, pixels, vectors);
    if (y) add_matrix_product(factors(y), y_channels, matrix_y, channels, sum, pixels, vectors);
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++) write(out + p * channels + v * LANES, sum[p][v]);
}

/* out = scale·out + matrix_x·x + matrix_y·y + shift, pixel by pixel; every image has its own factors. Images and rows
 * of x lie x_image and x_row elements apart; those of out and y follow each other. y may be null. */
void pixel_affine(element *out, const element *x, const element *y, const float *scale, const float *matrix_x,
                  const float *matrix_y, const float *shift, size images, size height, size width, size channels,
                  size x_channels, size x_image, size x_row, size y_channels) {
    size matrix_x_size = x_channels * channels, matrix_y_size = y_channels * channels;
#pragma omp parallel for schedule(static)
    for (size row = 0; row < images * height; row++) {
        size n = row / height;
        const float *paired_x = matrix_x + n * matrix_x_size, *paired_y = y ? matrix_y + n * matrix_y_size : NULL;
        if (STEP > 1) {
            float *memory = scratch(matrix_x_size + matrix_y_size);
            paired_x = pair_rows(paired_x, x_channels, channels, 0, memory);
            if (y) paired_y = pair_rows(paired_y, y_channels, channels, 0, memory + matrix_x_size);
        }
        for (size c = 0; c < channels;) {
            int three = c + 3 * LANES <= channels;
            const float *a = paired_x + c, *b = y ? paired_y + c : NULL;
            const float *s = scale + n * channels + c, *v = shift + n * channels + c;
            for (size p = 0; p < width;) {
                int many = p + SQUARE <= width;
                element *to = out + (row * width + p) * channels + c;
                const element *from = x + n * x_image + row % height * x_row + p * x_channels;
                const element *other = y ? y + (row * width + p) * y_channels : NULL;
                if (three && many)
                    affine_pixels(to, channels, s, from, x_channels, a, other, y_channels, b, v, SQUARE, 3);
                else if (three) affine_pixels(to, channels, s, from, x_channels, a, other, y_channels, b, v, 1, 3);
                else if (many) affine_pixels(to, channels, s, from, x_channels, a, other, y_channels, b, v, SQUARE, 1);
                else affine_pixels(to, channels, s, from, x_channels, a, other, y_channels, b, v, 1, 1);
                p += many ? SQUARE : 1;
            }
            c += three ? 3 * LANES : LANES;
        }
    }
}

/* out = scale·out + factor·x + shift, channel by channel. */
void pixel_add(element *out, const element *x, const float *scale, const float *factor, const float *shift, size pixels,
               size channels) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++)
        for (size c = 0; c < channels; c += LANES) {
            element *to = out + p * channels + c;
            write(to, load(scale + c) * read(to) + load(factor + c) * read(x + p * channels + c) + load(shift + c));
        }
}
