/*
 * adversarial.c
 *	  The loss where texts are disturbed so that it grows fastest.
 *
 * A batch goes both ways twice. The first time its way back also leaves the
 * slopes of word embeddings, text for text; cut to one length they are what is
 * added to the embeddings the second time, as numbers that depend on nothing.
 */
#include "core/train/train_int.h"

/* Slopes become moves, in place. */
static void
cut_to_length(const BrTrainBatch *batch, int hidden, double size, BrReal *slopes)
{
	for (int i = 0; i < batch->texts; i++)
	{
		BrReal *slope = slopes + (size_t) batch->offsets[i] * (size_t) hidden;
		size_t n = (size_t) (batch->offsets[i + 1] - batch->offsets[i]) * (size_t) hidden;
		double largest = 0;
		double sum = 0;

		/* squares of slopes that are merely small must not vanish */
		for (size_t j = 0; j < n; j++)
			largest = fmax(largest, fabs((double) slope[j]));
		if (largest == 0)
			continue;
		for (size_t j = 0; j < n; j++)
			sum += (double) slope[j] / largest * ((double) slope[j] / largest);
		for (size_t j = 0; j < n; j++)
			slope[j] = (BrReal) (size * ((double) slope[j] / largest) / sqrt(sum));
	}
}

static BrStatus
check_adversary(BrContext *context, const BrTrainAdversary *adversary)
{
	if (!(adversary->size > 0) || !isfinite(adversary->size) || !(adversary->weight > 0) ||
		!isfinite(adversary->weight))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A disturbance of size %g and weight %g; both must be above 0.",
							adversary->size, adversary->weight);
	return BR_OK;
}

BrStatus
br_train_accumulate_adversarial(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
								BrTrainLoss loss, const void *arg, int chunk_tokens,
								const BrTrainAdversary *adversary, double *value, double *disturbed)
{
	BrContext *context = run->context;
	int hidden = run->shape->hidden;
	const BrTrainShare share = {br_train_weight(batch) * adversary->weight, br_train_place(batch)};
	const BrTrainBatch again = {batch->ids, batch->offsets, batch->texts, &share};
	BrTrainDisturbance disturbance = {.first_token = share.first_token};
	BrStatus status = check_adversary(context, adversary);
	BrReal *rows;

	*value = 0;
	*disturbed = 0;
	if (status == BR_OK)
		status = br_train_check_batch(context, run->shape, batch);
	if (status != BR_OK)
		return status;
	rows = br_base_alloc_array(context, (size_t) batch->offsets[batch->texts],
							   (size_t) hidden * sizeof(BrReal));
	if (rows == NULL)
		return BR_ERR_MEMORY;
	disturbance.slopes = rows;
	run->disturbance = &disturbance;
	status = br_train_accumulate(run, batch, step, loss, arg, chunk_tokens, value);
	if (status == BR_OK)
	{
		cut_to_length(batch, hidden, adversary->size, rows);
		disturbance = (BrTrainDisturbance){share.first_token, rows, NULL};
		status = br_train_accumulate(run, &again, step, loss, arg, chunk_tokens, disturbed);
		*disturbed /= adversary->weight;
	}
	run->disturbance = NULL;
	run->pending = false;
	br_base_free(context, rows);
	return status;
}
