/* The recurrence of bidirectional convolutional LSTMs over the lines of an image, float32, and its gradient.
 *
 * Every direction of every image is a chain of steps of its own, and a chain stays with one thread; forward, where
 * there are fewer chains than threads, all threads share a line and meet at every step. A line lies in
 * cache as [channels][pitch], its pixels from MARGIN on, with zeros beyond both ends.
 */
#include "pool.h"
#include "scan.h"
#include "vector.h"

#include <stdlib.h>

enum { MARGIN = LANES };

/* With them no size within a chain overflows. */
enum { LARGEST_LENGTH = 1 << 30, LARGEST_STATE = 1 << 12 };

/* Within 2e-7 of the hyperbolic tangent: an odd polynomial near zero (Moshier, Cephes), elsewhere
 * 1 - 2 / (exp(2x) + 1). */
INLINE vector vector_tanh(vector x) {
    vector extent = choose(x < 0, -x, x), square = x * x;
    vector small = ((((square * -5.70498872745e-3f + 2.06390887954e-2f) * square - 5.37397155531e-2f) * square +
                     1.33314422036e-1f) * square - 3.33332819422e-1f) * square * x + x;
    vector twice = 2 * choose(extent < 10, extent, broadcast(10));
    vector shifted = twice * 1.44269504088896341f + 12582912.0f; /* adding 1.5·2²³ rounds to a whole number */
    vector whole = shifted - 12582912.0f;
    vector rest = twice - whole * 0.693359375f - whole * -2.12194440e-4f;
    vector power = ((((((rest * 1.9875691500e-4f + 1.3981999507e-3f) * rest + 8.3334519073e-3f) * rest + 4.1665795894e-2f) *
                      rest + 1.6666665459e-1f) * rest + 5.0000001201e-1f) * rest * rest + rest + 1);
    power *= (vector)(((int_vector)shifted - 0x4B400000 + 127) << 23);
    vector large = 1 - 2 / (power + 1);
    return choose(extent < 0.625f, small, choose(x < 0, -large, large));
}

INLINE vector hard_sigmoid(vector z) {
    vector gate = z * 0.2f + 0.5f;
    gate = choose(gate > 0, gate, broadcast(0));
    return choose(gate < 1, gate, broadcast(1));
}

/* Lines in cache: of `channels`, with room at both ends. */
static size line_pitch(const scan *s) { return s->pitch + 2 * MARGIN; }

static void put_line(float *to, size pitch, const float *from, size stride, size channels, size length) {
    for (size c = 0; c < channels; c++) memcpy(to + c * pitch + MARGIN, from + c * stride, 4 * length);
}

/* A stretch of a line that one thread works on, and who that is among those who have the rest. */
typedef struct {
    size from, to;
    pool_member own;
} stretch;

static stretch whole_line(const scan *s) { return (stretch){0, s->length, {0, 1}}; }

static const float *dropout_of(const scan *s, size direction, size gate, size image) {
    return s->dropout + ((direction * 4 + gate) * s->channels * s->images + image) * s->length;
}

/* What each gate reads of the state, with its dropout; without dropout all gates read the state itself. */
static void recurrent_input(const scan *s, size direction, size image, const float *hidden, float *masked,
                            stretch part) {
    size pitch = line_pitch(s);
    for (size gate = 0; gate < 4; gate++)
        for (size c = 0; c < s->channels; c++) {
            const float *factor = dropout_of(s, direction, gate, image) + c * s->images * s->length;
            float *to = masked + (gate * s->channels + c) * pitch + MARGIN;
            for (size l = part.from; l < part.to; l++) to[l] = hidden[c * pitch + MARGIN + l] * factor[l];
        }
}

/* sum += weight (3, channels) * lines, at a vector of pixels. */
INLINE vector convolve(vector sum, const float *weight, const float *lines, size pitch, size channels) {
    for (size tap = 0; tap < 3; tap++)
        for (size c = 0; c < channels; c++)
            sum += load(lines + c * pitch + MARGIN - 1 + tap) * weight[tap * channels + c];
    return sum;
}

static void forward_step(const scan *s, size direction, const float *x, const float *state, size gate_stride,
                         float *hidden, float *cell, float *gates, stretch part) {
    size n = s->channels, pitch = line_pitch(s);
    const float *input = s->input + direction * 4 * n * 3 * s->classes, *bias = s->bias + direction * 4 * n;
    const float *recurrent = s->recurrent + direction * 4 * n * 3 * n;
    for (size c = 0; c < n; c++)
        for (size l = part.from; l < part.to; l += LANES) {
            vector gate[4];
            for (size k = 0; k < 4; k++) {
                size g = k * n + c;
                vector z = convolve(broadcast(bias[g]), input + g * 3 * s->classes, x + l, pitch, s->classes);
                z = convolve(z, recurrent + g * 3 * n, state + k * gate_stride + l, pitch, n);
                gate[k] = k < 3 ? hard_sigmoid(z) : vector_tanh(z);
                if (gates) store(gates + g * s->pitch + l, gate[k]);
            }
            float *cell_line = cell + c * s->pitch + l;
            vector value = gate[1] * load(cell_line) + gate[0] * gate[3];
            store(cell_line, value);
            store(hidden + c * pitch + MARGIN + l, gate[2] * vector_tanh(value));
        }
    for (size c = 0; c < n && part.to == s->length; c++)
        memset(hidden + c * pitch + MARGIN + s->length, 0, 4 * (s->pitch - s->length));
}

/* The floats that a chain needs. */
static size forward_memory(const scan *s) {
    return (2 * s->classes + 6 * s->channels) * line_pitch(s) + s->channels * s->pitch;
}

static void forward_chain(const scan *s, size chain, float *memory, stretch part) {
    size n = s->channels, pitch = line_pitch(s), area = s->steps * s->length, here = part.to - part.from;
    size direction = chain / s->images, image = chain % s->images;
    float *x = memory, *next_x = x + s->classes * pitch, *now = next_x + s->classes * pitch, *next = now + n * pitch;
    float *masked = next + n * pitch, *cell = masked + 4 * n * pitch;
    const float *image_x = s->x + image * s->classes * area + part.from;
    float *out = s->out + chain * s->classes * area + part.from;
    float *state = s->state ? s->state + chain * 2 * n * s->length + part.from : NULL;
    int upwards = direction + s->reversed == 1;
    for (size c = 0; state && c < n; c++)
        memcpy(cell + c * s->pitch + part.from, state + (n + c) * s->length, 4 * here);
    if (state) put_line(now + part.from, pitch, state, s->length, n, here);
    put_line(x + part.from, pitch, image_x + (upwards ? s->steps - 1 : 0) * s->length, area, s->classes, here);
    pool_meet(part.own);
    for (size step = 0; step < s->steps; step++) {
        size row = upwards ? s->steps - 1 - step : step, following = upwards ? row - 1 : row + 1;
        if (s->dropout) {
            recurrent_input(s, direction, image, now, masked, part);
            pool_meet(part.own);
        }
        forward_step(s, direction, x, s->dropout ? masked : now, s->dropout ? n * pitch : 0, next, cell,
                     s->gates ? s->gates + (chain * s->steps + step) * 4 * n * s->pitch : NULL, part);
        for (size c = 0; s->cells && c < n; c++)
            memcpy(s->cells + ((chain * s->steps + step) * n + c) * s->pitch + part.from,
                   cell + c * s->pitch + part.from, 4 * here);
        for (size c = 0; c < s->classes; c++) {
            float *to = out + c * area + row * s->length;
            memcpy(to, next + c * pitch + MARGIN + part.from, 4 * here);
            for (size f = c + s->classes; f < n; f += s->classes)
                for (size l = 0; l < here; l++) to[l] += next[f * pitch + MARGIN + part.from + l];
        }
        if (step + 1 < s->steps)
            put_line(next_x + part.from, pitch, image_x + following * s->length, area, s->classes, here);
        pool_meet(part.own);
        float *other = now, *other_x = x;
        now = next, next = other;
        x = next_x, next_x = other_x;
    }
    for (size c = 0; state && c < n; c++) {
        memcpy(state + c * s->length, now + c * pitch + MARGIN + part.from, 4 * here);
        memcpy(state + (n + c) * s->length, cell + c * s->pitch + part.from, 4 * here);
    }
}

typedef struct {
    const scan *s;
    size chain;
    float *memory;
} shared_chain;

static void forward_together(const void *context, pool_member member) {
    const shared_chain *c = context;
    size vectors = c->s->pitch / LANES, length = c->s->length;
    size from = vectors * member.index / member.count * LANES, to = vectors * (member.index + 1) / member.count * LANES;
    forward_chain(c->s, c->chain, c->memory, (stretch){MIN(from, length), MIN(to, length), member});
}

static void forward_alone(const void *context, size chain, float *memory) {
    const scan *s = context;
    memset(memory, 0, 4 * forward_memory(s));
    forward_chain(s, chain, memory, whole_line(s));
}

static int scan_fits(const scan *s) {
    if (!within(1, s->directions, 2) || !within(1, s->images, TOO_LARGE) || !within(1, s->steps, TOO_LARGE) ||
        !within(1, s->length, LARGEST_LENGTH) || !within(1, s->classes, LARGEST_STATE) ||
        !within(1, s->channels, LARGEST_STATE) || s->channels % s->classes || !within(0, s->reversed, 1))
        return 0;
    if (s->pitch < s->length || s->pitch > s->length + 16 || s->pitch % 16) return 0;
    size chains = times(s->directions, s->images), weights = 12 * s->channels * MAX(s->channels, s->classes);
    return addressable(times(chains, times(s->steps, times(4 * s->channels, s->pitch)))) &&
           addressable(times(chains, times(weights, LANES))) && s->x && s->input && s->bias && s->recurrent;
}

ENTRY(convlstm_forward)(const scan *s, size threads) {
    if (!s || !scan_fits(s) || !s->out || !s->gates != !s->cells) return OUT_OF_BOUNDS;
    size chains = s->directions * s->images;
    if (chains >= threads) return pool_share(chains, threads, forward_memory(s), forward_alone, s);
    for (size chain = 0; chain < chains; chain++) {
        shared_chain c = {s, chain, calloc((size_t)forward_memory(s), 4)};
        if (!c.memory) return OUT_OF_MEMORY;
        pool_together(MIN(threads, s->pitch / LANES), forward_together, &c);
        free(c.memory);
    }
    return DONE;
}

/* The gradient by the pre-activations of a step, from those by h and by c, which becomes that by the c before. */
static void step_backward(const scan *s, const float *gates, const float *cell, const float *before,
                          const float *grad_hidden, float *grad_cell, float *grad_z) {
    size n = s->channels, pitch = line_pitch(s);
    for (size c = 0; c < n; c++)
        for (size l = 0; l < s->length; l += LANES) {
            vector gate[4], slope[4];
            for (size k = 0; k < 4; k++) {
                gate[k] = load(gates + (k * n + c) * s->pitch + l);
                slope[k] = choose((gate[k] > 0) & (gate[k] < 1), broadcast(0.2f), broadcast(0));
            }
            slope[3] = 1 - gate[3] * gate[3];
            vector tanh_cell = vector_tanh(load(cell + c * s->pitch + l)), earlier = {0};
            if (before) earlier = load(before + c * s->pitch + l);
            vector grad_h = load(grad_hidden + c * pitch + MARGIN + l), grad_c = load(grad_cell + c * s->pitch + l);
            grad_c += grad_h * gate[2] * (1 - tanh_cell * tanh_cell);
            vector grad[4] = {grad_c * gate[3], grad_c * earlier, grad_h * tanh_cell, grad_c * gate[0]};
            for (size k = 0; k < 4; k++) store(grad_z + (k * n + c) * pitch + MARGIN + l, grad[k] * slope[k]);
            store(grad_cell + c * s->pitch + l, grad_c * gate[1]);
        }
    for (size g = 0; g < 4 * n; g++) memset(grad_z + g * pitch + MARGIN + s->length, 0, 4 * (s->pitch - s->length));
}

/* to (channels, pitch) = the transposed convolution of grad_z with weight (gates, 3, channels). */
static void conv_transpose(const scan *s, const float *grad_z, const float *weight, size gates, size channels, size c,
                           float *to) {
    size pitch = line_pitch(s);
    for (size l = 0; l < s->length; l += LANES) {
        vector sum = {0};
        for (size g = 0; g < gates; g++)
            for (size tap = 0; tap < 3; tap++)
                sum += load(grad_z + g * pitch + MARGIN + 1 - tap + l) * weight[(g * 3 + tap) * channels + c];
        store(to + l, sum);
    }
}

/* to (gates, 3, channels, LANES) += grad_z * lines over the pixels. */
static void weight_gradient(const scan *s, const float *grad_z, size gates, const float *lines, size channels,
                            float *to) {
    size pitch = line_pitch(s);
    for (size g = 0; g < gates; g++)
        for (size c = 0; c < channels; c++) {
            vector sum[3] = {{0}};
            for (size l = 0; l < s->length; l += LANES) {
                vector grad = load(grad_z + g * pitch + MARGIN + l);
                UNROLL_ALL
                for (size tap = 0; tap < 3; tap++) sum[tap] += grad * load(lines + c * pitch + MARGIN - 1 + tap + l);
            }
            for (size tap = 0; tap < 3; tap++) {
                float *into = to + ((g * 3 + tap) * channels + c) * LANES;
                store(into, load(into) + sum[tap]);
            }
        }
}

static void sum_lanes(const float *lanes, size count, float *to) {
    for (size i = 0; i < count; i++) {
        double sum = 0;
        for (size lane = 0; lane < LANES; lane++) sum += lanes[i * LANES + lane];
        to[i] = (float)sum;
    }
}

/* h of a step, from its gates and cells; zeros before the first. */
static void state_after(const scan *s, const float *gates, const float *cells, float *hidden) {
    size n = s->channels, pitch = line_pitch(s);
    for (size c = 0; c < n; c++) {
        for (size l = 0; l < s->length; l += LANES) {
            vector value = {0};
            if (gates) value = load(gates + (2 * n + c) * s->pitch + l) * vector_tanh(load(cells + c * s->pitch + l));
            store(hidden + c * pitch + MARGIN + l, value);
        }
        memset(hidden + c * pitch + MARGIN + s->length, 0, 4 * (s->pitch - s->length));
    }
}

static void backward_chain(const scan *s, size direction, size image, float *memory) {
    size n = s->channels, k = s->classes, pitch = line_pitch(s), chain = direction * s->images + image;
    size area = s->steps * s->length;
    float *x = memory, *hidden = x + k * pitch, *masked = hidden + n * pitch, *grad_hidden = masked + 4 * n * pitch;
    float *grad_z = grad_hidden + n * pitch, *grad_cell = grad_z + 4 * n * pitch, *line = grad_cell + n * s->pitch;
    float *input_sums = line + s->pitch, *recurrent_sums = input_sums + 4 * n * 3 * k * LANES;
    float *bias_sums = recurrent_sums + 4 * n * 3 * n * LANES;
    const float *input = s->input + direction * 4 * n * 3 * k, *recurrent = s->recurrent + direction * 4 * n * 3 * n;
    for (size step = s->steps - 1; step >= 0; step--) {
        size row = direction + s->reversed == 1 ? s->steps - 1 - step : step;
        const float *gates = s->gates + (chain * s->steps + step) * 4 * n * s->pitch;
        const float *cells = s->cells + (chain * s->steps + step) * n * s->pitch;
        for (size c = 0; c < n; c++) {
            const float *grad = s->grad_out + (image * k + c % k) * area + row * s->length;
            for (size l = 0; l < s->length; l++) grad_hidden[c * pitch + MARGIN + l] += grad[l];
        }
        step_backward(s, gates, cells, step ? cells - n * s->pitch : NULL, grad_hidden, grad_cell, grad_z);
        put_line(x, pitch, s->x + image * k * area + row * s->length, area, k, s->length);
        state_after(s, step ? gates - 4 * n * s->pitch : NULL, cells - n * s->pitch, hidden);
        if (s->dropout) recurrent_input(s, direction, image, hidden, masked, whole_line(s));
        weight_gradient(s, grad_z, 4 * n, x, k, input_sums);
        for (size gate = 0; gate < 4; gate++)
            weight_gradient(s, grad_z + gate * n * pitch, n, s->dropout ? masked + gate * n * pitch : hidden, n,
                            recurrent_sums + gate * n * 3 * n * LANES);
        for (size g = 0; g < 4 * n; g++)
            for (size l = 0; l < s->length; l += LANES)
                store(bias_sums + g * LANES, load(bias_sums + g * LANES) + load(grad_z + g * pitch + MARGIN + l));
        for (size c = 0; c < k; c++) {
            conv_transpose(s, grad_z, input, 4 * n, k, c, line);
            memcpy(s->grad_x + (chain * k + c) * area + row * s->length, line, 4 * s->length);
        }
        for (size c = 0; c < n; c++) {
            float *to = grad_hidden + c * pitch + MARGIN;
            memset(to, 0, 4 * s->length);
            for (size gate = 0; gate < (s->dropout ? 4 : 1); gate++) {
                size all_gates = s->dropout ? n : 4 * n;
                const float *factor =
                    s->dropout ? dropout_of(s, direction, gate, image) + c * s->images * s->length : NULL;
                conv_transpose(s, grad_z + gate * n * pitch, recurrent + gate * n * 3 * n, all_gates, n, c, line);
                if (factor)
                    for (size l = 0; l < s->length; l++) to[l] += line[l] * factor[l];
                else
                    for (size l = 0; l < s->length; l++) to[l] += line[l];
            }
        }
    }
    sum_lanes(input_sums, 4 * n * 3 * k, s->grad_input + chain * 4 * n * 3 * k);
    sum_lanes(recurrent_sums, 4 * n * 3 * n, s->grad_recurrent + chain * 4 * n * 3 * n);
    sum_lanes(bias_sums, 4 * n, s->grad_bias + chain * 4 * n);
}

static size backward_memory(const scan *s) {
    size n = s->channels, k = s->classes;
    return (k + 10 * n) * line_pitch(s) + (n + 1) * s->pitch + (12 * n * k + 12 * n * n + 4 * n) * LANES;
}

static void backward_alone(const void *context, size chain, float *memory) {
    const scan *s = context;
    memset(memory, 0, 4 * backward_memory(s));
    backward_chain(s, chain / s->images, chain % s->images, memory);
}

ENTRY(convlstm_backward)(const scan *s, size threads) {
    if (!s || !scan_fits(s) || !s->gates || !s->cells || !s->grad_out || !s->grad_x || !s->grad_input ||
        !s->grad_bias || !s->grad_recurrent)
        return OUT_OF_BOUNDS;
    return pool_share(s->directions * s->images, threads, backward_memory(s), backward_alone, s);
}
