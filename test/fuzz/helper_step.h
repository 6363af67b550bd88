/*
 * helper_step.h
 *	  What an input of fuzz_helper.c is made of: requests, each with what stands
 *	  in its lane.
 */
#ifndef BR_FUZZ_HELPER_STEP_H
#define BR_FUZZ_HELPER_STEP_H

#include <stdint.h>

/* Followed by lane_bytes bytes, which go to the beginning of the lane. */
typedef struct FuzzStep
{
	uint32_t version;
	uint32_t kind;
	uint32_t lane;
	uint32_t texts;
	uint32_t tokens;
	uint32_t dimensions;
	uint32_t rows;
	uint32_t dims;
	uint32_t precision;
	uint8_t flags; /* FUZZ_STEP_... */
	uint8_t hash;  /* the first byte of the model's; the others are 0 */
	uint16_t lane_bytes;
} FuzzStep;

#define FUZZ_STEP_IMAGE 1	/* the image is where it is; else anywhere */
#define FUZZ_STEP_WEIGHTS 2 /* packed weights are named: the image, which they are not */
#define FUZZ_STEP_BUDGET 4	/* from now on there is room for one model */

/* The model that is there: that of fuzz_folder_init. */
#define FUZZ_STEP_DIMENSIONS 3

#endif /* BR_FUZZ_HELPER_STEP_H */
