/* Sums over the pixels of whole images, and affine maps of every pixel, channels last.
 *
 * Numbers of channels are multiples of 16. Every sum over pixels is made in parts that do not depend on the number of
 * threads; the caller adds them up.
 */
#include "pairs.h"
#include "pool.h"

/* Add the products of a few channels of a, less their pivot, with those of b over `width` pixels. */
INLINE void product_line(const float *a, size a_stride, const float *b, size b_stride, size width, float *to,
                         size to_stride, int vectors) {
    vector sum[SQUARE][3];
    UNROLL_ALL
    for (int i = 0; i < SQUARE; i++)
        for (int v = 0; v < vectors; v++) sum[i][v] = (vector){0};
    UNROLL(1)
    for (size x = 0; x < width; x += STEP) {
        vector factor[3];
        for (int v = 0; v < vectors; v++) factor[v] = keep_in_register(b + x * b_stride + v * LANES);
        UNROLL_ALL
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

enum { RUN = 256 }; /* pixels at a time */

typedef struct {
    const element *a, *b;
    const float *pivot_a, *pivot_b;
    size images, pixels, a_channels, b_channels, parts;
    float *sums, *products;
} product;

static void product_part(const void *context, size part, float *memory) {
    const product *p = context;
    size a_channels = p->a_channels, b_channels = p->b_channels;
    size image = part / p->parts, index = part % p->parts;
    size first = index * p->pixels / p->parts, last = (index + 1) * p->pixels / p->parts;
    float *left = memory, *right = memory + RUN * a_channels;
    float *sum = p->sums + part * b_channels, *products = p->products + part * a_channels * b_channels;
    memset(sum, 0, 4 * b_channels);
    memset(products, 0, 4 * a_channels * b_channels);
    for (size from = first; from < last; from += RUN) {
        size width = MIN(RUN, last - from);
        subtract_pivot(p->a + (image * p->pixels + from) * a_channels, p->pivot_a, a_channels, width, left, NULL);
        subtract_pivot(p->b + (image * p->pixels + from) * b_channels, p->pivot_b, b_channels, width, right, sum);
        pair_up(left, width * a_channels / LANES, a_channels / LANES);
        pair_up(right, width * b_channels / LANES, b_channels / LANES);
        for (size i = 0; i < a_channels; i += SQUARE) {
            size c = 0;
            for (; c + 3 * LANES <= b_channels; c += 3 * LANES)
                product_line(left + i, a_channels, right + c, b_channels, width, products + i * b_channels + c,
                             b_channels, 3);
            for (; c < b_channels; c += LANES)
                product_line(left + i, a_channels, right + c, b_channels, width, products + i * b_channels + c,
                             b_channels, 1);
        }
    }
}

/* sums[part] = (b_channels), products[part] = (a_channels, b_channels): sums of b and of a·b over the pixels of a part,
 * both less their pivot where there is one: products (rows, columns) of parts that lie within one image. */
ENTRY(pixel_products)(const element *a, const element *b, const float *pivot_a, const float *pivot_b, size images,
                      size pixels, size a_channels, size b_channels, size parts, float *sums, float *products,
                      size threads) {
    product p = {a, b, pivot_a, pivot_b, images, pixels, a_channels, b_channels, parts, sums, products};
    if (!a || !b || !sums || !products || !within(1, images, TOO_LARGE) || !within(1, pixels, TOO_LARGE) ||
        !within(1, parts, pixels) || !whole_vectors(a_channels) || !whole_vectors(b_channels))
        return OUT_OF_BOUNDS;
    if (!addressable(times(times(images, pixels), MAX(a_channels, b_channels))) || !addressable(times(parts, pixels)) ||
        !addressable(times(times(images, parts), times(a_channels, b_channels))))
        return OUT_OF_BOUNDS;
    return pool_share(images * parts, threads, times(RUN, a_channels + b_channels), product_part, &p);
}

INLINE void add_matrix_product(const float *x, size x_channels, const float *weight, size stride, vector (*sum)[3],
                               int pixels, int vectors) {
    size apart = x_channels / STEP;
    for (size c = 0; c < apart; c++) {
        vector w[3];
        for (int v = 0; v < vectors; v++) w[v] = keep_in_register(weight + c * stride + v * LANES);
        UNROLL_ALL
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

enum { ROWS = 8, PIXELS = 2048 }; /* of an item of work */

typedef struct {
    element *out;
    const element *x, *y;
    const float *scale, *matrix_x, *matrix_y, *shift;
    size images, height, width, channels, x_channels, x_image, x_row, y_channels;
} affine;

static void affine_row(const affine *a, size row, float *memory) {
    size channels = a->channels, x_channels = a->x_channels, y_channels = a->y ? a->y_channels : 0, width = a->width;
    size n = row / a->height, matrix_x_size = x_channels * channels, matrix_y_size = y_channels * channels;
    const float *paired_x = a->matrix_x + n * matrix_x_size;
    const float *paired_y = a->y ? a->matrix_y + n * matrix_y_size : NULL;
    if (STEP > 1) {
        paired_x = pair_rows(paired_x, x_channels, channels, channels, 0, memory);
        if (a->y) paired_y = pair_rows(paired_y, y_channels, channels, channels, 0, memory + matrix_x_size);
    }
    for (size c = 0; c < channels;) {
        int three = c + 3 * LANES <= channels;
        const float *mx = paired_x + c, *my = a->y ? paired_y + c : NULL;
        const float *s = a->scale + n * channels + c, *v = a->shift + n * channels + c;
        for (size p = 0; p < width;) {
            int many = p + SQUARE <= width;
            element *to = a->out + (row * width + p) * channels + c;
            const element *x = a->x + n * a->x_image + row % a->height * a->x_row + p * x_channels;
            const element *y = a->y ? a->y + (row * width + p) * y_channels : NULL;
            if (three && many) affine_pixels(to, channels, s, x, x_channels, mx, y, y_channels, my, v, SQUARE, 3);
            else if (three) affine_pixels(to, channels, s, x, x_channels, mx, y, y_channels, my, v, 1, 3);
            else if (many) affine_pixels(to, channels, s, x, x_channels, mx, y, y_channels, my, v, SQUARE, 1);
            else affine_pixels(to, channels, s, x, x_channels, mx, y, y_channels, my, v, 1, 1);
            p += many ? SQUARE : 1;
        }
        c += three ? 3 * LANES : LANES;
    }
}

static void affine_rows(const void *context, size item, float *memory) {
    const affine *a = context;
    for (size row = item * ROWS; row < MIN((item + 1) * ROWS, a->images * a->height); row++)
        affine_row(a, row, memory);
}

/* out = scale·out + matrix_x·x + matrix_y·y + shift, pixel by pixel; every image has its own factors. Images and rows
 * of x lie x_image and x_row elements apart; those of out and y follow each other. y may be null. */
ENTRY(pixel_affine)(element *out, const element *x, const element *y, const float *scale, const float *matrix_x,
                    const float *matrix_y, const float *shift, size images, size height, size width, size channels,
                    size x_channels, size x_image, size x_row, size y_channels, size threads) {
    affine a = {out,    x,     y,        scale,      matrix_x, matrix_y, shift,     images,
                height, width, channels, x_channels, x_image,  x_row,    y_channels};
    size pixels = times(images, times(height, width));
    if (!out || !x || !scale || !matrix_x || !shift || (y && !matrix_y)) return OUT_OF_BOUNDS;
    if (!within(1, images, TOO_LARGE) || !within(1, height, TOO_LARGE) || !within(1, width, TOO_LARGE) ||
        !whole_vectors(channels) || !whole_vectors(x_channels) || (y && !whole_vectors(y_channels)))
        return OUT_OF_BOUNDS;
    size widest = MAX(channels, MAX(x_channels, y ? y_channels : 0));
    if (!addressable(times(pixels, widest)) || !addressable(times(images, times(channels, widest))) ||
        !addressable(plus(times(images, x_image), times(height, x_row))))
        return OUT_OF_BOUNDS;
    size floats = STEP > 1 ? times(plus(x_channels, y ? y_channels : 0), channels) : 0;
    return pool_share((images * height + ROWS - 1) / ROWS, threads, floats, affine_rows, &a);
}

typedef struct {
    element *out;
    const element *x;
    const float *scale, *factor, *shift;
    size pixels, channels;
} addition;

static void add_pixels(const void *context, size item, float *memory) {
    const addition *a = context;
    (void)memory;
    for (size p = item * PIXELS; p < MIN((item + 1) * PIXELS, a->pixels); p++)
        for (size c = 0; c < a->channels; c += LANES) {
            element *to = a->out + p * a->channels + c;
            vector scaled = load(a->scale + c) * read(to);
            write(to, scaled + load(a->factor + c) * read(a->x + p * a->channels + c) + load(a->shift + c));
        }
}

/* out = scale·out + factor·x + shift, channel by channel. */
ENTRY(pixel_add)(element *out, const element *x, const float *scale, const float *factor, const float *shift,
                 size pixels, size channels, size threads) {
    addition a = {out, x, scale, factor, shift, pixels, channels};
    if (!out || !x || !scale || !factor || !shift || !within(1, pixels, TOO_LARGE) || !whole_vectors(channels) ||
        !addressable(times(pixels, channels)))
        return OUT_OF_BOUNDS;
    return pool_share((pixels + PIXELS - 1) / PIXELS, threads, 0, add_pixels, &a);
}
