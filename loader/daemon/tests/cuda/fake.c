/* A libcuda whose two GPUs are this machine's memory, told by environment variables how to fail; for tests. */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int Code;

/* Writes one line to the file that FAKE_CUDA_LOG names. */
static void note(const char *call, const void *at, size_t bytes) {
    const char *path = getenv("FAKE_CUDA_LOG");
    if (!path) return;
    char line[160];
    int length = snprintf(line, sizeof line, "%s %p %zu\n", call, at, bytes);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0 || write(file, line, (size_t)length) != length) abort();
    close(file);
}

/* FAKE_CUDA_FAIL=call:code[:n]: the n-th such call (from 1; default: each) answers with the code. */
static Code answer(const char *call) {
    static int calls;
    const char *fail = getenv("FAKE_CUDA_FAIL");
    char name[64];
    int code = 0, nth = 0;
    if (!fail || sscanf(fail, "%63[^:]:%d:%d", name, &code, &nth) < 2 || strcmp(name, call)) return 0;
    calls++;
    return nth == 0 || calls == nth ? code : 0;
}

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

/* The context that is current, and what was given out: all must come back. */
static int retained, current;

static Code needs_context(const char *call) {
    Code code = answer(call);
    return code ? code : current ? 0 : 201;
}

Code cuInit(unsigned flags) { return flags ? 1 : answer("cuInit"); }

Code cuDriverGetVersion(int *version) {
    *version = number("FAKE_CUDA_VERSION", 12040);
    return answer("cuDriverGetVersion");
}

static const struct { int code; const char *name, *words; } ERRORS[] = {
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {35, "CUDA_ERROR_INSUFFICIENT_DRIVER", "CUDA driver version is insufficient for CUDA runtime version"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
};

static Code words(int code, const char **text, int is_name) {
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == code) {
            *text = is_name ? ERRORS[i].name : ERRORS[i].words;
            return 0;
        }
    *text = NULL;
    return 1;
}

Code cuGetErrorName(Code code, const char **text) { return words(code, text, 1); }
Code cuGetErrorString(Code code, const char **text) { return words(code, text, 0); }

Code cuDeviceGetCount(int *count) {
    *count = number("FAKE_CUDA_DEVICES", 2);
    return answer("cuDeviceGetCount");
}

Code cuDeviceGet(int *device, int ordinal) {
    if (ordinal < 0 || ordinal >= number("FAKE_CUDA_DEVICES", 2)) return 101;
    *device = ordinal;
    return answer("cuDeviceGet");
}

Code cuDeviceGetName(char *name, int bytes, int device) {
    snprintf(name, (size_t)bytes, "Fake GPU %d", device);
    return answer("cuDeviceGetName");
}

static void uuid(unsigned char *out, int device, int first) {
    for (int i = 0; i < 16; i++) out[i] = (unsigned char)(i * 16 + device);
    out[0] = (unsigned char)first;
}

Code cuDeviceGetUuid(unsigned char *out, int device) {
    uuid(out, device, 0xfa);
    return answer("cuDeviceGetUuid");
}

#ifndef OLD
/* The second device is a part of a GPU: its own UUID differs from the whole's. */
Code cuDeviceGetUuid_v2(unsigned char *out, int device) {
    uuid(out, device, device == 1 ? 0x19 : 0xfa);
    return answer("cuDeviceGetUuid_v2");
}
#endif

Code cuDeviceGetPCIBusId(char *id, int bytes, int device) {
    snprintf(id, (size_t)bytes, "0000:%02X:00.0", 0x1b + device);
    return answer("cuDeviceGetPCIBusId");
}

Code cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = (size_t)(80 + device) << 30;
    return answer("cuDeviceTotalMem");
}

Code cuDevicePrimaryCtxRetain(void **context, int device) {
    Code code = answer("cuDevicePrimaryCtxRetain");
    if (code) return code;
    retained++;
    *context = (char *)0x1000 + device;
    note("retain", *context, 0);
    return 0;
}

Code cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    note("release", NULL, (size_t)retained);
    return --retained < 0 ? 201 : answer("cuDevicePrimaryCtxRelease");
}

Code cuCtxSetCurrent(void *context) {
    current = context != NULL;
    return answer("cuCtxSetCurrent");
}

Code cuStreamCreate(void **stream, unsigned flags) {
    Code code = needs_context("cuStreamCreate");
    if (code) return code;
    *stream = (void *)0x2000;
    note("stream", *stream, flags);
    return 0;
}

Code cuStreamSynchronize(void *stream) { return stream ? needs_context("cuStreamSynchronize") : 400; }

Code cuStreamDestroy_v2(void *stream) {
    note("unstream", stream, 0);
    return needs_context("cuStreamDestroy");
}

static Code take(const char *call, const char *as, void **at, size_t bytes) {
    Code code = needs_context(call);
    if (code) return code;
    if (!(*at = malloc(bytes))) return 2;
    memset(*at, 0xa5, bytes);
    note(as, *at, bytes);
    return 0;
}

static Code give(const char *call, const char *as, void *at) {
    note(as, at, 0);
    free(at);
    return needs_context(call);
}

Code cuMemAlloc_v2(unsigned long long *at, size_t bytes) {
    void *memory = NULL;
    Code code = take("cuMemAlloc", "alloc", &memory, bytes);
    *at = (unsigned long long)(size_t)memory;
    return code;
}

Code cuMemFree_v2(unsigned long long at) { return give("cuMemFree", "free", (void *)(size_t)at); }

/* Flags: PORTABLE alone; WRITECOMBINED would be slow to read. */
Code cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
    return flags == 1 ? take("cuMemHostAlloc", "hostalloc", at, bytes) : 1;
}

Code cuMemFreeHost(void *at) { return give("cuMemFreeHost", "hostfree", at); }

static void *registered;
static size_t registered_bytes;

Code cuMemHostRegister_v2(void *at, size_t bytes, unsigned flags) {
    Code code = needs_context("cuMemHostRegister");
    if (code) return code;
    if (flags != 1 || (size_t)at % 4096 || bytes % 4096) return 1;
    registered = at;
    registered_bytes = bytes;
    note("register", at, bytes);
    return 0;
}

/* What is unmapped before it is unregistered makes the driver write where something else may be. */
Code cuMemHostUnregister(void *at) {
    unsigned char page;
    if (at != registered) return 713;
    if (mincore(at, 4096, &page)) note("unmapped", at, registered_bytes);
    note("unregister", at, registered_bytes);
    registered = NULL;
    return needs_context("cuMemHostUnregister");
}

Code cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t bytes, void *stream) {
    Code code = stream ? needs_context("cuMemcpyHtoDAsync") : 400;
    if (code) return code;
    memcpy((void *)(size_t)to, from, bytes);
    if (getenv("FAKE_CUDA_FLIP")) ((unsigned char *)(size_t)to)[bytes / 2] ^= 1;
    return 0;
}

Code cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t bytes) {
    memcpy(to, (const void *)(size_t)from, bytes);
    return needs_context("cuMemcpyDtoH");
}
