/*
 * fuzz_safetensors.c
 *	  A file of weights that a stranger wrote.
 *
 * Opened by itself, its tensors must cover its data without a gap. Then it
 * stands as the weights of an otherwise valid folder, both of the transformer
 * and of the dense layer.
 */
#include <stdlib.h>
#include <string.h>

#include "core/encoder/encoder_int.h"
#include "fuzz/fuzz.h"

/* Reads a tensor by its own shape: that can only fail for its type or its numbers. */
static void
read_tensor(FuzzContext *fuzz, const BrTensorFile *file, const BrTensor *tensor)
{
	size_t n = (size_t) (tensor->end - tensor->begin);
	int64_t columns = tensor->n_dimensions == 2 ? tensor->shape[1] : 0;
	float *values;
	BrStatus status;

	/* columns of 0 stand for a vector */
	if (tensor->n_dimensions < 1 || tensor->n_dimensions > 2 ||
		(tensor->n_dimensions == 2 && columns == 0))
		return;
	values = malloc(n * sizeof(float) + 1);
	status = br_encoder_tensor_read(&fuzz->context, file, tensor->name, tensor->shape[0], columns,
									values);
	FUZZ_CHECK(status == BR_OK || status == BR_ERR_UNSUPPORTED || status == BR_ERR_NUMERIC);
	free(values);
}

static void
check_tensors(FuzzContext *fuzz, const BrTensorFile *file, const uint8_t *end)
{
	uint64_t covered = 0;

	for (int i = 0; i < file->n; i++)
	{
		const BrTensor *tensor = &file->tensors[i];

		FUZZ_CHECK(tensor->begin <= tensor->end && tensor->end <= (uint64_t) (end - file->data));
		FUZZ_CHECK(br_encoder_tensor_find(file, tensor->name) == tensor);
		covered += tensor->end - tensor->begin;
		read_tensor(fuzz, file, tensor);
	}
	FUZZ_CHECK(covered == (uint64_t) (end - file->data));
}

static bool
open_file(const uint8_t *data, size_t size)
{
	FuzzContext fuzz;
	BrTensorFile file;
	BrStatus status;

	fuzz_context_init(&fuzz, size);
	status = br_encoder_tensors_open(&fuzz.context, "w", data, size, &file);
	fuzz_check_status(&fuzz, status);
	if (status == BR_OK)
		check_tensors(&fuzz, &file, data + size);
	br_encoder_tensors_close(&fuzz.context, &file);
	fuzz_check_freed(&fuzz);
	return status == BR_OK;
}

FUZZ_TARGET(safetensors)
{
	static const char *const places[] = {"model.safetensors", "2_Dense/model.safetensors"};
	bool opens = open_file(data, size);

	for (int i = 0; i < 2; i++)
	{
		FuzzFolder folder;

		fuzz_folder_init(&folder, FUZZ_WORDS);
		fuzz_folder_set(&folder, places[i], data, size);
		/* a damaged header is refused alike wherever it stands */
		if (opens || i == 0)
			fuzz_import(&folder, size, fuzz_hash(data, size));
	}
}
