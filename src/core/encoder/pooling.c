/*
 * pooling.c
 *	  From the token embeddings of a text to its embedding: pooling, and the
 *	  steps that follow it.
 */
#include <math.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

const char *
br_encoder_pooling_name(BrPooling pooling)
{
	switch (pooling)
	{
		case BR_POOLING_CLS:
			return "cls";
		case BR_POOLING_MEAN:
			return "mean";
		case BR_POOLING_MAX:
			return "max";
		case BR_POOLING_MEAN_SQRT_LENGTH:
			return "mean_sqrt_len_tokens";
		case BR_POOLING_WEIGHTED_MEAN:
			return "weightedmean";
		case BR_POOLING_LAST:
			return "lasttoken";
	}
	return NULL;
}

static void
largest_of_rows(const float *tokens, int n, size_t dim, float *pooled)
{
	memcpy(pooled, tokens, dim * sizeof(float));
	for (int i = 1; i < n; i++)
	{
		const float *row = tokens + (size_t) i * dim;

		for (size_t j = 0; j < dim; j++)
			pooled[j] = row[j] > pooled[j] ? row[j] : pooled[j];
	}
}

/* Row by row, as they lie in memory. */
static void
sum_rows(const float *tokens, int n, size_t dim, bool weighted, double *sums)
{
	memset(sums, 0, dim * sizeof(double));
	for (int i = 0; i < n; i++)
	{
		const float *row = tokens + (size_t) i * dim;
		double weight = weighted ? i + 1 : 1;

		for (size_t j = 0; j < dim; j++)
			sums[j] += weight * (double) row[j];
	}
}

static void
pool_text(BrPooling pooling, const float *tokens /* (n, dim) */, int n, size_t dim,
		  double *sums /* (dim), to work with */, float *pooled /* (dim) */)
{
	double divisor = n;

	switch (pooling)
	{
		case BR_POOLING_CLS:
			memcpy(pooled, tokens, dim * sizeof(float));
			return;
		case BR_POOLING_LAST:
			memcpy(pooled, tokens + (size_t) (n - 1) * dim, dim * sizeof(float));
			return;
		case BR_POOLING_MAX:
			largest_of_rows(tokens, n, dim, pooled);
			return;
		case BR_POOLING_MEAN:
			break;
		case BR_POOLING_MEAN_SQRT_LENGTH:
			divisor = sqrt(n);
			break;
		case BR_POOLING_WEIGHTED_MEAN:
			divisor = (double) n * (n + 1) / 2;
			break;
	}
	sum_rows(tokens, n, dim, pooling == BR_POOLING_WEIGHTED_MEAN, sums);
	for (size_t j = 0; j < dim; j++)
		pooled[j] = (float) (sums[j] / divisor);
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

size_t
br_encoder_pooled_size(const BrEncoder *encoder, const BrCompute *compute, int texts)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	size_t vectors = 2 * (size_t) texts * widest_vector(config);

	return config->hidden * sizeof(double) + vectors * sizeof(float) + BR_IMAGE_ALIGNMENT +
		br_encoder_dense_scratch(encoder, compute, texts);
}

BrStatus
br_encoder_pool(const BrEncoder *encoder, BrContext *context, const BrCompute *compute,
				const float *tokens, const int32_t *offsets, int texts, void *memory,
				float *embeddings)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	size_t hidden = config->hidden;
	size_t half = (size_t) texts * widest_vector(config);
	double *sums = memory;
	float *from = (float *) (sums + hidden);
	float *to = from + half;
	uintptr_t end = (uintptr_t) (to + half);
	void *scratch = (char *) (to + half) + (BR_IMAGE_ALIGNMENT - end % BR_IMAGE_ALIGNMENT);

	for (int i = 0; i < texts; i++)
		pool_text((BrPooling) config->pooling, tokens + (size_t) offsets[i] * hidden,
				  offsets[i + 1] - offsets[i], hidden, sums, from + (size_t) i * hidden);
	for (uint32_t i = 0; i < config->n_steps; i++)
	{
		const BrImageStep *step = &config->steps[i];
		BrDense dense = br_encoder_dense(encoder, config->layers * BR_MATRICES_OF_LAYER + i);
		float *other = from;

		if (step->kind == BR_STEP_NORMALIZE)
		{
			normalize_rows(from, texts, step->in_dim);
			continue;
		}
		if (!br_encoder_run_dense(compute, &dense, from, texts, (BrActivation) step->activation,
								  scratch, to))
			return br_encoder_out_of_memory(context);
		from = to;
		to = other;
	}
	memcpy(embeddings, from,
		   (size_t) texts * (size_t) br_encoder_info(encoder)->dimensions * sizeof(float));
	return BR_OK;
}
