/* The kernels of a residual block of separable atrous convolutions, channels last.
 *
 * A separable convolution reads leaky(scale * x + shift), convolves every channel with its own dilated kernel and mixes
 * the channels of a pixel. Here these happen line by line: the activated lines that the kernel reaches stay in cache, the
 * result of the depthwise part never leaves it. Lines d apart belong together, so the lines of a tile are taken phase by
 * phase; likewise pixels d apart, whose sums share what they load.
 *
 * Lines in cache are stored a vector of channels after the other: line[channels / LANES][pixels][LANES].
 * Numbers of channels are multiples of 16. Every sum over pixels is made in parts that do not depend on the number of
 * threads; the caller adds them up.
 *
 * Images are float32. Compiled with BFLOAT16 they are bfloat16, and what is multiplied is multiplied two by two: taps d
 * pixels apart, or channels, or pixels side by side. Pairs lie where the first of their members lay. Weights, statistics
 * and sums are float32 all the same.
 */
#ifdef __AVX__
#include <immintrin.h>
#endif
#if defined BFLOAT16 && !defined __AVX512BF16__
#error "this processor does not multiply bfloat16"
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

enum { WIDE = 16 / LANES, PIXELS = 8, TILE_ROWS = 136, TILE_COLUMNS = 224 };

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

/* What is multiplied comes in pairs, STEP = 2, or one by one. */
#ifdef BFLOAT16
enum { STEP = 2 };
typedef unsigned short stored;
typedef int pair_bits __attribute__((may_alias));
INLINE vector read(const stored *from) {
    return (vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)from)), 16);
}
INLINE void write(stored *to, vector value) {
    _mm256_storeu_si256((__m256i_u *)to, (__m256i)_mm512_cvtneps_pbh((__m512)value));
}
INLINE vector paired(vector first, vector second) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                           5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (vector)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
}
INLINE vector first_of_pairs(vector pairs) { return (vector)((mask_vector)pairs & 0xffff); }
INLINE vector plus(vector sum, vector a, vector b) {
    return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
/* The same factor for all lanes. */
INLINE vector plus_by(vector sum, vector a, const float *factor) {
    return plus(sum, a, (vector)_mm512_set1_epi32(*(const pair_bits *)factor));
}
#else
enum { STEP = 1 };
typedef float stored;
INLINE vector read(const stored *from) { return load(from); }
INLINE void write(stored *to, vector value) { store(to, value); }
INLINE vector paired(vector first, vector second) { return first; }
INLINE vector first_of_pairs(vector pairs) { return pairs; }
INLINE vector plus(vector sum, vector a, vector b) { return sum + a * b; }
INLINE vector plus_by(vector sum, vector a, const float *factor) { return sum + a * *factor; }
#endif

/* Pixels of an image as factors: neighbouring channels lie in pairs there already. */
INLINE const float *factors(const stored *pixels) { return (const float *)pixels; }

/* Each of `count` vectors is paired with the one `apart` vectors on, or with zeros beyond the last. */
static void pair_up(float *vectors, size count, size apart) {
    size i = 0;
    if (STEP == 1) return;
    for (; i < count - apart; i++)
        store(vectors + i * LANES, paired(load(vectors + i * LANES), load(vectors + (i + apart) * LANES)));
    for (; i < count; i++) store(vectors + i * LANES, paired(load(vectors + i * LANES), (vector){0}));
}

/* Rows of a matrix, backwards if asked for, each STEP of them paired; the last may be alone. */
static const float *pair_rows(const float *rows, size count, size columns, int backwards, float *to) {
    for (size r = 0; r < count; r += STEP)
        for (size c = 0; c < columns; c += LANES) {
            const float *first = rows + (backwards ? count - 1 - r : r) * columns + c;
            vector second = {0};
            if (r + 1 < count) second = load(backwards ? first - columns : first + columns);
            store(to + r / STEP * columns + c, paired(load(first), second));
        }
    return to;
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
    const stored *x;
    const float *scale, *shift;               /* null where x is read as it is */
    float slope;
    stored *result;
    double *sums;                             /* (parts, 4, out_channels): a pivot, the sum and the sum of squares of what
                                                 lies above it, and how many; or null */
    const stored *gradient;                   /* of the result */
    const float *factor;                      /* (n, out_channels) on it, or null */
    stored *input_gradient;                   /* by scale * x + shift, or null */
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

/* From a pixel of the input, or of the gradient of a result of the same size, what belongs to a branch. */
INLINE const stored *input_line(const layer *l, const branch *b, size image, size y, size x) {
    return l->x + ((image * l->height + y) * l->width + x) * l->channels + b->in;
}
INLINE const stored *gradient_line(const layer *l, const branch *b, size image, size y, size x) {
    return l->gradient + ((image * l->height + y) * l->width + x) * l->out_channels + b->out;
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

/* A line in memory comes from far away: it is sent for while others are worked on. */
typedef struct {
    const stored *pixels;   /* null: there is none */
    size apart, channels;
} far_line;

enum { FETCHED = 64 / sizeof(stored) };

INLINE void send_for(far_line far, size width, int to_write) {
    for (size p = 0; far.pixels && p < width; p++)
        for (size c = 0; c < far.channels; c += FETCHED)
            if (to_write) __builtin_prefetch(far.pixels + p * far.apart + c, 1, 2);
            else __builtin_prefetch(far.pixels + p * far.apart + c, 0, 2);
}

/* Pixels [from, from + count) of a line of the input, activated, zero beyond the border. */
static void activated_line(const layer *l, const branch *b, size image, size y, size from, size count, size pitch,
                           float *line) {
    size before = MIN(MAX(-from, 0), count), after = MAX(MIN(l->width - from, count), before);
    if (y < 0 || y >= l->height) before = after = 0;
    size stride = l->channels;
    float slope = l->slope;
    for (size g = 0; g < b->channels / LANES; g++) {
        float *to = line + g * pitch * LANES;
        const stored *x = input_line(l, b, image, y, from) + g * LANES;
        memset(to, 0, 4 * LANES * before);
        if (l->scale) {
            vector scale = load(l->scale + b->in + g * LANES), shift = load(l->shift + b->in + g * LANES);
            for (size p = before; p < after; p++)
                store(to + p * LANES, leaky(scale * read(x + p * stride) + shift, slope));
        } else
            for (size p = before; p < after; p++) store(to + p * LANES, read(x + p * stride));
        memset(to + after * LANES, 0, 4 * LANES * (count - after));
        pair_up(to, count, b->dilation);
    }
}

/* ---- depthwise part: k lines, a vector of channels at a time ---- */

/* `count` pixels d apart share the inputs they have in common. */
INLINE void correlate_strip(float *const *lines, size offset, const float *taps, size stride, float *to, size k,
                            size d, int count, const stored *far, size apart) {
    vector sum[STRIP];
    for (int p = 0; p < count; p++) sum[p] = (vector){0};
    if (far)
        for (int p = 0; p < count; p++) __builtin_prefetch(far + p * d * apart, 0, 2);
    for (int ky = 0; ky < k; ky++) {
        const float *line = lines[ky] + offset;
        vector w[7];
        for (int t = 0; t < k; t += STEP, taps += stride) w[t] = load(taps);
#pragma GCC unroll 32
        for (int j = 0; j < count + k - 1; j++) {
            vector a = held(line + j * d * LANES);
#pragma GCC unroll 8
            for (int t = 0; t < k; t += STEP)
                if (j - t >= 0 && j - t < count) sum[j - t] = plus(sum[j - t], w[t], a);
        }
    }
    for (int p = 0; p < count; p++) store(to + p * d * LANES, sum[p]);
}

INLINE void correlate_phases(float *const *lines, size offset, const float *taps, size stride, float *to, size width,
                             size k, size d, const stored *far, size apart) {
    for (size phase = 0; phase < d; phase++) {
        size x = phase;
        for (; x + (STRIP / 2) * d < width; x += STRIP * d)
            correlate_strip(lines, offset + x * LANES, taps, stride, to + x * LANES, k, d, STRIP,
                            far ? far + x * apart : NULL, apart);
        for (; x < width; x += STRIP / 2 * d)
            correlate_strip(lines, offset + x * LANES, taps, stride, to + x * LANES, k, d, STRIP / 2,
                            far ? far + x * apart : NULL, apart);
    }
}

/* Any other kernel size. */
static void correlate_any(float *const *lines, size offset, const float *taps, size stride, float *to, size width,
                          size k, size d) {
    for (size x = 0; x < width; x++) {
        const float *w = taps;
        vector sum = {0};
        for (size ky = 0; ky < k; ky++)
            for (size t = 0; t < k; t += STEP, w += stride)
                sum = plus(sum, load(w), load(lines[ky] + offset + (x + t * d) * LANES));
        store(to + x * LANES, sum);
    }
}

/* The kernels of a branch as `correlate` reads them, turned by 180° if asked for. */
static const float *arranged_taps(const branch *b, int turned, float *to) {
    size row = b->k * b->channels, paired_row = (b->k + STEP - 1) / STEP * b->channels;
    for (size ky = 0; ky < b->k; ky++)
        pair_rows(b->depthwise + (turned ? b->k - 1 - ky : ky) * row, b->k, b->channels, turned, to + ky * paired_row);
    return to;
}

/* to[x] = sum of taps * lines[x + tap * d], for all channels; meanwhile a far line is sent for. */
static void correlate(float *const *lines, size pitch, const float *taps, size channels, float *to, size width, size k,
                      size d, far_line far) {
    for (size g = 0; g < channels / LANES; g++) {
        size offset = g * pitch * LANES;
        const float *w = taps + g * LANES;
        float *result = to + offset;
        int fetch = far.pixels && g * LANES < far.channels && g * LANES % FETCHED == 0;
        const stored *ahead = fetch ? far.pixels + g * LANES : NULL;
        if (k == 3) correlate_phases(lines, offset, w, channels, result, width, 3, d, ahead, far.apart);
        else if (k == 5) correlate_phases(lines, offset, w, channels, result, width, 5, d, ahead, far.apart);
        else if (k == 7) correlate_phases(lines, offset, w, channels, result, width, 7, d, ahead, far.apart);
        else correlate_any(lines, offset, w, channels, result, width, k, d);
    }
}

INLINE void taps_strip(const float *line, const float *g, size width, size d, vector *sum, int k) {
    for (size phase = 0; phase < d; phase++) {
        size x = phase;
        for (; x + (PIXELS - 1) * d < width; x += PIXELS * d) {
            vector by[PIXELS];
#pragma GCC unroll 8
            for (int p = 0; p < PIXELS; p += STEP) by[p] = load(g + (x + p * d) * LANES);
#pragma GCC unroll 16
            for (int j = 0; j < PIXELS + k - 1; j++) {
                vector a = load(line + (x + j * d) * LANES);
#pragma GCC unroll 8
                for (int t = 0; t < k; t++)
                    if (j - t >= 0 && j - t < PIXELS && (j - t) % STEP == 0) sum[t] = plus(sum[t], by[j - t], a);
            }
        }
        for (; x < width; x += d) {
            vector by = first_of_pairs(load(g + x * LANES));
#pragma GCC unroll 8
            for (int t = 0; t < k; t++) sum[t] = plus(sum[t], by, load(line + (x + t * d) * LANES));
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
static void correlate_gradient(float *const *lines, size pitch, const float *gradient, float *to, size channels,
                               size width, size k, size d) {
    for (size g = 0; g < channels / LANES; g++)
        for (size ky = 0; ky < k; ky++) {
            const float *line = lines[ky] + g * pitch * LANES, *by = gradient + g * pitch * LANES;
            float *sum = to + ky * k * channels + g * LANES;
            if (k == 3) taps_line(line, by, width, d, sum, channels, 3);
            else if (k == 5) taps_line(line, by, width, d, sum, channels, 5);
            else if (k == 7) taps_line(line, by, width, d, sum, channels, 7);
            else
                for (size t = 0; t < k; t++) taps_line(line + t * d * LANES, by, width, d, sum + t * channels, 0, 1);
        }
}

/* ---- pointwise part of a line, MIXED pixels and 16 channels at a time ---- */

static void mix_line(float *line, size pitch, size channels, const float *weight, const float *bias, size filters,
                     stored *result, size stride, size width, int add, double *sums, size sums_stride) {
    enum { APART = LANES / STEP };
    for (size g = 0; STEP > 1 && g < channels / LANES; g++)
        for (size x = 0; x < width; x++) {
            float *from = line + g * pitch * LANES;
            write((stored *)(from + x * APART), load(from + x * LANES));
        }
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
                const float *from = line + g * pitch * LANES + x * APART, *w = weight + g * LANES / STEP * filters + f;
#pragma GCC unroll 2
                for (int c = 0; c < LANES / STEP; c++) {
                    vector by[WIDE];
                    for (int v = 0; v < WIDE; v++) by[v] = held(w + c * filters + v * LANES);
#pragma GCC unroll 8
                    for (int p = 0; p < MIXED; p++)
                        for (int v = 0; v < WIDE; v++) sum[p][v] = plus_by(sum[p][v], by[v], from + p * APART + c);
                }
            }
#pragma GCC unroll 8
            for (int p = 0; p < MIXED; p++)
                for (int v = 0; v < WIDE && x + p < width; v++) {
                    stored *to = result + (x + p) * stride + f + v * LANES;
                    if (add) sum[p][v] += read(to);
                    write(to, sum[p][v]);
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
    for (size f = 0; f < filters / STEP; f++) {
        vector by[WIDE];
        for (int v = 0; v < WIDE; v++) by[v] = held(weight + f * channels + v * LANES);
#pragma GCC unroll 8
        for (int p = 0; p < count; p++)
            for (int v = 0; v < WIDE; v++) sum[p][v] = plus_by(sum[p][v], by[v], gradient + p * stride + f);
    }
    for (int p = 0; p < count; p++)
        for (int v = 0; v < WIDE; v++) store(to + (v * pitch + p) * LANES, sum[p][v]);
}

/* line[x] = weight · gradient[x] for pixels [from, from + count) of an image line, zero beyond the border.
 * `weight` is (filters, channels), its rows paired; so are pixels d apart of the line. */
static void unmixed_line(const stored *gradient, size stride, size width, const float *weight, size filters,
                         size channels, size from, size count, size d, size pitch, float *line) {
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
            unmix_pixels(factors(gradient + (from + x) * stride), stride / STEP, weight + c, filters, channels,
                         to + x * LANES, pitch, MIXED);
        for (; x < after; x++)
            unmix_pixels(factors(gradient + (from + x) * stride), stride / STEP, weight + c, filters, channels,
                         to + x * LANES, pitch, 1);
        for (int v = 0; v < WIDE; v++) pair_up(to + v * pitch * LANES, count, d);
    }
}

/* to[c, f] += sum over a line of line[x, c] * gradient[x, f]; bias likewise. The line is spoilt. */
static void mix_gradient(float *line, size pitch, size channels, const stored *gradient, size stride, size filters,
                         size width, float *to, float *bias, float *room) {
    for (size f = 0; f < filters; f += LANES) {
        vector total = {0};
        for (size x = 0; x < width; x++) {
            vector by = read(gradient + x * stride + f);
            total += by;
            if (STEP > 1) store(room + x * filters + f, by);
        }
        store(bias + f, load(bias + f) + total);
    }
    pair_up(room, width * filters / LANES, filters / LANES);
    for (size g = 0; g < channels / LANES; g++) pair_up(line + g * pitch * LANES, width, 1);
    const float *factor = STEP > 1 ? room : factors(gradient);
    if (STEP > 1) stride = filters;
    for (size f = 0; f < filters; f += 16)
        for (size c = 0; c < channels; c += SQUARE) {
            const float *from = line + c / LANES * pitch * LANES + c % LANES;
            vector sum[SQUARE][WIDE];
#pragma GCC unroll 8
            for (int i = 0; i < SQUARE; i++)
                for (int v = 0; v < WIDE; v++) sum[i][v] = (vector){0};
#pragma GCC unroll 2
            for (size x = 0; x < width; x += STEP) {
                vector by[WIDE];
                for (int v = 0; v < WIDE; v++) by[v] = held(factor + x * stride + f + v * LANES);
#pragma GCC unroll 8
                for (int i = 0; i < SQUARE; i++)
                    for (int v = 0; v < WIDE; v++) sum[i][v] = plus_by(sum[i][v], by[v], from + x * LANES + i);
            }
            for (int i = 0; i < SQUARE; i++)
                for (int v = 0; v < WIDE; v++) {
                    float *into = to + (c + i) * filters + f + v * LANES;
                    store(into, load(into) + sum[i][v]);
                }
        }
}

/* ---- the layer ---- */

/* The largest of all branches, and what a line of it takes, floats. */
typedef struct {
    size k, reach, channels, line, weights;
} extent;

static extent largest(const layer *l) {
    extent e = {.k = 1};
    size d = 1;
    for (size i = 0; i < l->branches; i++) {
        const branch *b = l->branch + i;
        e.reach = MAX(e.reach, b->k / 2 * b->dilation);
        e.k = MAX(e.k, b->k);
        d = MAX(d, b->dilation);
        e.channels = MAX(e.channels, b->channels);
    }
    e.line = (TILE_COLUMNS + 2 * e.reach + STRIP * d) * e.channels; /* a strip may read and write beyond the end */
    e.weights = (e.k * e.k + l->filters) * e.channels;
    return e;
}

static void forward_tile(const layer *l, tile t, double *sums) {
    extent e = largest(l);
    size width = t.x1 - t.x0, stride = l->out_channels;
    float *memory = scratch((e.k + 1) * e.line + e.weights), *mixed = memory + e.k * e.line, *weights = mixed + e.line;
    for (size i = 0; i < l->branches; i++) {
        const branch *b = l->branch + i;
        size d = b->dilation, r = b->k / 2 * d, pitch = e.line / b->channels;
        const float *taps = arranged_taps(b, 0, weights);
        const float *mix = pair_rows(b->pointwise, b->channels, l->filters, 0, weights + b->k * b->k * b->channels);
        for (size phase = 0; phase < MIN(d, t.y1 - t.y0); phase++) {
            float *lines[64];
            size loaded = 0;
            for (size y = t.y0 + phase; y < t.y1; y += d) {
                /* The line that the last row did not reach takes the place of the one no longer reached. */
                for (size place = (y - t.y0) / d + b->k; loaded < place; loaded++) {
                    size row = t.y0 + phase + loaded * d - r + e.reach - l->top;
                    activated_line(l, b, t.image, row, t.x0 - r + e.reach - l->left, width + 2 * r, pitch,
                                   memory + loaded % b->k * e.line);
                }
                for (size j = 0; j < b->k; j++) lines[j] = memory + (loaded - b->k + j) % b->k * e.line;
                stored *to = l->result + ((t.image * l->out_height + y) * l->out_width + t.x0) * stride + b->out;
                send_for((far_line){to, stride, l->filters}, width, 1);
                size ahead = y + e.reach + r + d - l->top, column = MAX(t.x0 + e.reach - l->left, 0);
                far_line next = {y + d < t.y1 && ahead < l->height ? input_line(l, b, t.image, ahead, column) : NULL,
                                 l->channels, b->channels};
                correlate(lines, pitch, taps, b->channels, mixed, width, b->k, d, next);
                mix_line(mixed, pitch, b->channels, mix, b->bias, l->filters, to, stride, width, b->add,
                         sums ? sums + b->out : NULL, stride);
            }
        }
    }
}

static void first_pivot(const layer *l, tile t, double *sums) {
    /* What a value is to be compared with is any value of its kind: that of the tile's first pixel. */
    layer one = *l;
    stored *pixel = malloc(sizeof(stored) * l->out_channels);
    one.result = pixel - ((t.image * l->out_height + t.y0) * l->out_width + t.x0) * l->out_channels;
    forward_tile(&one, (tile){t.image, t.y0, t.y0 + 1, t.x0, t.x0 + 1}, NULL);
    for (size f = 0; f < l->out_channels; f += LANES) {
        vector value = read(pixel + f);
        for (int i = 0; i < LANES; i++) sums[f + i] = value[i];
    }
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
static void deactivate_line(const layer *l, const branch *b, const stored *x, stored *gradient, size width,
                            double *sums) {
    if (!l->scale) return;
    size stride = l->channels;
    float slope = l->slope;
    for (size g = 0; g < b->channels; g += LANES) {
        vector scale = load(l->scale + b->in + g), shift = load(l->shift + b->in + g), total = {0}, product = {0};
        for (size p = 0; p < width; p++) {
            vector value = read(x + p * stride + g), by = read(gradient + p * stride + g);
            by = choose(scale * value + shift > 0, by, by * slope);
            write(gradient + p * stride + g, by);
            total += by;
            product += by * value;
        }
        for (int i = 0; i < LANES; i++) {
            sums[b->in + g + i] += total[i];
            sums[stride + b->in + g + i] += product[i];
        }
    }
}

static void add_line(const float *line, size pitch, size channels, stored *to, size stride, size width, int add) {
    for (size g = 0; g < channels / LANES; g++)
        for (size p = 0; p < width; p++) {
            stored *into = to + p * stride + g * LANES;
            vector value = load(line + (g * pitch + p) * LANES);
            if (add) value += read(into);
            write(into, value);
        }
}

/* One branch of a tile: gradients of its weights to `into`, that of its input to the layer's. */
static void backward_branch(const layer *l, const branch *b, tile t, branch into, float *memory, extent e, int add,
                            int last, double *sums) {
    size d = b->dilation, r = b->k / 2 * d, pitch = e.line / b->channels, width = t.x1 - t.x0;
    float *inputs = memory, *gradients = inputs + e.k * e.line, *mixed = gradients + e.k * e.line;
    float *weight = mixed + e.line, *mix = weight + b->channels * l->filters, *bias = mix + b->channels * l->filters;
    float *taps = bias + l->filters, *turned = taps + e.weights, *room = turned + e.weights;
    const float *factor = l->factor ? l->factor + t.image * l->out_channels + b->out : NULL;
    for (size f = 0; f < l->filters; f++)
        for (size c = 0; c < b->channels; c++)
            weight[f * b->channels + c] = b->pointwise[c * l->filters + f] * (factor ? factor[f] : 1);
    pair_rows(weight, l->filters, b->channels, 0, weight);
    arranged_taps(b, 0, taps);
    arranged_taps(b, 1, turned);
    memset(mix, 0, 4 * (b->channels + 1) * l->filters);
    for (size phase = 0; phase < MIN(d, t.y1 - t.y0); phase++) {
        float *of_input[64], *of_gradient[64];
        size loaded = 0;
        for (size y = t.y0 + phase; y < t.y1; y += d) {
            for (size place = (y - t.y0) / d + b->k; loaded < place; loaded++) {
                size row = t.y0 + phase + loaded * d - r, slot = loaded % b->k * e.line;
                const stored *by = gradient_line(l, b, t.image, row, 0);
                activated_line(l, b, t.image, row, t.x0 - r, width + 2 * r, pitch, inputs + slot);
                unmixed_line(row < 0 || row >= l->height ? NULL : by, l->out_channels, l->width, weight, l->filters,
                             b->channels, t.x0 - r, width + 2 * r, d, pitch, gradients + slot);
            }
            for (size j = 0; j < b->k; j++) {
                of_input[j] = inputs + (loaded - b->k + j) % b->k * e.line;
                of_gradient[j] = gradients + (loaded - b->k + j) % b->k * e.line;
            }
            size pixel = (t.image * l->height + y) * l->width + t.x0;
            stored *to = l->input_gradient ? l->input_gradient + pixel * l->channels + b->in : NULL;
            size ahead = y + r + d;
            int more = y + d < t.y1 && ahead < l->height;
            send_for((far_line){to, l->channels, b->channels}, width, 1);
            far_line next = {more ? input_line(l, b, t.image, ahead, t.x0) : NULL, l->channels, b->channels};
            correlate(of_input, pitch, taps, b->channels, mixed, width, b->k, d, next);
            mix_gradient(mixed, pitch, b->channels, gradient_line(l, b, t.image, y, t.x0), l->out_channels, l->filters,
                         width, mix, bias, room);
            correlate_gradient(of_input, pitch, of_gradient[b->k / 2] + r * LANES, into.depthwise_gradient, b->channels,
                               width, b->k, d);
            if (l->input_gradient) {
                far_line further = {more ? gradient_line(l, b, t.image, ahead, t.x0) : NULL, l->out_channels, l->filters};
                correlate(of_gradient, pitch, turned, b->channels, mixed, width, b->k, d, further);
                add_line(mixed, pitch, b->channels, to, l->channels, width, add);
                if (last) deactivate_line(l, b, input_line(l, b, t.image, y, t.x0), to, width, sums);
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
    size tiles = layer_tiles(l->n, l->height, l->width);
    extent e = largest(l);
    size memory_size = (2 * e.k + 1) * e.line + 2 * e.weights + (2 * e.channels + 1 + TILE_COLUMNS) * l->filters;
#pragma omp parallel for schedule(dynamic)
    for (size part = 0; part < l->parts; part++)
        for (size i = part * tiles / l->parts; i < (part + 1) * tiles / l->parts; i++) {
            tile t = tile_at(i, l->height, l->width);
            float *memory = scratch(memory_size);
            for (size j = 0; j < l->branches; j++) {
                const branch *b = l->branch + j;
                branch into = {.depthwise_gradient = b->depthwise_gradient + part * b->k * b->k * b->channels,
                               .pointwise_gradient = b->pointwise_gradient + part * b->channels * l->filters,
                               .bias_gradient = b->bias_gradient + part * l->filters};
                backward_branch(l, b, t, into, memory, e, j > 0 && reads_same(b, b - 1),
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
    for (size x = 0; x < width; x += STEP) {
        vector by[3];
        for (int v = 0; v < vectors; v++) by[v] = held(b + x * b_stride + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < SQUARE; i++)
            for (int v = 0; v < vectors; v++) sum[i][v] = plus_by(sum[i][v], by[v], a + x * a_stride + i);
    }
    for (int i = 0; i < SQUARE; i++)
        for (int v = 0; v < vectors; v++) {
            float *into = to + i * to_stride + v * LANES;
            store(into, load(into) + sum[i][v]);
        }
}

/* Copy pixels less their pivot, and add them to `sum`. */
static void lift_pixels(const stored *from, const float *pivot, size channels, size width, float *to, float *sum) {
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
void pixel_products(const stored *a, const stored *b, const float *pivot_a, const float *pivot_b, size images,
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

INLINE void mix_block(const float *x, size x_channels, const float *weight, size stride, vector (*sum)[3], int pixels,
                      int vectors) {
    size apart = x_channels / STEP;
    for (size c = 0; c < apart; c++) {
        vector w[3];
        for (int v = 0; v < vectors; v++) w[v] = held(weight + c * stride + v * LANES);
#pragma GCC unroll 8
        for (int p = 0; p < pixels; p++)
            for (int v = 0; v < vectors; v++) sum[p][v] = plus_by(sum[p][v], w[v], x + p * apart + c);
    }
}

INLINE void mix_pixels(stored *out, size channels, const float *scale, const stored *x, size x_channels,
                       const float *of_x, const stored *y, size y_channels, const float *of_y, const float *shift,
                       int pixels, int vectors) {
    vector sum[SQUARE][3];
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++)
            sum[p][v] = load(shift + v * LANES) + load(scale + v * LANES) * read(out + p * channels + v * LANES);
    mix_block(factors(x), x_channels, of_x, channels, sum, pixels, vectors);
    if (y) mix_block(factors(y), y_channels, of_y, channels, sum, pixels, vectors);
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++) write(out + p * channels + v * LANES, sum[p][v]);
}

/* out = scale·out + of_x·x + of_y·y + shift, pixel by pixel; every image has its own factors. Images and rows of x lie
 * x_image and x_row elements apart; those of out and y follow each other. y may be null. */
void pixel_affine(stored *out, const stored *x, const stored *y, const float *scale, const float *of_x, const float *of_y,
               const float *shift, size images, size height, size width, size channels, size x_channels, size x_image,
               size x_row, size y_channels) {
    size of_x_size = x_channels * channels, of_y_size = y_channels * channels;
#pragma omp parallel for schedule(static)
    for (size row = 0; row < images * height; row++) {
        size n = row / height;
        const float *by_x = of_x + n * of_x_size, *by_y = y ? of_y + n * of_y_size : NULL;
        if (STEP > 1) {
            float *memory = scratch(of_x_size + of_y_size);
            by_x = pair_rows(by_x, x_channels, channels, 0, memory);
            if (y) by_y = pair_rows(by_y, y_channels, channels, 0, memory + of_x_size);
        }
        for (size c = 0; c < channels;) {
            int three = c + 3 * LANES <= channels;
            const float *a = by_x + c, *b = y ? by_y + c : NULL;
            const float *s = scale + n * channels + c, *v = shift + n * channels + c;
            for (size p = 0; p < width;) {
                int many = p + SQUARE <= width;
                stored *to = out + (row * width + p) * channels + c;
                const stored *of = x + n * x_image + row % height * x_row + p * x_channels;
                const stored *other = y ? y + (row * width + p) * y_channels : NULL;
                if (three && many) mix_pixels(to, channels, s, of, x_channels, a, other, y_channels, b, v, SQUARE, 3);
                else if (three) mix_pixels(to, channels, s, of, x_channels, a, other, y_channels, b, v, 1, 3);
                else if (many) mix_pixels(to, channels, s, of, x_channels, a, other, y_channels, b, v, SQUARE, 1);
                else mix_pixels(to, channels, s, of, x_channels, a, other, y_channels, b, v, 1, 1);
                p += many ? SQUARE : 1;
            }
            c += three ? 3 * LANES : LANES;
        }
    }
}

/* out = scale·out + factor·x + shift, channel by channel. */
void pixel_add(stored *out, const stored *x, const float *scale, const float *factor, const float *shift, size pixels,
               size channels) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++)
        for (size c = 0; c < channels; c += LANES) {
            stored *to = out + p * channels + c;
            write(to, load(scale + c) * read(to) + load(factor + c) * read(x + p * channels + c) + load(shift + c));
        }
}
