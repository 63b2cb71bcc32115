/* The kernels of a residual block of separable atrous convolutions, float32, channels last.
 *
 * A separable convolution reads leaky(scale * x + shift), convolves every channel with its own dilated kernel and mixes
 * the channels of a pixel. Here these happen line by line: the activated lines that the kernel reaches stay in cache, the
 * result of the depthwise part never leaves it. Lines d apart belong together, so the lines of a tile are taken phase by
 * phase; likewise pixels d apart, whose sums share what they load.
 *
 * Lines in cache are stored a vector of channels after the other: line[channels / LANES][pixels][LANES].
 * Numbers of channels are multiples of 16. Every sum over pixels is made in parts that do not depend on the number of
 * threads; the caller adds them up.
 */
#ifdef __AVX__
#include <immintrin.h>
#endif
#include <stdlib.h>
#include <string.h>

/* Sums are held in registers: as many as there are of them, of 16 or of 8 floats. */
#ifdef __AVX512F__
#define LANES 16
enum { STRIP = 16, MIXED = 8, SQUARE = 8 };
#else
#define LANES 8
enum { STRIP = 8, MIXED = 6, SQUARE = 4 };
#endif

#define INLINE static inline __attribute__((always_inline))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int mask_vector __attribute__((vector_size(4 * LANES)));
typedef long size;

enum { WIDE = 16 / LANES, PIXELS = 8, TILE_ROWS = 64, TILE_COLUMNS = 224 };

INLINE vector load(const float *from) { return *(const vector *)from; }
/* Loaded once, though the compiler would rather read it from memory wherever it is used. */
INLINE vector held(const float *from) {
    vector value = load(from);
#ifdef __AVX__
    __asm__("" : "+v"(value));
#endif
    return value;
}
INLINE void store(float *to, vector value) { *(vector *)to = value; }
INLINE vector choose(mask_vector which, vector yes, vector no) {
    return (vector)(((mask_vector)yes & which) | ((mask_vector)no & ~which));
}
/* The slope is between 0 and 1. */
INLINE vector leaky(vector z, float slope) {
#if defined __AVX512F__
    return (vector)_mm512_max_ps((__m512)z, (__m512)(z * slope));
#elif defined __AVX__
    return (vector)_mm256_max_ps((__m256)z, (__m256)(z * slope));
#else
    return choose(z > 0, z, z * slope);
#endif
}

/* One branch: k×k kernel of dilation d on the channels [in, in + channels), giving `filters` from channel `out` on. */
typedef struct {
    size k, dilation, in, channels, out, add;
    const float *depthwise;     /* (k, k, channels) */
    const float *pointwise;     /* (channels, filters) */
    const float *bias;          /* (filters) */
    float *depthwise_gradient;  /* (parts, k, k, channels) */
    float *pointwise_gradient;  /* (parts, channels, filters) */
    float *bias_gradient;       /* (parts, filters) */
} branch;

typedef struct {
    size n, height, width, channels;          /* of the input */
    size top, left, out_height, out_width;    /* zeros before the input; size of the result */
    size out_channels, filters, branches, parts;
    const float *x, *scale, *shift;           /* scale is null where x is read as it is */
    float slope;
    float *result;
    double *sums;                             /* (parts, 4, out_channels): a pivot, the sum and the sum of squares of what
                                                 lies above it, and how many; or null */
    const float *gradient, *factor;           /* of the result; (n, out_channels) on it, or null */
    float *input_gradient;                    /* by scale * x + shift, or null */
    double *affine_sums;                      /* (parts, 2, channels): by shift, by scale */
    const branch *branch;
} layer;

typedef struct {
    size image, y0, y1, x0, x1;
} tile;

static size tile_rows(size height) { return (height + TILE_ROWS - 1) / TILE_ROWS; }
/* Of a wide image a multiple of four, for as many threads to have the same to do. */
static size tile_columns(size width) {
    size count = (width + TILE_COLUMNS - 1) / TILE_COLUMNS;
    return count > 2 ? (count + 3) / 4 * 4 : count;
}

static size layer_tiles(size n, size height, size width) { return n * tile_rows(height) * tile_columns(width); }

static tile tile_at(size index, size height, size width) {
    size rows = tile_rows(height), columns = tile_columns(width);
    size column = index % columns, row = index / columns % rows;
    return (tile){index / columns / rows, row * height / rows, (row + 1) * height / rows, column * width / columns,
                  (column + 1) * width / columns};
}

/* Memory of the calling thread, kept from call to call. */
static float *scratch(size floats) {
    static __thread float *memory;
    static __thread size have;
    if (have < floats) {
        free(memory);
        memory = aligned_alloc(64, (4 * floats + 63) / 64 * 64);
        have = floats;
    }
    return memory;
}

/* Pixels [from, from + count) of a line of the input, activated, zero beyond the border. */
static void activated_line(const layer *l, const branch *b, size image, size y, size from, size count, size pitch,
                           float *line) {
    size before = MIN(MAX(-from, 0), count), after = MAX(MIN(l->width - from, count), before);
    if (y < 0 || y >= l->height) before = after = 0;
    for (size g = 0; g < b->channels / LANES; g++) {
        float *to = line + g * pitch * LANES;
        const float *x = l->x + ((image * l->height + y) * l->width + from) * l->channels + b->in + g * LANES;
        memset(to, 0, 4 * LANES * before);
        if (l->scale) {
            vector scale = load(l->scale + b->in + g * LANES), shift = load(l->shift + b->in + g * LANES);
            for (size p = before; p < after; p++)
                store(to + p * LANES, leaky(scale * load(x + p * l->channels) + shift, l->slope));
        } else
            for (size p = before; p < after; p++) store(to + p * LANES, load(x + p * l->channels));
        memset(to + after * LANES, 0, 4 * LANES * (count - after));
    }
    /* The line after next in this phase comes from far away: it is sent for while this one is worked on. */
    size next = y + b->dilation;
    if (next >= 0 && next < l->height)
        for (size p = before; p < after; p++)
            for (size c = 0; c < b->channels; c += 16)
                __builtin_prefetch(l->x + ((image * l->height + next) * l->width + from + p) * l->channels + b->in + c, 0, 2);
}

/* ---- depthwise part: k lines, a vector of channels at a time ---- */

/* `count` pixels d apart share the inputs they have in common. */
INLINE void correlate_strip(float *const *lines, size offset, const float *taps, size stride, float *to, size k,
                            size d, int count, int flip) {
    vector sum[STRIP];
    for (int p = 0; p < count; p++) sum[p] = (vector){0};
    for (int ky = 0; ky < k; ky++) {
        const float *line = lines[ky] + offset;
        vector w[7];
        for (int t = 0; t < k; t++) w[t] = load(taps + (flip ? (k - 1 - ky) * k + k - 1 - t : ky * k + t) * stride);
#pragma GCC unroll 32
        for (int j = 0; j < count + k - 1; j++) {
            vector a = held(line + j * d * LANES);
#pragma GCC unroll 8
            for (int t = 0; t < k; t++)
                if (j - t >= 0 && j - t < count) sum[j - t] += w[t] * a;
        }
    }
    for (int p = 0; p < count; p++) store(to + p * d * LANES, sum[p]);
}

INLINE void correlate_phases(float *const *lines, size offset, const float *taps, size stride, float *to, size width,
                             size k, size d, int flip) {
    for (size phase = 0; phase < d; phase++) {
        size x = phase;
        for (; x + (STRIP / 2) * d < width; x += STRIP * d)
            correlate_strip(lines, offset + x * LANES, taps, stride, to + x * LANES, k, d, STRIP, flip);
        for (; x < width; x += STRIP / 2 * d)
            correlate_strip(lines, offset + x * LANES, taps, stride, to + x * LANES, k, d, STRIP / 2, flip);
    }
}

/* Any other kernel size. */
static void correlate_any(float *const *lines, size offset, const float *taps, size stride, float *to, size width,
                          size k, size d, int flip) {
    for (size x = 0; x < width; x++) {
        vector sum = {0};
        for (size tap = 0; tap < k * k; tap++)
            sum += load(taps + (flip ? k * k - 1 - tap : tap) * stride) *
                   load(lines[tap / k] + offset + (x + tap % k * d) * LANES);
        store(to + x * LANES, sum);
    }
}

/* to[x] = sum of taps * lines[x + tap * d], for all channels; `from` is the first pixel's place in the lines. */
static void correlate(float *const *lines, size pitch, size from, const float *taps, size channels, float *to,
                      size width, size out_pitch, size k, size d, int flip) {
    for (size g = 0; g < channels / LANES; g++) {
        size offset = (g * pitch + from) * LANES;
        const float *w = taps + g * LANES;
        float *result = to + g * out_pitch * LANES;
        if (k == 3 && flip) correlate_phases(lines, offset, w, channels, result, width, 3, d, 1);
        else if (k == 3) correlate_phases(lines, offset, w, channels, result, width, 3, d, 0);
        else if (k == 5 && flip) correlate_phases(lines, offset, w, channels, result, width, 5, d, 1);
        else if (k == 5) correlate_phases(lines, offset, w, channels, result, width, 5, d, 0);
        else if (k == 7 && flip) correlate_phases(lines, offset, w, channels, result, width, 7, d, 1);
        else if (k == 7) correlate_phases(lines, offset, w, channels, result, width, 7, d, 0);
        else correlate_any(lines, offset, w, channels, result, width, k, d, flip);
    }
}

INLINE void taps_strip(const float *line, const float *g, size width, size d, vector *sum, int k) {
    for (size phase = 0; phase < d; phase++) {
        size x = phase;
        for (; x + (PIXELS - 1) * d < width; x += PIXELS * d) {
            vector by[PIXELS];
#pragma GCC unroll 8
            for (int p = 0; p < PIXELS; p++) by[p] = load(g + (x + p * d) * LANES);
#pragma GCC unroll 16
            for (int j = 0; j < PIXELS + k - 1; j++) {
                vector a = load(line + (x + j * d) * LANES);
#pragma GCC unroll 8
                for (int t = 0; t < k; t++)
                    if (j - t >= 0 && j - t < PIXELS) sum[t] += by[j - t] * a;
            }
        }
        for (; x < width; x += d) {
            vector by = load(g + x * LANES);
#pragma GCC unroll 8
            for (int t = 0; t < k; t++) sum[t] += by * load(line + (x + t * d) * LANES);
        }
    }
}

INLINE void taps_line(const float *line, const float *g, size width, size d, float *to, size stride, int k) {
    vector sum[7];
    for (int t = 0; t < k; t++) sum[t] = (vector){0};
    taps_strip(line, g, width, d, sum, k);
    for (int t = 0; t < k; t++) store(to + t * stride, load(to + t * stride) + sum[t]);
}

/* to[ky, kx] += sum over the pixels of a line of lines[ky][x + kx * d] * g[x]. */
static void correlate_gradient(float *const *lines, size pitch, size from, const float *gradient, size g_pitch,
                               float *to, size channels, size width, size k, size d) {
    for (size g = 0; g < channels / LANES; g++)
        for (size ky = 0; ky < k; ky++) {
            const float *line = lines[ky] + (g * pitch + from) * LANES, *by = gradient + g * g_pitch * LANES;
            float *sum = to + ky * k * channels + g * LANES;
            if (k == 3) taps_line(line, by, width, d, sum, channels, 3);
            else if (k == 5) taps_line(line, by, width, d, sum, channels, 5);
            else if (k == 7) taps_line(line, by, width, d, sum, channels, 7);
            else
                for (size t = 0; t < k; t++) taps_line(line + t * d * LANES, by, width, 1, sum + t * channels, 0, 1);
        }
}

/* ---- pointwise part of a line, MIXED pixels and 16 channels at a time ---- */

/* result[x] = bias + weight · line[x]; sums of (result - pivot) and its square go to `sums`. */
static void mix_line(const float *line, size pitch, size channels, const float *weight, const float *bias, size filters,
                     float *result, size stride, size width, int add, double *sums, size sums_stride) {
    for (size f = 0; f < filters; f += 16) {
        vector total[WIDE], squares[WIDE], pivot[WIDE];
        for (int v = 0; v < WIDE; v++) {
            total[v] = squares[v] = pivot[v] = (vector){0};
            for (int i = 0; sums && i < LANES; i++) pivot[v][i] = sums[f + v * LANES + i];
        }
        for (size x = 0; x < width; x += MIXED) {
            vector sum[MIXED][WIDE];
            for (int p = 0; p < MIXED; p++)
                for (int v = 0; v < WIDE; v++) sum[p][v] = load(bias + f + v * LANES);
            for (size g = 0; g < channels / LANES; g++) {
                const float *from = line + (g * pitch + x) * LANES, *w = weight + g * LANES * filters + f;
#pragma GCC unroll 2
                for (int c = 0; c < LANES; c++) {
                    vector by[WIDE];
                    for (int v = 0; v < WIDE; v++) by[v] = held(w + c * filters + v * LANES);
#pragma GCC unroll 8
                    for (int p = 0; p < MIXED; p++)
                        for (int v = 0; v < WIDE; v++) sum[p][v] += by[v] * from[p * LANES + c];
                }
            }
            for (int p = 0; p < MIN(MIXED, width - x); p++)
                for (int v = 0; v < WIDE; v++) {
                    float *to = result + (x + p) * stride + f + v * LANES;
                    if (add) sum[p][v] += load(to);
                    store(to, sum[p][v]);
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

INLINE void unmix_pixels(const float *gradient, size stride, const float *weight, size filters, size channels,
                         float *to, size pitch, int count) {
    vector sum[MIXED][WIDE];
    for (int p = 0; p < count; p++)
        for (int v = 0; v < WIDE; v++) sum[p][v] = (vector){0};
#pragma GCC unroll 2
    for (size f = 0; f < filters; f++) {
        vector by[WIDE];
        for (int v = 0; v < WIDE; v++) by[v] = held(weight + f * channels + v * LANES);
#pragma GCC unroll 8
        for (int p = 0; p < count; p++)
            for (int v = 0; v < WIDE; v++) sum[p][v] += by[v] * gradient[p * stride + f];
    }
    for (int p = 0; p < count; p++)
        for (int v = 0; v < WIDE; v++) store(to + (v * pitch + p) * LANES, sum[p][v]);
}

/* line[x] = weight · gradient[x] for pixels [from, from + count) of an image line, zero beyond the border.
 * `weight` is (filters, channels). */
static void unmixed_line(const float *gradient, size stride, size width, const float *weight, size filters,
                         size channels, size from, size count, size pitch, float *line) {
    size before = MIN(MAX(-from, 0), count), after = MAX(MIN(width - from, count), before);
    if (!gradient) before = after = 0;
    for (size c = 0; c < channels; c += 16) {
        float *to = line + c * pitch;
        for (int v = 0; v < WIDE; v++) {
            memset(to + v * pitch * LANES, 0, 4 * LANES * before);
            memset(to + (v * pitch + after) * LANES, 0, 4 * LANES * (count - after));
        }
        size x = before;
        for (; x + MIXED <= after; x += MIXED)
            unmix_pixels(gradient + (from + x) * stride, stride, weight + c, filters, channels, to + x * LANES, pitch, MIXED);
        for (; x < after; x++)
            unmix_pixels(gradient + (from + x) * stride, stride, weight + c, filters, channels, to + x * LANES, pitch, 1);
    }
}

/* to[c, f] += sum over a line of line[x, c] * gradient[x, f]; bias likewise. */
static void mix_gradient(const float *line, size pitch, size channels, const float *gradient, size stride,
                         size filters, size width, float *to, float *bias) {
    for (size f = 0; f < filters; f += 16) {
        vector total[WIDE];
        for (int v = 0; v < WIDE; v++) total[v] = (vector){0};
        for (size x = 0; x < width; x++)
            for (int v = 0; v < WIDE; v++) total[v] += load(gradient + x * stride + f + v * LANES);
        for (int v = 0; v < WIDE; v++) store(bias + f + v * LANES, load(bias + f + v * LANES) + total[v]);
        for (size c = 0; c < channels; c += SQUARE) {
            const float *from = line + c / LANES * pitch * LANES + c % LANES;
            vector sum[SQUARE][WIDE];
#pragma GCC unroll 8
            for (int i = 0; i < SQUARE; i++)
                for (int v = 0; v < WIDE; v++) sum[i][v] = (vector){0};
#pragma GCC unroll 2
            for (size x = 0; x < width; x++) {
                vector by[WIDE];
                for (int v = 0; v < WIDE; v++) by[v] = held(gradient + x * stride + f + v * LANES);
#pragma GCC unroll 8
                for (int i = 0; i < SQUARE; i++)
                    for (int v = 0; v < WIDE; v++) sum[i][v] += by[v] * from[x * LANES + i];
            }
            for (int i = 0; i < SQUARE; i++)
                for (int v = 0; v < WIDE; v++) {
                    float *into = to + (c + i) * filters + f + v * LANES;
                    store(into, load(into) + sum[i][v]);
                }
        }
    }
}

/* ---- the layer ---- */

static size largest_line(const layer *l, size *reach_of_all, size *largest_k) {
    size reach = 0, k = 1, d = 1, channels = 0;
    for (size i = 0; i < l->branches; i++) {
        const branch *b = l->branch + i;
        reach = MAX(reach, b->k / 2 * b->dilation);
        k = MAX(k, b->k);
        d = MAX(d, b->dilation);
        channels = MAX(channels, b->channels);
    }
    *reach_of_all = reach;
    *largest_k = k;
    return (TILE_COLUMNS + 2 * reach + STRIP * d) * channels; /* a strip may read and write beyond the end */
}

static void forward_tile(const layer *l, tile t, double *sums) {
    size reach, k;
    size line_size = largest_line(l, &reach, &k), width = t.x1 - t.x0, stride = l->out_channels;
    float *memory = scratch((k + 1) * line_size), *mixed = memory + k * line_size;
    for (size i = 0; i < l->branches; i++) {
        const branch *b = l->branch + i;
        size d = b->dilation, r = b->k / 2 * d, pitch = line_size / b->channels;
        for (size phase = 0; phase < MIN(d, t.y1 - t.y0); phase++) {
            float *lines[64];
            size loaded = 0;
            for (size y = t.y0 + phase; y < t.y1; y += d) {
                /* The line that the last row did not reach takes the place of the one no longer reached. */
                for (size place = (y - t.y0) / d + b->k; loaded < place; loaded++) {
                    size row = t.y0 + phase + loaded * d - r + reach - l->top;
                    activated_line(l, b, t.image, row, t.x0 - r + reach - l->left, width + 2 * r, pitch,
                                   memory + loaded % b->k * line_size);
                }
                for (size j = 0; j < b->k; j++) lines[j] = memory + (loaded - b->k + j) % b->k * line_size;
                correlate(lines, pitch, 0, b->depthwise, b->channels, mixed, width, pitch, b->k, d, 0);
                float *to = l->result + ((t.image * l->out_height + y) * l->out_width + t.x0) * stride + b->out;
                mix_line(mixed, pitch, b->channels, b->pointwise, b->bias, l->filters, to, stride, width, b->add,
                         sums ? sums + b->out : NULL, stride);
            }
        }
    }
}

static void first_pivot(const layer *l, tile t, double *sums) {
    /* What a value is to be compared with is any value of its kind: that of the tile's first pixel. */
    layer one = *l;
    float *pixel = malloc(4 * l->out_channels);
    one.result = pixel - ((t.image * l->out_height + t.y0) * l->out_width + t.x0) * l->out_channels;
    forward_tile(&one, (tile){t.image, t.y0, t.y0 + 1, t.x0, t.x0 + 1}, NULL);
    for (size f = 0; f < l->out_channels; f++) sums[f] = pixel[f];
    free(pixel);
}

void separable_forward(const layer *l) {
    size tiles = layer_tiles(l->n, l->out_height, l->out_width);
#pragma omp parallel for schedule(dynamic)
    for (size part = 0; part < l->parts; part++)
        for (size i = part * tiles / l->parts, first = i; i < (part + 1) * tiles / l->parts; i++) {
            tile t = tile_at(i, l->out_height, l->out_width);
            double *sums = l->sums ? l->sums + part * 4 * l->out_channels : NULL;
            if (sums && i == first) first_pivot(l, t, sums);
            forward_tile(l, t, sums);
        }
}

/* The gradient by scale * x + shift of a line, from that by its activation; its sums. */
static void deactivate_line(const layer *l, const branch *b, const float *x, float *gradient, size width,
                            double *sums) {
    if (!l->scale) return;
    for (size g = b->in; g < b->in + b->channels; g += LANES) {
        vector scale = load(l->scale + g), shift = load(l->shift + g), total = {0}, product = {0};
        for (size p = 0; p < width; p++) {
            vector value = load(x + p * l->channels + g), by = load(gradient + p * l->channels + g);
            by = choose(scale * value + shift > 0, by, by * l->slope);
            store(gradient + p * l->channels + g, by);
            total += by;
            product += by * value;
        }
        for (int i = 0; i < LANES; i++) {
            sums[g + i] += total[i];
            sums[l->channels + g + i] += product[i];
        }
    }
}

static void add_line(const float *line, size pitch, size channels, float *to, size stride, size width, int add) {
    for (size g = 0; g < channels / LANES; g++)
        for (size p = 0; p < width; p++) {
            float *into = to + p * stride + g * LANES;
            vector value = load(line + (g * pitch + p) * LANES);
            if (add) value += load(into);
            store(into, value);
        }
}

/* One branch of a tile: gradients of its weights to `into`, that of its input to the layer's. */
static void backward_branch(const layer *l, const branch *b, tile t, branch into, float *memory, size line_size,
                            size k, int add, int last, double *sums) {
    size d = b->dilation, r = b->k / 2 * d, pitch = line_size / b->channels, width = t.x1 - t.x0;
    float *inputs = memory, *gradients = memory + k * line_size, *mixed = gradients + k * line_size;
    float *weight = mixed + line_size, *mix = weight + b->channels * l->filters, *bias = mix + b->channels * l->filters;
    const float *factor = l->factor ? l->factor + t.image * l->out_channels + b->out : NULL;
    for (size f = 0; f < l->filters; f++)
        for (size c = 0; c < b->channels; c++)
            weight[f * b->channels + c] = b->pointwise[c * l->filters + f] * (factor ? factor[f] : 1);
    memset(mix, 0, 4 * (b->channels + 1) * l->filters);
    for (size phase = 0; phase < MIN(d, t.y1 - t.y0); phase++) {
        float *of_input[64], *of_gradient[64];
        size loaded = 0;
        for (size y = t.y0 + phase; y < t.y1; y += d) {
            for (size place = (y - t.y0) / d + b->k; loaded < place; loaded++) {
                size row = t.y0 + phase + loaded * d - r, slot = loaded % b->k * line_size;
                const float *by = l->gradient + (t.image * l->height + row) * l->width * l->out_channels + b->out;
                activated_line(l, b, t.image, row, t.x0 - r, width + 2 * r, pitch, inputs + slot);
                unmixed_line(row < 0 || row >= l->height ? NULL : by, l->out_channels, l->width, weight, l->filters,
                             b->channels, t.x0 - r, width + 2 * r, pitch, gradients + slot);
            }
            for (size j = 0; j < b->k; j++) {
                of_input[j] = inputs + (loaded - b->k + j) % b->k * line_size;
                of_gradient[j] = gradients + (loaded - b->k + j) % b->k * line_size;
            }
            size pixel = (t.image * l->height + y) * l->width + t.x0;
            correlate(of_input, pitch, 0, b->depthwise, b->channels, mixed, width, pitch, b->k, d, 0);
            mix_gradient(mixed, pitch, b->channels, l->gradient + pixel * l->out_channels + b->out, l->out_channels,
                         l->filters, width, mix, bias);
            correlate_gradient(of_input, pitch, 0, of_gradient[b->k / 2] + r * LANES, pitch, into.depthwise_gradient,
                               b->channels, width, b->k, d);
            if (l->input_gradient) {
                float *to = l->input_gradient + pixel * l->channels;
                correlate(of_gradient, pitch, 0, b->depthwise, b->channels, mixed, width, pitch, b->k, d, 1);
                add_line(mixed, pitch, b->channels, to + b->in, l->channels, width, add);
                if (last) deactivate_line(l, b, l->x + pixel * l->channels, to, width, sums);
            }
        }
    }
    for (size c = 0; c < b->channels; c++)
        for (size f = 0; f < l->filters; f++)
            into.pointwise_gradient[c * l->filters + f] += mix[c * l->filters + f] * (factor ? factor[f] : 1);
    for (size f = 0; f < l->filters; f++) into.bias_gradient[f] += bias[f] * (factor ? factor[f] : 1);
}

static int reads_same(const branch *a, const branch *b) { return a->in == b->in; }

void separable_backward(const layer *l) {
    size tiles = layer_tiles(l->n, l->height, l->width), reach, k;
    size line_size = largest_line(l, &reach, &k), channels = line_size / TILE_COLUMNS;
#pragma omp parallel for schedule(dynamic)
    for (size part = 0; part < l->parts; part++)
        for (size i = part * tiles / l->parts; i < (part + 1) * tiles / l->parts; i++) {
            tile t = tile_at(i, l->height, l->width);
            float *memory = scratch((2 * k + 1) * line_size + (2 * channels + 1) * l->filters);
            for (size j = 0; j < l->branches; j++) {
                const branch *b = l->branch + j;
                branch into = {.depthwise_gradient = b->depthwise_gradient + part * b->k * b->k * b->channels,
                               .pointwise_gradient = b->pointwise_gradient + part * b->channels * l->filters,
                               .bias_gradient = b->bias_gradient + part * l->filters};
                backward_branch(l, b, t, into, memory, line_size, k, j > 0 && reads_same(b, b - 1),
                                j + 1 == l->branches || !reads_same(b, b + 1),
                                l->affine_sums ? l->affine_sums + part * 2 * l->channels : NULL);
            }
        }
}

/* ---- sums and mixtures of whole images, pixel by pixel ---- */

/* Add the products of a few channels of a, less their pivot, with those of b over `width` pixels. */
INLINE void product_line(const float *a, size a_stride, const float *b, size b_stride, size width, float *to,
                         size to_stride, int vectors) {
    vector sum[SQUARE][3];
#pragma GCC unroll 8
    for (int i = 0; i < SQUARE; i++)
        for (int v = 0; v < vectors; v++) sum[i][v] = (vector){0};
#pragma GCC unroll 1
    for (size x = 0; x < width; x++) {
        vector by[3];
        for (int v = 0; v < vectors; v++) by[v] = held(b + x * b_stride + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < SQUARE; i++)
            for (int v = 0; v < vectors; v++) sum[i][v] += by[v] * a[x * a_stride + i];
    }
    for (int i = 0; i < SQUARE; i++)
        for (int v = 0; v < vectors; v++) {
            float *into = to + i * to_stride + v * LANES;
            store(into, load(into) + sum[i][v]);
        }
}

/* Copy pixels less their pivot, and add them to `sum`. */
static void lift_pixels(const float *from, const float *pivot, size channels, size width, float *to, float *sum) {
    for (size c = 0; c < channels; c += LANES) {
        vector less = {0}, total = {0};
        if (pivot) less = load(pivot + c);
        for (size x = 0; x < width; x++) {
            vector value = load(from + x * channels + c) - less;
            store(to + x * channels + c, value);
            total += value;
        }
        if (sum) store(sum + c, load(sum + c) + total);
    }
}

/* sums[part] = (b_channels), products[part] = (a_channels, b_channels): sums of b and of a·b over the pixels of a part,
 * both less their pivot where there is one: products (rows, columns) of parts that lie within one image. */
void pixel_products(const float *a, const float *b, const float *pivot_a, const float *pivot_b, size images,
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
            lift_pixels(a + (image * pixels + from) * a_channels, pivot_a, a_channels, width, left, NULL);
            lift_pixels(b + (image * pixels + from) * b_channels, pivot_b, b_channels, width, right, sum);
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

INLINE void mix_block(const float *x, size x_channels, const float *weight, size stride, vector (*sum)[3], int pixels,
                      int vectors) {
    for (size c = 0; c < x_channels; c++) {
        vector w[3];
        for (int v = 0; v < vectors; v++) w[v] = held(weight + c * stride + v * LANES);
#pragma GCC unroll 8
        for (int p = 0; p < pixels; p++)
            for (int v = 0; v < vectors; v++) sum[p][v] += w[v] * x[p * x_channels + c];
    }
}

INLINE void mix_pixels(float *out, size channels, const float *scale, const float *x, size x_channels,
                       const float *of_x, const float *y, size y_channels, const float *of_y, const float *shift,
                       int pixels, int vectors) {
    vector sum[SQUARE][3];
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++)
            sum[p][v] = load(shift + v * LANES) + load(scale + v * LANES) * load(out + p * channels + v * LANES);
    mix_block(x, x_channels, of_x, channels, sum, pixels, vectors);
    if (y) mix_block(y, y_channels, of_y, channels, sum, pixels, vectors);
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++) store(out + p * channels + v * LANES, sum[p][v]);
}

/* out = scale·out + of_x·x + of_y·y + shift, pixel by pixel; every image has its own factors. Images and rows of x lie
 * x_image and x_row floats apart; those of out and y follow each other. y may be null. */
void pixel_mix(float *out, const float *x, const float *y, const float *scale, const float *of_x, const float *of_y,
               const float *shift, size images, size height, size width, size channels, size x_channels, size x_image,
               size x_row, size y_channels) {
#pragma omp parallel for schedule(static)
    for (size row = 0; row < images * height; row++) {
        size n = row / height;
        for (size c = 0; c < channels;) {
            int three = c + 3 * LANES <= channels;
            const float *a = of_x + n * x_channels * channels + c, *b = of_y + (y ? n * y_channels * channels + c : 0);
            const float *s = scale + n * channels + c, *v = shift + n * channels + c;
            for (size p = 0; p < width;) {
                int many = p + SQUARE <= width;
                float *into = out + (row * width + p) * channels + c;
                const float *of = x + n * x_image + row % height * x_row + p * x_channels;
                const float *other = y ? y + (row * width + p) * y_channels : NULL;
                if (three && many) mix_pixels(into, channels, s, of, x_channels, a, other, y_channels, b, v, SQUARE, 3);
                else if (three) mix_pixels(into, channels, s, of, x_channels, a, other, y_channels, b, v, 1, 3);
                else if (many) mix_pixels(into, channels, s, of, x_channels, a, other, y_channels, b, v, SQUARE, 1);
                else mix_pixels(into, channels, s, of, x_channels, a, other, y_channels, b, v, 1, 1);
                p += many ? SQUARE : 1;
            }
            c += three ? 3 * LANES : LANES;
        }
    }
}

/* out = scale·out + factor·x + shift, channel by channel. */
void pixel_add(float *out, const float *x, const float *scale, const float *factor, const float *shift, size pixels,
               size channels) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++)
        for (size c = 0; c < channels; c += LANES) {
            float *to = out + p * channels + c;
            store(to, load(scale + c) * load(to) + load(factor + c) * load(x + p * channels + c) + load(shift + c));
        }
}
