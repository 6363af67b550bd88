/*
 * gradient_fixture.h
 *	  Gradients beside differences of a loss, behind train_double.h.
 */
#ifndef GRADIENT_FIXTURE_H
#define GRADIENT_FIXTURE_H

#include "unit/difference_fixture.h"
#include "unit/train_fixture.h"

/* All numbers of vectors, and of each matrix every one that stride divides. */
static inline int
expect_set_gradient(const Differences *differences, const BrTrainSet *set, size_t stride)
{
	int checked = 0;

	for (int t = 0; t < set->n_tensors; t++)
	{
		const BrTrainTensor *tensor = &set->tensors[t];

		for (size_t i = 0; i<tensor_numbers(tensor); i += tensor->columns> 0 ? stride : 1)
		{
			size_t at = tensor->offset + i;

			expect_slope(differences, tensor->name, i, &set->parameters[at], set->gradient[at]);
			checked++;
		}
	}
	return checked;
}

/*
 * So many parameters of each tensor of a model, drawn; of the words' table in rows of ids,
 * unless they are NULL. gradient: a copy, as the loss may add to the model's own.
 */
static inline void
expect_model_gradient(const Differences *differences, const BrTrainModel *model,
					  const double *gradient, int sample, const int32_t *ids, int n_ids)
{
	BrRandom random;

	br_base_random_init(&random, 9, 9);
	for (int t = 0; t < model->n_tensors; t++)
		for (int i = 0; i < sample; i++)
		{
			const BrTrainTensor *tensor = &model->tensors[t];
			uint32_t columns = tensor->columns > 0 ? (uint32_t) tensor->columns : 1;
			size_t row = ids != NULL && tensor->offset == model->shape.map.word
				? (size_t) ids[i % n_ids]
				: br_base_random_below(&random, (uint32_t) tensor->rows);
			size_t at = row * columns + br_base_random_below(&random, columns);

			expect_slope(differences, tensor->name, at, &model->parameters[tensor->offset + at],
						 gradient[tensor->offset + at]);
		}
}

#endif /* GRADIENT_FIXTURE_H */
