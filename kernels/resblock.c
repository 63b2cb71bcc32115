/* The separable atrous convolutions of a residual block and their gradients, channels last.
 *
 * A separable convolution reads leaky(scale * x + shift), convolves every channel with its own dilated kernel, and each
 * pixel with a matrix (pointwise). Here these happen line by line: the activated lines that the kernel reaches stay in
 * cache, the result of the depthwise part never leaves it. Lines d apart belong together, so the lines of a tile are
 * taken phase by phase, by one thread or several; likewise pixels d apart, whose sums share what they load.
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
    /* A strip may read and write beyond the end. */
    e.line = times(TILE_COLUMNS + 2 * e.reach + STRIP * d, e.channels);
    e.weights = times(e.k * e.k + l->filters, e.channels);
    return e;
}

/* Branches that are worked on at the same time. */
typedef struct {
    const layer *layer;
    const branch *from, *to;
} turn;

/* What one thread does at a time: a branch on every d-th line of a tile, from the line `phase` on. */
typedef struct {
    const branch *branch;
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
    for (const branch *b = now->from; b < now->to; b++) count += pieces_of_branch(now->layer, b, height, width);
    return count;
}

static piece piece_at(const turn *now, size index, size height, size width) {
    size in_tile = pieces_of_tile(now, height, width), place = index % in_tile;
    const branch *b = now->from;
    for (size own; place >= (own = pieces_of_branch(now->layer, b, height, width)); b++) place -= own;
    tile t = tile_at(index / in_tile, height, width);
    size apart = phases(b, height), parts = cuts(now->layer, b, height, width);
    size cut = place / apart, rows = t.y1 - t.y0;
    t.y1 = t.y0 + (cut + 1) * rows / parts;
    t.y0 += cut * rows / parts;
    return (piece){b, t, place % apart};
}

/* Where a part of the work begins, and the one before ends: between two tiles or, if there are few, two pieces. */
static size part_begins(const turn *now, size part, size height, size width) {
    size tiles = layer_tiles(now->layer->n, height, width), in_tile = pieces_of_tile(now, height, width);
    if (tiles >= MANY_TILES) return part * tiles / now->layer->parts * in_tile;
    return part * tiles * in_tile / now->layer->parts;
}

/* Do the branches together or, where they add to the same numbers and pieces of one tile may be done by several threads,
 * one by one. */
static int in_turns(const layer *l, int one_by_one, size tiles, size threads, size floats, pool_work *work) {
    size step = one_by_one && tiles < MANY_TILES ? 1 : l->branches;
    for (size i = 0; i < l->branches; i += step) {
        turn now = {l, l->branch + i, l->branch + i + step};
        int code = pool_share(l->parts, threads, floats, work, &now);
        if (code != DONE) return code;
    }
    return DONE;
}

static size forward_memory(extent e) { return plus(times(e.k + 1, e.line), e.weights); }

static void forward_piece(const layer *l, piece p, double *sums, float *memory) {
    const branch *b = p.branch;
    extent e = largest(l);
    tile t = p.tile;
    size width = t.x1 - t.x0, stride = l->out_channels;
    size d = b->dilation, r = b->k / 2 * d, pitch = e.line / b->channels;
    float *depthwise = memory + e.k * e.line, *weights = depthwise + e.line, *lines[LARGEST_KERNEL];
    const float *taps = arranged_taps(b, 0, weights);
    const float *pointwise = pair_rows(b->pointwise, b->channels, l->filters, 0, weights + b->k * b->k * b->channels);
    size loaded = 0;
    for (size y = t.y0 + p.phase; y < t.y1; y += d) {
        /* The line that the last row did not reach takes the place of the one no longer reached. */
        for (size place = (y - t.y0) / d + b->k; loaded < place; loaded++) {
            size row = t.y0 + p.phase + loaded * d - r + e.reach - l->top;
            activated_line(l, b, t.image, row, t.x0 - r + e.reach - l->left, width + 2 * r, pitch,
                           memory + loaded % b->k * e.line);
        }
        for (size j = 0; j < b->k; j++) lines[j] = memory + (loaded - b->k + j) % b->k * e.line;
        element *to = l->result + ((t.image * l->out_height + y) * l->out_width + t.x0) * stride + b->out;
        prefetch((line_ahead){to, stride, l->filters}, width, 1);
        size ahead = y + e.reach + r + d - l->top, column = MAX(t.x0 + e.reach - l->left, 0);
        line_ahead next = {y + d < t.y1 && ahead < l->height ? input_line(l, b, t.image, ahead, column) : NULL,
                           l->channels, b->channels};
        depthwise_line(lines, pitch, taps, b->channels, depthwise, width, b->k, d, next);
        pointwise_line(depthwise, pitch, b->channels, pointwise, b->bias, l->filters, to, stride, width, b->add,
                       sums ? sums + b->out : NULL, stride);
    }
}

/* The pivots of a branch's sums: any values amid the others, those of the piece's first pixel, which lies in `pixel`. */
static void first_pivot(const layer *l, piece p, double *sums, float *memory, element *pixel) {
    layer one = *l;
    tile t = p.tile;
    one.result = pixel - ((t.image * l->out_height + t.y0) * l->out_width + t.x0) * l->out_channels;
    forward_piece(&one, (piece){p.branch, {t.image, t.y0, t.y0 + 1, t.x0, t.x0 + 1}, 0}, NULL, memory);
    for (size f = p.branch->out; f < p.branch->out + l->filters; f += LANES) {
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
        if (none_yet) first_pivot(l, p, sums, memory + l->out_channels, (element *)memory);
        forward_piece(l, p, sums, memory + l->out_channels);
    }
}

ENTRY(separable_forward)(const layer *l, size threads) {
    if (!l || !layer_fits(l) || !l->result) return OUT_OF_BOUNDS;
    extent e = largest(l);
    if (!within(0, l->top, e.reach) || !within(0, l->left, e.reach)) return OUT_OF_BOUNDS;
    size tiles = layer_tiles(l->n, l->out_height, l->out_width), floats = plus(l->out_channels, forward_memory(e));
    int one_by_one = 0;
    for (size i = 0; i < l->branches; i++) one_by_one |= l->branch[i].add != 0;
    return in_turns(l, one_by_one, tiles, threads, floats, forward_part);
}

/* The gradient by scale * x + shift of a line, from that by its activation; its sums. */
static void activation_gradient_line(const layer *l, const branch *b, const element *x, element *gradient, size width,
                                     double *sums) {
    if (!l->scale) return;
    size stride = l->channels;
    float slope = l->slope;
    for (size g = 0; g < b->channels; g += LANES) {
        vector scale = load(l->scale + b->in + g), shift = load(l->shift + b->in + g), total = {0}, product = {0};
        for (size p = 0; p < width; p++) {
            vector value = read(x + p * stride + g), grad = read(gradient + p * stride + g);
            grad = choose(scale * value + shift > 0, grad, grad * slope);
            write(gradient + p * stride + g, grad);
            total += grad;
            product += grad * value;
        }
        for (int i = 0; i < LANES; i++) {
            sums[b->in + g + i] += total[i];
            sums[stride + b->in + g + i] += product[i];
        }
    }
}

static void add_line(const float *line, size pitch, size channels, element *to, size stride, size width, int add) {
    for (size g = 0; g < channels / LANES; g++)
        for (size p = 0; p < width; p++) {
            element *into = to + p * stride + g * LANES;
            vector value = load(line + (g * pitch + p) * LANES);
            if (add) value += read(into);
            write(into, value);
        }
}

/* Gradients of the weights of a branch to `grads`, that of its input to the layer's. */
static void backward_piece(const layer *l, piece p, branch grads, float *memory, extent e, int add, int last,
                           double *sums) {
    const branch *b = p.branch;
    tile t = p.tile;
    size d = b->dilation, r = b->k / 2 * d, pitch = e.line / b->channels, width = t.x1 - t.x0;
    float *inputs = memory, *gradients = inputs + e.k * e.line, *depthwise = gradients + e.k * e.line;
    float *transposed = depthwise + e.line, *grad_pointwise = transposed + b->channels * l->filters;
    float *grad_bias = grad_pointwise + b->channels * l->filters;
    float *taps = grad_bias + l->filters, *rotated = taps + e.weights, *paired = rotated + e.weights;
    const float *factor = l->factor ? l->factor + t.image * l->out_channels + b->out : NULL;
    for (size f = 0; f < l->filters; f++)
        for (size c = 0; c < b->channels; c++)
            transposed[f * b->channels + c] = b->pointwise[c * l->filters + f] * (factor ? factor[f] : 1);
    pair_rows(transposed, l->filters, b->channels, 0, transposed);
    arranged_taps(b, 0, taps);
    arranged_taps(b, 1, rotated);
    memset(grad_pointwise, 0, 4 * (b->channels + 1) * l->filters);
    float *input_lines[LARGEST_KERNEL], *grad_lines[LARGEST_KERNEL];
    size loaded = 0;
    for (size y = t.y0 + p.phase; y < t.y1; y += d) {
        for (size place = (y - t.y0) / d + b->k; loaded < place; loaded++) {
            size row = t.y0 + p.phase + loaded * d - r, slot = loaded % b->k * e.line;
            const element *grad_row = gradient_line(l, b, t.image, row, 0);
            activated_line(l, b, t.image, row, t.x0 - r, width + 2 * r, pitch, inputs + slot);
            pointwise_transpose_line(row < 0 || row >= l->height ? NULL : grad_row, l->out_channels, l->width,
                                     transposed, l->filters, b->channels, t.x0 - r, width + 2 * r, d, pitch,
                                     gradients + slot);
        }
        for (size j = 0; j < b->k; j++) {
            input_lines[j] = inputs + (loaded - b->k + j) % b->k * e.line;
            grad_lines[j] = gradients + (loaded - b->k + j) % b->k * e.line;
        }
        size pixel = (t.image * l->height + y) * l->width + t.x0;
        element *to = l->grad_input ? l->grad_input + pixel * l->channels + b->in : NULL;
        size ahead = y + r + d;
        int more = y + d < t.y1 && ahead < l->height;
        prefetch((line_ahead){to, l->channels, b->channels}, width, 1);
        line_ahead next = {more ? input_line(l, b, t.image, ahead, t.x0) : NULL, l->channels, b->channels};
        depthwise_line(input_lines, pitch, taps, b->channels, depthwise, width, b->k, d, next);
        pointwise_gradient_line(depthwise, pitch, b->channels, gradient_line(l, b, t.image, y, t.x0),
                                l->out_channels, l->filters, width, grad_pointwise, grad_bias, paired);
        depthwise_gradient_line(input_lines, pitch, grad_lines[b->k / 2] + r * LANES, grads.grad_depthwise,
                                b->channels, width, b->k, d);
        if (l->grad_input) {
            line_ahead next_grad = {more ? gradient_line(l, b, t.image, ahead, t.x0) : NULL, l->out_channels,
                                    l->filters};
            depthwise_line(grad_lines, pitch, rotated, b->channels, depthwise, width, b->k, d, next_grad);
            add_line(depthwise, pitch, b->channels, to, l->channels, width, add);
            if (last) activation_gradient_line(l, b, input_line(l, b, t.image, y, t.x0), to, width, sums);
        }
    }
    for (size c = 0; c < b->channels; c++)
        for (size f = 0; f < l->filters; f++)
            grads.grad_pointwise[c * l->filters + f] += grad_pointwise[c * l->filters + f] * (factor ? factor[f] : 1);
    for (size f = 0; f < l->filters; f++) grads.grad_bias[f] += grad_bias[f] * (factor ? factor[f] : 1);
}

static int reads_same(const branch *a, const branch *b) { return a->in == b->in; }

static size backward_memory(const layer *l, extent e) {
    size lines = plus(times(2 * e.k + 1, e.line), times(2, e.weights));
    return plus(lines, times(2 * e.channels + 1 + TILE_COLUMNS, l->filters));
}

static void backward_part(const void *context, size part, float *memory) {
    const turn *now = context;
    const layer *l = now->layer;
    extent e = largest(l);
    size end = part_begins(now, part + 1, l->height, l->width);
    for (size i = part_begins(now, part, l->height, l->width); i < end; i++) {
        piece p = piece_at(now, i, l->height, l->width);
        const branch *b = p.branch, *last = l->branch + l->branches - 1;
        branch grads = {.grad_depthwise = b->grad_depthwise + part * b->k * b->k * b->channels,
                        .grad_pointwise = b->grad_pointwise + part * b->channels * l->filters,
                        .grad_bias = b->grad_bias + part * l->filters};
        backward_piece(l, p, grads, memory, e, b > l->branch && reads_same(b, b - 1),
                       b == last || !reads_same(b, b + 1),
                       l->affine_sums ? l->affine_sums + part * 2 * l->channels : NULL);
    }
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
    size tiles = layer_tiles(l->n, l->height, l->width), floats = backward_memory(l, largest(l));
    int one_by_one = 0;
    for (size i = 1; i < l->branches; i++) one_by_one |= reads_same(l->branch + i, l->branch + i - 1);
    return in_turns(l, one_by_one, tiles, threads, floats, backward_part);
}
