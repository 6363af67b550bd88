/*
 * validate.c
 *	  What validation examples say of the model as it is.
 *
 * Their texts are embedded once; losses and figures are read off the rows. A
 * loss that has a head adds to its gradient, which between steps is 0 and is
 * made so again. Masked words are not embeddings: their loss comes with a
 * gradient, which is forgotten, too.
 */
#include <math.h>
#include <string.h>

#include "core/tune/validate_int.h"

/* Takes a text in, once. */
static void
add_text(const BrTune *tune, BrTuneTable *table, int32_t number)
{
	int32_t text = tune->texts.same[number];

	if (table->place[text] >= 0)
		return;
	table->place[text] = table->n;
	table->texts[table->n++] = text;
}

static void
add_example(const BrTune *tune, BrTuneTable *table, int number)
{
	BrTuneObjective objective = tune->options.objective;
	const BrTuneData *data = &tune->data;

	if (objective == BR_TUNE_SETS)
	{
		for (int32_t j = data->sets[number]; j < data->sets[number + 1]; j++)
			add_text(tune, table, data->members[j]);
		return;
	}
	add_text(tune, table, data->examples[number].first);
	if (br_tune_has_pairs(objective))
		add_text(tune, table, data->examples[number].second);
	if ((objective == BR_TUNE_TRIPLET || tune->n_given > 0) && data->examples[number].third >= 0)
		add_text(tune, table, data->examples[number].third);
}

static BrStatus
open_table(BrTune *tune, BrTuneTable *table)
{
	BrContext *context = tune->context;
	size_t n = (size_t) tune->texts.n;

	table->texts = br_base_alloc_array(context, n, sizeof(int32_t));
	table->place = br_base_alloc_array(context, n, sizeof(int32_t));
	if (table->texts == NULL || table->place == NULL)
		return BR_ERR_MEMORY;
	memset(table->place, 0xff, n * sizeof(int32_t));
	for (int i = 0; i < tune->n_validation; i++)
		add_example(tune, table, tune->n_training + i);
	table->rows =
		br_base_alloc_array(context, (size_t) table->n, (size_t) tune->dim * sizeof(BrReal));
	if (table->rows == NULL)
		return BR_ERR_MEMORY;
	return br_tune_read(tune, table->texts, table->n, table->rows);
}

static void
close_table(BrContext *context, BrTuneTable *table)
{
	br_base_free(context, table->texts);
	br_base_free(context, table->place);
	br_base_free(context, table->rows);
}

/* ---- losses ---- */

/* The examples of batch number of all validation. */
static void
find_batch(const BrTune *tune, int number, int batches, int *first, int *n)
{
	int64_t end = (int64_t) tune->n_validation * (number + 1) / batches;

	*first = (int) ((int64_t) tune->n_validation * number / batches);
	*n = (int) end - *first;
}

static BrStatus
embed_batch(BrTune *tune, const BrTuneTable *table, const BrTuneBatch *batch, BrReal *embeddings)
{
	size_t row = (size_t) tune->dim;

	if (batch->texts == NULL)
		return br_train_read(tune->run, &batch->batch, BR_TUNE_READ_TOKENS, embeddings);
	for (int i = 0; i < batch->n_texts; i++)
		memcpy(embeddings + (size_t) i * row,
			   table->rows + (size_t) table->place[tune->texts.same[batch->texts[i]]] * row,
			   row * sizeof(BrReal));
	return BR_OK;
}

/* Adds n times the loss of a batch, and of labels how many are right. */
static BrStatus
ask_batch(BrTune *tune, const BrTuneTable *table, const BrTuneBatch *batch, double *loss,
		  double *right)
{
	BrContext *context = tune->context;
	size_t n = (size_t) batch->n_texts * (size_t) tune->dim;
	BrReal *embeddings = br_base_alloc_array(context, n, sizeof(BrReal));
	BrReal *slope = br_base_alloc_array(context, n, sizeof(BrReal));
	BrStatus status = BR_ERR_MEMORY;
	double value = 0;

	if (embeddings != NULL && slope != NULL)
		status = embed_batch(tune, table, batch, embeddings);
	if (status == BR_OK)
		status =
			batch->loss(batch->arg, context, embeddings, batch->n_texts, tune->dim, &value, slope);
	*loss += batch->n * value;
	if (status == BR_OK && batch->labels != NULL)
		*right += br_tune_count_right(tune, batch, embeddings);
	br_base_free(context, embeddings);
	br_base_free(context, slope);
	return status;
}

static BrStatus
ask_masked(BrTune *tune, const BrTuneBatch *batch, int number, double *loss, double *weight)
{
	double value;
	int guessed;
	BrStatus status = br_tune_accumulate_masked(tune, tune->guesser, &batch->batch,
												(uint64_t) number, &value, &guessed);

	*loss += guessed * value;
	*weight += guessed;
	return status;
}

static BrStatus
ask_all(BrTune *tune, const BrTuneTable *table, double *loss, double *right)
{
	int batches = (tune->n_validation + tune->options.batch - 1) / tune->options.batch;
	int offset = tune->options.objective == BR_TUNE_NEXT_SENTENCE ? 0 : tune->n_training;
	int32_t *numbers =
		br_base_alloc_array(tune->context, (size_t) tune->options.batch, sizeof(int32_t));
	BrStatus status = numbers == NULL ? BR_ERR_MEMORY : BR_OK;
	double weight = 0;

	for (int b = 0; b < batches && status == BR_OK; b++)
	{
		BrTuneBatch batch;
		int first;
		int n;

		find_batch(tune, b, batches, &first, &n);
		for (int i = 0; i < n; i++)
			numbers[i] = offset + first + i;
		status = br_tune_gather(tune, numbers, n, false, &batch);
		if (status == BR_OK && batch.loss == NULL)
			status = ask_masked(tune, &batch, b, loss, &weight);
		else if (status == BR_OK)
		{
			status = ask_batch(tune, table, &batch, loss, right);
			weight += n;
		}
		br_tune_free_batch(tune->context, &batch);
	}
	br_base_free(tune->context, numbers);
	*loss = weight > 0 ? *loss / weight : 0;
	*right /= tune->n_validation;
	return status;
}

/* ---- figures ---- */

static BrStatus
find_figure(BrTune *tune, const BrTuneTable *table, double right, BrTuneValidation *validation)
{
	switch (tune->options.objective)
	{
		case BR_TUNE_CONTRASTIVE:
			return br_tune_rank_partners(tune, table, &validation->figure);
		case BR_TUNE_SETS:
			return br_tune_rank_members(tune, table, &validation->figure);
		case BR_TUNE_TRIPLET:
			validation->figure = br_tune_share_nearer(tune, table);
			return BR_OK;
		case BR_TUNE_SCORE:
			return br_tune_correlate(tune, table, &validation->figure, &validation->pearson);
		case BR_TUNE_TEXT_CLASSES:
		case BR_TUNE_PAIR_CLASSES:
		case BR_TUNE_NEXT_SENTENCE:
			validation->figure = right;
			return BR_OK;
		case BR_TUNE_MASKED_WORDS:
		case BR_TUNE_DISTILLATION:
			break;
	}
	validation->figure = -validation->loss;
	return BR_OK;
}

BrStatus
br_tune_validate(BrTune *tune, BrTuneValidation *validation)
{
	BrTuneObjective objective = tune->options.objective;
	bool embedded = objective != BR_TUNE_MASKED_WORDS && objective != BR_TUNE_NEXT_SENTENCE;
	BrTuneTable table = {NULL, NULL, NULL, 0};
	BrTuneValidation found = {0, 0, 0};
	double right = 0;
	BrStatus status = embedded ? open_table(tune, &table) : BR_OK;

	if (status == BR_OK)
		status = ask_all(tune, &table, &found.loss, &right);
	if (embedded && status == BR_OK)
		br_tune_make_units(table.rows, table.n, tune->dim);
	if (status == BR_OK)
		status = find_figure(tune, &table, right, &found);
	if (status == BR_OK && !(isfinite(found.loss) && isfinite(found.figure)))
		status = br_base_fail(tune->context, BR_ERR_NUMERIC,
							  "Validation after step %lld gives the loss %g.",
							  (long long) tune->record.step, found.loss);
	if (status == BR_OK)
		*validation = found;
	br_train_zero_gradient(tune->model);
	close_table(tune->context, &table);
	return status;
}
