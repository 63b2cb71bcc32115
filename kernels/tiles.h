/* Parts of an image that one thread works on. */
#ifndef TILES_H
#define TILES_H

#include "vector.h"

enum { TILE_ROWS = 136, TILE_COLUMNS = 128 };

typedef struct {
    size image, y0, y1, x0, x1;
} tile;

static size tile_rows(size height) { return (height + TILE_ROWS - 1) / TILE_ROWS; }
/* Rounded up to a multiple of four in a wide image, so that four threads get equal work. */
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

#endif
