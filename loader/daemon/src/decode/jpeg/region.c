/*
 * A memory manager for libjpeg that allocates nothing from image to image.
 *
 * libjpeg reaches all its memory through cinfo->mem, so this is the place to stand in (libjpeg.txt, "Memory management").
 * Its own manager takes every array from malloc and gives it back after the image. Virtual arrays, which it may keep in
 * files, are always whole in memory here: a decoder asks for them where a file has several scans.
 */
#define _DEFAULT_SOURCE /* madvise */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "region.h"

#include <jerror.h>

/* SIMD code loads 32 bytes at a time, and writes up to the next multiple behind a row's end; a cache line suits both. */
#define FBJ_ALIGN 64
/* A decoder keeps no more than this from one image to the next: coefficients of a progressive file of 10 to 20 megapixels. */
#define FBJ_KEPT_BYTES_MAX ((size_t)64 << 20)
#define FBJ_GROWTH ((size_t)64 << 10)
#define FBJ_PAGE ((size_t)4096)
#define FBJ_HUGE_PAGE ((size_t)2 << 20)

struct fbj_extra {
  struct fbj_extra *next;
};

/* Of arrays of samples, only whole-image buffers for colour maps and lossless files are virtual: we ask for neither. */
struct jvirt_barray_control {
  JBLOCKARRAY rows;
  JDIMENSION blocks_per_row, row_count;
  JDIMENSION zeroed; /* rows from here on have old bytes in them */
};

static struct fbj_region *of(j_common_ptr cinfo) { return (struct fbj_region *)cinfo->mem; }

static size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

static uint8_t *aligned(void *memory) { return (uint8_t *)rounded((size_t)memory, FBJ_ALIGN); }

/* For tests and the fuzzer: bytes that differ from image to image, so that a result that hangs on old ones shows. */
static void spoil(struct fbj_region *region, uint8_t *bytes, size_t len) {
#ifdef FBJ_SPOIL
  memset(bytes, 0x55 + region->image_count * 0x2B, len);
#else
  (void)region, (void)bytes, (void)len;
#endif
}

static uint8_t *extra(j_common_ptr cinfo, size_t bytes) {
  struct fbj_region *region = of(cinfo);
  struct fbj_extra *made = malloc(bytes + 2 * FBJ_ALIGN);
  if (!made) ERREXIT1(cinfo, JERR_OUT_OF_MEMORY, 0);
  made->next = region->extras;
  region->extras = made;
  return aligned(made + 1);
}

static void *take(j_common_ptr cinfo, int pool_id, size_t bytes) {
  struct fbj_region *region = of(cinfo);
  (void)pool_id; /* all of it goes when the image ends */
  if (bytes > region->asked_bytes_max - region->asked_bytes ||
      rounded(bytes, FBJ_ALIGN) > region->asked_bytes_max - region->asked_bytes) {
    region->over_limit = 1;
    ERREXIT1(cinfo, JERR_OUT_OF_MEMORY, 1);
  }
  bytes = rounded(bytes, FBJ_ALIGN);
  region->asked_bytes += bytes;
  uint8_t *taken;
  if (bytes <= region->kept_bytes - region->kept_used) {
    taken = aligned(region->kept) + region->kept_used;
    region->kept_used += bytes;
  } else {
    taken = extra(cinfo, bytes);
  }
  spoil(region, taken, bytes);
  return taken;
}

static JSAMPARRAY take_samples(j_common_ptr cinfo, int pool_id, JDIMENSION samples_per_row, JDIMENSION row_count) {
  size_t sample_bytes = ((j_decompress_ptr)cinfo)->data_precision > 8 ? 2 : 1;
  /* Upsampling by two writes twice the width of a vector. */
  size_t row_bytes = rounded((size_t)samples_per_row * sample_bytes, FBJ_ALIGN);
  JSAMPARRAY rows = take(cinfo, pool_id, (size_t)row_count * sizeof(JSAMPROW));
  JSAMPROW samples = take(cinfo, pool_id, row_bytes * row_count);
  for (JDIMENSION row = 0; row < row_count; row++) rows[row] = samples + row_bytes * row;
  return rows;
}

static JBLOCKARRAY take_blocks(j_common_ptr cinfo, int pool_id, JDIMENSION blocks_per_row, JDIMENSION row_count) {
  JBLOCKARRAY rows = take(cinfo, pool_id, (size_t)row_count * sizeof(JBLOCKROW));
  JBLOCKROW blocks = take(cinfo, pool_id, (size_t)blocks_per_row * row_count * sizeof(JBLOCK));
  for (JDIMENSION row = 0; row < row_count; row++) rows[row] = blocks + (size_t)blocks_per_row * row;
  return rows;
}

static jvirt_sarray_ptr refuse_samples(j_common_ptr cinfo, int pool_id, boolean zeroed, JDIMENSION samples_per_row,
                                       JDIMENSION row_count, JDIMENSION rows_at_once) {
  (void)pool_id, (void)zeroed, (void)samples_per_row, (void)row_count, (void)rows_at_once;
  ERREXIT(cinfo, JERR_NOTIMPL);
  return NULL;
}

static JSAMPARRAY refuse_access(j_common_ptr cinfo, jvirt_sarray_ptr array, JDIMENSION start, JDIMENSION count,
                                boolean writable) {
  (void)array, (void)start, (void)count, (void)writable;
  ERREXIT(cinfo, JERR_BAD_VIRTUAL_ACCESS);
  return NULL;
}

static jvirt_barray_ptr request_blocks(j_common_ptr cinfo, int pool_id, boolean zeroed, JDIMENSION blocks_per_row,
                                       JDIMENSION row_count, JDIMENSION rows_at_once) {
  (void)zeroed, (void)rows_at_once;
  jvirt_barray_ptr array = take(cinfo, pool_id, sizeof *array);
  array->blocks_per_row = blocks_per_row;
  array->row_count = row_count;
  array->zeroed = 0;
  /* Nothing but coefficients is requested, and all of it before realize: allocating at once is the same. */
  array->rows = take_blocks(cinfo, pool_id, blocks_per_row, row_count);
  return array;
}

static void realize(j_common_ptr cinfo) { (void)cinfo; }

/* Rows are zeroed when they are first reached, while they are about to be used. */
static JBLOCKARRAY access_blocks(j_common_ptr cinfo, jvirt_barray_ptr array, JDIMENSION start, JDIMENSION count,
                                 boolean writable) {
  (void)writable;
  if (count > array->row_count || start > array->row_count - count) ERREXIT(cinfo, JERR_BAD_VIRTUAL_ACCESS);
  if (start + count > array->zeroed) {
    size_t rows = start + count - array->zeroed;
    memset(array->rows[array->zeroed], 0, rows * array->blocks_per_row * sizeof(JBLOCK));
    array->zeroed = start + count;
  }
  return array->rows + start;
}

static void end_image(j_common_ptr cinfo, int pool_id) {
  (void)pool_id;
  fbj_region_rewind(of(cinfo));
}

static void destroy(j_common_ptr cinfo) { (void)cinfo; /* whoever made the region frees it */ }

void fbj_region_init(struct fbj_region *region) {
  memset(region, 0, sizeof *region);
  region->methods.alloc_small = take;
  region->methods.alloc_large = take;
  region->methods.alloc_sarray = take_samples;
  region->methods.alloc_barray = take_blocks;
  region->methods.request_virt_sarray = refuse_samples;
  region->methods.request_virt_barray = request_blocks;
  region->methods.realize_virt_arrays = realize;
  region->methods.access_virt_sarray = refuse_access;
  region->methods.access_virt_barray = access_blocks;
  region->methods.free_pool = end_image;
  region->methods.self_destruct = destroy;
  region->methods.max_alloc_chunk = 1L << 30;
}

/* Leaves the region without a kept block where there is no memory: the next image asks malloc itself, and may say so. */
static void grow(struct fbj_region *region, size_t bytes) {
  free(region->kept);
  region->kept = malloc(bytes + FBJ_ALIGN);
  region->kept_bytes = region->kept ? bytes : 0;
  /*
   * Coefficients are walked once for each scan. In huge pages, 12 megapixels of progressive take 0.93 of the time; a
   * kernel that has none to give says so, and nothing is lost.
   */
  if (region->kept_bytes < 2 * FBJ_HUGE_PAGE) return;
  uint8_t *first_page = (uint8_t *)rounded((size_t)region->kept, FBJ_PAGE);
  (void)madvise(first_page, region->kept_bytes - FBJ_PAGE, MADV_HUGEPAGE);
}

void fbj_region_rewind(struct fbj_region *region) {
  if (region->extras && region->kept_bytes < FBJ_KEPT_BYTES_MAX) {
    size_t enough = rounded(region->asked_bytes + region->asked_bytes / 4, FBJ_GROWTH);
    grow(region, enough < FBJ_KEPT_BYTES_MAX ? enough : FBJ_KEPT_BYTES_MAX);
  }
  while (region->extras) {
    struct fbj_extra *next = region->extras->next;
    free(region->extras);
    region->extras = next;
  }
  region->kept_used = region->asked_bytes = 0;
  region->over_limit = 0;
  region->image_count++;
}

void fbj_region_free(struct fbj_region *region) {
  fbj_region_rewind(region);
  free(region->kept);
  region->kept = NULL;
  region->kept_bytes = 0;
}
