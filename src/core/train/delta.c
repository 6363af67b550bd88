/*
 * delta.c
 *	  What a model is trained by instead of by all of its own weights.
 *
 * A delta is a set of tensors of its own. Some exist in the set alone, and the
 * way back adds their slopes to the delta; others are lent by the model, such
 * as the head's: the set holds copies of them, which push writes back, and pull
 * takes their slopes from the model's gradient.
 */
#include <stdio.h>

#include "core/train/train_int.h"

static size_t
tensor_size(const BrTrainTensor *tensor)
{
	return (size_t) tensor->rows * (size_t) (tensor->columns > 0 ? tensor->columns : 1);
}

const BrTrainTensor *
br_train_tensor_at(const BrTrainModel *model, size_t offset)
{
	int i = 0;

	while (model->tensors[i].offset != offset)
		i++;
	return &model->tensors[i];
}

BrStatus
br_train_delta_open(BrTrainDelta *delta, BrContext *context, BrTrainModel *model, int most_tensors)
{
	if (model->delta != NULL)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The model is trained by an addition already; it takes one.");
	delta->context = context;
	delta->model = model;
	delta->tensors = br_base_alloc_array(context, (size_t) most_tensors, sizeof(BrTrainTensor));
	delta->lenders = br_base_alloc_array(context, (size_t) most_tensors, sizeof(size_t));
	delta->set.tensors = delta->tensors;
	return delta->tensors == NULL || delta->lenders == NULL ? BR_ERR_MEMORY : BR_OK;
}

static size_t
place_tensor(BrTrainDelta *delta, const BrTrainTensor *tensor, size_t lender)
{
	BrTrainTensor *own = &delta->tensors[delta->set.n_tensors];
	size_t offset = delta->set.n;

	*own = *tensor;
	own->offset = offset;
	delta->lenders[delta->set.n_tensors++] = lender;
	delta->set.n += tensor_size(tensor);
	return offset;
}

size_t
br_train_delta_add(BrTrainDelta *delta, size_t beside, const char *part, int rows, int columns)
{
	const BrTrainTensor *tensor = br_train_tensor_at(delta->model, beside);
	int length = (int) (strlen(tensor->name) - strlen(".weight"));
	BrTrainTensor added = {.rows = rows, .columns = columns, .decays = columns > 0};

	snprintf(added.name, sizeof(added.name), "%.*s.%s.%s", length, tensor->name, part,
			 columns > 0 ? "weight" : "bias");
	return place_tensor(delta, &added, BR_TRAIN_OWN);
}

size_t
br_train_delta_add_alone(BrTrainDelta *delta, const char *name, int rows, int columns)
{
	BrTrainTensor added = {.rows = rows, .columns = columns, .decays = columns > 0};

	snprintf(added.name, sizeof(added.name), "%s", name);
	return place_tensor(delta, &added, BR_TRAIN_OWN);
}

void
br_train_delta_lend(BrTrainDelta *delta, size_t offset)
{
	(void) place_tensor(delta, br_train_tensor_at(delta->model, offset), offset);
}

void
br_train_delta_lend_head(BrTrainDelta *delta)
{
	const BrTrainModel *model = delta->model;

	for (int i = 0; i < model->n_tensors; i++)
		if (model->tensors[i].offset >= model->shape.map.total)
			br_train_delta_lend(delta, model->tensors[i].offset);
}

BrStatus
br_train_delta_fill(BrTrainDelta *delta)
{
	BrTrainSet *set = &delta->set;

	set->parameters = br_base_alloc_array(delta->context, set->n, sizeof(BrReal));
	set->gradient = br_base_alloc_array(delta->context, set->n, sizeof(BrReal));
	delta->slopes = br_base_alloc_array(delta->context, set->n, sizeof(BrReal));
	if (set->parameters == NULL || set->gradient == NULL || delta->slopes == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < set->n_tensors; i++)
		if (delta->lenders[i] != BR_TRAIN_OWN)
			memcpy(set->parameters + set->tensors[i].offset,
				   delta->model->parameters + delta->lenders[i],
				   tensor_size(&set->tensors[i]) * sizeof(BrReal));
	return BR_OK;
}

void
br_train_delta_close(BrTrainDelta *delta)
{
	br_base_free(delta->context, delta->tensors);
	br_base_free(delta->context, delta->lenders);
	br_base_free(delta->context, delta->set.parameters);
	br_base_free(delta->context, delta->set.gradient);
	br_base_free(delta->context, delta->slopes);
}

void
br_train_delta_pull(BrTrainDelta *delta)
{
	BrTrainModel *model = delta->model;
	BrTrainSet *set = &delta->set;

	for (int i = 0; i < set->n_tensors; i++)
	{
		size_t at = set->tensors[i].offset;
		const BrReal *slopes = delta->lenders[i] == BR_TRAIN_OWN
			? delta->slopes + at
			: model->gradient + delta->lenders[i];

		for (size_t j = 0; j < tensor_size(&set->tensors[i]); j++)
			set->gradient[at + j] += slopes[j];
	}
	br_train_zero_gradient(model);
}

void
br_train_delta_push(BrTrainDelta *delta)
{
	const BrTrainSet *set = &delta->set;

	for (int i = 0; i < set->n_tensors; i++)
		if (delta->lenders[i] != BR_TRAIN_OWN)
			memcpy(delta->model->parameters + delta->lenders[i],
				   set->parameters + set->tensors[i].offset,
				   tensor_size(&set->tensors[i]) * sizeof(BrReal));
}
