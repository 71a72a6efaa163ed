// A CUDA driver without a device, for tests: it keeps account of what is registered and lets events pass when told to.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// What tests set and read; results are CUresults.
int fake_devices = 1, fake_init_result, fake_register_result, fake_record_result, fake_query_result;
int fake_registrations, fake_registered, fake_unmapped_first, fake_synchronized, fake_pushed, fake_retained;
long fake_registered_bytes, fake_recorded, fake_passed = 1L << 60;

static void *addresses[64];
static long lengths[64];

int cuInit(unsigned flags) { return flags ? 1 : fake_init_result; }
int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
int cuDeviceGetCount(int *count) { return *count = fake_devices, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = 100 + ordinal, ordinal < fake_devices ? 0 : 101; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    return *value = attribute == 75 ? 9 : 0, device >= 100 ? 0 : 101;
}
int cuDeviceGetPCIBusId(char *text, int length, int device) {
    return length < 13 ? 1 : (strcpy(text, device == 100 ? "0000:1B:00.0" : "0000:9A:00.0"), 0);
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    return *context = (void *)(intptr_t)(1000 + device), fake_retained++, 0;
}
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    return *flags = 0, *active = fake_retained > 0 && device == 100, 0;
}
int cuCtxGetCurrent(void **context) { return *context = 0, 0; }
int cuCtxPushCurrent_v2(void *context) { return fake_pushed++, context ? 0 : 201; }
int cuCtxPopCurrent_v2(void **context) { return fake_pushed--, *context = 0, 0; }
int cuCtxSynchronize(void) { return fake_synchronized++, fake_pushed > 0 ? 0 : 201; }

int cuMemHostRegister_v2(void *address, size_t length, unsigned flags) {
    if (fake_register_result) return fake_register_result;
    if (fake_pushed <= 0 || flags != 1 || (uintptr_t)address % 4096) return 1;
    for (int i = 0; i < 64; i++)
        if (!addresses[i]) {
            addresses[i] = address, lengths[i] = (long)length;
            fake_registrations++, fake_registered++, fake_registered_bytes += (long)length;
            return 0;
        }
    return 2;
}

int cuMemHostUnregister(void *address) {
    unsigned char resident[1];
    if (fake_pushed <= 0) return 201;
    for (int i = 0; i < 64; i++)
        if (addresses[i] == address && address) {
            if (mincore(address, 1, resident)) fake_unmapped_first++;
            fake_registered--, fake_registered_bytes -= lengths[i], addresses[i] = 0;
            return 0;
        }
    return 713;
}

// An event is the number of the record; it has passed when that is at most `fake_passed`.
int cuEventCreate(void **event, unsigned flags) { return *event = calloc(1, sizeof(long)), flags == 2 ? 0 : 1; }
int cuEventDestroy_v2(void *event) { return free(event), 0; }
int cuEventQuery(void *event) {
    if (fake_query_result) return fake_query_result;
    return *(long *)event <= fake_passed ? 0 : 600;
}
#ifndef OLD_DRIVER
int cuCtxRecordEvent(void *context, void *event) {
    if (fake_record_result) return fake_record_result;
    return *(long *)event = ++fake_recorded, context == (void *)1100 ? 0 : 201;
}
#endif

int cuGetErrorName(int code, const char **text) {
    *text = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_OTHER";
    return 0;
}
int cuGetErrorString(int code, const char **text) { return *text = code == 2 ? "out of memory" : "as told", 0; }

// A kernel, where the source of one was compiled along (-DELEMENT=... -DPLANES=... -include _gpu_cast.cu): launching it
// runs it here, over the arguments as a device would get them.
#ifdef ELEMENT
int fake_launches;
int cuModuleLoadData(void **module, const void *image) { return *module = (void *)image, image ? 0 : 200; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    return *function = (void *)forebay_cast, module && !strcmp(name, "forebay_cast") ? 0 : 500;
}
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
    if (!gx || gy * gz * by * bz != 1 || bx != 256 || shared || stream != (void *)7 || extra || fake_pushed <= 0) return 1;
    fake_launches++;
    ((void (*)(const Byte *, ELEMENT *, const ELEMENT *, Count, Count))function)(
        *(const Byte **)arguments[0], *(ELEMENT **)arguments[1], *(const ELEMENT **)arguments[2],
        *(Count *)arguments[3], *(Count *)arguments[4]);
    return 0;
}
#endif

// The kernels that resize, where their source is named (-DRESIZE="...").
int fake_pending, fake_resizes;
#ifdef RESIZE
#include RESIZE
static const char *const kernels[] = {"forebay_axes", "forebay_narrow", "forebay_sum"};
int cuModuleLoadData(void **module, const void *image) { return *module = (void *)image, image ? 0 : 200; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    for (int i = 0; i < 3; i++)
        if (module && !strcmp(kernels[i], name)) return *function = (void *)kernels[i], 0;
    return 500;
}
#define AT(type, i) (*(type *)arguments[i])
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
    if (!gx || gy * gz * by * bz != 1 || bx != 256 || shared || stream != (void *)7 || extra || fake_pushed <= 0) return 1;
    fake_pending++, fake_resizes++;
    if (function == kernels[0])
        forebay_axes(AT(const Row *, 0), AT(short *, 1), AT(int *, 2), AT(int *, 3), (int)gx);
    else if (function == kernels[1])
        forebay_narrow(AT(const Row *, 0), AT(const Byte *, 1), AT(const short *, 2), AT(const int *, 3),
                       AT(const int *, 4), AT(Byte *, 5), (int)gx / AT(int, 6));
    else if (function == kernels[2])
        forebay_sum(AT(const Row *, 0), AT(const Byte *, 1), AT(const short *, 2), AT(const int *, 3),
                    AT(const int *, 4), AT(Byte *, 5), AT(int, 6), AT(int, 7), (int)gx / AT(int, 8));
    else
        return 1;
    return 0;
}
#endif
