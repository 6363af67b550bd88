/*
 * train_fixture.h
 *	  A golden model with a run over it, in float or, behind train_double.h, in double.
 */
#ifndef TRAIN_FIXTURE_H
#define TRAIN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_math.h"
#include "core/train/br_train.h"
#include "unit/encoder_fixture.h"

typedef struct Trained
{
	OpenModel open;
	BrTrainModel *model;
	BrTrainSet set; /* all of the model */
	BrTrainRun *run;
	int dim;
} Trained;

static inline void
trained_open_folder(Trained *trained, const Folder *folder, BrTrainHead head,
					const BrTrainOptions *options)
{
	BrContext *context = &trained->open.context;

	model_open(&trained->open, folder);
	assert_int_equal(br_train_open(context, trained->open.encoder, head, 1, &trained->model),
					 BR_OK);
	trained->set = br_train_set(trained->model);
	assert_int_equal(br_train_begin(context, trained->model, options, &trained->run), BR_OK);
	trained->dim = br_train_dimensions(trained->model);
}

static inline void
trained_open(Trained *trained, const char *name, BrTrainHead head, const BrTrainOptions *options)
{
	Folder folder;

	folder_read_golden(&folder, name);
	trained_open_folder(trained, &folder, head, options);
	folder_free(&folder);
}

static inline void
trained_close(Trained *trained)
{
	br_train_end(trained->run);
	br_train_close(trained->model);
	model_close(&trained->open);
}

static inline size_t
tensor_numbers(const BrTrainTensor *tensor)
{
	return (size_t) tensor->rows * (size_t) (tensor->columns > 0 ? tensor->columns : 1);
}

/* To be freed. */
static inline void *
copied(const void *from, size_t size)
{
	return memcpy(malloc(size), from, size);
}

/* Copies that are to be freed of all that a model has learned, and of its gradient. */
static inline BrReal *
copy_parameters(BrTrainModel *model)
{
	return copied(br_train_parameters(model), br_train_count(model) * sizeof(BrReal));
}

static inline BrReal *
copy_gradient(BrTrainModel *model)
{
	return copied(br_train_gradient(model), br_train_count(model) * sizeof(BrReal));
}

#endif /* TRAIN_FIXTURE_H */
