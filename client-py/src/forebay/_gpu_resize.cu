// Decoded images to a batch's pixels: turned upright, cropped, resized as the daemon does it, padded, mirrored.
//
// Weights are computed in double in the daemon's order of operations and rounded to its whole numbers, sums are whole
// numbers, and between the two passes there are bytes, so the result is equal to the daemon's bit by bit for equal
// decoded pixels; no multiplication may be fused with an addition (--fmad=false). The same source compiles as plain C,
// which is how a machine without a GPU tests it; there each kernel is a loop over the same functions.
//
// Source: loader/daemon/src/transform/kernels/axis.rs, whose names are used here.

#ifdef __CUDACC__
#define EACH static __device__ __forceinline__
#else
#include <math.h>
#define EACH static inline
#endif

typedef unsigned char Byte;
typedef unsigned long long Count;

enum { NEAREST, NEAREST_EXACT, BILINEAR, BILINEAR_ANTIALIASED, BICUBIC, BICUBIC_ANTIALIASED };
enum { PRECISION_MAX = 21 };

// One side of one row: what is visible of the resized image, and which pixels of the upright one it needs.
typedef struct {
    double from, span;                             // of the visible part, in pixels of the source behind `need_start`
    int pad, len, need_start, need_len;            // pixels of zeros before it, of it; of the upright image
    int whole_source, whole_len, first, skipped;   // all of the crop, all of its resized image; where the part begins
    int taps, unused;                              // how many weights a pixel of the result has at most
    Count weights, starts;                         // where they lie, in elements
} Side;

// One row of the batch. Places are in bytes.
typedef struct {
    Count pixels, narrow, target;
    int stored_width, stored_height, transposed, from_right, from_below, flip, filter, unused;
    Side x, y;
} Row;

// What one pixel of a result is made of: `count` pixels of the source from `first` on.
typedef struct {
    int first, count;
    double at[4];                     // their weights, of filters without antialias
    double middle, per_stretch, sum;  // of those with
} Taps;

EACH double triangle(double distance) { return distance < 1.0 ? 1.0 - distance : 0.0; }

EACH double cubic(double a, double distance) {
    if (distance < 1.0) return ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0;
    if (distance < 2.0) return (((distance - 5.0) * distance + 8.0) * distance - 4.0) * a;
    return 0.0;
}

EACH int clamped(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

// Of an antialiased filter, before the weights of a pixel are made to add up to 1.
EACH double raw_weight(int filter, const Taps *taps, int pixel) {
    const double distance = fabs(((double)pixel - taps->middle) * taps->per_stretch);
    return filter == BILINEAR_ANTIALIASED ? triangle(distance) : cubic(-0.5, distance);
}

EACH double weight_of(int filter, const Taps *taps, int nth) {
    if (filter != BILINEAR_ANTIALIASED && filter != BICUBIC_ANTIALIASED) return taps->at[nth];
    return raw_weight(filter, taps, taps->first + nth) / taps->sum;
}

EACH Taps antialiased(const Side *side, int filter, int to) {
    const double scale = (side->from + side->span - side->from) / (double)side->len;
    const double stretch = scale > 1.0 ? scale : 1.0, support = filter == BILINEAR_ANTIALIASED ? 1.0 : 2.0;
    const double center = side->from + ((double)to + 0.5) * scale, reach = support * stretch;
    const double low = floor(center - reach), high = ceil(center + reach);
    Taps taps;
    taps.middle = center - 0.5;
    taps.per_stretch = 1.0 / stretch;
    int first = low > 0.0 ? (int)low : 0, end = high < (double)side->need_len ? (int)high : side->need_len;
    if (end < first + 1) end = first + 1;
    // Zeros at either end say nothing. A cubic's own zeros inside count.
    int begin = first;
    while (begin < end && !((double)begin > center - reach || raw_weight(filter, &taps, begin) != 0.0)) begin++;
    taps.first = begin < end ? begin : first;
    while (end > taps.first + 1 && raw_weight(filter, &taps, end - 1) == 0.0) end--;
    taps.count = end - taps.first;
    taps.sum = 0.0;
    for (int pixel = taps.first; pixel < end; pixel++) taps.sum += raw_weight(filter, &taps, pixel);
    return taps;
}

// `wanted` neighbours from `before` the one at `place` on; what lies beyond an edge counts for the pixel at the edge.
EACH Taps neighbours(const Side *side, int filter, double place, int before, int wanted) {
    const int last = side->whole_source - 1;
    const double below = floor(place);
    const int at = below < (double)last ? (int)below : last;
    double past = place - (double)at;
    past = past < 0.0 ? 0.0 : past > 1.0 ? 1.0 : past;
    const int first = clamped(at - before, 0, last), end = clamped(at - before + wanted - 1, 0, last) + 1;
    Taps taps = {first - side->skipped, end - first, {0.0, 0.0, 0.0, 0.0}, 0.0, 0.0, 0.0};
    for (int tap = 0; tap < wanted; tap++) {
        const double distance = fabs((double)(tap - before) - past);
        const int pixel = clamped(at - before + tap, 0, last);
        taps.at[pixel - first] += filter == BILINEAR ? triangle(distance) : cubic(-0.75, distance);
    }
    return taps;
}

EACH Taps taps_of(const Side *side, int filter, int to) {
    if (filter == BILINEAR_ANTIALIASED || filter == BICUBIC_ANTIALIASED) return antialiased(side, filter, to);
    const double scale = (double)side->whole_source / (double)side->whole_len;
    if (filter == BILINEAR) {
        const double place = ((double)(side->first + to) + 0.5) * scale - 0.5;
        return neighbours(side, filter, place > 0.0 ? place : 0.0, 0, 2);
    }
    if (filter == BICUBIC) return neighbours(side, filter, ((double)(side->first + to) + 0.5) * scale - 0.5, 1, 4);
    const float short_scale = (float)side->whole_source / (float)side->whole_len;
    const float place = filter == NEAREST ? (float)(side->first + to) * short_scale
                                          : (float)(((double)(side->first + to) + 0.5) * (double)short_scale);
    const int pixel = clamped((int)floorf(place), 0, side->whole_source - 1);
    const Taps one = {pixel - side->skipped, 1, {1.0, 0.0, 0.0, 0.0}, 0.0, 0.0, 0.0};
    return one;
}

// The largest weight of every `step`th pixel from `first` on.
EACH double largest_of(const Side *side, int filter, int first, int step) {
    double largest = 0.0;
    for (int to = first; to < side->len; to += step) {
        const Taps taps = taps_of(side, filter, to);
        for (int nth = 0; nth < taps.count; nth++) {
            const double weight = weight_of(filter, &taps, nth);
            if (weight > largest) largest = weight;
        }
    }
    return largest;
}

// The same of the whole side, of which a part is resized; torch resizes all of it before it crops.
EACH double largest_of_whole(const Side *side, int filter, int first, int step) {
    if (filter == BILINEAR_ANTIALIASED || side->len == side->whole_len) return 0.0;
    Side all = *side;
    all.from = 0.0, all.span = (double)side->whole_source, all.len = side->whole_len;
    all.need_len = side->whole_source, all.first = all.skipped = 0;
    return largest_of(&all, filter, first, step);
}

// How fine the weights are: as the largest of them allows.
EACH int precision_of(double largest) {
    for (int precision = 0; precision < PRECISION_MAX; precision++)
        if (round(largest * (double)(1 << (precision + 1))) >= 32768.0) return precision;
    return PRECISION_MAX;
}

EACH void round_weights(const Side *side, int filter, int precision, int first, int step, short *weights, int *starts) {
    const double unit = (double)(1 << precision);
    for (int to = first; to < side->len; to += step) {
        const Taps taps = taps_of(side, filter, to);
        const int count = taps.count < side->taps ? taps.count : side->taps;
        starts[side->starts + 2 * to] = taps.first;
        starts[side->starts + 2 * to + 1] = count;
        for (int nth = 0; nth < count; nth++)
            weights[side->weights + (Count)to * side->taps + nth] =
                (short)round(weight_of(filter, &taps, nth) * unit);
    }
}

EACH Byte shifted(int sum, int precision) { return (Byte)clamped(sum >> precision, 0, 255); }

// Pixel number `at` of the rows that are made narrower, `x.len` of them in each of the `y.need_len`.
EACH void narrow_pixel(const Row *row, const Byte *pixels, const short *weights, const int *starts, int precision,
                       Byte *narrow, Count at) {
    const int y = (int)(at / row->x.len), to = (int)(at % row->x.len);
    const int start = starts[row->x.starts + 2 * to], count = starts[row->x.starts + 2 * to + 1];
    const short *weight = weights + row->x.weights + (Count)to * row->x.taps;
    int sums[3];
    sums[0] = sums[1] = sums[2] = 1 << (precision - 1);
    for (int nth = 0; nth < count; nth++) {
        const int column = row->x.need_start + start + nth, line = row->y.need_start + y;
        int left = row->transposed ? line : column, top = row->transposed ? column : line;
        if (row->from_right) left = row->stored_width - 1 - left;
        if (row->from_below) top = row->stored_height - 1 - top;
        const Byte *pixel = pixels + row->pixels + ((Count)top * row->stored_width + left) * 3;
        for (int c = 0; c < 3; c++) sums[c] += weight[nth] * pixel[c];
    }
    for (int c = 0; c < 3; c++) narrow[row->narrow + 3 * at + c] = shifted(sums[c], precision);
}

// Pixel number `at` of the result, of `height` rows of `width`.
EACH void sum_pixel(const Row *row, const Byte *narrow, const short *weights, const int *starts, int precision,
                    Byte *target, int width, Count at) {
    const int column = (int)(at % width), y = (int)(at / width) - row->y.pad;
    const int x = (row->flip ? width - 1 - column : column) - row->x.pad;
    Byte *made = target + row->target + 3 * at;
    if (x < 0 || x >= row->x.len || y < 0 || y >= row->y.len) {
        made[0] = made[1] = made[2] = 0;
        return;
    }
    const int start = starts[row->y.starts + 2 * y], count = starts[row->y.starts + 2 * y + 1];
    const short *weight = weights + row->y.weights + (Count)y * row->y.taps;
    int sums[3];
    sums[0] = sums[1] = sums[2] = 1 << (precision - 1);
    for (int nth = 0; nth < count; nth++) {
        const Byte *pixel = narrow + row->narrow + ((Count)(start + nth) * row->x.len + x) * 3;
        for (int c = 0; c < 3; c++) sums[c] += weight[nth] * pixel[c];
    }
    for (int c = 0; c < 3; c++) made[c] = shifted(sums[c], precision);
}

// `parts` blocks a row; of the first kernel, one block for each of its two sides.
#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
#define PER_ROW(at, count) \
    for (Count at = (Count)(blockIdx.x % parts) * blockDim.x + threadIdx.x; at < (count); at += (Count)parts * blockDim.x)

KERNEL forebay_axes(const Row *rows, short *weights, int *starts, int *precisions) {
    __shared__ double largest[256];
    const Row *row = rows + blockIdx.x / 2;
    const Side *side = blockIdx.x % 2 ? &row->y : &row->x;
    const int first = threadIdx.x, step = blockDim.x;
    const double part = largest_of(side, row->filter, first, step);
    const double whole = largest_of_whole(side, row->filter, first, step);
    largest[first] = part > whole ? part : whole;
    for (int half = step / 2; half; half /= 2) {
        __syncthreads();
        if (first < half && largest[first + half] > largest[first]) largest[first] = largest[first + half];
    }
    __syncthreads();
    const int precision = precision_of(largest[0]);
    if (!first) precisions[blockIdx.x] = precision;
    round_weights(side, row->filter, precision, first, step, weights, starts);
}

KERNEL forebay_narrow(const Row *rows, const Byte *pixels, const short *weights, const int *starts,
                      const int *precisions, Byte *narrow, int parts) {
    const Row *row = rows + blockIdx.x / parts;
    const int precision = precisions[blockIdx.x / parts * 2];
    PER_ROW(at, (Count)row->x.len * row->y.need_len)
        narrow_pixel(row, pixels, weights, starts, precision, narrow, at);
}

KERNEL forebay_sum(const Row *rows, const Byte *narrow, const short *weights, const int *starts, const int *precisions,
                   Byte *target, int height, int width, int parts) {
    const Row *row = rows + blockIdx.x / parts;
    const int precision = precisions[blockIdx.x / parts * 2 + 1];
    PER_ROW(at, (Count)height * width) sum_pixel(row, narrow, weights, starts, precision, target, width, at);
}
#else
void forebay_axes(const Row *rows, short *weights, int *starts, int *precisions, int blocks) {
    for (int block = 0; block < blocks; block++) {
        const Row *row = rows + block / 2;
        const Side *side = block % 2 ? &row->y : &row->x;
        const double part = largest_of(side, row->filter, 0, 1), whole = largest_of_whole(side, row->filter, 0, 1);
        precisions[block] = precision_of(part > whole ? part : whole);
        round_weights(side, row->filter, precisions[block], 0, 1, weights, starts);
    }
}

void forebay_narrow(const Row *rows, const Byte *pixels, const short *weights, const int *starts,
                    const int *precisions, Byte *narrow, int count) {
    for (int at = 0; at < count; at++)
        for (Count pixel = 0; pixel < (Count)rows[at].x.len * rows[at].y.need_len; pixel++)
            narrow_pixel(rows + at, pixels, weights, starts, precisions[2 * at], narrow, pixel);
}

void forebay_sum(const Row *rows, const Byte *narrow, const short *weights, const int *starts, const int *precisions,
                 Byte *target, int height, int width, int count) {
    for (int at = 0; at < count; at++)
        for (Count pixel = 0; pixel < (Count)height * width; pixel++)
            sum_pixel(rows + at, narrow, weights, starts, precisions[2 * at + 1], target, width, pixel);
}
#endif
