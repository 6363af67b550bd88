/*
 * image.c
 *	  A trained model back into an image.
 *
 * Parameters stand as an image's weights do. What an addition keeps apart goes by
 * name: the encoder calls its tensors as the set does.
 */
#include "core/train/train_int.h"

/* The set's tensors as the encoder takes them. */
static BrStatus
with_addition(BrContext *context, const BrTrainModel *model, BrAddition addition, const void *image,
			  size_t image_size, void **copy, size_t *copy_size)
{
	const BrTrainSet *set = &model->delta->set;
	BrNamedTensor *tensors =
		br_base_alloc_array(context, (size_t) set->n_tensors, sizeof(BrNamedTensor));
	BrStatus status;

	if (tensors == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < set->n_tensors; i++)
		tensors[i] =
			(BrNamedTensor){set->tensors[i].name, set->tensors[i].rows, set->tensors[i].columns,
							set->parameters + set->tensors[i].offset};
	status = br_encoder_with_addition(context, image, image_size, model->parameters, addition,
									  tensors, set->n_tensors, copy, copy_size);
	br_base_free(context, tensors);
	return status;
}

/* Whether the image's weights stand as the model's do, without an addition. */
static BrStatus
check_image(BrContext *context, const BrTrainModel *model, const void *image, size_t image_size)
{
	BrEncoder *encoder;
	BrModelShape shape;
	bool plain;
	BrStatus status = br_encoder_open(context, image, image_size, &encoder);

	if (status != BR_OK)
		return status;
	br_encoder_tell_shape(encoder, &shape);
	plain = br_encoder_addition(encoder).kind == BR_ADDITION_NONE;
	br_encoder_close(encoder);
	if (!plain || memcmp(&shape.map, &model->shape.map, sizeof(shape.map)) != 0)
		return br_base_fail(context, BR_ERR_FORMAT,
							"The image is not that of the model that was trained.");
	return BR_OK;
}

BrStatus
br_train_make_image(BrContext *context, const BrTrainModel *model, const void *image,
					size_t image_size, void **copy, size_t *copy_size)
{
	BrStatus status = check_image(context, model, image, image_size);

	*copy = NULL;
	*copy_size = 0;
	if (status != BR_OK)
		return status;
	if (model->bottleneck != NULL)
		return with_addition(context, model,
							 (BrAddition){BR_ADDITION_BOTTLENECK, br_train_bottleneck_size(model)},
							 image, image_size, copy, copy_size);
	status = br_encoder_with_weights(context, image, image_size, model->parameters, copy);
	*copy_size = status == BR_OK ? image_size : 0;
	return status;
}
