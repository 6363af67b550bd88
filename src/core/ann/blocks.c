/*
 * blocks.c
 *	  Work on many rows in blocks that threads share.
 */
#include <stdatomic.h>

#include "core/ann/blocks.h"

/* Multiply-adds of a block. */
#define BLOCK_WORK INT64_C(32000000)

#define MIN_BLOCK_ROWS 16
#define MAX_BLOCK_ROWS 512

#define SUM_LANES 8

typedef struct BlockRun
{
	BrContext *context;
	BrBlockTask task;
	void *arg;
	int blocks;
	atomic_int next;
	atomic_bool cancelled;
} BlockRun;

/* In the caller's thread alone. */
static bool
ask_caller(void *arg)
{
	BlockRun *run = arg;

	if (br_base_cancelled(run->context))
		atomic_store(&run->cancelled, true);
	return atomic_load(&run->cancelled);
}

static void
work(void *arg, int worker)
{
	BlockRun *run = arg;

	for (;;)
	{
		int block;

		if (worker == 0 ? ask_caller(run) : atomic_load(&run->cancelled))
			return;
		block = atomic_fetch_add(&run->next, 1);
		if (block >= run->blocks)
			return;
		run->task(run->arg, block, worker);
	}
}

BrStatus
br_ann_run_blocks(BrContext *context, BrPool *pool, BrBlockTask task, void *arg, int blocks)
{
	BlockRun run = {.context = context, .task = task, .arg = arg, .blocks = blocks};
	BrCancel poll = {ask_caller, &run};
	int workers = br_base_pool_threads(pool);

	br_base_pool_run(pool, work, &run, workers < blocks ? workers : blocks, &poll);
	return run.cancelled ? BR_ERR_CANCELLED : BR_OK;
}

int
br_ann_block_rows(int columns, int dims)
{
	int64_t rows = BLOCK_WORK / ((int64_t) columns * dims);

	if (rows < MIN_BLOCK_ROWS)
		return MIN_BLOCK_ROWS;
	return rows < MAX_BLOCK_ROWS ? (int) rows : MAX_BLOCK_ROWS;
}

float
br_ann_squared_length(const float *vector, int dims)
{
	double lanes[SUM_LANES] = {0};
	double sum = 0;

	for (int i = 0; i < dims; i++)
		lanes[i % SUM_LANES] += (double) vector[i] * (double) vector[i];
	for (int lane = 0; lane < SUM_LANES; lane++)
		sum += lanes[lane];
	return (float) sum;
}
