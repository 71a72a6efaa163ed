/*
 * Decodes one rectangle of one JPEG through libjpeg-turbo and stops after its last row.
 *
 * libjpeg reports errors by not returning from error_exit; the longjmp stays inside this file, so no
 * Rust frame is ever jumped over. The decoder object lives as long as its worker thread, and allocates nothing from
 * image to image: its memory is the region of region.c.
 */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "region.h"

#include <jerror.h>

/* What became of an image; decode/jpeg/turbo.rs names the same numbers. */
enum {
  FBJ_OK = 0,
  FBJ_CORRUPT = 1,
  FBJ_NO_MEMORY = 2,
  FBJ_TOO_MANY_SCANS = 3,
  FBJ_UNSUPPORTED = 4,
  FBJ_TOO_MUCH_MEMORY = 5,
  FBJ_OUT_OF_TIME = 6
};

/* The clock is read once for so many pixels of work, a few milliseconds: most images end before it is. */
#define FBJ_PIXELS_A_LOOK ((uint64_t)1 << 20)

struct fbj_request {
  uint32_t image_width, image_height; /* as our own walk of the markers read them */
  uint32_t shrink;    /* 1, 2, 4 or 8: so many pixels of the image a pixel of what follows, along each side */
  uint32_t left, top, width, height;  /* left must lie on an iMCU column */
  uint32_t channels;                  /* 3: RGB, 4: CMYK as stored */
  uint32_t scans_max;
  uint32_t keep;      /* 0: decode every row of the image, each over the one before, in `out` */
  uint64_t memory_bytes_max; /* for libjpeg's own buffers */
  uint64_t time_ns_max;
  uint8_t *out;       /* width * height * channels bytes; with keep == 0, image_width * channels */
};

struct fbj_report {
  uint64_t warnings;    /* recoverable faults of the entropy-coded data */
  uint32_t source_ended; /* 1: the bytes ran out before the decoder had what it needed */
};

struct fbj {
  struct jpeg_decompress_struct cinfo;
  struct jpeg_decompress_struct fresh; /* what it was before its first image */
  struct jpeg_memory_mgr *first_memory; /* libjpeg's own manager, which holds the parts that live as long as cinfo */
  struct fbj_region region;
  struct jpeg_error_mgr errors;
  struct jpeg_source_mgr source;
  struct jpeg_progress_mgr progress;
  jmp_buf on_error;
  char message[JMSG_LENGTH_MAX];
  uint64_t warnings;
  uint32_t scans_max;
  int too_many_scans;
  uint64_t pixels_since_look;
  uint64_t deadline_ns;
  int out_of_time;
  int past_end;      /* the source was asked for bytes it does not have */
  int ended_early;   /* and the decoder then missed some of them */
};

static struct fbj *of(j_common_ptr cinfo) { return (struct fbj *)cinfo->client_data; }

static void error_exit(j_common_ptr cinfo) {
  struct fbj *j = of(cinfo);
  cinfo->err->format_message(cinfo, j->message);
  longjmp(j->on_error, 1);
}

static void emit_message(j_common_ptr cinfo, int level) {
  struct fbj *j = of(cinfo);
  if (level >= 0) return; /* a trace, not a warning */
  j->warnings++;
  if (j->past_end) j->ended_early = 1;
}

static void output_message(j_common_ptr cinfo) { (void)cinfo; }

static void init_source(j_decompress_ptr cinfo) { (void)cinfo; }
static void term_source(j_decompress_ptr cinfo) { (void)cinfo; }

/* The whole file is in memory, so being asked for more means that it is cut: go on with an end marker. */
static boolean fill_input_buffer(j_decompress_ptr cinfo) {
  static const JOCTET end_of_image[2] = { 0xFF, JPEG_EOI };
  of((j_common_ptr)cinfo)->past_end = 1;
  cinfo->src->next_input_byte = end_of_image;
  cinfo->src->bytes_in_buffer = sizeof end_of_image;
  return TRUE;
}

static void skip_input_data(j_decompress_ptr cinfo, long num_bytes) {
  if (num_bytes <= 0) return;
  if ((size_t)num_bytes > cinfo->src->bytes_in_buffer) {
    of((j_common_ptr)cinfo)->ended_early = 1;
    fill_input_buffer(cinfo);
    return;
  }
  cinfo->src->next_input_byte += num_bytes;
  cinfo->src->bytes_in_buffer -= (size_t)num_bytes;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*
 * libjpeg calls this for every row of blocks of every scan that it takes in, and for every row that it puts out: the
 * places where a decoder that runs away can be stopped, since nothing can stop it from outside.
 */
static void progress_monitor(j_common_ptr common) {
  struct fbj *j = of(common);
  j_decompress_ptr cinfo = (j_decompress_ptr)common;
  if ((uint32_t)cinfo->input_scan_number > j->scans_max) {
    j->too_many_scans = 1;
    longjmp(j->on_error, 1);
  }
  j->pixels_since_look += (uint64_t)cinfo->image_width * DCTSIZE;
  if (j->pixels_since_look < FBJ_PIXELS_A_LOOK) return;
  j->pixels_since_look = 0;
  if (now_ns() < j->deadline_ns) return;
  j->out_of_time = 1;
  longjmp(j->on_error, 1);
}

static int create(struct fbj *j) {
  if (setjmp(j->on_error)) return 0;
  jpeg_create_decompress(&j->cinfo);
  j->cinfo.client_data = j;
  j->cinfo.src = &j->source;
  j->cinfo.progress = &j->progress;
  j->first_memory = j->cinfo.mem;
  fbj_region_init(&j->region);
  j->cinfo.mem = &j->region.methods;
  j->fresh = j->cinfo;
  return 1;
}

/*
 * Ends an image. libjpeg keeps Huffman and quantization tables from one image to the next, for streams that send them
 * apart, and a file without tables of its own would get those of whatever its thread decoded before. So every field
 * goes back to what it was, and all memory with it. What lies behind the pointers that stay (the marker reader, the
 * input controller and the master) libjpeg sets anew when it begins a file.
 */
static void end_image(struct fbj *j) {
  jpeg_abort_decompress(&j->cinfo); /* cannot fail: it rewinds the region */
  j->cinfo = j->fresh;
}

/* NULL where there is no memory. */
struct fbj *fbj_new(void) {
  struct fbj *j = calloc(1, sizeof *j);
  if (!j) return NULL;
  j->cinfo.err = jpeg_std_error(&j->errors);
  j->errors.error_exit = error_exit;
  j->errors.emit_message = emit_message;
  j->errors.output_message = output_message;
  j->cinfo.client_data = j;
  j->source.init_source = init_source;
  j->source.fill_input_buffer = fill_input_buffer;
  j->source.skip_input_data = skip_input_data;
  j->source.resync_to_restart = jpeg_resync_to_restart;
  j->source.term_source = term_source;
  j->progress.progress_monitor = progress_monitor;
  if (!create(j)) {
    free(j);
    return NULL;
  }
  return j;
}

void fbj_free(struct fbj *j) {
  if (!j) return;
  fbj_region_free(&j->region);
  j->cinfo.mem = j->first_memory;
  if (!setjmp(j->on_error)) jpeg_destroy_decompress(&j->cinfo);
  free(j);
}

const char *fbj_message(const struct fbj *j) { return j->message; }

/* `stride` 0 writes every row over the one before. */
static void read_rows(struct jpeg_decompress_struct *cinfo, uint8_t *out, size_t stride, uint32_t rows) {
  for (uint32_t done = 0; done < rows;) {
    JSAMPROW row = out + (size_t)done * stride;
    done += jpeg_read_scanlines(cinfo, &row, 1);
  }
}

static void decode(struct fbj *j, const struct fbj_request *want) {
  struct jpeg_decompress_struct *cinfo = &j->cinfo;
  jpeg_read_header(cinfo, TRUE);
  if (cinfo->image_width != want->image_width || cinfo->image_height != want->image_height)
    ERREXIT(cinfo, JERR_SOF_DUPLICATE); /* two headers that disagree */
  cinfo->out_color_space = want->channels == 4 ? JCS_CMYK : JCS_RGB;
  cinfo->scale_num = 1;
  cinfo->scale_denom = want->shrink;
  jpeg_start_decompress(cinfo);
  if ((uint32_t)cinfo->output_components != want->channels) ERREXIT(cinfo, JERR_CONVERSION_NOTIMPL);

  if (!want->keep) {
    read_rows(cinfo, want->out, 0, want->image_height);
    return;
  }
  JDIMENSION left = want->left, width = want->width;
  jpeg_crop_scanline(cinfo, &left, &width);
  /* The buffer was sized for exactly this; anything else would write past its rows. */
  if (left != want->left || width != want->width) ERREXIT(cinfo, JERR_BAD_CROP_SPEC);
  if (want->top > 0) jpeg_skip_scanlines(cinfo, want->top);
  read_rows(cinfo, want->out, (size_t)width * want->channels, want->height);
}

static int verdict_on_error(const struct fbj *j) {
  if (j->too_many_scans) return FBJ_TOO_MANY_SCANS;
  if (j->out_of_time) return FBJ_OUT_OF_TIME;
  if (j->region.over_limit) return FBJ_TOO_MUCH_MEMORY;
  switch (j->errors.msg_code) {
    case JERR_OUT_OF_MEMORY: return FBJ_NO_MEMORY;
    case JERR_BAD_PRECISION:
    case JERR_CCIR601_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_IMAGE_TOO_BIG:
    case JERR_NOTIMPL:
    case JERR_SOF_UNSUPPORTED: return FBJ_UNSUPPORTED;
    default: return FBJ_CORRUPT;
  }
}

static int guarded_decode(struct fbj *j, const struct fbj_request *want) {
  if (setjmp(j->on_error)) return verdict_on_error(j);
  decode(j, want);
  return FBJ_OK;
}

int fbj_decode(struct fbj *j, const uint8_t *bytes, size_t len, const struct fbj_request *want, struct fbj_report *report) {
  j->warnings = 0;
  j->past_end = j->ended_early = j->too_many_scans = j->out_of_time = 0;
  j->scans_max = want->scans_max;
  j->pixels_since_look = 0;
  uint64_t now = now_ns();
  j->deadline_ns = want->time_ns_max > UINT64_MAX - now ? UINT64_MAX : now + want->time_ns_max;
  j->region.asked_bytes_max = want->memory_bytes_max;
  j->message[0] = 0;
  j->source.next_input_byte = bytes;
  j->source.bytes_in_buffer = len;
  int verdict = guarded_decode(j, want);
  report->warnings = j->warnings;
  report->source_ended = (uint32_t)j->ended_early;
  end_image(j);
  return verdict;
}
