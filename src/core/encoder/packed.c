/*
 * packed.c
 *	  Packed weights: the block that br_encoder_pack makes, and what is in it.
 *
 * A header, a table that tells of every matrix its precision and its place,
 * and the matrices, each in the form that its backend's pack gives it. The
 * table is checked entry by entry against the one that packing would make, so
 * that a damaged block cannot misdirect a product.
 */
#include <math.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

#define PACKED_MAGIC "br_pack"
#define NAME_SIZE 32

/* Standard deviations: of MiniLM, 2 to 6 give the same cosines to the third digit. */
#define NORM_RANGE 4

/* Ranges below this are taken for it, so that no factor becomes 0 or infinite. */
#define SMALLEST_RANGE 1e-6f

typedef struct PackedHeader
{
	char magic[8];
	uint32_t version;
	uint32_t precision;
	char backend[NAME_SIZE];
	char instruction_set[NAME_SIZE];
	uint64_t size;
	uint32_t n_matrices;
	uint32_t reserved;
} PackedHeader;

static size_t
round_up(size_t size)
{
	return (size + BR_IMAGE_ALIGNMENT - 1) / BR_IMAGE_ALIGNMENT * BR_IMAGE_ALIGNMENT;
}

static uint32_t
count_matrices(const BrImageConfig *config)
{
	return config->layers * BR_MATRICES_OF_LAYER + config->n_steps;
}

BrDense
br_encoder_dense(const BrEncoder *encoder, uint32_t number)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	const BrWeightMap *map = br_encoder_weight_map(encoder);
	const float *weights = br_encoder_weights(encoder);
	uint32_t layer = number / BR_MATRICES_OF_LAYER;
	int hidden = (int) config->hidden;
	int attended = (int) br_encoder_attended(config);
	int intermediate = (int) config->intermediate;
	const float *begin;

	if (layer >= config->layers)
	{
		uint32_t i = number - config->layers * BR_MATRICES_OF_LAYER;
		const BrImageStep *step = &config->steps[i];

		if (step->kind != BR_STEP_DENSE)
			return (BrDense){.number = number};
		return (BrDense){number, weights + map->step_weight[i],
						 step->has_bias ? weights + map->step_bias[i] : NULL, (int) step->in_dim,
						 (int) step->out_dim};
	}
	begin = weights + map->layer + layer * map->layer_stride;
	switch ((BrMatrixKind) (number % BR_MATRICES_OF_LAYER))
	{
		case BR_MATRIX_QKV:
			return (BrDense){number, begin + map->qkv_weight, begin + map->qkv_bias, hidden,
							 3 * attended};
		case BR_MATRIX_OUTPUT:
			return (BrDense){number, begin + map->output_weight, begin + map->output_bias, attended,
							 hidden};
		case BR_MATRIX_UP:
			return (BrDense){number, begin + map->up_weight, begin + map->up_bias, hidden,
							 intermediate};
		case BR_MATRIX_DOWN:
			break;
	}
	return (BrDense){number, begin + map->down_weight, begin + map->down_bias, intermediate,
					 hidden};
}

/* What follows pooling works on one row a text: it costs nothing and stays in f32. */
static BrPrecision
precision_of(const BrImageConfig *config, BrPrecision wanted, uint32_t number)
{
	return number < config->layers * BR_MATRICES_OF_LAYER ? wanted : BR_PRECISION_F32;
}

/* Lays out the block; table NULL: only its size. 0: the backend ran out of memory. */
static size_t
plan(const BrEncoder *encoder, const BrBackend *backend, BrPrecision precision,
	 BrPackedMatrix *table)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	uint32_t n = count_matrices(config);
	size_t end = round_up(sizeof(PackedHeader) + n * sizeof(BrPackedMatrix));

	for (uint32_t i = 0; i < n; i++)
	{
		BrDense matrix = br_encoder_dense(encoder, i);
		BrPrecision own = precision_of(config, precision, i);
		size_t size;

		if (table != NULL)
			table[i] = (BrPackedMatrix){.offset = end, .precision = own};
		if (matrix.out_dim == 0)
			continue;
		size = backend->packed_size(own, matrix.in_dim, matrix.out_dim);
		if (size == 0)
			return 0;
		end += round_up(size);
	}
	return end;
}

static BrStatus
out_of_memory(BrContext *context)
{
	return br_base_fail(context, BR_ERR_MEMORY, "Packing weights ran out of memory.");
}

static bool
packs(const BrBackend *backend, BrPrecision precision)
{
	return backend->packs != NULL && backend->packs(precision);
}

size_t
br_encoder_packed_size(const BrEncoder *encoder, const BrBackend *backend, BrPrecision precision)
{
	if (!packs(backend, precision))
		return 0;
	return plan(encoder, backend, precision, NULL);
}

static PackedHeader
make_header(const BrEncoder *encoder, const BrBackend *backend, BrPrecision precision, size_t size)
{
	PackedHeader header = {.magic = PACKED_MAGIC,
						   .version = BR_ENCODER_PACKED_VERSION,
						   .precision = precision,
						   .size = size,
						   .n_matrices = count_matrices(br_encoder_config(encoder))};

	strncpy(header.backend, backend->name, NAME_SIZE - 1);
	strncpy(header.instruction_set, backend->instruction_set(), NAME_SIZE - 1);
	return header;
}

/* Gain and bias of the layer norm whose output is the input of a matrix; false: there is none. */
static bool
find_norm(const BrEncoder *encoder, uint32_t number, const float **gain, const float **bias)
{
	const BrWeightMap *map = br_encoder_weight_map(encoder);
	const float *weights = br_encoder_weights(encoder);
	uint32_t layer = number / BR_MATRICES_OF_LAYER;
	const float *begin;

	if (layer >= br_encoder_config(encoder)->layers)
		return false;
	begin = weights + map->layer + layer * map->layer_stride;
	switch (number % BR_MATRICES_OF_LAYER)
	{
		case BR_MATRIX_QKV:
			*gain = layer == 0 ? weights + map->gain : begin - map->layer_stride + map->layer_gain;
			*bias = layer == 0 ? weights + map->bias : begin - map->layer_stride + map->layer_bias;
			return true;
		case BR_MATRIX_UP:
			*gain = begin + map->attention_gain;
			*bias = begin + map->attention_bias;
			return true;
		default:
			return false;
	}
}

/*
 * Inputs of a matrix differ in range by far more than its weights do, and int8
 * has one scale for a row of inputs. So each input is divided, and its weights
 * multiplied, by sqrt(range of the input / largest of its weights) (Xiao et
 * al., "SmoothQuant", ICML 2023, alpha 1/2). The range is known without a
 * text where the input comes out of a layer norm, which gives gain * z + bias
 * with z of mean 0 and variance 1. Of query, key and value the weights of the
 * value count: what a softmax makes of the other two suffers less.
 */
static const float *
smoothing_factor(const BrEncoder *encoder, const BrDense *matrix, float *factor)
{
	int first = 0;
	const float *gain;
	const float *bias;

	if (!find_norm(encoder, matrix->number, &gain, &bias))
		return NULL;
	if (matrix->number % BR_MATRICES_OF_LAYER == BR_MATRIX_QKV)
		first = 2 * matrix->in_dim;
	for (int i = 0; i < matrix->in_dim; i++)
	{
		float range = NORM_RANGE * fabsf(gain[i]) + fabsf(bias[i]);
		float largest = SMALLEST_RANGE;

		for (int j = first; j < matrix->out_dim; j++)
			largest =
				fmaxf(largest,
					  fabsf(matrix->weight[(size_t) j * (size_t) matrix->in_dim + (size_t) i]));
		factor[i] = sqrtf(fmaxf(range, SMALLEST_RANGE) / largest);
	}
	return factor;
}

static BrStatus
pack_all(const BrEncoder *encoder, BrContext *context, const BrBackend *backend, void *packed,
		 float *factor)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	const BrPackedMatrix *table = br_encoder_packed_table(packed);

	for (uint32_t i = 0; i < count_matrices(config); i++)
	{
		BrDense matrix = br_encoder_dense(encoder, i);

		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Packing weights was cancelled.");
		if (matrix.out_dim > 0 &&
			!backend->pack((BrPrecision) table[i].precision, matrix.weight,
						   smoothing_factor(encoder, &matrix, factor), matrix.in_dim,
						   matrix.out_dim, (char *) packed + table[i].offset))
			return out_of_memory(context);
	}
	return BR_OK;
}

BrStatus
br_encoder_pack(const BrEncoder *encoder, BrContext *context, const BrBackend *backend,
				BrPrecision precision, void *packed)
{
	size_t size = br_encoder_packed_size(encoder, backend, precision);
	PackedHeader header = make_header(encoder, backend, precision, size);
	float *factor;
	BrStatus status;

	if (!packs(backend, precision))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The backend \"%s\" does not pack weights in this precision here.",
							backend->name);
	if (size == 0)
		return out_of_memory(context);
	factor = br_base_alloc_array(context, br_encoder_config(encoder)->hidden, sizeof(float));
	if (factor == NULL)
		return BR_ERR_MEMORY;
	memset(packed, 0, size);
	memcpy(packed, &header, sizeof(header));
	if (plan(encoder, backend, precision,
			 (BrPackedMatrix *) ((char *) packed + sizeof(PackedHeader))) != size)
		status = out_of_memory(context);
	else
		status = pack_all(encoder, context, backend, packed, factor);
	br_base_free(context, factor);
	return status;
}

/* Whether the table is the one that plan makes; expected: room for it. */
static bool
table_valid(const BrEncoder *encoder, const BrBackend *backend, BrPrecision precision,
			const BrPackedMatrix *table, BrPackedMatrix *expected, size_t size)
{
	return plan(encoder, backend, precision, expected) == size &&
		memcmp(table, expected,
			   count_matrices(br_encoder_config(encoder)) * sizeof(BrPackedMatrix)) == 0;
}

BrStatus
br_encoder_check_packed(const BrEncoder *encoder, BrContext *context, const BrBackend *backend,
						BrPrecision precision, const void *packed, size_t size)
{
	uint32_t n = count_matrices(br_encoder_config(encoder));
	PackedHeader expected = make_header(encoder, backend, precision, size);
	BrPackedMatrix *table;
	bool valid;

	if (!packs(backend, precision) || size < sizeof(PackedHeader) + n * sizeof(BrPackedMatrix) ||
		memcmp(packed, &expected, sizeof(expected)) != 0)
		return br_base_fail(context, BR_ERR_FORMAT,
							"The packed weights are not those of this model, backend \"%s\" on %s.",
							backend->name, backend->instruction_set());
	table = br_base_alloc_array(context, n, sizeof(BrPackedMatrix));
	if (table == NULL)
		return BR_ERR_MEMORY;
	valid = table_valid(encoder, backend, precision, br_encoder_packed_table(packed), table, size);
	br_base_free(context, table);
	if (!valid)
		return br_base_fail(context, BR_ERR_FORMAT,
							"The packed weights are damaged: a matrix is not in its place.");
	return BR_OK;
}

const BrPackedMatrix *
br_encoder_packed_table(const void *packed)
{
	return (const BrPackedMatrix *) ((const char *) packed + sizeof(PackedHeader));
}

bool
br_encoder_run_dense(const BrCompute *compute, const BrDense *dense, const float *input, int rows,
					 BrActivation activation, void *scratch, float *output)
{
	const BrBackend *backend = compute->backend;
	const BrPackedMatrix *matrix;

	if (compute->packed == NULL)
	{
		backend->linear(input, dense->weight, dense->bias, rows, dense->in_dim, dense->out_dim,
						activation, output);
		return true;
	}
	matrix = &br_encoder_packed_table(compute->packed)[dense->number];
	return backend->linear_packed((BrPrecision) matrix->precision, input,
								  (const char *) compute->packed + matrix->offset, dense->bias,
								  rows, dense->in_dim, dense->out_dim, activation, scratch, output);
}

size_t
br_encoder_dense_scratch(const BrEncoder *encoder, const BrCompute *compute, int rows)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	const BrPackedMatrix *table;
	size_t largest = 0;

	if (compute->packed == NULL)
		return 0;
	table = br_encoder_packed_table(compute->packed);
	for (uint32_t i = 0; i < count_matrices(config); i++)
	{
		BrDense matrix = br_encoder_dense(encoder, i);
		size_t size = matrix.out_dim == 0
			? 0
			: compute->backend->packed_scratch((BrPrecision) table[i].precision, rows,
											   matrix.in_dim, matrix.out_dim);

		largest = size > largest ? size : largest;
	}
	return largest;
}
