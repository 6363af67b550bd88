/*
 * tune.c
 *	  One fine-tuning, opened and taken step by step.
 *
 * A step reads what it needs from the seed, its number and the record, and
 * writes the record last, so that a step which did not succeed has not been.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/tune/tune_int.h"

/* ---- what computes ---- */

/* What of the options no device trains, to come after "trains"; NULL: nothing. */
static const char *
not_for_devices(const BrTuneOptions *options)
{
	if (options->objective == BR_TUNE_MASKED_WORDS)
		return "by masked words";
	if (options->method == BR_TUNE_BOTTLENECK)
		return "bottlenecks";
	if (options->method == BR_TUNE_PREFIX)
		return "prefixes";
	return options->adversary > 0 ? "against an adversary" : NULL;
}

bool
br_tune_device_trains(const BrTuneOptions *options)
{
	return not_for_devices(options) == NULL;
}

static BrTrainOptions
run_options(const BrTune *tune)
{
	const BrTuneOptions *options = &tune->options;

	return (BrTrainOptions){
		.backend = tune->compute.backend,
		.pool = tune->compute.pool,
		.memory = (size_t) options->memory,
		.dropout = options->dropout,
		.attention_dropout = options->attention_dropout,
		.seed = (uint64_t) options->seed,
		.device_table = tune->compute.device_table,
		.device = tune->compute.device,
	};
}

static BrStatus
open_runs(BrTune *tune)
{
	BrTrainOptions how = run_options(tune);
	const char *refused = not_for_devices(&tune->options);
	BrStatus status;

	if (how.device != NULL && refused != NULL)
		return br_base_fail(tune->context, BR_ERR_UNSUPPORTED, "No device trains %s.", refused);
	status = br_train_begin(tune->context, tune->model, &how, &tune->run);
	how.dropout = 0;
	how.attention_dropout = 0;
	how.seed ^= BR_TUNE_DRAW_VALIDATION;
	if (status == BR_OK && tune->options.objective == BR_TUNE_MASKED_WORDS)
		status = br_train_begin(tune->context, tune->model, &how, &tune->guesser);
	if (status == BR_OK)
		status = br_train_optimiser_create(tune->context, &tune->set, &tune->recipe,
										   tune->compute.pool, &tune->optimiser);
	return status;
}

BrStatus
br_tune_leave_device(BrTune *tune)
{
	BrTrainOptions how;

	if (tune->compute.device == NULL)
		return BR_OK;
	br_train_end(tune->run);
	tune->compute.device_table = NULL;
	tune->compute.device = NULL;
	how = run_options(tune);
	return br_train_begin(tune->context, tune->model, &how, &tune->run);
}

/* ---- opening ---- */

static BrTrainHead
head_of(const BrTune *tune, int dim)
{
	BrTrainHead head = {0};

	switch (tune->options.objective)
	{
		case BR_TUNE_TEXT_CLASSES:
			head.classes = tune->data.classes;
			head.inputs = dim;
			break;
		case BR_TUNE_PAIR_CLASSES:
			head.classes = tune->data.classes;
			head.inputs = 3 * dim;
			break;
		case BR_TUNE_NEXT_SENTENCE:
			head.classes = 2;
			head.inputs = dim;
			break;
		case BR_TUNE_MASKED_WORDS:
			head.words = true;
			break;
		default:
			break;
	}
	return head;
}

static BrStatus
open_model(BrTune *tune, const BrEncoder *encoder)
{
	BrTrainHead head = head_of(tune, br_encoder_info(encoder)->dimensions);
	BrStatus status;

	if (br_tune_has_labels(tune->options.objective) && head.classes < 2)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT, "%d classes; there must be at least 2.",
							head.classes);
	status = br_train_open(tune->context, encoder, head,
						   (uint64_t) tune->options.seed ^ BR_TUNE_DRAW_HEAD, &tune->model);
	if (status == BR_OK)
	{
		tune->dim = br_train_dimensions(tune->model);
		tune->model_print = br_tune_print_model(tune->model);
	}
	return status;
}

/* What options say of the model. */
static BrStatus
check_sizes(const BrTune *tune)
{
	const BrTuneOptions *options = &tune->options;
	int hidden = br_train_shape(tune->model)->hidden;

	if (options->method == BR_TUNE_LORA && options->lora_rank > hidden)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"lora_rank is %d; the model takes at most its hidden size, %d.",
							options->lora_rank, hidden);
	if (options->method == BR_TUNE_ADALORA && options->adalora_rank > hidden)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"adalora_rank is %d; the model takes at most its hidden size, %d.",
							options->adalora_rank, hidden);
	if (options->method == BR_TUNE_BOTTLENECK && options->bottleneck_size > hidden)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"bottleneck_size is %d; the model takes at most its hidden size, %d.",
							options->bottleneck_size, hidden);
	for (int i = 0; i < options->n_matryoshka; i++)
		if (options->matryoshka[i] > tune->dim)
			return br_base_fail(tune->context, BR_ERR_ARGUMENT,
								"matryoshka has %d; embeddings have %d dimensions.",
								options->matryoshka[i], tune->dim);
	return BR_OK;
}

/* Steps of an epoch, and with them the recipe. */
static void
count_steps(BrTune *tune)
{
	const BrTuneOptions *options = &tune->options;
	int64_t steps;

	tune->steps_of_epoch = (tune->n_training + options->batch - 1) / options->batch;
	steps = tune->steps_of_epoch * options->epochs;
	if (options->most_steps > 0 && options->most_steps < steps)
		steps = options->most_steps;
	tune->recipe = (BrTrainRecipe){
		.rule = options->optimiser,
		.schedule = options->schedule,
		.rate = options->rate,
		.steps = steps,
		.warm_up = (int64_t) (options->warm_up * (double) steps),
		.beta1 = options->beta1,
		.beta2 = options->beta2,
		.epsilon = options->epsilon,
		.momentum = options->momentum,
		.decay = options->decay,
		.clip = options->clip,
	};
}

static BrStatus
open_arrays(BrTune *tune)
{
	BrContext *context = tune->context;
	size_t n = (size_t) tune->n_training;

	tune->order = br_base_alloc_array(context, n, sizeof(int32_t));
	tune->negatives =
		br_base_alloc_array(context, n * (size_t) tune->options.negatives + 1, sizeof(int32_t));
	if (tune->n_validation > 0)
		tune->best = br_base_alloc_array(context, tune->set.n, sizeof(BrReal));
	return tune->order == NULL || tune->negatives == NULL ||
			(tune->n_validation > 0 && tune->best == NULL)
		? BR_ERR_MEMORY
		: BR_OK;
}

/* What the encoder was is still needed where not all of what is learned is taken. */
static BrStatus
keep_base(BrTune *tune)
{
	size_t n = br_tune_weights_count(tune);
	BrTuneMethod method = tune->options.method;

	if (tune->options.mix == 1 || method == BR_TUNE_BOTTLENECK || method == BR_TUNE_PREFIX)
		return BR_OK;
	tune->base = br_base_alloc_array(tune->context, n, sizeof(float));
	if (tune->base == NULL)
		return BR_ERR_MEMORY;
	memcpy(tune->base, br_train_parameters(tune->model), n * sizeof(float));
	return BR_OK;
}

static BrStatus
open_all(BrTune *tune, const BrEncoder *encoder)
{
	BrStatus status = open_model(tune, encoder);

	if (status == BR_OK)
		status = check_sizes(tune);
	if (status == BR_OK)
		status = keep_base(tune);
	if (status == BR_OK)
		status = br_tune_take_data(tune);
	if (status != BR_OK)
		return status;
	count_steps(tune);
	status = br_tune_open_set(tune);
	if (status == BR_OK)
		status = open_runs(tune);
	return status == BR_OK ? open_arrays(tune) : status;
}

BrStatus
br_tune_open(BrContext *context, const BrEncoder *encoder, const BrTuneData *data,
			 const BrTuneOptions *options, const BrTuneCompute *compute, BrTune **tune)
{
	BrStatus status = br_tune_check_options(context, options, NULL);
	BrTune *opened;

	*tune = NULL;
	if (status != BR_OK)
		return status;
	opened = br_base_alloc_array(context, 1, sizeof(BrTune));
	if (opened == NULL)
		return BR_ERR_MEMORY;
	opened->context = context;
	opened->compute = *compute;
	opened->options = *options;
	opened->data = *data;
	opened->planned_epoch = -1;
	opened->record.mined_epoch = -1;
	opened->record.best = 1;
	if (options->objective != BR_TUNE_CONTRASTIVE)
		opened->options.negatives = 0;
	status = open_all(opened, encoder);
	if (status != BR_OK)
	{
		br_tune_close(opened);
		return status;
	}
	opened->options_print = br_tune_print_options(options);
	opened->data_print = br_tune_print_data(&opened->data);
	*tune = opened;
	return BR_OK;
}

void
br_tune_close(BrTune *tune)
{
	BrContext *context;

	if (tune == NULL)
		return;
	context = tune->context;
	br_train_optimiser_destroy(tune->optimiser);
	br_train_end(tune->run);
	br_train_end(tune->guesser);
	br_tune_close_set(tune);
	br_train_close(tune->model);
	br_base_free(context, tune->texts.ids);
	br_base_free(context, tune->texts.offsets);
	br_base_free(context, tune->texts.same);
	br_base_free(context, tune->known.pairs);
	br_base_free(context, tune->sentences);
	br_base_free(context, tune->sentences_asked);
	br_base_free(context, tune->order);
	br_base_free(context, tune->negatives);
	br_base_free(context, tune->best);
	br_base_free(context, tune->base);
	br_base_free(context, tune);
}

/* ---- a step ---- */

static void
forget_gradient(BrTune *tune)
{
	br_train_zero_gradient(tune->model);
	memset(tune->set.gradient, 0, tune->set.n * sizeof(BrReal));
}

/* The gradient of one batch. */
static BrStatus
accumulate(BrTune *tune, BrTuneBatch *batch, uint64_t step, double *loss)
{
	const BrTuneOptions *options = &tune->options;
	const BrTrainAdversary adversary = {options->adversary, options->adversary_weight};
	BrStatus status = br_tune_augment(tune, step, batch);
	double disturbed;
	int guessed;

	if (status != BR_OK)
		return status;
	if (batch->loss == NULL)
		return br_tune_accumulate_masked(tune, tune->run, &batch->batch, step, loss, &guessed);
	if (options->adversary > 0)
		return br_train_accumulate_adversarial(tune->run, &batch->batch, step, batch->loss,
											   batch->arg, options->chunk_tokens, &adversary, loss,
											   &disturbed);
	return br_train_accumulate(tune->run, &batch->batch, step, batch->loss, batch->arg,
							   options->chunk_tokens, loss);
}

/* Puts step and rate before what is known of numbers that are not finite. */
static BrStatus
tell_step(BrTune *tune, BrStatus status, int64_t step)
{
	char detail[BR_DETAIL_SIZE];

	if (status != BR_ERR_NUMERIC)
		return status;
	memcpy(detail, tune->context->detail, sizeof(detail));
	detail[sizeof(detail) - 1] = '\0';
	return br_base_fail(tune->context, status, "Step %lld, at learning rate %g: %s",
						(long long) step + 1, br_train_rate(&tune->recipe, step), detail);
}

static BrStatus
take_step(BrTune *tune)
{
	BrTuneRecord *record = &tune->record;
	int64_t step = record->step;
	double loss = 0;
	double length = 0;
	BrTuneBatch batch;
	BrStatus status;
	int first;
	int n;

	br_tune_find_batch(tune, step % tune->steps_of_epoch, &first, &n);
	status = br_tune_gather(tune, tune->order + first, n, true, &batch);
	if (status == BR_OK)
		status = accumulate(tune, &batch, (uint64_t) step, &loss);
	if (status == BR_OK)
	{
		br_tune_pull(tune);
		status = br_train_update(tune->optimiser, &length);
	}
	if (status == BR_OK)
	{
		br_tune_push(tune);
		record->step++;
		record->epoch = step / tune->steps_of_epoch;
		record->tokens += batch.offsets[batch.n_texts];
		record->loss = loss;
		record->length = length;
		record->rate = br_train_rate(&tune->recipe, step);
		record->validated = 0;
		record->best = tune->n_validation == 0;
		record->best_step = tune->n_validation == 0 ? record->step : record->best_step;
	}
	else
	{
		forget_gradient(tune);
		status = tell_step(tune, status, step);
	}
	br_tune_free_batch(tune->context, &batch);
	return status;
}

/* ---- validation ---- */

static bool
is_due(const BrTune *tune)
{
	const BrTuneRecord *record = &tune->record;
	int64_t every =
		tune->options.validate_every > 0 ? tune->options.validate_every : tune->steps_of_epoch;

	return tune->n_validation > 0 &&
		(record->step % every == 0 || record->step == tune->recipe.steps);
}

bool
br_tune_judge(BrTuneRecord *record, const BrTuneValidation *validation, double least_improvement,
			  int patience)
{
	bool first = !record->started;

	record->validation = *validation;
	if (first || validation->figure > record->best_figure + least_improvement)
	{
		record->best = 1;
		record->best_step = record->step;
		record->best_figure = validation->figure;
		record->unimproved = 0;
		return true;
	}
	record->unimproved++;
	if (patience > 0 && record->unimproved >= patience)
		record->end = BR_TUNE_PATIENCE;
	return false;
}

static BrStatus
validate(BrTune *tune, BrTuneValidation *validation)
{
	BrStatus status = br_tune_validate(tune, validation);

	if (status == BR_OK &&
		br_tune_judge(&tune->record, validation, tune->options.least_improvement,
					  tune->options.patience))
		memcpy(tune->best, tune->set.parameters, tune->set.n * sizeof(BrReal));
	return status;
}

static BrStatus
validate_start(BrTune *tune)
{
	BrTuneRecord *record = &tune->record;
	BrStatus status = BR_OK;

	if (record->started)
		return BR_OK;
	if (tune->n_validation > 0)
		status = validate(tune, &record->start);
	record->started = status == BR_OK;
	return status;
}

static BrStatus
validate_step(BrTune *tune)
{
	BrTuneValidation validation;
	BrStatus status = validate(tune, &validation);

	if (status != BR_OK)
		return status;
	tune->record.due = 0;
	tune->record.validated = 1;
	return BR_OK;
}

/* One step and what is due after it; where only validation was left, that. */
static BrStatus
advance(BrTune *tune)
{
	BrTuneRecord *record = &tune->record;
	int64_t epoch = record->step / tune->steps_of_epoch;
	BrStatus status = BR_OK;

	if (!record->due)
	{
		status = validate_start(tune);
		if (status == BR_OK)
			status = br_tune_plan_epoch(tune, epoch);
		if (status == BR_OK)
			status = br_tune_mine(tune, epoch);
		if (status == BR_OK)
			status = take_step(tune);
		if (status != BR_OK)
			return status;
		record->due = is_due(tune);
	}
	if (record->due)
		status = validate_step(tune);
	if (status == BR_OK && record->end == BR_TUNE_GOES_ON && record->step == tune->recipe.steps)
		record->end = BR_TUNE_ALL_STEPS;
	return status;
}

BrStatus
br_tune_step(BrTune *tune, BrTuneProgress *progress)
{
	BrStatus status = tune->record.end == BR_TUNE_GOES_ON ? advance(tune) : BR_OK;

	br_tune_tell_progress(tune, progress);
	return status;
}

void
br_tune_tell_progress(const BrTune *tune, BrTuneProgress *progress)
{
	const BrTuneRecord *record = &tune->record;

	*progress = (BrTuneProgress){
		.step = record->step,
		.steps = tune->recipe.steps,
		.epoch = (int) record->epoch,
		.loss = record->loss,
		.rate = record->rate,
		.length = record->length,
		.tokens = record->tokens,
		.validated = record->validated != 0,
		.validation = record->validation,
		.start = record->start,
		.best = record->best != 0,
		.best_step = record->best_step,
		.best_figure = record->best_figure,
		.end = (BrTuneEnd) record->end,
	};
}
