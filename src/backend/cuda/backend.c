/*
 * backend.c
 *	  br_backend_table over the kernels: operations over the host's memory.
 *
 * For checking each kernel against the portable reference, not for speed: every
 * operation copies its inputs to the device, rounds what kernels take in half
 * precision there, and copies the result back. Operations of this table cannot
 * fail, so where the device does, the output is NaN, which passes no check.
 */
#include <math.h>
#include <stdlib.h>

#include "backend/cuda/device.h"

extern const BrBackend *br_backend_table(void);

/* Pieces of the device's memory that one operation holds at most. */
#define MOST_PIECES 12

/* One operation, from br_backend_table's own device. */
typedef struct Operation
{
	BrContext context;
	BrStream stream;
	BrProducts *products;
	BrStatus status;
	void *pieces[MOST_PIECES];
	int n;
} Operation;

/* Opened once, by the first br_backend_table; this process keeps it. */
static BrStream stream;
static BrProducts *products;
static BrDeviceInfo info;

static void
begin(Operation *operation)
{
	*operation = (Operation){.stream = stream, .products = products, .status = BR_OK};
	br_base_context_init(&operation->context);
}

/* A piece of the device's memory; NULL after a failure. */
static void *
take(Operation *operation, size_t bytes)
{
	void **piece = &operation->pieces[operation->n];

	if (operation->status == BR_OK)
		operation->status = br_cuda_allocate(&operation->context, bytes, piece);
	if (operation->status != BR_OK)
		return NULL;
	operation->n++;
	return *piece;
}

/* host NULL: NULL. */
static void *
copy(Operation *operation, const void *host, size_t bytes)
{
	void *piece;

	if (host == NULL || bytes == 0)
		return NULL;
	piece = take(operation, bytes);
	if (operation->status == BR_OK)
		operation->status =
			br_cuda_upload(&operation->context, operation->stream, piece, host, bytes);
	return piece;
}

static float *
copy_floats(Operation *operation, const float *host, size_t n)
{
	return copy(operation, host, n * sizeof(float));
}

/* Floats, rounded to halves. */
static BrHalf *
copy_halves(Operation *operation, const float *host, size_t n)
{
	float *floats = copy_floats(operation, host, n);
	BrHalf *halves;

	if (floats == NULL)
		return NULL;
	halves = take(operation, n * sizeof(BrHalf));
	if (operation->status == BR_OK)
		br_cuda_to_half(operation->stream, floats, n, halves);
	return halves;
}

/* Brings the result, of floats or of halves, to the host, and lets go of all memory. */
static void
end(Operation *operation, const float *floats, const BrHalf *halves, size_t n, float *output)
{
	float *widened = NULL;

	if (halves != NULL && n > 0)
	{
		widened = take(operation, n * sizeof(float));
		if (operation->status == BR_OK)
			br_cuda_to_float(operation->stream, halves, n, widened);
		floats = widened;
	}
	if (operation->status == BR_OK)
		operation->status = br_cuda_download(&operation->context, operation->stream, output, floats,
											 n * sizeof(float));
	if (operation->status == BR_OK)
		operation->status = br_cuda_wait(&operation->context, operation->stream);
	for (int i = 0; i < operation->n; i++)
		br_cuda_release(operation->pieces[i]);
	if (operation->status != BR_OK)
		for (size_t i = 0; i < n; i++)
			output[i] = NAN;
}

static const char *
instruction_set(void)
{
	return info.instructions;
}

static void
linear(const float *input, const float *weight, const float *bias, int rows, int in_dim,
	   int out_dim, BrActivation activation, float *output)
{
	size_t n = (size_t) rows * (size_t) out_dim;
	Operation operation;
	BrHalf *own_input;
	BrHalf *own_weight;
	BrHalf *own_bias;
	BrHalf *own_output;

	begin(&operation);
	own_input = copy_halves(&operation, input, (size_t) rows * (size_t) in_dim);
	own_weight = copy_halves(&operation, weight, (size_t) out_dim * (size_t) in_dim);
	own_bias = copy_halves(&operation, bias, (size_t) out_dim);
	own_output = take(&operation, n * sizeof(BrHalf));
	if (operation.status == BR_OK)
		operation.status =
			br_cuda_multiply(operation.products, &operation.context, operation.stream, own_input,
							 own_weight, own_bias, rows, in_dim, out_dim, activation, own_output);
	end(&operation, NULL, own_output, n, output);
}

/* Rows of a table that the ids name at most. */
static size_t
rows_named(const int32_t *ids, int n)
{
	int32_t most = -1;

	for (int i = 0; i < n; i++)
		most = ids[i] > most ? ids[i] : most;
	return (size_t) (most + 1);
}

static void
embed(const int32_t *ids, const int32_t *positions, const float *word, const float *position,
	  const float *type_row, int rows, int dim, float *output)
{
	size_t n = (size_t) rows * (size_t) dim;
	Operation operation;
	int32_t *own_ids;
	int32_t *own_positions;
	BrHalf *own_word;
	BrHalf *own_position;
	BrHalf *own_type;
	BrHalf *own_output;

	begin(&operation);
	own_ids = copy(&operation, ids, (size_t) rows * sizeof(int32_t));
	own_positions = copy(&operation, positions, (size_t) rows * sizeof(int32_t));
	own_word = copy_halves(&operation, word, rows_named(ids, rows) * (size_t) dim);
	own_position = copy_halves(&operation, position, rows_named(positions, rows) * (size_t) dim);
	own_type = copy_halves(&operation, type_row, (size_t) dim);
	own_output = take(&operation, n * sizeof(BrHalf));
	if (operation.status == BR_OK)
		br_cuda_embed(operation.stream, own_ids, own_positions, own_word, own_position, own_type,
					  NULL, NULL, 0, rows, dim, own_output);
	end(&operation, NULL, own_output, n, output);
}

static void
add_layer_norm(const float *input, const float *residual, const float *gain, const float *bias,
			   float epsilon, int rows, int dim, float *output)
{
	size_t n = (size_t) rows * (size_t) dim;
	Operation operation;
	BrHalf *own_input;
	BrHalf *own_residual;
	float *own_gain;
	float *own_bias;

	begin(&operation);
	own_input = copy_halves(&operation, input, n);
	own_residual = copy_halves(&operation, residual, n);
	own_gain = copy_floats(&operation, gain, (size_t) dim);
	own_bias = copy_floats(&operation, bias, (size_t) dim);
	if (operation.status == BR_OK)
		br_cuda_add_layer_norm(operation.stream, own_input, own_residual, own_gain, own_bias,
							   epsilon, rows, dim, own_input);
	end(&operation, NULL, own_input, n, output);
}

/* Only the heads that are asked for are taken from what comes back. */
static void
keep_heads(const float *from, int rows, int dim, int first, int last, float *to)
{
	for (int row = 0; row < rows; row++)
		for (int i = first; i < last; i++)
			to[(size_t) row * (size_t) dim + (size_t) i] =
				from[(size_t) row * (size_t) dim + (size_t) i];
}

static void
attention(const float *qkv, const int32_t *offsets, int texts, int heads, int head_dim,
		  int first_head, int last_head, const float *relative, int longest, float *scratch,
		  float *output)
{
	int rows = texts > 0 ? offsets[texts] : 0;
	int dim = heads * head_dim;
	size_t n = (size_t) rows * (size_t) dim;
	size_t most = br_cuda_attention_most_items(texts, rows, heads);
	BrAttentionItem *items = malloc((most + 1) * sizeof(BrAttentionItem));
	float *all = malloc((n + 1) * sizeof(float));
	Operation operation;
	BrHalf *own_qkv;
	BrAttentionItem *own_items;
	float *own_relative;
	BrHalf *own_output;
	int n_items;

	(void) scratch;
	begin(&operation);
	if (items == NULL || all == NULL)
	{
		for (size_t i = 0; i < n; i++)
			output[i] = NAN;
		free(items);
		free(all);
		return;
	}
	n_items = br_cuda_attention_items(offsets, texts, heads, items, (int) most);
	own_qkv = copy_halves(&operation, qkv, 3 * n);
	own_items = copy(&operation, items, (size_t) n_items * sizeof(BrAttentionItem));
	own_relative = copy_floats(&operation, relative,
							   relative != NULL ? (size_t) heads * (2 * (size_t) longest - 1) : 0);
	own_output = take(&operation, n * sizeof(BrHalf));
	if (operation.status == BR_OK)
		br_cuda_attention(operation.stream, own_qkv, own_items, n_items, heads, head_dim,
						  first_head, last_head, own_relative, longest, own_output);
	end(&operation, NULL, own_output, n, all);
	keep_heads(all, rows, dim, first_head * head_dim, last_head * head_dim, output);
	free(items);
	free(all);
}

static void
multiply_transposed(const float *left, const float *right, int rows, int columns, int dim,
					float *output)
{
	size_t n = (size_t) rows * (size_t) columns;
	Operation operation;
	float *own_left;
	float *own_right;
	float *own_output;

	begin(&operation);
	own_left = copy_floats(&operation, left, (size_t) rows * (size_t) dim);
	own_right = copy_floats(&operation, right, (size_t) columns * (size_t) dim);
	own_output = take(&operation, n * sizeof(float));
	if (operation.status == BR_OK)
		br_cuda_multiply_floats(operation.stream, own_left, own_right, rows, columns, dim,
								own_output);
	end(&operation, own_output, NULL, n, output);
}

/* Doubles that a matrix of rows of this stride spans. */
static size_t
span(int rows, int columns, int stride)
{
	return rows == 0 ? 0 : (size_t) (rows - 1) * (size_t) stride + (size_t) columns;
}

/* The whole span goes there and back, so that what lies between rows stays. */
static void
multiply_transposed_double(const double *left, const double *right, int rows, int columns,
						   int depth, int left_stride, int right_stride, int output_stride,
						   double scale, double keep, double *output)
{
	size_t bytes = span(rows, columns, output_stride) * sizeof(double);
	Operation operation;
	double *own_left;
	double *own_right;
	double *own_output;

	begin(&operation);
	own_left = copy(&operation, left, span(rows, depth, left_stride) * sizeof(double));
	own_right = copy(&operation, right, span(columns, depth, right_stride) * sizeof(double));
	own_output = copy(&operation, output, bytes);
	if (operation.status == BR_OK)
		br_cuda_multiply_doubles(operation.stream, own_left, own_right, rows, columns, depth,
								 left_stride, right_stride, output_stride, scale, keep, own_output);
	if (operation.status == BR_OK)
		operation.status =
			br_cuda_download(&operation.context, operation.stream, output, own_output, bytes);
	end(&operation, NULL, NULL, 0, NULL);
	for (int i = 0; i < rows && operation.status != BR_OK; i++)
		for (int j = 0; j < columns; j++)
			output[(size_t) i * (size_t) output_stride + (size_t) j] = NAN;
}

static bool
opened(void)
{
	BrContext context;

	br_base_context_init(&context);
	if (products != NULL)
		return true;
	return br_cuda_count(&context) > 0 && br_cuda_select(&context, 0) == BR_OK &&
		br_cuda_describe(&context, 0, &info) == BR_OK &&
		br_cuda_create_stream(&context, &stream) == BR_OK &&
		br_cuda_open_products(&context, BR_PRODUCT_BEST, &products) == BR_OK;
}

__attribute__((visibility("default"))) const BrBackend *
br_backend_table(void)
{
	static const BrBackend table = {
		.version = BR_BACKEND_VERSION,
		.name = "cuda",
		.instruction_set = instruction_set,
		.linear = linear,
		.embed = embed,
		.add_layer_norm = add_layer_norm,
		.attention = attention,
		.multiply_transposed = multiply_transposed,
		.multiply_transposed_double = multiply_transposed_double,
	};

	return opened() ? &table : NULL;
}
