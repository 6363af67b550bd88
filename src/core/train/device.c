/*
 * device.c
 *	  A run whose layers, both ways, a device computes.
 *
 * The device holds a copy of the encoder's parameters and a gradient of its own;
 * losses, heads, optimisers and data stay here. So a batch costs one way of the
 * parameters up and one of the gradient down, whatever number of parts it is
 * computed in. Setting parameters clears the device's gradient: what a failed
 * step left there goes with it.
 */
#include "core/train/train_int.h"

BrStatus
br_train_device_refuse(const BrTrainRun *run, const char *what)
{
	if (run->on_device == NULL)
		return BR_OK;
	return br_base_fail(run->context, BR_ERR_UNSUPPORTED, "A device does not train %s.", what);
}

#ifdef BR_TRAIN_DOUBLE

/* Devices compute in float. */
BrStatus
br_train_device_begin(BrTrainRun *run)
{
	return br_base_fail(run->context, BR_ERR_UNSUPPORTED, "A device does not train in double.");
}

void
br_train_device_end(BrTrainRun *run)
{
	(void) run;
}

BrStatus
br_train_device_push(BrTrainRun *run)
{
	(void) run;
	return BR_OK;
}

BrStatus
br_train_device_embed(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step, size_t first_token,
					  BrReal *embeddings)
{
	(void) batch, (void) step, (void) first_token, (void) embeddings;
	return br_train_device_begin(run);
}

BrStatus
br_train_device_back(BrTrainRun *run, const BrReal *slope)
{
	(void) slope;
	return br_train_device_begin(run);
}

BrStatus
br_train_device_pull(BrTrainRun *run)
{
	(void) run;
	return BR_OK;
}

#else

static bool
trains(const BrDeviceTable *table)
{
	return table != NULL && table->version == BR_DEVICE_VERSION && table->open_training != NULL;
}

/* Which row of the relative table each distance has. */
static void
fill_buckets(int max_tokens, int32_t *bucket /* (2 * max_tokens - 1) */)
{
	for (int i = 0; i < 2 * max_tokens - 1; i++)
		bucket[i] = br_encoder_relative_bucket(i - max_tokens + 1);
}

BrStatus
br_train_device_begin(BrTrainRun *run)
{
	const BrDeviceTable *table = run->options.device_table;
	BrContext *context = run->context;
	const BrModelShape *shape = run->shape;
	BrTransformer *transformer;
	int32_t *bucket;
	BrStatus status;

	if (!trains(table))
		return br_base_fail(context, BR_ERR_UNSUPPORTED, "The device \"%s\" does not train.",
							table == NULL ? "" : table->name);
	bucket = br_base_alloc_array(context, 2 * (size_t) shape->max_tokens, sizeof(int32_t));
	if (bucket == NULL)
		return BR_ERR_MEMORY;
	status = br_encoder_describe_weights(context, shape, run->model->parameters, &transformer);
	if (status == BR_OK)
	{
		BrDeviceTrainable trainable = {transformer, run->model->parameters, shape->map.total,
									   bucket, BR_RELATIVE_BUCKETS};

		fill_buckets(shape->max_tokens, bucket);
		if (shape->relative)
			transformer->relative = run->model->parameters + shape->map.relative;
		status = table->open_training(run->options.device, context, &trainable, &run->on_device);
	}
	br_base_free(context, transformer);
	br_base_free(context, bucket);
	return status;
}

void
br_train_device_end(BrTrainRun *run)
{
	if (run->on_device != NULL)
		run->options.device_table->close_training(run->options.device, run->on_device);
	run->on_device = NULL;
}

BrStatus
br_train_device_push(BrTrainRun *run)
{
	if (run->on_device == NULL)
		return BR_OK;
	run->pending = false;
	return run->options.device_table->set_parameters(run->options.device, run->context,
													 run->on_device, run->model->parameters);
}

BrStatus
br_train_device_embed(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step, size_t first_token,
					  BrReal *embeddings)
{
	BrDeviceBatch texts = {
		.ids = batch->ids,
		.offsets = batch->offsets,
		.texts = batch->texts,
		.drop = run->drop,
		.drop_attention = run->drop_attention,
		.key = br_train_key(run->options.seed, step),
		.first_token = first_token,
		.memory = run->options.memory,
	};
	BrStatus status = br_train_check_batch(run->context, run->shape, batch);

	run->pending = false;
	if (status == BR_OK && run->model->bottleneck != NULL)
		status = br_train_device_refuse(run, "bottlenecks");
	if (status == BR_OK && run->model->prefix != NULL)
		status = br_train_device_refuse(run, "prefixes");
	if (status == BR_OK && run->disturbance != NULL)
		status = br_train_device_refuse(run, "against disturbed texts");
	if (status == BR_OK)
		status = run->options.device_table->embed_batch(run->options.device, run->context,
														run->on_device, &texts, embeddings);
	run->pending = status == BR_OK;
	return status;
}

BrStatus
br_train_device_back(BrTrainRun *run, const BrReal *slope)
{
	return run->options.device_table->propagate_back(run->options.device, run->context,
													 run->on_device, slope);
}

BrStatus
br_train_device_pull(BrTrainRun *run)
{
	BrStatus status;

	if (run->on_device == NULL)
		return BR_OK;
	status = run->options.device_table->take_gradient(run->options.device, run->context,
													  run->on_device, run->model->gradient);
	if (status == BR_OK && run->model->lora != NULL)
		br_train_lora_of_matrices(run);
	return status;
}

#endif /* BR_TRAIN_DOUBLE */
