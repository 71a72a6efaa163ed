// nvJPEG without a device, for tests: it asks Python for pixels and keeps account of who is called how.
//
// Results are nvjpegStatus_t. Rules that are broken are counted in `fake_broken`, with what they were in
// `fake_broken_rule`. Its hardware engine ignores the stream as the real one does: it looks at once, and with
// `fake_late` it writes only later, from a thread.
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK, NOT_INITIALIZED, INVALID, BAD_JPEG, JPEG_NOT_SUPPORTED, NO_MEMORY, EXECUTION_FAILED, ARCH_MISMATCH };
enum { DEFAULT = 0, HARDWARE = 3, RGBI = 5 };
enum { HANDLE = 101, STATE, STREAM };

// What an image is, by Python: its sides, and which of the two takes it in batches (bit 0 hardware, bit 1 default).
typedef int (*Parse)(const unsigned char *data, size_t length, int *width, int *height, int *takes);
// Writes its pixels.
typedef int (*Pixels)(const unsigned char *data, size_t length, unsigned char *target, size_t pitch);

Parse fake_parse;
Pixels fake_pixels;
int fake_engine = 1, fake_create_result, fake_hardware_result, fake_batched_result, fake_alone_result, fake_late;
int fake_by_hardware, fake_by_default, fake_alone, fake_batches, fake_broken, fake_alive;
char fake_broken_rule[200];
// Of fake_cuda.c: launches that nobody has waited for.
extern int fake_pending;
// Decodes that were given to a stream, and up to which one somebody has waited.
long fake_given, fake_waited;

typedef struct {
    int kind, backend, batch, width, height, takes;
    long given;
} Object;
typedef struct {
    unsigned char *channel[4];
    size_t pitch[4];
} Planes;
typedef struct {
    const unsigned char *data;
    size_t length;
    Planes target;
} Job;

static pthread_t threads[64];
static int running;

static int broken(const char *rule) {
    fake_broken++;
    snprintf(fake_broken_rule, sizeof fake_broken_rule, "%s", rule);
    return INVALID;
}

static int made(void **object, int kind, int backend) {
    Object *one = calloc(1, sizeof *one);
    one->kind = kind, one->backend = backend, fake_alive++;
    return *object = one, OK;
}

static int destroyed(Object *object, int kind) {
    if (!object || object->kind != kind) return broken("destroying what is no such object");
    if (object->given > fake_waited) broken("destroying a state that is in use");
    object->kind = 0, fake_alive--;
    return free(object), OK;
}

static void *late(void *given) {
    Job *job = given;
    usleep(30000);
    fake_pixels(job->data, job->length, job->target.channel[0], job->target.pitch[0]);
    return free(job), NULL;
}

// Somebody waits for the stream; or, `up_to` a number, for an event behind that decode, which knows of no launches
// behind it and of no hardware.
void fake_wait(long up_to) {
    if (up_to < 0) {
        while (running) pthread_join(threads[--running], NULL);
        fake_pending = 0, up_to = fake_given;
    }
    if (up_to > fake_waited) fake_waited = up_to;
}

static int decoded(const unsigned char *data, size_t length, Planes target, int from_thread) {
    if (!from_thread) return fake_pixels(data, length, target.channel[0], target.pitch[0]);
    Job *job = malloc(sizeof *job);
    *job = (Job){data, length, target};
    return pthread_create(&threads[running++], NULL, late, job) ? EXECUTION_FAILED : OK;
}

int nvjpegGetProperty(int kind, int *value) { return *value = kind == 0 ? 12 : kind == 1 ? 4 : 0, OK; }

int nvjpegCreateEx(int backend, void *device, void *pinned, unsigned flags, void **handle) {
    if (device || pinned || flags) return broken("allocators or flags at nvjpegCreateEx");
    if (fake_create_result) return fake_create_result;
    if (backend == HARDWARE && !fake_engine) return ARCH_MISMATCH;
    return backend == DEFAULT || backend == HARDWARE ? made(handle, HANDLE, backend) : broken("another back end");
}

int nvjpegJpegStateCreate(Object *handle, void **state) { return made(state, STATE, handle->backend); }
int nvjpegJpegStateDestroy(Object *state) { return destroyed(state, STATE); }
int nvjpegJpegStreamCreate(Object *handle, void **stream) { return made(stream, STREAM, handle->backend); }
int nvjpegJpegStreamDestroy(Object *stream) { return destroyed(stream, STREAM); }

int nvjpegJpegStreamParseHeader(Object *handle, const unsigned char *data, size_t length, Object *stream) {
    if (handle->kind != HANDLE || stream->kind != STREAM || handle->backend != stream->backend)
        return broken("a header parsed by another handle");
    return fake_parse(data, length, &stream->width, &stream->height, &stream->takes);
}

int nvjpegJpegStreamGetFrameDimensions(Object *stream, unsigned *width, unsigned *height) {
    return *width = (unsigned)stream->width, *height = (unsigned)stream->height, OK;
}

#ifndef OLD_NVJPEG
int nvjpegDecodeBatchedSupported(Object *handle, Object *stream, int *answer) {
    if (handle->backend != stream->backend) return broken("asked of another handle");
    return *answer = !(stream->takes & (handle->backend == HARDWARE ? 1 : 2)), OK;
}
#endif

int nvjpegDecodeBatchedInitialize(Object *handle, Object *state, int count, int threads_max, int format) {
    if (handle->backend != state->backend || count < 1 || threads_max < 1 || format != RGBI)
        return broken("nvjpegDecodeBatchedInitialize");
    if (state->given > fake_waited) return broken("initialised while a batch is being decoded by this state");
    return state->batch = count, OK;
}

int nvjpegDecodeBatched(Object *handle, Object *state, const unsigned char *const *data, const size_t *lengths,
                        Planes *targets, void *stream) {
    const int is_hardware = handle->backend == HARDWARE;
    if (handle->backend != state->backend || !state->batch || stream != (void *)7) return broken("nvjpegDecodeBatched");
    const int result = is_hardware ? fake_hardware_result : fake_batched_result;
    if (is_hardware && fake_pending) broken("the hardware engine writes before the stream has come so far");
    state->given = ++fake_given, fake_batches++;
    if (result) return result;
    for (int i = 0; i < state->batch; i++) {
        const int status = decoded(data[i], lengths[i], targets[i], is_hardware && fake_late);
        if (status) return status;
    }
    return *(is_hardware ? &fake_by_hardware : &fake_by_default) += state->batch, OK;
}

int nvjpegDecode(Object *handle, Object *state, const unsigned char *data, size_t length, int format, Planes *target,
                 void *stream) {
    if (handle->backend != DEFAULT || state->backend != DEFAULT || format != RGBI || stream != (void *)7)
        return broken("nvjpegDecode");
    if (state->given > fake_waited) return broken("decoding while an image is being decoded by this state");
    state->given = ++fake_given;
    if (fake_alone_result) return fake_alone_result;
    return fake_alone++, decoded(data, length, *target, 0);
}
