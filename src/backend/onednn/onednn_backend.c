/*
 * onednn_backend.c
 *	  The tensor operations over oneDNN: dense layers with packed weights in
 *	  f32, bfloat16 and int8, and the table.
 *
 * Products are oneDNN's, which picks its instructions itself, AMX included;
 * everything around them is backend/vector and bytes.c. Of a dense layer a
 * block of rows at a time is narrowed, multiplied, and finished while it is
 * still in cache.
 *
 * In int8 a weight is a signed byte with one scale per output, an input an
 * unsigned byte with scale and zero of its own per row; oneDNN 2.6 knows
 * neither rows' scales nor rows' zeros, so both are applied to its sums of
 * int32:
 *
 *		output = row scale * column scale * (sum - row zero * sum of the column's weights)
 *
 * oneDNN is given one thread by the loader (OMP_NUM_THREADS=1): it computes in
 * the caller's thread, of which there may be several at once.
 */
#define _POSIX_C_SOURCE 200809L /* sigset_t */

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <oneapi/dnnl/dnnl.h>

#include "backend/onednn/onednn_int.h"
#include "backend/onednn/signals.h"
#include "backend/vector/br_vector.h"

#define ALIGNMENT 64
#define LARGEST_WEIGHT 127

extern const BrBackend *br_backend_table(void);

/* The parts of a packed matrix of bytes; of the other precisions there are only weights. */
typedef struct PackedParts
{
	float *column_scale; /* (out_dim) */
	float *column_sum;	 /* (out_dim): of the bytes */
	float *factor;		 /* (in_dim): inputs are multiplied, weights divided by it */
	void *weights;
	size_t size; /* of all */
} PackedParts;

static const BrVectorSet *vector_set = NULL;

static size_t
round_up(size_t size)
{
	return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static PackedParts
find_parts(BrPrecision precision, int in_dim, int out_dim, size_t weights_size, const void *packed)
{
	char *base = (char *) packed;
	size_t outputs = round_up((size_t) out_dim * sizeof(float));
	size_t inputs = round_up((size_t) in_dim * sizeof(float));

	if (precision != BR_PRECISION_INT8)
		return (PackedParts){.weights = base, .size = round_up(weights_size)};
	return (PackedParts){(float *) base, (float *) (base + outputs), (float *) (base + 2 * outputs),
						 base + 2 * outputs + inputs,
						 2 * outputs + inputs + round_up(weights_size)};
}

/* ---- what the processor has ---- */

typedef struct InstructionSet
{
	dnnl_cpu_isa_t set;
	const char *name;
	bool multiplies_bf16;
	bool multiplies_bytes;
} InstructionSet;

/* From the least on. Without VNNI, sums of two products of bytes overflow 16 bits. */
static const InstructionSet instruction_sets[] = {
	{dnnl_cpu_isa_sse41, "baseline", false, false},
	{dnnl_cpu_isa_avx2, "avx2", false, false},
	{dnnl_cpu_isa_avx512_core, "avx512", false, false},
	{dnnl_cpu_isa_avx512_core_vnni, "avx512_vnni", false, true},
	{dnnl_cpu_isa_avx512_core_bf16, "avx512_bf16", true, true},
	{dnnl_cpu_isa_avx512_core_amx, "amx", true, true},
};

#define N_SETS (int) (sizeof(instruction_sets) / sizeof(instruction_sets[0]))

static const InstructionSet *current_set = &instruction_sets[0];

/* The first call in a process decides: oneDNN does not change its mind after its first kernel. */
static void
choose_set(void)
{
	const char *most = getenv(BR_BACKEND_ISA_VARIABLE);
	dnnl_cpu_isa_t effective;

	for (int i = 0; most != NULL && i < N_SETS; i++)
		if (strcmp(most, instruction_sets[i].name) == 0)
			(void) dnnl_set_max_cpu_isa(instruction_sets[i].set);
	effective = dnnl_get_effective_cpu_isa();
	for (int i = 0; i < N_SETS; i++)
		if ((effective & instruction_sets[i].set) == instruction_sets[i].set)
			current_set = &instruction_sets[i];
}

static const char *
instruction_set(void)
{
	return current_set->name;
}

static bool
packs(BrPrecision precision)
{
	switch (precision)
	{
		case BR_PRECISION_F32:
			return true;
		case BR_PRECISION_BF16:
			return current_set->multiplies_bf16;
		case BR_PRECISION_INT8:
			return current_set->multiplies_bytes;
	}
	return false;
}

/* ---- packing ---- */

static size_t
packed_size(BrPrecision precision, int in_dim, int out_dim)
{
	BrProduct *product = br_onednn_acquire(precision, in_dim, out_dim);
	size_t size;

	if (product == NULL)
		return 0;
	size = find_parts(precision, in_dim, out_dim, br_onednn_weights_size(product), NULL).size;
	br_onednn_release(product);
	return size;
}

static void
round_column(const float *weight, const float *factor, int in_dim, int8_t *bytes, float *scale,
			 float *sum)
{
	float largest = 0;
	int total = 0;

	for (int i = 0; i < in_dim; i++)
		largest = fmaxf(largest, fabsf(weight[i] / factor[i]));
	*scale = largest / LARGEST_WEIGHT;
	if (*scale < FLT_MIN)
		*scale = 1;
	for (int i = 0; i < in_dim; i++)
	{
		bytes[i] = (int8_t) lrintf(weight[i] / factor[i] / *scale);
		total += bytes[i];
	}
	*sum = (float) total;
}

static bool
pack_bytes(BrProduct *product, const float *weight, const float *factor, int in_dim, int out_dim,
		   const PackedParts *parts)
{
	int8_t *bytes = malloc((size_t) in_dim * (size_t) out_dim);
	bool done;

	if (bytes == NULL)
		return false;
	for (int i = 0; i < in_dim; i++)
		parts->factor[i] = factor != NULL ? 1 / factor[i] : 1;
	for (int j = 0; j < out_dim; j++)
	{
		size_t at = (size_t) j * (size_t) in_dim;

		round_column(weight + at, parts->factor, in_dim, bytes + at, &parts->column_scale[j],
					 &parts->column_sum[j]);
	}
	done = br_onednn_pack_weights(product, bytes, parts->weights);
	free(bytes);
	return done;
}

static bool
pack(BrPrecision precision, const float *weight, const float *factor, int in_dim, int out_dim,
	 void *packed)
{
	BrProduct *product = br_onednn_acquire(precision, in_dim, out_dim);
	PackedParts parts;
	bool done;

	if (product == NULL)
		return false;
	parts = find_parts(precision, in_dim, out_dim, br_onednn_weights_size(product), packed);
	if (precision == BR_PRECISION_INT8)
		done = pack_bytes(product, weight, factor, in_dim, out_dim, &parts);
	else
		done = br_onednn_pack_weights(product, weight, parts.weights);
	br_onednn_release(product);
	return done;
}

/* ---- dense layers ---- */

/* The work memory of a block. */
typedef struct Block
{
	float *input;		/* (BR_ONEDNN_BLOCK, in_dim), narrowed in place of floats */
	float *output;		/* (BR_ONEDNN_BLOCK, out_dim), also of int32_t */
	BrRowScale *scales; /* (BR_ONEDNN_BLOCK) */
	void *scratchpad;	/* oneDNN's; last */
	size_t size;		/* of all before it */
} Block;

static Block
cut_block(int in_dim, int out_dim, void *scratch)
{
	char *base = scratch;
	size_t input = round_up((size_t) BR_ONEDNN_BLOCK * (size_t) in_dim * sizeof(float));
	size_t output = round_up((size_t) BR_ONEDNN_BLOCK * (size_t) out_dim * sizeof(float));

	size_t scales = round_up(BR_ONEDNN_BLOCK * sizeof(BrRowScale));

	return (Block){(float *) base, (float *) (base + input), (BrRowScale *) (base + input + output),
				   base + input + output + scales, input + output + scales};
}

static size_t
packed_scratch(BrPrecision precision, int rows, int in_dim, int out_dim)
{
	BrProduct *product = br_onednn_acquire(precision, in_dim, out_dim);
	size_t size = cut_block(in_dim, out_dim, NULL).size;

	(void) rows;
	if (product != NULL)
	{
		size += round_up(br_onednn_scratchpad_size(product));
		br_onednn_release(product);
	}
	return size;
}

static int
padded_rows(int rows)
{
	return (rows + BR_ONEDNN_STEP - 1) / BR_ONEDNN_STEP * BR_ONEDNN_STEP;
}

/* Products only, of floats: rows that fill no step are read and written in a copy. */
static bool
multiply_floats(BrProduct *product, const float *input, const void *weights, int rows, int in_dim,
				int out_dim, const Block *block, float *output)
{
	int padded = padded_rows(rows);
	size_t used = (size_t) rows * (size_t) in_dim;

	if (padded == rows)
		return br_onednn_multiply(product, input, weights, rows, block->scratchpad, output);
	memcpy(block->input, input, used * sizeof(float));
	memset(block->input + used, 0, ((size_t) padded * (size_t) in_dim - used) * sizeof(float));
	if (!br_onednn_multiply(product, block->input, weights, padded, block->scratchpad,
							block->output))
		return false;
	memcpy(output, block->output, (size_t) rows * (size_t) out_dim * sizeof(float));
	return true;
}

static bool
multiply_bf16(BrProduct *product, const float *input, const void *weights, int rows, int in_dim,
			  int out_dim, const Block *block, float *output)
{
	int padded = padded_rows(rows);
	size_t used = (size_t) rows * (size_t) in_dim;
	uint16_t *narrow = (uint16_t *) block->input;
	float *to = padded == rows ? output : block->output;

	br_onednn_to_bf16(input, used, narrow);
	memset(narrow + used, 0, ((size_t) padded * (size_t) in_dim - used) * sizeof(uint16_t));
	if (!br_onednn_multiply(product, narrow, weights, padded, block->scratchpad, to))
		return false;
	if (to != output)
		memcpy(output, to, (size_t) rows * (size_t) out_dim * sizeof(float));
	return true;
}

/* A row at a time: it stays in the nearest cache until it is finished. */
static bool
multiply_bytes(BrProduct *product, const float *input, const PackedParts *parts, const float *bias,
			   int rows, int in_dim, int out_dim, BrActivation activation, const Block *block,
			   float *output)
{
	int padded = padded_rows(rows);
	size_t used = (size_t) rows * (size_t) in_dim;
	uint8_t *bytes = (uint8_t *) block->input;
	int32_t *sums = (int32_t *) (padded == rows ? output : block->output);

	br_onednn_quantize(input, parts->factor, rows, in_dim, bytes, block->scales);
	memset(bytes + used, 0, (size_t) padded * (size_t) in_dim - used);
	if (!br_onednn_multiply(product, bytes, parts->weights, padded, block->scratchpad, sums))
		return false;
	for (int row = 0; row < rows; row++, sums += out_dim, output += out_dim)
	{
		br_onednn_dequantize(sums, block->scales[row], parts->column_scale, parts->column_sum, bias,
							 out_dim, output);
		vector_set->finish(output, NULL, 1, out_dim, activation);
	}
	return true;
}

/*
 * Of so many rows the first block's, so that all blocks have about as many: one
 * of a few rows would read all weights for little.
 */
static int
rows_of_block(int rows)
{
	int blocks = (rows + BR_ONEDNN_BLOCK - 1) / BR_ONEDNN_BLOCK;
	int steps = (rows + BR_ONEDNN_STEP - 1) / BR_ONEDNN_STEP;
	int n = (steps + blocks - 1) / blocks * BR_ONEDNN_STEP;

	return n < rows ? n : rows;
}

static bool
linear_packed(BrPrecision precision, const float *input, const void *packed, const float *bias,
			  int rows, int in_dim, int out_dim, BrActivation activation, void *scratch,
			  float *output)
{
	BrProduct *product = br_onednn_acquire(precision, in_dim, out_dim);
	Block block = cut_block(in_dim, out_dim, scratch);
	PackedParts parts;
	bool done = product != NULL;

	if (product == NULL)
		return false;
	parts = find_parts(precision, in_dim, out_dim, br_onednn_weights_size(product), packed);
	for (int row = 0, n; row < rows && done; row += n)
	{
		const float *from = input + (size_t) row * (size_t) in_dim;
		float *to = output + (size_t) row * (size_t) out_dim;

		n = rows_of_block(rows - row);

		if (precision == BR_PRECISION_INT8)
		{
			done = multiply_bytes(product, from, &parts, bias, n, in_dim, out_dim, activation,
								  &block, to);
			continue;
		}
		done = precision == BR_PRECISION_BF16
			? multiply_bf16(product, from, parts.weights, n, in_dim, out_dim, &block, to)
			: multiply_floats(product, from, parts.weights, n, in_dim, out_dim, &block, to);
		vector_set->finish(to, bias, n, out_dim, activation);
	}
	br_onednn_release(product);
	return done;
}

/* ---- the table ---- */

static void
multiply(BrFactor left, BrFactor right, int rows, int columns, int depth, float scale, float keep,
		 int output_stride, float *output)
{
	sigset_t before;

	if (rows <= 0 || columns <= 0)
		return;
	br_onednn_hold_signals(&before);
	(void) dnnl_sgemm(left.transposed ? 'T' : 'N', right.transposed ? 'T' : 'N', rows, columns,
					  depth, scale, left.values, left.stride, right.values, right.stride, keep,
					  output, output_stride);
	br_onednn_let_signals(&before);
}

void
br_vector_multiply(const float *left, const float *right, int rows, int columns, int depth,
				   float keep, float *output)
{
	multiply((BrFactor){left, depth, false}, (BrFactor){right, depth, true}, rows, columns, depth,
			 1, keep, columns, output);
}

__attribute__((visibility("default"))) const BrBackend *
br_backend_table(void)
{
	static BrBackend tables[BR_VECTOR_SETS];
	BrBackend *table;

	vector_set = br_vector_set();
	choose_set();
	table = &tables[vector_set->number];
	*table = vector_set->table;
	table->name = "onednn";
	table->instruction_set = instruction_set;
	table->packs = packs;
	table->packed_size = packed_size;
	table->pack = pack;
	table->packed_scratch = packed_scratch;
	table->linear_packed = linear_packed;
	table->multiply = multiply;
	return table;
}
