/*
 * adapted_fixture.h
 *	  A golden model with something added to it, which learns the classes of four
 *	  texts, behind train_double.h.
 */
#ifndef ADAPTED_FIXTURE_H
#define ADAPTED_FIXTURE_H

#include "unit/addition_fixture.h"
#include "unit/gradient_fixture.h"

#define TEXTS 4
#define TOKENS 15

static const int32_t ids[TOKENS] = {2, 30, 31, 3, 2, 40, 3, 2, 600, 601, 602, 3, 2, 77, 3};
static const int32_t offsets[TEXTS + 1] = {0, 4, 7, 12, TOKENS};
static const BrTrainBatch batch = {ids, offsets, TEXTS, NULL};
static const int32_t labels[TEXTS] = {0, 2, 1, 1};

typedef struct Adapted
{
	Trained trained;
	BrTrainModel *model; /* of trained */
	BrTrainClasses classes;
	Addition addition;
	BrTrainSet set; /* of the addition */
} Adapted;

/* how: the backend is the portable one. */
static inline void
adapted_open(Adapted *adapted, const char *name, const AdditionOptions *options, BrTrainOptions how)
{
	how.backend = br_math_portable_backend();
	trained_open(&adapted->trained, name, (BrTrainHead){3, 32, false}, &how);
	adapted->model = adapted->trained.model;
	adapted->classes = (BrTrainClasses){how.backend, adapted->model, labels, false, 0};
	addition_create(&adapted->addition, &adapted->trained, how.backend, options);
	adapted->set = adapted->addition.set;
}

static inline void
adapted_close(Adapted *adapted)
{
	addition_destroy(&adapted->addition);
	trained_close(&adapted->trained);
}

/* Numbers at which no part of the gradient is hidden by a 0. */
static inline void
adapted_move(Adapted *adapted, double size)
{
	for (size_t i = 0; i < adapted->set.n; i++)
		adapted->set.parameters[i] += size * sin((double) i);
}

/* Of what the set says now; adds to the model's gradient. */
static inline double
adapted_loss(void *arg)
{
	Adapted *adapted = arg;
	double loss;

	addition_push(&adapted->addition);
	if (br_train_accumulate(adapted->trained.run, &batch, 0, br_train_classes, &adapted->classes, 0,
							&loss) != BR_OK)
		fail_msg("%s", adapted->trained.open.context.detail);
	return loss;
}

/* So many steps of AdamW more than halve the loss. */
static inline void
expect_adapted_to_learn(Adapted *adapted, double rate, int64_t steps, double decay)
{
	const BrTrainRecipe recipe = {.rate = rate,
								  .steps = steps,
								  .beta1 = 0.9,
								  .beta2 = 0.999,
								  .epsilon = 1e-8,
								  .decay = decay};
	double first = adapted_loss(adapted);
	BrTrainOptimiser *optimiser;
	double length;

	br_train_zero_gradient(adapted->model);
	assert_int_equal(br_train_optimiser_create(&adapted->trained.open.context, &adapted->set,
											   &recipe, NULL, &optimiser),
					 BR_OK);
	for (int64_t step = 0; step < steps; step++)
	{
		adapted_loss(adapted);
		addition_pull(&adapted->addition);
		assert_int_equal(br_train_update(optimiser, &length), BR_OK);
	}
	assert_true(adapted_loss(adapted) < 0.5 * first);
	br_train_optimiser_destroy(optimiser);
}

/* Whether a tensor of the model is no longer what it was. */
static inline bool
adapted_moved(const Adapted *adapted, const BrTrainTensor *tensor, const double *before)
{
	return memcmp(before + tensor->offset, adapted->model->parameters + tensor->offset,
				  tensor_numbers(tensor) * sizeof(double)) != 0;
}

#endif /* ADAPTED_FIXTURE_H */
