/*
 * method.c
 *	  By what a model is trained, behind one set of numbers.
 *
 * The optimiser, checkpoints and the best numbers know the set alone. Between it
 * and the model an addition stands, which gives the set its gradient before an
 * update and makes the model what the set says after it.
 */
#include "core/tune/tune_int.h"

/* Steps between two choices of ranks, and how long importance is remembered, as the paper has it. */
#define ADALORA_INTERVAL 10
#define ADALORA_BETA 0.85

static BrStatus
open_adalora(BrTune *tune, uint64_t seed)
{
	const BrTuneOptions *options = &tune->options;
	int64_t steps = tune->recipe.steps;
	int64_t warm_up = (int64_t) (options->adalora_warm_up * (double) steps);
	int64_t final = (int64_t) (options->adalora_final * (double) steps);
	BrTrainAdaloraOptions adalora = {
		.rank = options->adalora_rank,
		.target_rank = options->adalora_target_rank,
		.alpha = options->lora_alpha,
		.matrices = options->lora_matrices,
		.orthogonality = options->adalora_penalty,
		.beta1 = ADALORA_BETA,
		.beta2 = ADALORA_BETA,
		.steps = steps,
		.warm_up = warm_up,
		/* rounding of the shares must leave a step between the two */
		.final = final + warm_up < steps ? final : steps - 1 - warm_up,
		.interval = ADALORA_INTERVAL,
		.seed = seed,
	};

	return br_train_adalora_create(tune->context, tune->model, tune->compute.backend, &adalora,
								   &tune->adalora);
}

static BrStatus
open_prefix(BrTune *tune, uint64_t seed)
{
	const BrTrainPrefixOptions prefix = {tune->options.prefix_length, tune->options.prefix_width,
										 seed};

	return br_train_prefix_create(tune->context, tune->model, tune->compute.backend, &prefix,
								  &tune->prefix);
}

static BrTrainSet
set_of(BrTune *tune)
{
	if (tune->lora != NULL)
		return br_train_lora_set(tune->lora);
	if (tune->adalora != NULL)
		return br_train_adalora_set(tune->adalora);
	if (tune->bottleneck != NULL)
		return br_train_bottleneck_set(tune->bottleneck);
	if (tune->prefix != NULL)
		return br_train_prefix_set(tune->prefix);
	return br_train_set(tune->model);
}

BrStatus
br_tune_open_set(BrTune *tune)
{
	const BrTuneOptions *options = &tune->options;
	uint64_t seed = (uint64_t) options->seed ^ BR_TUNE_DRAW_ADAPTER;
	const BrTrainLoraOptions lora = {options->lora_rank, options->lora_alpha,
									 options->lora_matrices, seed};
	const BrTrainBottleneckOptions bottleneck = {options->bottleneck_size, seed};
	BrStatus status = BR_OK;

	switch (options->method)
	{
		case BR_TUNE_FULL:
			break;
		case BR_TUNE_LORA:
			status = br_train_lora_create(tune->context, tune->model, tune->compute.backend, &lora,
										  &tune->lora);
			break;
		case BR_TUNE_ADALORA:
			status = open_adalora(tune, seed);
			break;
		case BR_TUNE_BOTTLENECK:
			status = br_train_bottleneck_create(tune->context, tune->model, &bottleneck,
												&tune->bottleneck);
			break;
		case BR_TUNE_PREFIX:
			status = open_prefix(tune, seed);
			break;
	}
	if (status == BR_OK)
		tune->set = set_of(tune);
	return status;
}

void
br_tune_close_set(BrTune *tune)
{
	br_train_lora_destroy(tune->lora);
	br_train_adalora_destroy(tune->adalora);
	br_train_bottleneck_destroy(tune->bottleneck);
	br_train_prefix_destroy(tune->prefix);
}

void
br_tune_pull(BrTune *tune)
{
	if (tune->lora != NULL)
		br_train_lora_pull(tune->lora);
	if (tune->adalora != NULL)
		br_train_adalora_pull(tune->adalora);
	if (tune->bottleneck != NULL)
		br_train_bottleneck_pull(tune->bottleneck);
	if (tune->prefix != NULL)
		br_train_prefix_pull(tune->prefix);
}

void
br_tune_push(BrTune *tune)
{
	if (tune->lora != NULL)
		br_train_lora_push(tune->lora);
	if (tune->adalora != NULL)
		br_train_adalora_push(tune->adalora);
	if (tune->bottleneck != NULL)
		br_train_bottleneck_push(tune->bottleneck);
	if (tune->prefix != NULL)
		br_train_prefix_push(tune->prefix);
}

void
br_tune_show(BrTune *tune)
{
	int64_t *steps = br_tune_method_state(tune).steps;
	int64_t taken = steps != NULL ? *steps : 0;

	/* before the first step no ranks are chosen */
	if (steps != NULL)
		*steps = 0;
	br_tune_push(tune);
	if (steps != NULL)
		*steps = taken;
}

BrTrainState
br_tune_method_state(const BrTune *tune)
{
	if (tune->adalora != NULL)
		return br_train_adalora_state(tune->adalora);
	return (BrTrainState){NULL, NULL, 0};
}
