/*
 * result.c
 *	  What a fine-tuning has learned, as weights, an image, tensors and embeddings.
 *
 * Where validation chose, the best numbers stand aside from those that go on
 * being trained. To compute with them they change places for a while.
 */
#include <string.h>

#include "core/tune/tune_int.h"

static bool
has_best(const BrTune *tune)
{
	return tune->best != NULL && tune->record.started;
}

/* The model becomes the best one, or what it was again. */
static void
swap_best(BrTune *tune)
{
	if (!has_best(tune))
		return;
	for (size_t i = 0; i < tune->set.n; i++)
	{
		BrReal kept = tune->set.parameters[i];

		tune->set.parameters[i] = tune->best[i];
		tune->best[i] = kept;
	}
	br_tune_show(tune);
}

size_t
br_tune_weights_count(const BrTune *tune)
{
	return br_train_shape(tune->model)->map.total;
}

BrStatus
br_tune_weights(BrTune *tune, float *weights)
{
	size_t n = br_tune_weights_count(tune);
	double mix = tune->options.mix;

	swap_best(tune);
	memcpy(weights, br_train_parameters(tune->model), n * sizeof(float));
	swap_best(tune);
	for (size_t i = 0; i < n && tune->base != NULL; i++)
		weights[i] = (float) (mix * (double) weights[i] + (1 - mix) * (double) tune->base[i]);
	return BR_OK;
}

/* In place of the image of all that was learned, that of as much as options.mix says. */
static BrStatus
mix_image(BrTune *tune, void **copy, size_t copy_size)
{
	BrContext *context = tune->context;
	float *weights = br_base_alloc_array(context, br_tune_weights_count(tune), sizeof(float));
	void *mixed = NULL;
	BrStatus status = weights != NULL ? br_tune_weights(tune, weights) : BR_ERR_MEMORY;

	if (status == BR_OK)
		status = br_encoder_with_weights(context, *copy, copy_size, weights, &mixed);
	br_base_free(context, weights);
	br_base_free(context, *copy);
	*copy = mixed;
	return status;
}

BrStatus
br_tune_image(BrTune *tune, const void *image, size_t image_size, void **copy, size_t *copy_size)
{
	BrStatus status;

	swap_best(tune);
	status = br_train_make_image(tune->context, tune->model, image, image_size, copy, copy_size);
	swap_best(tune);
	if (status == BR_OK && tune->base != NULL)
		status = mix_image(tune, copy, *copy_size);
	return status;
}

void
br_tune_delta(const BrTune *tune, BrTuneTensors *delta)
{
	const BrTrainSet *set = &tune->set;

	*delta = (BrTuneTensors){set->tensors, set->n_tensors,
							 has_best(tune) ? tune->best : set->parameters, set->n};
}

/* Every set ends with the tensors of the head. */
void
br_tune_head(const BrTune *tune, BrTuneTensors *head)
{
	BrTrainHead what = br_train_head(tune->model);
	int n = (what.classes > 0 ? 2 : 0) + (what.words ? 5 : 0);

	br_tune_delta(tune, head);
	head->tensors += head->n_tensors - n;
	head->n_tensors = n;
}

BrStatus
br_tune_embed(BrTune *tune, const int32_t *ids, const int32_t *offsets, int n, float *embeddings)
{
	const BrTrainBatch batch = {ids, offsets, n, NULL};
	BrStatus status;

	if (n < 1)
		return BR_OK;
	swap_best(tune);
	status = br_train_read(tune->run, &batch, BR_TUNE_READ_TOKENS, embeddings);
	swap_best(tune);
	return status;
}
