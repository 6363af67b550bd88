/*
 * encoder.c
 *	  The encoder over an image: open, tokenize, embed.
 *
 * An encoder holds pointers into its image and a few hundred bytes of its own.
 * Texts are embedded in batches of a bounded number of tokens, in the order in
 * which they come: since a batch is packed without padding, sorting by length
 * would gain nothing, and this way only one batch of ids is in memory.
 */
#include <math.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

/* Tokens of a batch, unless one text has more: enough rows to keep matrix products busy. */
#define BATCH_TOKENS 512

struct BrEncoder
{
	BrAllocator allocator; /* that the encoder came from */
	const float *weights;
	const BrImageConfig *config;
	BrWeightMap map;
	BrTokenizer tokenizer;
	BrModelInfo info;
};

/* One batch, filled text by text. */
typedef struct Batch
{
	const BrEncoder *encoder;
	BrContext *context;
	const BrBackend *backend;
	BrForwardWork work;
	float *pooled;			/* (BATCH_TOKENS, widest) twice: input and output of a step */
	size_t pooled_capacity; /* floats of each half */
} Batch;

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

/* ---- from token embeddings to the embedding ---- */

static void
pool_text(BrPooling pooling, const float *tokens, int n, size_t dim, float *pooled)
{
	if (pooling == BR_POOLING_CLS)
	{
		memcpy(pooled, tokens, dim * sizeof(float));
		return;
	}
	for (size_t j = 0; j < dim; j++)
	{
		double sum = 0;
		float largest = tokens[j];

		for (int i = 0; i < n; i++)
		{
			float value = tokens[(size_t) i * dim + j];

			sum += value;
			largest = value > largest ? value : largest;
		}
		pooled[j] = pooling == BR_POOLING_MAX ? largest : (float) (sum / n);
	}
}

/* To length 1; a vector of zeros stays. */
static void
normalize_rows(float *rows, int n, size_t dim)
{
	for (int i = 0; i < n; i++)
	{
		float *row = rows + (size_t) i * dim;
		double squares = 0;
		double length;

		for (size_t j = 0; j < dim; j++)
			squares += (double) row[j] * row[j];
		length = fmax(sqrt(squares), 1e-12);
		for (size_t j = 0; j < dim; j++)
			row[j] = (float) (row[j] / length);
	}
}

static size_t
widest_vector(const BrImageConfig *config)
{
	size_t widest = config->hidden;

	for (uint32_t i = 0; i < config->n_steps; i++)
		if (config->steps[i].out_dim > widest)
			widest = config->steps[i].out_dim;
	return widest;
}

static BrStatus
prepare_pooled(Batch *batch, int texts)
{
	size_t wanted = (size_t) texts * widest_vector(batch->encoder->config);

	if (wanted <= batch->pooled_capacity)
		return BR_OK;
	br_base_free(batch->context, batch->pooled);
	batch->pooled_capacity = 0;
	batch->pooled = br_base_alloc(batch->context, 2 * wanted * sizeof(float));
	if (batch->pooled == NULL)
		return BR_ERR_MEMORY;
	batch->pooled_capacity = wanted;
	return BR_OK;
}

/* Runs one batch: ids of text i at offsets[i] .. offsets[i + 1], which begin at 0. */
static BrStatus
run_batch(Batch *batch, const int32_t *ids, const int32_t *offsets, int texts, float *embeddings)
{
	const BrEncoder *encoder = batch->encoder;
	const BrImageConfig *config = encoder->config;
	size_t hidden = config->hidden;
	float *from;
	float *to;
	BrStatus status = prepare_pooled(batch, texts);

	if (status == BR_OK)
		status = br_encoder_forward(batch->context, batch->backend, config, &encoder->map,
									encoder->weights, ids, offsets, texts, &batch->work);
	if (status != BR_OK)
		return status;

	from = batch->pooled;
	to = batch->pooled + batch->pooled_capacity;
	for (int i = 0; i < texts; i++)
		pool_text((BrPooling) config->pooling, batch->work.hidden + (size_t) offsets[i] * hidden,
				  offsets[i + 1] - offsets[i], hidden, from + (size_t) i * hidden);
	for (uint32_t i = 0; i < config->n_steps; i++)
	{
		const BrImageStep *step = &config->steps[i];
		float *other = from;

		if (step->kind == BR_STEP_NORMALIZE)
		{
			normalize_rows(from, texts, step->in_dim);
			continue;
		}
		batch->backend->linear(from, encoder->weights + encoder->map.step_weight[i],
							   step->has_bias ? encoder->weights + encoder->map.step_bias[i] : NULL,
							   texts, (int) step->in_dim, (int) step->out_dim,
							   (BrActivation) step->activation, to);
		from = to;
		to = other;
	}
	memcpy(embeddings, from, (size_t) texts * (size_t) encoder->info.dimensions * sizeof(float));
	return BR_OK;
}

static void
close_batch(Batch *batch)
{
	br_base_free(batch->context, batch->work.memory);
	br_base_free(batch->context, batch->pooled);
}

/* ---- the doors ---- */

static BrStatus
check_backend(BrContext *context, const BrBackend *backend)
{
	if (backend == NULL || backend->version != BR_BACKEND_VERSION)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The backend is of version %u, this library works with version %d.",
							backend == NULL ? 0 : backend->version, BR_BACKEND_VERSION);
	return BR_OK;
}

/*
 * Takes texts from the first one on into work and offsets, as long as the
 * batch has room; *taken of them. A text of which only the first part fits is
 * left, unless it is the first.
 */
static BrStatus
fill_batch(const BrEncoder *encoder, BrTokenWork *work, const char *const *texts,
		   const size_t *sizes, int n, bool parse_special, int32_t *offsets, int *taken)
{
	work->n_ids = 0;
	offsets[0] = 0;
	for (*taken = 0; *taken < n && *taken < BATCH_TOKENS; (*taken)++)
	{
		BrStatus status = br_encoder_encode_text(&encoder->tokenizer, work, texts[*taken],
												 sizes[*taken], parse_special);

		if (status != BR_OK)
			return status;
		if (*taken > 0 && work->n_ids > BATCH_TOKENS)
			break;
		if ((int32_t) work->n_ids == offsets[*taken])
			return br_base_fail(work->context, BR_ERR_UNSUPPORTED,
								"The model gives a text without tokens, which has no embedding.");
		offsets[*taken + 1] = (int32_t) work->n_ids;
	}
	return BR_OK;
}

BrStatus
br_encoder_embed(const BrEncoder *encoder, BrContext *context, const BrBackend *backend,
				 const char *const *texts, const size_t *sizes, int n, bool parse_special,
				 float *embeddings)
{
	Batch batch = {.encoder = encoder, .context = context, .backend = backend};
	BrTokenWork work = {.context = context};
	int32_t offsets[BATCH_TOKENS + 1];
	BrStatus status = check_backend(context, backend);
	int done = 0;

	while (done < n && status == BR_OK)
	{
		int taken;

		status = fill_batch(encoder, &work, texts + done, sizes + done, n - done, parse_special,
							offsets, &taken);
		if (status == BR_OK)
			status = run_batch(&batch, work.ids, offsets, taken,
							   embeddings + (size_t) done * (size_t) encoder->info.dimensions);
		done += status == BR_OK ? taken : 0;
	}
	br_encoder_close_work(&work);
	close_batch(&batch);
	return status;
}

static BrStatus
check_tokens(const BrEncoder *encoder, BrContext *context, const int32_t *ids,
			 const int32_t *offsets, int n)
{
	for (int i = 0; i < n; i++)
	{
		int64_t length = (int64_t) offsets[i + 1] - offsets[i];

		if (offsets[i] < 0 || length < 1 || length > encoder->info.max_tokens)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Text %d has %lld tokens; the model takes 1 to %d.", i,
								(long long) length, encoder->info.max_tokens);
		for (int32_t j = offsets[i]; j < offsets[i + 1]; j++)
			if (ids[j] < 0 || ids[j] >= encoder->info.vocabulary)
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"Text %d has the token id %d; the model has 0 to %d.", i,
									ids[j], encoder->info.vocabulary - 1);
	}
	return BR_OK;
}

BrStatus
br_encoder_embed_tokens(const BrEncoder *encoder, BrContext *context, const BrBackend *backend,
						const int32_t *ids, const int32_t *offsets, int n, float *embeddings)
{
	Batch batch = {.encoder = encoder, .context = context, .backend = backend};
	int32_t relative[BATCH_TOKENS + 1];
	BrStatus status = check_backend(context, backend);
	int done = 0;

	if (status == BR_OK)
		status = check_tokens(encoder, context, ids, offsets, n);
	while (done < n && status == BR_OK)
	{
		int taken = 0;

		relative[0] = 0;
		while (done + taken < n &&
			   (taken == 0 || offsets[done + taken + 1] - offsets[done] <= BATCH_TOKENS))
		{
			taken++;
			relative[taken] = offsets[done + taken] - offsets[done];
		}
		status = run_batch(&batch, ids + offsets[done], relative, taken,
						   embeddings + (size_t) done * (size_t) encoder->info.dimensions);
		done += taken;
	}
	close_batch(&batch);
	return status;
}
