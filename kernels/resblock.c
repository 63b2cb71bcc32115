/* The separable atrous convolutions of a residual block and their gradients, channels last.
 *
 * A separable convolution reads leaky(scale * x + shift), convolves every channel with its own dilated kernel, and each
 * pixel with a matrix (pointwise). Here these happen line by line: the activated lines that the kernel reaches stay in
 * cache, the result of the depthwise part never leaves it. In large images all branches are worked on together, for
 * memory is what they wait for and then it is read once. In small ones each is worked on for itself: lines d apart belong
 * together, so the lines of a tile are taken phase by phase, by one thread or several. Pixels d apart share what they
 * load in either.
 *
 * Lines in cache are stored one vector of channels after the other: line[channels / LANES][pixels][LANES].
 * Numbers of channels are multiples of 16. Every sum over pixels is made in parts that do not depend on the number of
 * threads; the caller adds them up.
 */
#include "depthwise.h"
#include "layer.h"
#include "pointwise.h"
#include "pool.h"
#include "tiles.h"

/* Pieces of a tile that a branch is to make, tiles that are enough by themselves, and rows that a cut leaves at least. */
enum { PIECES = 4, MANY_TILES = 8, LEAST_ROWS = 16 };
/* Branches that may be worked on together, and floats that they may need then, which a cache holds; elements of a result
 * that no cache holds. */
enum { TOGETHER = 8, CACHED = 1 << 19, UNCACHED = 1 << 22 };

static size reach_of(const branch *b) { return b->k / 2 * b->dilation; }

static size layer_reach(const layer *l) {
    size reach = 0;
    for (size i = 0; i < l->branches; i++) reach = MAX(reach, reach_of(l->branch + i));
    return reach;
}

static int reads_same(const branch *a, const branch *b) { return a->in == b->in && a->channels == b->channels; }
/* Pairs of one dilation are of no use to another. */
static int shares_lines(const branch *a, const branch *b) {
    return reads_same(a, b) && (STEP == 1 || a->dilation == b->dilation);
}

/* The lines around the one that is worked on; the next takes the place of the first. */
typedef struct {
    size reach, count, line; /* pixels before and after, lines, floats of each */
    size at;                 /* where they lie in memory */
} ring;

INLINE float *ring_line(const ring *r, size index, float *memory) {
    return memory + r->at + index % r->count * r->line;
}

/* What a piece of work is made of: branches together, line by line, or one, on lines its dilation apart; all channels
 * that they read, or 16 from one on. What it needs, and where in memory that lies. */
typedef struct {
    const branch *branch;
    size count, step, from;
    int narrow;
    size pitch;                  /* pixels of a line */
    const ring *input[TOGETHER]; /* that a branch reads: one of the next */
    ring inputs[TOGETHER], gradients[TOGETHER];
    size taps[TOGETHER], matrix[TOGETHER];
    size line, gradient, pairs, floats;
} plan;

static size channels_of(const plan *p, size i) { return p->narrow ? 16 : p->branch[i].channels; }
static size taps_of(const plan *p, size i) { return p->branch[i].k * p->branch[i].k * channels_of(p, i); }

static ring new_ring(plan *p, size reach, size channels) {
    ring r = {reach, 2 * reach / p->step + 1, times(p->pitch, channels), p->floats};
    p->floats = plus(p->floats, times(r.count, r.line));
    return r;
}

static void make_plan(plan *p, const layer *l, const branch *first, size count, int narrow, int backward) {
    size reach = 0, dilation = 0, widest = 0;
    *p = (plan){.branch = first, .count = count, .narrow = narrow, .step = count > 1 ? 1 : first->dilation};
    for (size i = 0; i < count; i++) {
        reach = MAX(reach, reach_of(first + i));
        dilation = MAX(dilation, first[i].dilation);
        widest = MAX(widest, channels_of(p, i));
    }
    p->pitch = TILE_COLUMNS + 2 * reach + STRIP * dilation; /* a strip may read and write beyond the end */
    for (size i = 0; i < count; i++) {
        const branch *b = first + i;
        size channels = channels_of(p, i), wider = reach_of(b);
        int shared = i > 0 && shares_lines(b, b - 1);
        for (size j = i + 1; j < count && shares_lines(b, first + j); j++) wider = MAX(wider, reach_of(first + j));
        if (!shared) p->inputs[i] = new_ring(p, wider, channels);
        p->input[i] = shared ? p->input[i - 1] : p->inputs + i;
        if (backward) p->gradients[i] = new_ring(p, reach_of(b), channels);
        /* Forward: taps and matrix. Backward: taps, the same rotated, their gradient; the matrix transposed, its
         * gradient, and that of the bias. */
        p->taps[i] = p->floats;
        p->matrix[i] = plus(p->floats, times(backward ? 3 : 1, times(b->k * b->k, channels)));
        p->floats = plus(p->matrix[i], times(backward ? 2 * channels + 1 : channels, l->filters));
    }
    p->line = p->floats;
    p->gradient = plus(p->line, times(p->pitch, widest));
    p->pairs = plus(p->gradient, backward ? times(p->pitch, widest) : 0);
    p->floats = plus(p->pairs, backward ? times(TILE_COLUMNS, l->filters) : 0);
}

/* Branches that are worked on at the same time: together, or each for itself. */
typedef struct {
    const layer *layer;
    const branch *from, *to;
    int together, backward;
} turn;

/* What one thread does at a time. */
typedef struct {
    const branch *branch;
    size count, from; /* branches, and the first of the channels that they read */
    tile tile;
    size phase;
} piece;

/* Lines that begin a phase, of the tallest tile. */
static size phases(const branch *b, size height) { return MIN(b->dilation, height / tile_rows(height) + 1); }

/* In how many parts, one below the other, a tile is cut for a branch: in few tiles, and where phases alone make too few
 * pieces. The fewer phases there are, the fewer lines lie around a part, which are read twice. */
static size cuts(const layer *l, const branch *b, size height, size width) {
    size rows = height / tile_rows(height);
    if (layer_tiles(l->n, height, width) >= MANY_TILES) return 1;
    return MAX(MIN((PIECES + b->dilation - 1) / b->dilation, rows / LEAST_ROWS), 1);
}

static size pieces_of_branch(const layer *l, const branch *b, size height, size width) {
    return phases(b, height) * cuts(l, b, height, width);
}

static size pieces_of_tile(const turn *now, size height, size width) {
    size count = 0;
    if (now->together) return now->backward ? now->from->channels / 16 : 1;
    for (const branch *b = now->from; b < now->to; b++) count += pieces_of_branch(now->layer, b, height, width);
    return count;
}

static piece piece_at(const turn *now, size index, size height, size width) {
    size in_tile = pieces_of_tile(now, height, width), place = index % in_tile;
    tile t = tile_at(index / in_tile, height, width);
    const branch *b = now->from;
    if (now->together) return (piece){b, now->to - b, 16 * place, t, 0};
    for (size own; place >= (own = pieces_of_branch(now->layer, b, height, width)); b++) place -= own;
    size apart = phases(b, height), parts = cuts(now->layer, b, height, width);
    size cut = place / apart, rows = t.y1 - t.y0;
    t.y1 = t.y0 + (cut + 1) * rows / parts;
    t.y0 += cut * rows / parts;
    return (piece){b, 1, 0, t, place % apart};
}

/* Where a part of the work begins, and the one before ends: between two tiles or, if there are few, two pieces. */
static size part_begins(const turn *now, size part, size height, size width) {
    size tiles = layer_tiles(now->layer->n, height, width), in_tile = pieces_of_tile(now, height, width);
    if (tiles >= MANY_TILES) return part * tiles / now->layer->parts * in_tile;
    return part * tiles * in_tile / now->layer->parts;
}

/* Whether all branches are worked on together: what they read comes from memory once then. Forward a piece needs all
 * channels; backward, 16, and it is of use only where the branches read the same. */
static int together(const layer *l, int backward, size tiles, plan *p) {
    if (!within(2, l->branches, TOGETHER) || tiles < MANY_TILES) return 0;
    for (size i = 1; backward && i < l->branches; i++)
        if (!reads_same(l->branch + i, l->branch)) return 0;
    make_plan(p, l, l->branch, l->branches, backward, backward);
    return p->floats <= CACHED;
}

/* Do the branches together or, where that is of no use, each for itself; one after the other where they add to the same
 * numbers and pieces of one tile may be done by several threads. */
static int in_turns(const layer *l, int backward, int one_by_one, size tiles, size threads, pool_work *work) {
    plan p = {0};
    int all = together(l, backward, tiles, &p);
    size floats = p.floats, step = one_by_one && !all && tiles < MANY_TILES ? 1 : l->branches;
    for (size i = 0; !all && i < l->branches; i++) {
        make_plan(&p, l, l->branch + i, 1, 0, backward);
        floats = i ? MAX(floats, p.floats) : p.floats;
    }
    for (size i = 0; i < l->branches; i += step) {
        turn now = {l, l->branch + i, l->branch + i + step, all, backward};
        int code = pool_share(l->parts, threads, plus(floats, l->out_channels), work, &now);
        if (code != DONE) return code;
    }
    return DONE;
}

/* The lines that a branch reads for line `place` of a piece, whose first is line y of the input; those that its ring
 * does not have yet are read. */
static void have_inputs(const layer *l, const plan *p, size i, size image, size y, size x, size width, size place,
                        float *memory, float **lines) {
    const ring *r = p->input[i];
    const branch *b = p->branch + i;
    size beyond = r->reach - reach_of(b);
    for (size n = place ? place + r->count - 1 : 0; r == p->inputs + i && n < place + r->count; n++)
        activated_line(l, b->in + p->from, channels_of(p, i), b->dilation, image, y - r->reach + n * p->step,
                       x - r->reach, width + 2 * r->reach, p->pitch, ring_line(r, n, memory));
    for (size j = 0; j < b->k; j++)
        lines[j] = ring_line(r, place + (beyond + j * b->dilation) / p->step, memory) + beyond * LANES;
}

/* The line that the ring of a branch takes next, after line y of the input. */
static line_ahead next_input(const layer *l, const plan *p, size i, size image, size y, size x, int more) {
    const ring *r = p->input[i];
    size ahead = y + r->reach + p->step;
    int some = more && r == p->inputs + i && within(0, ahead, l->height - 1);
    return (line_ahead){some ? input_line(l, p->branch[i].in + p->from, image, ahead, MAX(x, 0)) : NULL, l->channels,
                        channels_of(p, i)};
}

/* Whether a tensor is written past the caches. Its lines begin where cache lines do then. */
static int goes_past(const element *tensor, size pixels, size channels) {
    return pixels * channels >= UNCACHED && (uintptr_t)tensor % 64 == 0;
}

static void forward_piece(const layer *l, piece now, double *sums, float *memory) {
    plan p;
    make_plan(&p, l, now.branch, now.count, 0, 0);
    tile t = now.tile;
    size width = t.x1 - t.x0, stride = l->out_channels, reach = layer_reach(l);
    size down = reach - l->top, left = t.x0 + reach - l->left; /* the result's place in the input */
    int past = goes_past(l->result, l->n * l->out_height * l->out_width, stride);
    float *line = memory + p.line, *lines[LARGEST_KERNEL];
    for (size i = 0; i < p.count; i++) {
        const branch *b = p.branch + i;
        arrange_taps(b->depthwise, b->k, b->channels, b->channels, 0, memory + p.taps[i]);
        pair_rows(b->pointwise, b->channels, l->filters, l->filters, 0, memory + p.matrix[i]);
    }
    for (size y = t.y0 + now.phase, place = 0; y < t.y1; y += p.step, place++)
        for (size i = 0; i < p.count; i++) {
            const branch *b = p.branch + i;
            have_inputs(l, &p, i, t.image, t.y0 + now.phase + down, left, width, place, memory, lines);
            element *to = l->result + ((t.image * l->out_height + y) * l->out_width + t.x0) * stride + b->out;
            if (!past) prefetch((line_ahead){to, stride, l->filters}, width, 1);
            depthwise_line(lines, p.pitch, memory + p.taps[i], b->channels, line, width, b->k, b->dilation, 0,
                           next_input(l, &p, i, t.image, y + down, left, y + p.step < t.y1));
            pointwise_line(line, p.pitch, b->channels, memory + p.matrix[i], b->bias, l->filters, to, stride, width,
                           b->add, past && !b->add, sums ? sums + b->out : NULL, stride);
        }
    streamed();
}

/* The pivots of the sums: any values amid the others, those of the piece's first pixel, which lies in `pixel`. */
static void first_pivots(const layer *l, piece now, double *sums, float *memory, element *pixel) {
    layer one = *l;
    tile t = now.tile;
    one.result = pixel - ((t.image * l->out_height + t.y0) * l->out_width + t.x0) * l->out_channels;
    now.tile = (tile){t.image, t.y0, t.y0 + 1, t.x0, t.x0 + 1};
    now.phase = 0;
    forward_piece(&one, now, NULL, memory);
    for (const branch *b = now.branch; b < now.branch + now.count; b++)
        for (size f = b->out; f < b->out + l->filters; f += LANES) {
            vector value = read(pixel + f);
            for (int i = 0; i < LANES; i++) sums[f + i] = value[i];
        }
}

static void forward_part(const void *context, size part, float *memory) {
    const turn *now = context;
    const layer *l = now->layer;
    double *sums = l->sums ? l->sums + part * 4 * l->out_channels : NULL;
    size end = part_begins(now, part + 1, l->out_height, l->out_width);
    for (size i = part_begins(now, part, l->out_height, l->out_width); i < end; i++) {
        piece p = piece_at(now, i, l->out_height, l->out_width);
        int none_yet = sums && sums[3 * l->out_channels + p.branch->out] == 0;
        if (none_yet) first_pivots(l, p, sums, memory + l->out_channels, (element *)memory);
        forward_piece(l, p, sums, memory + l->out_channels);
    }
}

ENTRY(separable_forward)(const layer *l, size threads) {
    if (!l || !layer_fits(l) || !l->result) return OUT_OF_BOUNDS;
    size reach = layer_reach(l);
    if (!within(0, l->top, reach) || !within(0, l->left, reach)) return OUT_OF_BOUNDS;
    int one_by_one = 0;
    for (size i = 0; i < l->branches; i++) one_by_one |= l->branch[i].add != 0;
    return in_turns(l, 0, one_by_one, layer_tiles(l->n, l->out_height, l->out_width), threads, forward_part);
}

/* From a line of the gradient by the activated input, added to what is there if asked for, that by scale * x + shift
 * where it is whole, with its sums. */
static void write_gradient_line(const layer *l, const float *line, size pitch, size in, size channels,
                                const element *x, element *to, size width, int add, int whole, int past,
                                double *sums) {
    size stride = l->channels;
    int activated = whole && l->scale;
    for (size g = 0; g < channels; g += 16) {
        vector scale[WIDE], shift[WIDE], total[WIDE], product[WIDE];
        for (int v = 0; v < WIDE; v++) {
            scale[v] = shift[v] = total[v] = product[v] = (vector){0};
            if (!activated) continue;
            scale[v] = load(l->scale + in + g + v * LANES);
            shift[v] = load(l->shift + in + g + v * LANES);
        }
        for (size p = 0; p < width; p++)
            for (int v = 0; v < WIDE; v++) {
                size place = p * stride + g + v * LANES;
                vector grad = load(line + g * pitch + (v * pitch + p) * LANES);
                if (add) grad += read(to + place);
                if (activated) {
                    vector value = read(x + place);
                    grad = as_written(choose(scale[v] * value + shift[v] > 0, grad, grad * l->slope));
                    total[v] += grad;
                    product[v] += grad * value;
                }
                if (past) write_past(to + place, grad);
                else write(to + place, grad);
            }
        for (int i = 0; activated && i < 16; i++) {
            sums[in + g + i] += total[i / LANES][i % LANES];
            sums[stride + in + g + i] += product[i / LANES][i % LANES];
        }
    }
}

/* As `have_inputs`, of the gradient by the depthwise result. */
static void have_gradients(const layer *l, const plan *p, size i, size image, size y, size x, size width, size place,
                           float *memory, float **lines) {
    const ring *r = p->gradients + i;
    const branch *b = p->branch + i;
    for (size n = place ? place + r->count - 1 : 0; n < place + r->count; n++) {
        size row = y - r->reach + n * p->step;
        const element *from = within(0, row, l->height - 1) ? gradient_line(l, b->out, image, row, 0) : NULL;
        pointwise_transpose_line(from, l->out_channels, l->width, memory + p->matrix[i], l->filters, channels_of(p, i),
                                 x - r->reach, width + 2 * r->reach, b->dilation, p->pitch, ring_line(r, n, memory));
    }
    for (size j = 0; j < b->k; j++) lines[j] = ring_line(r, place + j * b->dilation / p->step, memory);
}

static const float *factors_of(const layer *l, const branch *b, size image) {
    return l->factor ? l->factor + image * l->out_channels + b->out : NULL;
}

static void arrange_weights(const layer *l, const plan *p, size i, const float *factor, float *memory) {
    const branch *b = p->branch + i;
    size channels = channels_of(p, i), taps = taps_of(p, i);
    float *arranged = memory + p->taps[i], *transposed = memory + p->matrix[i];
    arrange_taps(b->depthwise + p->from, b->k, b->channels, channels, 0, arranged);
    arrange_taps(b->depthwise + p->from, b->k, b->channels, channels, 1, arranged + taps);
    memset(arranged + 2 * taps, 0, 4 * taps);
    for (size f = 0; f < l->filters; f++)
        for (size c = 0; c < channels; c++)
            transposed[f * channels + c] = b->pointwise[(p->from + c) * l->filters + f] * (factor ? factor[f] : 1);
    pair_rows(transposed, l->filters, channels, channels, 0, transposed);
    memset(transposed + l->filters * channels, 0, 4 * (channels + 1) * l->filters);
}

/* Add the gradients by the weights to those of a part. */
static void add_gradients(const layer *l, const plan *p, size i, const float *factor, size part, const float *memory) {
    const branch *b = p->branch + i;
    size channels = channels_of(p, i), filters = l->filters, taps = taps_of(p, i);
    const float *sum = memory + p->taps[i] + 2 * taps;
    float *to = b->grad_depthwise + part * b->k * b->k * b->channels + p->from;
    for (size tap = 0; tap < b->k * b->k; tap++)
        for (size c = 0; c < channels; c++) to[tap * b->channels + c] += *sum++;
    sum = memory + p->matrix[i] + filters * channels;
    to = b->grad_pointwise + (part * b->channels + p->from) * filters;
    for (size c = 0; c < channels; c++)
        for (size f = 0; f < filters; f++) *to++ += *sum++ * (factor ? factor[f] : 1);
    to = b->grad_bias + part * filters;
    for (size f = 0; p->from == 0 && f < filters; f++) to[f] += sum[f] * (factor ? factor[f] : 1);
}

/* Gradients of the weights to those of a part, that of the input to the layer's. */
static void backward_piece(const layer *l, piece now, size part, float *memory) {
    plan p;
    make_plan(&p, l, now.branch, now.count, now.count > 1, 1);
    p.from = now.from;
    tile t = now.tile;
    size width = t.x1 - t.x0, first = t.y0 + now.phase;
    float *line = memory + p.line, *gradient = memory + p.gradient;
    float *lines[LARGEST_KERNEL], *grad_lines[LARGEST_KERNEL];
    double *sums = l->affine_sums ? l->affine_sums + part * 2 * l->channels : NULL;
    /* Branches that are worked on each for itself add to what those before have written; the last makes it whole. */
    const branch *last = p.branch + p.count - 1;
    int add = p.branch > l->branch && reads_same(p.branch, p.branch - 1);
    int whole = last == l->branch + l->branches - 1 || !reads_same(last, last + 1);
    int past = whole && l->grad_input && goes_past(l->grad_input, l->n * l->height * l->width, l->channels);
    for (size i = 0; i < p.count; i++) arrange_weights(l, &p, i, factors_of(l, p.branch + i, t.image), memory);
    for (size y = first, place = 0; y < t.y1; y += p.step, place++)
        for (size i = 0; i < p.count; i++) {
            const branch *b = p.branch + i;
            size in = b->in + p.from, d = b->dilation, channels = channels_of(&p, i), taps = taps_of(&p, i);
            float *arranged = memory + p.taps[i], *rotated = arranged + taps, *grad_taps = rotated + taps;
            float *grad_matrix = memory + p.matrix[i] + channels * l->filters;
            float *grad_bias = grad_matrix + channels * l->filters;
            size ahead = y + reach_of(b) + p.step;
            int more = y + p.step < t.y1;
            element *to = l->grad_input;
            if (to) to += ((t.image * l->height + y) * l->width + t.x0) * l->channels + in;
            have_inputs(l, &p, i, t.image, first, t.x0, width, place, memory, lines);
            have_gradients(l, &p, i, t.image, first, t.x0, width, place, memory, grad_lines);
            if (i == 0 && (add || !past)) prefetch((line_ahead){to, l->channels, channels}, width, 1);
            depthwise_line(lines, p.pitch, arranged, channels, line, width, b->k, d, 0,
                           next_input(l, &p, i, t.image, y, t.x0, more));
            pointwise_gradient_line(line, p.pitch, channels, gradient_line(l, b->out, t.image, y, t.x0),
                                    l->out_channels, l->filters, width, grad_matrix, grad_bias, memory + p.pairs);
            depthwise_gradient_line(lines, p.pitch, grad_lines[b->k / 2] + reach_of(b) * LANES, grad_taps, channels,
                                    width, b->k, d);
            if (!to) continue;
            line_ahead next = {more && ahead < l->height ? gradient_line(l, b->out, t.image, ahead, t.x0) : NULL,
                               l->out_channels, l->filters};
            depthwise_line(grad_lines, p.pitch, rotated, channels, gradient, width, b->k, d, i > 0, next);
            if (b < last) continue;
            write_gradient_line(l, gradient, p.pitch, in, channels, input_line(l, in, t.image, y, t.x0), to, width, add,
                                whole, past, sums);
        }
    for (size i = 0; i < p.count; i++) add_gradients(l, &p, i, factors_of(l, p.branch + i, t.image), part, memory);
    streamed();
}

static void backward_part(const void *context, size part, float *memory) {
    const turn *now = context;
    const layer *l = now->layer;
    size end = part_begins(now, part + 1, l->height, l->width);
    for (size i = part_begins(now, part, l->height, l->width); i < end; i++)
        backward_piece(l, piece_at(now, i, l->height, l->width), part, memory);
}

ENTRY(separable_backward)(const layer *l, size threads) {
    if (!l || !layer_fits(l) || !l->grad_result || !l->grad_input != !l->affine_sums) return OUT_OF_BOUNDS;
    if (l->out_height != l->height || l->out_width != l->width) return OUT_OF_BOUNDS;
    for (size i = 0; i < l->branches; i++) {
        const branch *b = l->branch + i;
        size weights = times(b->k * b->k + l->filters, b->channels);
        if (!b->grad_depthwise || !b->grad_pointwise || !b->grad_bias) return OUT_OF_BOUNDS;
        if (!addressable(times(l->parts, weights))) return OUT_OF_BOUNDS;
    }
    int one_by_one = 0;
    for (size i = 1; i < l->branches; i++) one_by_one |= reads_same(l->branch + i, l->branch + i - 1);
    return in_turns(l, 1, one_by_one, layer_tiles(l->n, l->height, l->width), threads, backward_part);
}
