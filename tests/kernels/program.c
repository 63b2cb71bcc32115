/* Compares every variant of the kernels that this processor can run with the reference, and calls them with arguments
 * that make no sense: program [rounds of those]. Prints a line a variant; ends with 1 where anything differs. */
#include <stdio.h>

#include "pool.h"
#include "reference.h"

int processor_has(const char *variant);

/* The entries of a variant. The types of images are those of float32, whatever they are. */
typedef struct {
    const char *name;
    int pairs; /* images are bfloat16 */
    int (*forward)(const layer *, size), (*backward)(const layer *, size);
    int (*products)(const void *, const void *, const float *, const float *, size, size, size, size, size, float *, float *, size);
    int (*affine)(void *, const void *, const void *, const float *, const float *, const float *, const float *, size,
                  size, size, size, size, size, size, size, size);
    int (*add)(void *, const void *, const float *, const float *, const float *, size, size, size);
    int (*scan_forward)(const scan *, size), (*scan_backward)(const scan *, size);
} variant;

#define DECLARE(v)                                                                                                     \
    int separable_forward_##v(const layer *, size);                                                                    \
    int separable_backward_##v(const layer *, size);                                                                   \
    int pixel_products_##v(const void *, const void *, const float *, const float *, size, size, size, size, size,     \
                           float *, float *, size);                                                                    \
    int pixel_affine_##v(void *, const void *, const void *, const float *, const float *, const float *,              \
                         const float *, size, size, size, size, size, size, size, size, size);                         \
    int pixel_add_##v(void *, const void *, const float *, const float *, const float *, size, size, size);
#define DECLARE_SCAN(v)                                                                                                \
    int convlstm_forward_##v(const scan *, size);                                                                      \
    int convlstm_backward_##v(const scan *, size);
#define ENTRIES(v) separable_forward_##v, separable_backward_##v, pixel_products_##v, pixel_affine_##v, pixel_add_##v
#define SCANS(v) convlstm_forward_##v, convlstm_backward_##v

#if defined __x86_64__
DECLARE(avx2) DECLARE_SCAN(avx2) DECLARE(avx512) DECLARE_SCAN(avx512) DECLARE(avx512_bf16)
static const variant VARIANTS[] = {{"avx2", 0, ENTRIES(avx2), SCANS(avx2)},
                                   {"avx512", 0, ENTRIES(avx512), SCANS(avx512)},
                                   {"avx512_bf16", 1, ENTRIES(avx512_bf16), NULL, NULL}};
#else
DECLARE(neon) DECLARE_SCAN(neon) DECLARE(neon_bf16)
static const variant VARIANTS[] = {{"neon", 0, ENTRIES(neon), SCANS(neon)}, {"neon_bf16", 1, ENTRIES(neon_bf16), NULL, NULL}};
#endif

static const variant *now;
static const char *case_name;
static int cases, failures;

/* Chance, the same everywhere. */
static uint64_t chance_state;
static uint64_t chance(void) {
    chance_state ^= chance_state << 13, chance_state ^= chance_state >> 7, chance_state ^= chance_state << 17;
    return chance_state * 0x2545F4914F6CDD1D;
}
static size pick(size count) { return (size)(chance() >> 33) % count; }
static float draw(void) { return (float)(chance() >> 40) / (1 << 23) - 1; }

static void *bytes(size count) {
    void *memory = malloc((size_t)MAX(count, 1));
    if (!memory) printf("no memory for the test\n"), exit(2);
    return memory;
}
/* An image of a result. A large one begins with a cache line, as those of PyTorch do, and so may be written past the
 * caches; a small one ends with its memory, so that writing beyond it is noticed. */
static void *result_image(size count, void **memory) {
    size large = count >= 1 << 20 ? 64 : 0;
    *memory = bytes((now->pairs ? 2 : 4) * count + large);
    return large ? (void *)(((uintptr_t)*memory + 63) / 64 * 64) : *memory;
}
static float *drawn(size count) {
    float *values = bytes(4 * count);
    for (size i = 0; i < count; i++) values[i] = draw();
    return values;
}
static float *zeros(size count) { return memset(bytes(4 * count), 0, (size_t)(4 * count)); }
static double *zeros_of_double(size count) { return memset(bytes(8 * count), 0, (size_t)(8 * count)); }

/* An image in the variant's type, of values that both types hold; the same in double precision. */
static uint16_t to_bfloat16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static float from_bfloat16(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, 4);
    return result;
}
static void *image(size count, double *exact) {
    void *pixels = bytes((now->pairs ? 2 : 4) * count);
    for (size i = 0; i < count; i++) {
        uint16_t narrow = to_bfloat16(draw());
        float value = from_bfloat16(narrow);
        exact[i] = value;
        if (now->pairs) ((uint16_t *)pixels)[i] = narrow;
        else ((float *)pixels)[i] = value;
    }
    return pixels;
}
static double pixel_of(const void *pixels, size i) {
    return now->pairs ? from_bfloat16(((const uint16_t *)pixels)[i]) : ((const float *)pixels)[i];
}

static void compare(const char *what, size count, const double *found, const double *expected) {
    double largest = 0, worst = 0;
    for (size i = 0; i < count; i++) largest = fmax(largest, fabs(expected[i]));
    for (size i = 0; i < count; i++) worst = fmax(worst, isfinite(found[i]) ? fabs(found[i] - expected[i]) : INFINITY);
    cases++;
    if (worst <= (now->pairs ? 3e-2 : 3e-5) * largest + 1e-6) return;
    failures++;
    printf("%s, %s: %s differs by %g of %g\n", now->name, case_name, what, worst, largest);
}
static void compare_floats(const char *what, size count, const float *found, const double *expected) {
    double *wide = bytes(8 * count);
    for (size i = 0; i < count; i++) wide[i] = found[i];
    compare(what, count, wide, expected);
    free(wide);
}
static void compare_image(const char *what, size count, const void *found, const double *expected) {
    double *wide = bytes(8 * count);
    for (size i = 0; i < count; i++) wide[i] = pixel_of(found, i);
    compare(what, count, wide, expected);
    free(wide);
}
static void expect(const char *what, int condition) {
    cases++;
    if (condition) return;
    failures++;
    printf("%s, %s: %s\n", now->name, case_name, what);
}

/* Sums of `parts` arrays one after the other. */
static double *summed(const float *values, size parts, size count) {
    double *sums = zeros_of_double(count);
    for (size i = 0; i < parts * count; i++) sums[i % count] += values[i];
    return sums;
}

typedef struct {
    size n, height, width, channels, filters, branches, k[3], d[3], parts, cut;
    int shared, added, affine, factor;
} shape;

static void test_layer(const shape *s) {
    size reach = 0;
    layer l = {.n = s->n, .height = s->height, .width = s->width, .filters = s->filters, .branches = s->branches};
    branch b[3];
    l.parts = s->parts, l.slope = 0.1f, l.branch = b;
    l.channels = s->channels * (s->shared ? 1 : s->branches), l.out_channels = s->filters * (s->added ? 1 : s->branches);
    for (size i = 0; i < s->branches; i++) {
        b[i] = (branch){s->k[i], s->d[i], s->shared ? 0 : i * s->channels, s->channels, s->added ? 0 : i * s->filters,
                        s->added && i > 0, drawn(s->k[i] * s->k[i] * s->channels), drawn(s->channels * s->filters),
                        drawn(s->filters), zeros(s->parts * s->k[i] * s->k[i] * s->channels),
                        zeros(s->parts * s->channels * s->filters), zeros(s->parts * s->filters)};
        reach = MAX(reach, s->k[i] / 2 * s->d[i]);
    }
    size pixels = s->n * s->height * s->width, cut = MIN(s->cut, MIN(reach, (MIN(s->height, s->width) - 1) / 2));
    double *x = bytes(8 * pixels * l.channels), *grad = bytes(8 * pixels * l.out_channels);
    l.x = image(pixels * l.channels, x), l.grad_result = image(pixels * l.out_channels, grad);
    if (s->affine) l.scale = drawn(l.channels), l.shift = drawn(l.channels);
    if (s->factor) l.factor = drawn(s->n * l.out_channels);

    l.out_height = s->height - 2 * cut, l.out_width = s->width - 2 * cut, l.top = l.left = reach - cut;
    size results = s->n * l.out_height * l.out_width;
    double *expected = zeros_of_double(results * l.out_channels), *sums = zeros_of_double(s->parts * 4 * l.out_channels);
    void *result, *grad_input;
    l.result = result_image(results * l.out_channels, &result);
    l.sums = sums;
    expect("forward is refused", now->forward(&l, 3) == DONE);
    reference_forward(&l, x, expected);
    compare_image("forward", results * l.out_channels, l.result, expected);
    double *mean = zeros_of_double(l.out_channels), *means = zeros_of_double(l.out_channels);
    for (size c = 0; c < l.out_channels; c++) {
        double count = 0;
        for (size p = 0; p < s->parts; p++) {
            const double *own = sums + p * 4 * l.out_channels;
            count += own[3 * l.out_channels + c];
            mean[c] += own[c] * own[3 * l.out_channels + c] + own[l.out_channels + c];
        }
        /* With branches that are added up only the last of the sums is of the result. */
        size times_counted = s->added ? s->branches : 1;
        expect("not every pixel was summed once", count == (double)(results * times_counted));
        for (size p = 0; p < results; p++) means[c] += expected[p * l.out_channels + c];
    }
    if (!s->added) compare("sums", l.out_channels, mean, means);

    l.out_height = s->height, l.out_width = s->width;
    l.grad_input = result_image(pixels * l.channels, &grad_input);
    l.affine_sums = zeros_of_double(s->parts * 2 * l.channels);
    expect("backward is refused", now->backward(&l, 3) == DONE);
    double *grad_x = zeros_of_double(pixels * l.channels);
    for (size i = 0; i < s->branches; i++) {
        size taps = s->k[i] * s->k[i] * s->channels, products = s->channels * s->filters;
        double *by_taps = zeros_of_double(taps), *by_products = zeros_of_double(products), *by_bias = zeros_of_double(s->filters);
        reference_backward(&l, b + i, x, grad, by_taps, by_products, by_bias, grad_x);
        double *own_taps = summed(b[i].grad_depthwise, s->parts, taps);
        double *own_products = summed(b[i].grad_pointwise, s->parts, products);
        double *own_bias = summed(b[i].grad_bias, s->parts, s->filters);
        compare("gradient of the depthwise kernel", taps, own_taps, by_taps);
        compare("gradient of the pointwise kernel", products, own_products, by_products);
        compare("gradient of the bias", s->filters, own_bias, by_bias);
        free(by_taps), free(by_products), free(by_bias), free(own_taps), free(own_products), free(own_bias);
    }
    compare_image("gradient of the image", pixels * l.channels, l.grad_input, grad_x);
    for (size i = 0; i < s->branches; i++) {
        free((void *)b[i].depthwise), free((void *)b[i].pointwise), free((void *)b[i].bias);
        free(b[i].grad_depthwise), free(b[i].grad_pointwise), free(b[i].grad_bias);
    }
    free((void *)l.x), free((void *)l.grad_result), free((void *)l.scale), free((void *)l.shift), free((void *)l.factor);
    free(result), free(grad_input), free(l.affine_sums);
    free(x), free(grad), free(expected), free(sums), free(mean), free(means), free(grad_x);
}

static void test_layers(void) {
    static const size sizes[] = {1, 3, 5, 7, 9, 63}, dilations[] = {1, 2, 3, 5, 8};
    char name[80];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 5; j++) {
            if (sizes[i] == 63 && dilations[j] > 2) continue;
            shape s = {1 + pick(2), 1 + pick(14), 1 + pick(29), 16, 16, 1, {sizes[i]}, {dilations[j]}, 1 + pick(3), pick(4)};
            s.shared = 1, s.affine = (int)pick(2), s.factor = (int)pick(2);
            snprintf(name, sizeof name, "kernel %d, dilation %d, %d×%d", (int)sizes[i], (int)dilations[j], (int)s.height, (int)s.width);
            case_name = name;
            test_layer(&s);
        }
    /* In few tiles each branch is worked on for itself, in eight all together, in as many as there are images here. */
    for (int kind = 0; kind < 16; kind++) {
        shape s = {2, 11, 23, 32, 16, 3, {3, 5, 7}, {1, 3, 5}, 3, 2, kind & 1, kind >> 1 & 1, kind >> 2 & 1, kind & 1};
        if (kind >> 3) s.n = 9, s.height = 7, s.width = 13, s.cut = (size)(kind & 3);
        case_name = kind >> 3 ? "three branches together" : "three branches";
        test_layer(&s);
    }
    static const shape large[] = {{1, 3, 470, 16, 16, 2, {3, 7}, {2, 1}, 4, 0, 1, 0, 1, 0},
                                  {1, 140, 5, 48, 32, 1, {5}, {4}, 2, 1, 1, 0, 1, 1},
                                  {1, 6, 6, 16, 16, 1, {3}, {4096}, 1, 0, 1, 0, 0, 0},
                                  {9, 4, 4, 16, 16, 3, {1, 3, 3}, {1, 4096, 1}, 3, 0, 1, 0, 1, 0},
                                  {1, 512, 512, 16, 16, 2, {1, 1}, {1, 1}, 5, 0, 1, 1, 1, 0}};
    for (int i = 0; i < 5; i++) case_name = "several tiles, a reach beyond the image, or an image beyond the caches", test_layer(large + i);
}

static void test_pixels(size images, size height, size width, size channels, size others, size parts) {
    size pixels = images * height * width;
    double *exact_a = bytes(8 * pixels * channels), *exact_b = bytes(8 * pixels * others);
    void *a = image(pixels * channels, exact_a), *b = image(pixels * others, exact_b);
    float *scale = drawn(images * others), *shift = drawn(images * others);
    float *matrix = drawn(images * channels * others), *square = drawn(images * others * others);
    float *sums = zeros(images * parts * others), *products = zeros(images * parts * channels * others);
    double *sum = zeros_of_double(others), *product = zeros_of_double(channels * others);
    case_name = "pixels";
    expect("products are refused", now->products(a, b, NULL, NULL, images, height * width, channels, others, parts, sums, products, 2) == DONE);
    for (size p = 0; p < pixels; p++)
        for (size o = 0; o < others; o++) {
            sum[o] += exact_b[p * others + o];
            for (size c = 0; c < channels; c++) product[c * others + o] += exact_a[p * channels + c] * exact_b[p * others + o];
        }
    double *own_sum = summed(sums, images * parts, others), *own_product = summed(products, images * parts, channels * others);
    compare("sums", others, own_sum, sum);
    compare("products", channels * others, own_product, product);

    double *mapped = bytes(8 * pixels * others);
    for (size p = 0; p < pixels; p++)
        for (size o = 0; o < others; o++) {
            size i = p / (height * width);
            double value = shift[i * others + o] + scale[i * others + o] * exact_b[p * others + o];
            for (size c = 0; c < channels; c++) value += matrix[(i * channels + c) * others + o] * exact_a[p * channels + c];
            for (size c = 0; c < others; c++) value += square[(i * others + c) * others + o] * exact_b[p * others + c];
            mapped[p * others + o] = value;
        }
    size wide = now->pairs ? 2 : 4;
    void *out = memcpy(bytes(wide * pixels * others), b, (size_t)(wide * pixels * others));
    expect("the affine map is refused",
           now->affine(out, a, b, scale, matrix, square, shift, images, height, width, others, channels,
                       height * width * channels, width * channels, others, 3) == DONE);
    compare_image("affine map", pixels * others, out, mapped);
    memcpy(out, b, (size_t)(wide * pixels * others));
    expect("the sum is refused", now->add(out, b, scale, shift, scale, pixels, others, 2) == DONE);
    for (size i = 0; i < pixels * others; i++)
        mapped[i] = scale[i % others] * exact_b[i] + shift[i % others] * exact_b[i] + scale[i % others];
    compare_image("sum", pixels * others, out, mapped);
    free(exact_a), free(exact_b), free(a), free(b), free(scale), free(shift), free(matrix), free(square), free(sums);
    free(products), free(sum), free(product), free(own_sum), free(own_product), free(mapped), free(out);
}

/* What has too few digits is 0 within the kernels, and as before outside of them. */
static void test_denormals(void) {
    enum { PIXELS = 3, CHANNELS = 16 };
    volatile float denormal = 0x1p-130f; /* its upper half is one of bfloat16, and the lower one 0 */
    float ones[CHANNELS], none[CHANNELS] = {0}, x[PIXELS * CHANNELS], out[PIXELS * CHANNELS] = {0};
    for (int i = 0; i < CHANNELS; i++) ones[i] = 1;
    for (int i = 0; i < PIXELS * CHANNELS; i++) x[i] = denormal;
    case_name = "denormals";
    expect("the sum is refused", now->add(out, x, ones, ones, none, PIXELS, CHANNELS, 1) == DONE);
    for (int i = 0; i < PIXELS * CHANNELS; i++) expect("a denormal is left", out[i] == 0);
    expect("denormals are 0 for the caller, too", denormal * 0.5f > 0);
}

/* The scan's weights as the reference reads them, in double precision and one after the other: x, input, bias, recurrent. */
typedef struct {
    size x, input, bias, recurrent;
} counts;

static double scan_loss(const scan *s, counts n, const double *all, const double *by, double *out) {
    const double *input = all + n.x, *bias = input + n.input, *recurrent = bias + n.bias;
    double sum = 0;
    for (size direction = 0; direction < s->directions; direction++)
        for (size image = 0; image < s->images; image++)
            reference_scan(s, direction, image, all, input, bias, recurrent, out);
    for (size i = 0; i < s->directions * n.x; i++) sum += out[i] * by[i % n.x];
    return sum;
}

static void test_scan(size directions, size images, size classes, size filters, size steps, size length, int dropout,
                      size threads) {
    size n = classes * filters, pitch = (length + 15) / 16 * 16, chains = directions * images;
    counts c = {images * classes * steps * length, directions * 12 * n * classes, directions * 4 * n, directions * 12 * n * n};
    scan s = {directions, images, classes, n, steps, length, pitch, (size)(directions == 1 ? pick(2) : 0)};
    float *x = drawn(c.x), *input = drawn(c.input), *bias = drawn(c.bias), *recurrent = drawn(c.recurrent);
    float *grad = drawn(c.x), *factors = dropout ? drawn(directions * 4 * n * images * length) : NULL;
    s.x = x, s.input = input, s.bias = bias, s.recurrent = recurrent, s.dropout = factors, s.grad_out = grad;
    s.out = zeros(directions * c.x), s.grad_x = zeros(directions * c.x);
    s.gates = zeros(chains * steps * 4 * n * pitch), s.cells = zeros(chains * steps * n * pitch);
    s.grad_input = zeros(images * c.input), s.grad_bias = zeros(images * c.bias), s.grad_recurrent = zeros(images * c.recurrent);
    size total = c.x + c.input + c.bias + c.recurrent;
    double *all = bytes(8 * total), *by = bytes(8 * c.x), *out = zeros_of_double(directions * c.x);
    for (size i = 0; i < c.x; i++) all[i] = x[i], by[i] = grad[i];
    for (size i = 0; i < c.input; i++) all[c.x + i] = input[i];
    for (size i = 0; i < c.bias; i++) all[c.x + c.input + i] = bias[i];
    for (size i = 0; i < c.recurrent; i++) all[c.x + c.input + c.bias + i] = recurrent[i];
    case_name = "scan";
    expect("the scan is refused", now->scan_forward(&s, threads) == DONE);
    scan_loss(&s, c, all, by, out);
    compare_floats("states", directions * c.x, s.out, out);
    expect("its gradient is refused", now->scan_backward(&s, threads) == DONE);
    double *found = zeros_of_double(total), *expected = bytes(8 * total);
    for (size i = 0; i < directions * c.x; i++) found[i % c.x] += s.grad_x[i];
    for (size direction = 0; direction < directions; direction++)
        for (size i = 0; i < images; i++) {
            size chain = direction * images + i, wi = c.input / directions, wb = c.bias / directions, wr = c.recurrent / directions;
            for (size w = 0; w < wi; w++) found[c.x + direction * wi + w] += s.grad_input[chain * wi + w];
            for (size w = 0; w < wb; w++) found[c.x + c.input + direction * wb + w] += s.grad_bias[chain * wb + w];
            for (size w = 0; w < wr; w++)
                found[c.x + c.input + c.bias + direction * wr + w] += s.grad_recurrent[chain * wr + w];
        }
    for (size i = 0; i < total; i++) {
        double value = all[i], step = 1e-5;
        all[i] = value + step;
        double above = scan_loss(&s, c, all, by, out);
        all[i] = value - step;
        expected[i] = (above - scan_loss(&s, c, all, by, out)) / (2 * step);
        all[i] = value;
    }
    compare("gradients", total, found, expected);

    if (directions == 1) { /* continued from a state, without gradient */
        free(s.gates), free(s.cells);
        s.state = drawn(chains * 2 * n * length), s.gates = s.cells = NULL, s.dropout = NULL;
        float *before = memcpy(bytes(4 * chains * 2 * n * length), s.state, (size_t)(4 * chains * 2 * n * length)), *after = s.state;
        expect("the continued scan is refused", now->scan_forward(&s, threads) == DONE);
        s.state = before;
        scan_loss(&s, c, all, by, out);
        compare_floats("continued states", c.x, s.out, out);
        free(before), free(after);
    }
    free(x), free(input), free(bias), free(recurrent), free(grad), free(factors), free(s.out), free(s.grad_x), free(s.gates);
    free(s.cells), free(s.grad_input), free(s.grad_bias), free(s.grad_recurrent), free(all), free(by), free(out), free(found), free(expected);
}

static size senseless(void) {
    static const size values[] = {0, -1, -16, 1, 2, 15, 17, 33, 64, 65, 67, 101, 4097, 1 << 20, (1 << 20) + 16, 9007199254740978,
                                  (size)1 << 31, ((size)1 << 31) - 1, ((size)1 << 32) + 16, ((size)1 << 33) + 1, (size)1 << 40,
                                  (size)1 << 62, PTRDIFF_MAX, PTRDIFF_MAX - 15, PTRDIFF_MIN};
    return pick(3) ? values[pick(sizeof values / sizeof *values)] : (size)chance();
}

/* A valid description of small images with some of its numbers replaced. What is accepted all the same has to fit into
 * the memory that such numbers ask for, which is why that is asked for here; what would be larger is left out. */
static void test_senseless_layer(void) {
    branch b[2];
    layer l = {1, 5, 6, 16, 1, 1, 5, 6, 32, 16, 2, 2};
    float scale[32] = {0}, *parameters = zeros(1 << 16);
    for (int i = 0; i < 2; i++)
        b[i] = (branch){3, 1, 0, 16, 16 * i, 0, parameters, parameters, parameters, parameters, parameters, parameters};
    size *numbers[] = {&l.n, &l.height, &l.width, &l.channels, &l.top, &l.left, &l.out_height, &l.out_width, &l.out_channels,
                       &l.filters, &l.branches, &l.parts, &b[0].k, &b[0].dilation, &b[0].in, &b[0].channels, &b[0].out,
                       &b[1].k, &b[1].dilation, &b[1].in, &b[1].channels, &b[1].out};
    for (size i = 0; i <= pick(3); i++) *numbers[pick(sizeof numbers / sizeof *numbers)] = senseless();
    l.slope = 0.1f, l.branch = b, l.scale = pick(2) ? scale : NULL, l.shift = scale;
    size most = times(times(l.n, times(l.height, l.width)), MAX(l.channels, l.out_channels));
    size weights = times(MAX(times(b[0].k, b[0].k), times(b[1].k, b[1].k)), MAX(b[0].channels, b[1].channels));
    int small = most < 1 << 18 && times(weights, l.parts) < 1 << 16 && times(l.parts, l.out_channels) < 1 << 13 &&
                times(times(l.filters, MAX(b[0].channels, b[1].channels)), l.parts) < 1 << 16 && l.channels <= 32 &&
                within(1, l.branches, 2);
    /* Without room it has to be refused for what is wrong with it; room for what is right cannot be given. */
    int possible = whole_vectors(l.channels) && whole_vectors(l.out_channels) && whole_vectors(l.filters) && most < TOO_LARGE;
    if (!small && possible) {
        free(parameters);
        return;
    }
    float *room = zeros(small ? most : 1), *other = zeros(small ? most : 1), *third = zeros(small ? most : 1);
    double *sums = zeros_of_double(small ? l.parts * 4 * MAX(l.out_channels, l.channels) : 1);
    l.x = room, l.result = other, l.grad_result = other, l.grad_input = third, l.affine_sums = l.sums = sums;
    int forward = now->forward(&l, 1 + pick(4));
    l.grad_result = room;
    int backward = now->backward(&l, senseless());
    expect("an unknown code", within(DONE, forward, OUT_OF_BOUNDS) && within(DONE, backward, OUT_OF_BOUNDS));
    free(room), free(other), free(third), free(sums), free(parameters);
}

static void test_senseless_pixels(void) {
    size n[8] = {1, 7, 16, 32, 1, 112, 112, 16};
    for (size i = 0; i <= pick(2); i++) n[pick(8)] = senseless();
    float *room = zeros(1 << 17), *sums = zeros(1 << 17);
    size pixels = times(n[0], n[1]);
    if (times(pixels, 64) < 1 << 17 && times(times(n[0], n[4]), 1024) < 1 << 17 && n[2] <= 32 && n[3] <= 32)
        expect("an unknown code", within(DONE, now->products(room, room, NULL, NULL, n[0], n[1], n[2], n[3], n[4], sums, sums + (1 << 16), 2), OUT_OF_BOUNDS));
    else if (pixels >= TOO_LARGE || !whole_vectors(n[2]) || !whole_vectors(n[3]))
        expect("products are accepted", now->products(room, room, NULL, NULL, n[0], n[1], n[2], n[3], n[4], sums, sums, 2) == OUT_OF_BOUNDS);
    if (pixels >= TOO_LARGE || !whole_vectors(n[2]) || n[5] < 0 || n[6] < 0)
        expect("the affine map is accepted", now->affine(room, room, room, sums, sums, sums, sums, n[0], n[1], 1, n[2], n[3], n[5], n[6], n[7], 2) == OUT_OF_BOUNDS);
    if (!whole_vectors(n[3]) || times(n[1], n[3]) >= TOO_LARGE || n[1] < 1)
        expect("the sum is accepted", now->add(room, room, sums, sums, sums, n[1], n[3], 2) == OUT_OF_BOUNDS);
    free(room), free(sums);
}

static void test_senseless_scan(void) {
    scan s = {2, 1, 2, 2, 3, 5, 16, 0};
    size *numbers[] = {&s.directions, &s.images, &s.classes, &s.channels, &s.steps, &s.length, &s.pitch, &s.reversed};
    for (size i = 0; i <= pick(2); i++) *numbers[pick(8)] = senseless();
    size states = times(times(s.directions, s.images), times(s.steps, times(4 * MIN(MAX(s.channels, 0), 1 << 20), s.pitch)));
    size weights = times(times(s.directions, MAX(s.images, 1)), 12 * MIN(MAX(s.channels, 0), 1 << 20) * MIN(MAX(s.channels, s.classes), 1 << 20));
    int small = states < 1 << 17 && weights < 1 << 17 && times(times(s.images, s.classes), times(s.steps, s.length)) < 1 << 16;
    int wrong = !within(1, s.directions, 2) || s.images < 1 || s.steps < 1 || s.length < 1 || s.classes < 1 || s.channels < 1 ||
                s.channels % MAX(s.classes, 1) || s.pitch % 16 || s.pitch < s.length || states >= TOO_LARGE;
    if (!small && !wrong) return;
    float *room[12];
    for (int i = 0; i < 12; i++) room[i] = zeros(small && !wrong ? 1 << 17 : 1);
    s.x = room[0], s.input = room[1], s.bias = room[2], s.recurrent = room[3], s.out = room[4], s.gates = room[5], s.cells = room[6];
    s.grad_out = room[7], s.grad_x = room[8], s.grad_input = room[9], s.grad_bias = room[10], s.grad_recurrent = room[11];
    int forward = now->scan_forward(&s, 1 + pick(4)), backward = now->scan_backward(&s, senseless());
    expect("what is wrong is accepted", !wrong || (forward == OUT_OF_BOUNDS && backward == OUT_OF_BOUNDS));
    for (int i = 0; i < 12; i++) free(room[i]);
}

int main(int count, char **words) {
    size rounds = count > 1 ? atoi(words[1]) : 2000;
    int found = 0;
    for (size v = 0; v < (size)(sizeof VARIANTS / sizeof *VARIANTS); v++) {
        now = VARIANTS + v;
        if (!processor_has(now->name)) {
            printf("%s: not on this processor\n", now->name);
            continue;
        }
        cases = 0, found++, chance_state = 88172645463325252;
        test_layers();
        test_pixels(2, 9, 31, 48, 32, 1);
        test_pixels(1, 40, 57, 16, 64, 3);
        test_pixels(3, 1, 1, 16, 16, 1);
        test_denormals();
        if (now->scan_forward) {
            test_scan(2, 2, 3, 1, 5, 7, 0, 1), test_scan(2, 1, 2, 2, 4, 33, 1, 4), test_scan(1, 1, 4, 1, 3, 21, 0, 3);
            test_scan(2, 1, 1, 1, 1, 1, 1, 2), test_scan(1, 2, 3, 1, 3, 16, 1, 1);
        }
        case_name = "senseless arguments";
        for (size i = 0; i < rounds; i++) {
            test_senseless_layer(), test_senseless_pixels();
            if (now->scan_forward) test_senseless_scan();
        }
        printf("%s: %d comparisons, %d failures so far\n", now->name, cases, failures);
    }
    if (!found) printf("none of the variants can run here: the plain path\n");
    return failures > 0;
}
