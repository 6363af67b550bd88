/*
 * encoder.c
 *	  The encoder over an image: open, tokenize one text or many.
 *
 * An encoder holds pointers into its image and a few hundred bytes of its own.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

struct BrEncoder
{
	BrAllocator allocator; /* that the encoder came from */
	const float *weights;
	const BrImageConfig *config;
	BrWeightMap map;
	BrAddition addition;
	const float *added;
	BrTokenizer tokenizer;
	BrModelInfo info;
};

static int
output_dimensions(const BrImageConfig *config)
{
	return (int) (config->n_steps > 0 ? config->steps[config->n_steps - 1].out_dim
									  : config->hidden);
}

BrStatus
br_encoder_open(BrContext *context, const void *image, size_t image_size, BrEncoder **encoder)
{
	const BrImageConfig *config;
	BrEncoder *opened;
	BrStatus status = br_encoder_check_image(context, image, image_size);

	*encoder = NULL;
	if (status != BR_OK)
		return status;
	opened = br_base_alloc_array(context, 1, sizeof(BrEncoder));
	if (opened == NULL)
		return BR_ERR_MEMORY;

	config = br_encoder_part(image, BR_PART_CONFIG);
	opened->allocator = context->allocator;
	opened->config = config;
	opened->weights = br_encoder_part(image, BR_PART_WEIGHTS);
	br_encoder_map_weights(config, &opened->map);
	opened->addition = br_encoder_open_addition(image, &opened->added);
	br_encoder_open_tokenizer(image, &opened->tokenizer);

	opened->info = (BrModelInfo){
		.architecture = br_encoder_architecture(config->architecture)->model_type,
		.tokenizer = br_encoder_tokenizer_kind(config->tokenizer)->name,
		.pooling = (BrPooling) config->pooling,
		.normalize =
			config->n_steps > 0 && config->steps[config->n_steps - 1].kind == BR_STEP_NORMALIZE,
		.dimensions = output_dimensions(config),
		.hidden_size = (int) config->hidden,
		.layers = (int) config->layers,
		.heads = (int) config->heads,
		.vocabulary = (int) config->vocabulary,
		.max_tokens = (int) config->max_tokens,
		.parameters = (int64_t) config->parameters,
	};
	*encoder = opened;
	return BR_OK;
}

void
br_encoder_close(BrEncoder *encoder)
{
	if (encoder != NULL)
		encoder->allocator.free(encoder->allocator.arg, encoder);
}

const BrModelInfo *
br_encoder_info(const BrEncoder *encoder)
{
	return &encoder->info;
}

const BrImageConfig *
br_encoder_config(const BrEncoder *encoder)
{
	return encoder->config;
}

const BrWeightMap *
br_encoder_weight_map(const BrEncoder *encoder)
{
	return &encoder->map;
}

const float *
br_encoder_weights(const BrEncoder *encoder)
{
	return encoder->weights;
}

BrAddition
br_encoder_addition(const BrEncoder *encoder)
{
	return encoder->addition;
}

const float *
br_encoder_added(const BrEncoder *encoder)
{
	return encoder->added;
}

const BrTokenizer *
br_encoder_tokenizer(const BrEncoder *encoder)
{
	return &encoder->tokenizer;
}

BrStatus
br_encoder_tokenize(const BrEncoder *encoder, BrContext *context, const char *text, size_t size,
					bool parse_special, int32_t **ids, int *n)
{
	BrTokenWork work = {.context = context};
	BrStatus status = br_encoder_encode_text(&encoder->tokenizer, &work, text, size, parse_special);

	*ids = NULL;
	*n = 0;
	if (status == BR_OK)
	{
		/* at least one byte, so that an empty answer is not taken for a failure */
		*ids = br_base_alloc(context, work.n_ids * sizeof(int32_t) + 1);
		if (*ids == NULL)
			status = BR_ERR_MEMORY;
		else
		{
			if (work.n_ids > 0)
				memcpy(*ids, work.ids, work.n_ids * sizeof(int32_t));
			*n = (int) work.n_ids;
		}
	}
	br_encoder_close_work(&work);
	return status;
}

BrStatus
br_encoder_count_tokens(const BrEncoder *encoder, BrContext *context, const char *const *texts,
						const size_t *sizes, int n, int64_t *uses)
{
	BrTokenWork work = {.context = context, .uses = uses};
	BrStatus status = BR_OK;

	for (int i = 0; i < n && status == BR_OK; i++)
	{
		if (br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "Tokenizing was cancelled.");
		else
			status = br_encoder_encode_text(&encoder->tokenizer, &work, texts[i], sizes[i], false);
		work.n_ids = 0;
	}
	br_encoder_close_work(&work);
	return status;
}

/* Appends the ids of all texts to work, and where each begins to offsets. */
static BrStatus
encode_all(const BrEncoder *encoder, BrTokenWork *work, const char *const *texts,
		   const size_t *sizes, int n, bool parse_special, int32_t *offsets)
{
	for (int i = 0; i < n; i++)
	{
		BrStatus status;

		if (br_base_cancelled(work->context))
			return br_base_fail(work->context, BR_ERR_CANCELLED, "Tokenizing was cancelled.");
		status =
			br_encoder_encode_text(&encoder->tokenizer, work, texts[i], sizes[i], parse_special);
		if (status != BR_OK)
			return status;
		if (work->n_ids > INT32_MAX)
			return br_base_fail(work->context, BR_ERR_LIMIT,
								"The first %d texts have %zu tokens, of at most %d.", i + 1,
								work->n_ids, INT32_MAX);
		offsets[i + 1] = (int32_t) work->n_ids;
	}
	return BR_OK;
}

BrStatus
br_encoder_encode(const BrEncoder *encoder, BrContext *context, const char *const *texts,
				  const size_t *sizes, int n, bool parse_special, int32_t **ids, int32_t **offsets)
{
	BrTokenWork work = {.context = context};
	int32_t *places = br_base_alloc_array(context, (size_t) n + 1, sizeof(int32_t));
	BrStatus status = places == NULL
		? BR_ERR_MEMORY
		: encode_all(encoder, &work, texts, sizes, n, parse_special, places);

	*ids = NULL;
	*offsets = NULL;
	if (status == BR_OK)
	{
		/* the buffer in which they were gathered; without any id there is none */
		*ids = work.ids != NULL ? work.ids : br_base_alloc(context, sizeof(int32_t));
		work.ids = NULL;
		status = *ids != NULL ? BR_OK : BR_ERR_MEMORY;
	}
	br_encoder_close_work(&work);
	if (status == BR_OK)
		*offsets = places;
	else
		br_base_free(context, places);
	return status;
}
