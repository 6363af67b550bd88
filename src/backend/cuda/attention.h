/*
 * attention.h
 *	  Into what attention cuts its work; shared by who cuts and who computes.
 */
#ifndef BR_CUDA_ATTENTION_H
#define BR_CUDA_ATTENTION_H

/* Rows of a tile of the tensor cores: queries of a warp. */
#define ATTENTION_TILE 16

/* Warps of a block of threads. */
#define ATTENTION_WARPS 4

/* Queries of a block, and keys that it holds at a time. */
#define ATTENTION_BLOCK (ATTENTION_TILE * ATTENTION_WARPS)

/* How many warps of a block share a head: as many as a text has tiles of queries. */
#define ATTENTION_SHARE(length) \
	((length) <= ATTENTION_TILE ? 1 : (length) <= 2 * ATTENTION_TILE ? 2 : ATTENTION_WARPS)

#endif /* BR_CUDA_ATTENTION_H */
