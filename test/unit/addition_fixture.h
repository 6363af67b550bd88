/*
 * addition_fixture.h
 *	  What is added to a model to be trained in its place, of any kind, in float
 *	  or, behind train_double.h, in double.
 */
#ifndef ADDITION_FIXTURE_H
#define ADDITION_FIXTURE_H

#include "core/train/br_train_adapters.h"
#include "unit/train_fixture.h"

typedef enum AdditionKind
{
	LORA,
	ADALORA,
	BOTTLENECK,
	PREFIX
} AdditionKind;

typedef struct AdditionOptions
{
	AdditionKind kind;
	union
	{
		BrTrainLoraOptions lora;
		BrTrainAdaloraOptions adalora;
		BrTrainBottleneckOptions bottleneck;
		BrTrainPrefixOptions prefix;
	};
} AdditionOptions;

typedef struct Addition
{
	AdditionKind kind;
	union
	{
		void *any;
		BrTrainLora *lora;
		BrTrainAdalora *adalora;
		BrTrainBottleneck *bottleneck;
		BrTrainPrefix *prefix;
	};
	BrTrainSet set;
} Addition;

static inline BrStatus
addition_try(Addition *addition, BrContext *context, BrTrainModel *model, const BrBackend *backend,
			 const AdditionOptions *options)
{
	*addition = (Addition){.kind = options->kind};
	switch (options->kind)
	{
		case LORA:
			return br_train_lora_create(context, model, backend, &options->lora, &addition->lora);
		case ADALORA:
			return br_train_adalora_create(context, model, backend, &options->adalora,
										   &addition->adalora);
		case BOTTLENECK:
			return br_train_bottleneck_create(context, model, &options->bottleneck,
											  &addition->bottleneck);
		case PREFIX:
			return br_train_prefix_create(context, model, backend, &options->prefix,
										  &addition->prefix);
	}
	return BR_ERR_ARGUMENT;
}

static inline void
addition_destroy(Addition *addition)
{
	switch (addition->kind)
	{
		case LORA:
			br_train_lora_destroy(addition->lora);
			break;
		case ADALORA:
			br_train_adalora_destroy(addition->adalora);
			break;
		case BOTTLENECK:
			br_train_bottleneck_destroy(addition->bottleneck);
			break;
		case PREFIX:
			br_train_prefix_destroy(addition->prefix);
			break;
	}
}

static inline void
addition_create(Addition *addition, Trained *trained, const BrBackend *backend,
				const AdditionOptions *options)
{
	if (addition_try(addition, &trained->open.context, trained->model, backend, options) != BR_OK)
		fail_msg("%s", trained->open.context.detail);
	switch (addition->kind)
	{
		case LORA:
			addition->set = br_train_lora_set(addition->lora);
			break;
		case ADALORA:
			addition->set = br_train_adalora_set(addition->adalora);
			break;
		case BOTTLENECK:
			addition->set = br_train_bottleneck_set(addition->bottleneck);
			break;
		case PREFIX:
			addition->set = br_train_prefix_set(addition->prefix);
			break;
	}
}

static inline void
addition_push(Addition *addition)
{
	switch (addition->kind)
	{
		case LORA:
			br_train_lora_push(addition->lora);
			break;
		case ADALORA:
			br_train_adalora_push(addition->adalora);
			break;
		case BOTTLENECK:
			br_train_bottleneck_push(addition->bottleneck);
			break;
		case PREFIX:
			br_train_prefix_push(addition->prefix);
			break;
	}
}

static inline void
addition_pull(Addition *addition)
{
	switch (addition->kind)
	{
		case LORA:
			br_train_lora_pull(addition->lora);
			break;
		case ADALORA:
			br_train_adalora_pull(addition->adalora);
			break;
		case BOTTLENECK:
			br_train_bottleneck_pull(addition->bottleneck);
			break;
		case PREFIX:
			br_train_prefix_pull(addition->prefix);
			break;
	}
}

/* With these options nothing is added. */
static inline void
expect_addition_refused(Trained *trained, const BrBackend *backend, const AdditionOptions *options,
						BrStatus expected)
{
	Addition addition;

	assert_int_equal(addition_try(&addition, &trained->open.context, trained->model, backend,
								  options),
					 expected);
	assert_null(addition.any);
}

/* ---- when memory ends ---- */

typedef struct AdditionAttempt
{
	BrTrainModel *model;
	const BrBackend *backend;
	const AdditionOptions *options;
} AdditionAttempt;

static inline BrStatus
addition_attempt(BrContext *context, void *arg)
{
	const AdditionAttempt *attempt = arg;
	Addition addition;
	BrStatus status =
		addition_try(&addition, context, attempt->model, attempt->backend, attempt->options);

	addition_destroy(&addition);
	return status;
}

static inline void
expect_addition_leaks_nothing(Trained *trained, const BrBackend *backend,
							  const AdditionOptions *options)
{
	AdditionAttempt attempt = {trained->model, backend, options};

	expect_no_leaks(addition_attempt, &attempt);
}

#endif /* ADDITION_FIXTURE_H */
