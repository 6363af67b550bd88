/*
 * image.c
 *	  A trained model back into an image.
 *
 * Parameters stand as an image's weights do. What an addition keeps apart goes by
 * the names that the encoder has for it: bottlenecks are called so in the set,
 * too; a prefix's numbers stand in the encoder's order, whatever makes them.
 */
#include "core/train/train_int.h"

static BrAddition
addition_of(const BrTrainModel *model)
{
	if (model->bottleneck != NULL)
		return (BrAddition){BR_ADDITION_BOTTLENECK, br_train_bottleneck_size(model)};
	if (model->prefix != NULL)
		return (BrAddition){BR_ADDITION_PREFIX, br_train_prefix_length(model)};
	return (BrAddition){BR_ADDITION_NONE, 0};
}

/* Where the values of the addition's tensor of that number and name are. */
static const BrReal *
find_values(const BrTrainModel *model, int number, const BrModelTensor *tensor)
{
	const BrTrainSet *set = &model->delta->set;
	int i = 0;

	if (model->prefix != NULL)
		return br_train_prefix_values(model) +
			(size_t) number * (size_t) tensor->rows * (size_t) tensor->columns;
	while (strcmp(set->tensors[i].name, tensor->name) != 0)
		i++;
	return set->parameters + set->tensors[i].offset;
}

static BrStatus
with_addition(BrContext *context, const BrTrainModel *model, const BrEncoder *encoder,
			  const void *image, size_t image_size, void **copy, size_t *copy_size)
{
	BrAddition addition = addition_of(model);
	BrModelTensor *described;
	BrNamedTensor *tensors;
	BrStatus status = BR_ERR_MEMORY;
	int n = 0;

	for (BrModelTensor tensor; br_encoder_added_tensor(encoder, addition, n, &tensor);)
		n++;
	described = br_base_alloc_array(context, (size_t) n, sizeof(BrModelTensor));
	tensors = br_base_alloc_array(context, (size_t) n, sizeof(BrNamedTensor));
	for (int i = 0; described != NULL && tensors != NULL && i < n; i++)
	{
		(void) br_encoder_added_tensor(encoder, addition, i, &described[i]);
		tensors[i] = (BrNamedTensor){described[i].name, described[i].rows, described[i].columns,
									 find_values(model, i, &described[i])};
	}
	if (described != NULL && tensors != NULL)
		status = br_encoder_with_addition(context, image, image_size, model->parameters, addition,
										  tensors, n, copy, copy_size);
	br_base_free(context, described);
	br_base_free(context, tensors);
	return status;
}

/* Whether an image's weights stand as the model's do, and it has nothing besides. */
static bool
is_of(const BrTrainModel *model, const BrEncoder *encoder)
{
	BrModelShape shape;

	br_encoder_tell_shape(encoder, &shape);
	return br_encoder_addition(encoder).kind == BR_ADDITION_NONE &&
		memcmp(&shape.map, &model->shape.map, sizeof(shape.map)) == 0;
}

BrStatus
br_train_make_image(BrContext *context, const BrTrainModel *model, const void *image,
					size_t image_size, void **copy, size_t *copy_size)
{
	BrEncoder *encoder;
	BrStatus status = br_encoder_open(context, image, image_size, &encoder);

	*copy = NULL;
	*copy_size = 0;
	if (status != BR_OK)
		return status;
	if (!is_of(model, encoder))
		status = br_base_fail(context, BR_ERR_FORMAT,
							  "The image is not that of the model that was trained.");
	else if (addition_of(model).kind != BR_ADDITION_NONE)
		status = with_addition(context, model, encoder, image, image_size, copy, copy_size);
	else
	{
		status = br_encoder_with_weights(context, image, image_size, model->parameters, copy);
		*copy_size = status == BR_OK ? image_size : 0;
	}
	br_encoder_close(encoder);
	return status;
}
