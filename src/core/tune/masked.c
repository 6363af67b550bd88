/*
 * masked.c
 *	  Guessing hidden words in parts of a batch.
 *
 * Tokens do not see other texts, so parts of a batch may go both ways one after
 * another. What each weighs follows from how many tokens it hides, which is
 * counted first.
 */
#include "core/tune/tune_int.h"

static BrTrainMasking
masking_of(const BrTune *tune)
{
	return (BrTrainMasking){tune->options.mask_share, tune->data.mask_id, tune->data.special,
							tune->data.n_special};
}

/* The part of a batch from a text on; returns how many texts it has. */
static int
take_part(const BrTune *tune, const BrTrainBatch *batch, int first, int32_t *offsets)
{
	int32_t begin = batch->offsets[first];
	int most = tune->options.chunk_tokens;
	int n = 0;

	offsets[0] = 0;
	while (first + n < batch->texts &&
		   (n == 0 || most == 0 || batch->offsets[first + n + 1] - begin <= most))
	{
		n++;
		offsets[n] = batch->offsets[first + n] - begin;
	}
	return n;
}

static BrStatus
accumulate_parts(BrTune *tune, BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
				 int32_t *offsets, double *value, int *guessed)
{
	const BrTrainMasking masking = masking_of(tune);
	BrStatus status = br_train_count_masked(run, batch, step, &masking, guessed);

	for (int first = 0, n; first < batch->texts && status == BR_OK; first += n)
	{
		BrTrainShare share = {1, (size_t) batch->offsets[first]};
		BrTrainBatch part = {batch->ids + batch->offsets[first], offsets, 0, &share};
		double loss = 0;
		int hidden = 0;

		n = take_part(tune, batch, first, offsets);
		part.texts = n;
		status = br_train_count_masked(run, &part, step, &masking, &hidden);
		if (status != BR_OK || hidden == 0)
			continue;
		share.weight = (double) hidden / *guessed;
		status = br_train_accumulate_masked(run, &part, step, &masking, &loss, &hidden);
		*value += loss;
	}
	return status;
}

BrStatus
br_tune_accumulate_masked(BrTune *tune, BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
						  double *value, int *guessed)
{
	int32_t *offsets =
		br_base_alloc_array(tune->context, (size_t) batch->texts + 1, sizeof(int32_t));
	BrStatus status;

	*value = 0;
	*guessed = 0;
	if (offsets == NULL)
		return BR_ERR_MEMORY;
	status = accumulate_parts(tune, run, batch, step, offsets, value, guessed);
	br_base_free(tune->context, offsets);
	return status;
}
