/* Dilated depthwise convolution of float32 images, channels last, without padding ("valid"), and its weight gradient.
 *
 * Shapes: image (n, height + reach, width + reach, channels), weight (k, k, channels), result (n, height, width,
 * channels), with reach = (k - 1) * dilation and channels a multiple of 16. The caller pads; there is no border here.
 *
 * Neighbouring channels are a vector. Up to three vectors of a few neighbouring pixels stay in registers while the taps
 * go by, so that a loaded value is used at once and a result is stored once. The weight gradient keeps a row of taps in
 * registers while the pixels go by.
 */
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#define PIXELS 8
#else
#define LANES 8
#define PIXELS 4
#endif

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef long size;

#define INLINE static inline __attribute__((always_inline))

/* `pixels` results of `vectors` vectors each. The two are constants wherever this is called. */
INLINE void convolve_block(const float *image, const float *weight, float *result, size row, size channels, size k,
                           size dilation, int vectors, int pixels) {
    vector sum[PIXELS][3];
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++) sum[p][v] = (vector){0};
    for (size ky = 0; ky < k; ky++)
        for (size kx = 0; kx < k; kx++) {
            const float *source = image + ky * dilation * row + kx * dilation * channels;
            const float *tap = weight + (ky * k + kx) * channels;
            for (int v = 0; v < vectors; v++) {
                vector w = *(const vector *)(tap + v * LANES);
                for (int p = 0; p < pixels; p++) sum[p][v] += w * *(const vector *)(source + p * channels + v * LANES);
            }
        }
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++) *(vector *)(result + p * channels + v * LANES) = sum[p][v];
}

INLINE void convolve_row(const float *image, const float *weight, float *result, size width, size row, size channels,
                         size k, size dilation, int vectors) {
    size x = 0;
    for (; x + PIXELS <= width; x += PIXELS)
        convolve_block(image + x * channels, weight, result + x * channels, row, channels, k, dilation, vectors, PIXELS);
    for (; x < width; x++)
        convolve_block(image + x * channels, weight, result + x * channels, row, channels, k, dilation, vectors, 1);
}

void depthwise_forward(const float *image, const float *weight, float *result, size n, size height, size width,
                       size channels, size k, size dilation) {
    size reach = (k - 1) * dilation, row = (width + reach) * channels;
#pragma omp parallel for schedule(static)
    for (size line = 0; line < n * height; line++) {
        const float *from = image + (line / height * (height + reach) + line % height) * row;
        float *to = result + line * width * channels;
        size c = 0;
        for (; c + 3 * LANES <= channels; c += 3 * LANES)
            convolve_row(from + c, weight + c, to + c, width, row, channels, k, dilation, 3);
        for (; c < channels; c += LANES)
            convolve_row(from + c, weight + c, to + c, width, row, channels, k, dilation, 1);
    }
}

/* Add to a row of taps, `taps` of them, what one line of the image and of the result's gradient give. */
INLINE void gradient_line(const float *image, const float *gradient, float *weight, size width, size channels,
                          size dilation, int vectors, int taps) {
    vector sum[7][3];
    for (int t = 0; t < taps; t++)
        for (int v = 0; v < vectors; v++) sum[t][v] = (vector){0};
    for (size x = 0; x < width; x++)
        for (int v = 0; v < vectors; v++) {
            vector g = *(const vector *)(gradient + x * channels + v * LANES);
            for (int t = 0; t < taps; t++)
                sum[t][v] += g * *(const vector *)(image + (x + t * dilation) * channels + v * LANES);
        }
    for (int t = 0; t < taps; t++)
        for (int v = 0; v < vectors; v++) *(vector *)(weight + t * channels + v * LANES) += sum[t][v];
}

INLINE void gradient_taps(const float *image, const float *gradient, float *weight, size width, size channels, size k,
                          size dilation, int vectors) {
    size t = 0, step = dilation * channels;
    for (; t + 7 <= k; t += 7)
        gradient_line(image + t * step, gradient, weight + t * channels, width, channels, dilation, vectors, 7);
    for (; t + 5 <= k; t += 5)
        gradient_line(image + t * step, gradient, weight + t * channels, width, channels, dilation, vectors, 5);
    for (; t + 3 <= k; t += 3)
        gradient_line(image + t * step, gradient, weight + t * channels, width, channels, dilation, vectors, 3);
    for (; t < k; t++)
        gradient_line(image + t * step, gradient, weight + t * channels, width, channels, dilation, vectors, 1);
}

/* `partial` holds (parts, k, k, channels): the gradient in parts, for the caller to add up. One part is one stretch of
 * lines whoever computes it, so the sum does not depend on how many threads there are. */
void depthwise_weight_gradient(const float *image, const float *gradient, float *partial, size n, size height,
                               size width, size channels, size k, size dilation, size parts) {
    size reach = (k - 1) * dilation, row = (width + reach) * channels, lines = n * height;
    memset(partial, 0, sizeof(float) * parts * k * k * channels);
#pragma omp parallel for schedule(static)
    for (size part = 0; part < parts; part++)
        for (size line = part * lines / parts; line < (part + 1) * lines / parts; line++) {
            const float *from = image + (line / height * (height + reach) + line % height) * row;
            const float *by = gradient + line * width * channels;
            for (size ky = 0; ky < k; ky++) {
                float *to = partial + (part * k + ky) * k * channels;
                size c = 0;
                for (; c + 3 * LANES <= channels; c += 3 * LANES)
                    gradient_taps(from + ky * dilation * row + c, by + c, to + c, width, channels, k, dilation, 3);
                for (; c < channels; c += LANES)
                    gradient_taps(from + ky * dilation * row + c, by + c, to + c, width, channels, k, dilation, 1);
            }
        }
}
