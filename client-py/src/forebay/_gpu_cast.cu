// u8 pixels to floats in one pass: each byte becomes the entry of its channel's table, in whole pixels or in planes.
//
// The table is made by the CPU with the daemon's own arithmetic, and only bits are moved here, so the result is equal
// to the daemon's bit by bit whatever the device rounds like. The same source compiles as plain C, which is how a
// machine without a GPU tests it; there the kernel is a loop over the same function.
//
// ELEMENT: unsigned int for float32, unsigned short for float16 and bfloat16. PLANES: 1 for N, C, H, W; 0 for N, H, W, C.

#ifdef __CUDACC__
#define EACH static __device__ __forceinline__
#define ALIGNED(bytes) __align__(bytes)
#else
#define EACH static inline
#define ALIGNED(bytes) __attribute__((aligned(bytes), may_alias))
#endif

typedef unsigned char Byte;
typedef unsigned long long Count;

// Four pixels' bytes, and four neighbouring elements: one load each and one store each.
typedef struct ALIGNED(4) { Byte at[4]; } FourBytes;
typedef struct ALIGNED(4 * sizeof(ELEMENT)) { ELEMENT at[4]; } Four;

// One pixel. `plane`: pixels of an image.
EACH void cast_pixel(const Byte *bytes, ELEMENT *target, const ELEMENT *table, Count plane, Count pixel) {
    (void)plane;
    for (int c = 0; c < 3; c++) {
        const ELEMENT value = table[256 * c + bytes[3 * pixel + c]];
#if PLANES
        target[(pixel / plane * 3 + c) * plane + pixel % plane] = value;
#else
        target[3 * pixel + c] = value;
#endif
    }
}

// Pixels 4 * `quad` to 4 * `quad` + 3, which lie in one image: `plane` is a multiple of 4 where planes are written.
EACH void cast_quad(const Byte *bytes, ELEMENT *target, const ELEMENT *table, Count plane, Count quad) {
    const FourBytes *source = (const FourBytes *)bytes + 3 * quad;
    const FourBytes words[3] = {source[0], source[1], source[2]};
    Four made[3];
#if PLANES
    const Count image = 4 * quad / plane, within = 4 * quad % plane;
    for (int i = 0; i < 12; i++) made[i % 3].at[i / 3] = table[256 * (i % 3) + words[i / 4].at[i % 4]];
    for (int c = 0; c < 3; c++) *(Four *)(target + (image * 3 + c) * plane + within) = made[c];
#else
    (void)plane;
    for (int i = 0; i < 12; i++) made[i / 4].at[i % 4] = table[256 * (i % 3) + words[i / 4].at[i % 4]];
    for (int i = 0; i < 3; i++) ((Four *)target)[3 * quad + i] = made[i];
#endif
}

// How many quads there are; the pixels behind them go one by one.
EACH Count quads(Count pixels, Count plane) { return PLANES && plane % 4 ? 0 : pixels / 4; }

#ifdef __CUDACC__
extern "C" __global__ void forebay_cast(const Byte *bytes, ELEMENT *target, const ELEMENT *table, Count plane,
                                        Count pixels) {
    __shared__ ELEMENT shared[768];
    for (unsigned int i = threadIdx.x; i < 768; i += blockDim.x) shared[i] = table[i];
    __syncthreads();
    const Count whole = quads(pixels, plane), step = (Count)gridDim.x * blockDim.x;
    const Count first = (Count)blockIdx.x * blockDim.x + threadIdx.x;
    for (Count quad = first; quad < whole; quad += step) cast_quad(bytes, target, shared, plane, quad);
    for (Count pixel = 4 * whole + first; pixel < pixels; pixel += step)
        cast_pixel(bytes, target, shared, plane, pixel);
}
#else
void forebay_cast(const Byte *bytes, ELEMENT *target, const ELEMENT *table, Count plane, Count pixels) {
    const Count whole = quads(pixels, plane);
    for (Count quad = 0; quad < whole; quad++) cast_quad(bytes, target, table, plane, quad);
    for (Count pixel = 4 * whole; pixel < pixels; pixel++) cast_pixel(bytes, target, table, plane, pixel);
}
#endif
