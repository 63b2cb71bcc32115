/* A scan of convolutional LSTMs as the caller describes it. */
#ifndef SCAN_H
#define SCAN_H

#include "base.h"

/* Keep in step with _Arguments of src/rescrnet/ops/convlstm_native.py. */
typedef struct {
    size directions, images, classes, channels, steps, length, pitch, reversed; /* reversed: of the first direction */
    const float *x;         /* (images, classes, steps, length) */
    const float *input;     /* (directions, 4·channels, 3, classes); gates in the order i, f, o, g */
    const float *bias;      /* (directions, 4·channels) */
    const float *recurrent; /* (directions, 4·channels, 3, channels) */
    const float *dropout;   /* (directions, 4, channels, images, length) on what a gate reads of the state, or null */
    float *state;           /* (directions, images, 2, channels, length): h and c before and after, or null */
    float *out;             /* (directions, images, classes, steps, length): h, summed over filters */
    float *gates;           /* (directions, images, steps, 4·channels, pitch), or null */
    float *cells;           /* (directions, images, steps, channels, pitch), or null */
    const float *grad_out;  /* (images, classes, steps, length) */
    float *grad_x;          /* (directions, images, classes, steps, length) */
    float *grad_input, *grad_bias, *grad_recurrent; /* as input, bias, recurrent, with images after directions */
} scan;

#endif
