/*
 * The memory that libjpeg decodes in: one block a decoder, handed out from its front and taken back whole after each image.
 */
#ifndef FBJ_REGION_H
#define FBJ_REGION_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

struct fbj_region {
  struct jpeg_memory_mgr methods; /* first: libjpeg finds the region by its own pointer to this */
  uint8_t *kept;                  /* stays from image to image */
  size_t kept_bytes, kept_used;
  struct fbj_extra *extras;       /* what the kept block had no room for, until the image ends */
  size_t asked_bytes;             /* by this image, in units of FBJ_ALIGN */
  size_t asked_bytes_max;
  int over_limit;                 /* this image asked for more than that */
  int image_count;
};

/* Whoever allocates has libjpeg's error handler ready: a refusal does not return. */
void fbj_region_init(struct fbj_region *region);

/* Takes everything back. Where the image did not fit, the kept block grows, so that its like fits from then on. */
void fbj_region_rewind(struct fbj_region *region);

void fbj_region_free(struct fbj_region *region);

#endif
