/*
 * reference.cu
 *	  The operations as they are defined, one thread an element, for checking.
 *
 * Nothing here is shared with the kernels that it checks but how halves are
 * read. A thread computes all that its element needs, over again for each
 * element of a row, in double where sums are long.
 */
#include "backend/cuda/elementwise.cuh"

#define LAUNCH(kernel, n, ...)                                                             \
	do                                                                                     \
	{                                                                                      \
		if ((n) > 0)                                                                       \
			BR_LAUNCH(kernel, element_blocks(n), ELEMENT_THREADS, 0, stream, __VA_ARGS__); \
	} while (0)

/* One element of the norm of a row, of which value(i) gives element i. */
template <class Row>
static __device__ double
normed(const Row &row, int dim, int column, const float *gain, const float *bias, float epsilon)
{
	double mean = 0;
	double variance = 0;

	for (int i = 0; i < dim; i++)
		mean += row.value(i);
	mean /= dim;
	for (int i = 0; i < dim; i++)
		variance += (row.value(i) - mean) * (row.value(i) - mean);
	variance /= dim;
	return (row.value(column) - mean) / sqrt(variance + (double) epsilon) * (double) gain[column] +
		(double) bias[column];
}

struct AddedRow
{
	const __half *input;
	const __half *residual;

	__device__ double value(int i) const
	{
		double value = (double) __half2float(input[i]);

		return residual != NULL ? value + (double) __half2float(residual[i]) : value;
	}
};

static __global__ void
reference_norm(const __half *input, const __half *residual, const float *gain, const float *bias,
			   float epsilon, size_t n, int dim, __half *output)
{
	for (size_t i = element_first(); i < n; i += element_step())
	{
		size_t start = i / (size_t) dim * (size_t) dim;
		AddedRow row = {input + start, residual != NULL ? residual + start : NULL};

		output[i] = __float2half((float) normed(row, dim, (int) (i - start), gain, bias, epsilon));
	}
}

struct TokenRow
{
	const __half *word;
	const __half *position;
	const __half *type_row;

	__device__ double value(int i) const
	{
		double value = (double) __half2float(word[i]) + (double) __half2float(position[i]);

		return type_row != NULL ? value + (double) __half2float(type_row[i]) : value;
	}
};

static __global__ void
reference_embed(const int32_t *ids, const int32_t *positions, const __half *word,
				const __half *position, const __half *type_row, const float *gain,
				const float *bias, float epsilon, size_t n, int dim, __half *output)
{
	for (size_t i = element_first(); i < n; i += element_step())
	{
		size_t number = i / (size_t) dim;
		int column = (int) (i % (size_t) dim);
		TokenRow row = {word + (size_t) ids[number] * (size_t) dim,
						position + (size_t) positions[number] * (size_t) dim, type_row};
		double value =
			gain != NULL ? normed(row, dim, column, gain, bias, epsilon) : row.value(column);

		output[i] = __float2half((float) value);
	}
}

typedef struct ReferenceAttention
{
	const __half *qkv;
	const int32_t *offsets;
	int texts;
	int heads;
	int head_dim;
	const float *relative;
	int longest;
} ReferenceAttention;

static __device__ double
reference_score(const ReferenceAttention &all, const __half *query, const __half *key, int head,
				int distance)
{
	double sum = 0;

	for (int i = 0; i < all.head_dim; i++)
		sum += (double) __half2float(query[i]) * (double) __half2float(key[i]);
	sum /= sqrt((double) all.head_dim);
	if (all.relative != NULL)
		sum += (double) all.relative[(size_t) head * (2 * (size_t) all.longest - 1) +
									 (size_t) (distance + all.longest - 1)];
	return sum;
}

/* One component of one token: the scores twice, for the largest and for the weights. */
static __device__ double
reference_attend(const ReferenceAttention &all, int token, int head, int component)
{
	size_t dim = (size_t) all.heads * (size_t) all.head_dim;
	size_t column = (size_t) head * (size_t) all.head_dim;
	const __half *query = all.qkv + (size_t) token * 3 * dim + column;
	int text = 0;
	double largest = -INFINITY;
	double total = 0;
	double sum = 0;

	while (all.offsets[text + 1] <= token)
		text++;
	for (int pass = 0; pass < 2; pass++)
		for (int other = all.offsets[text]; other < all.offsets[text + 1]; other++)
		{
			const __half *key = all.qkv + (size_t) other * 3 * dim + dim + column;
			double score = reference_score(all, query, key, head, other - token);

			if (pass == 0)
				largest = fmax(largest, score);
			else
			{
				total += exp(score - largest);
				sum += exp(score - largest) * (double) __half2float(key[dim + (size_t) component]);
			}
		}
	return sum / total;
}

static __global__ void
reference_attention(ReferenceAttention all, size_t n, __half *output)
{
	size_t dim = (size_t) all.heads * (size_t) all.head_dim;

	for (size_t i = element_first(); i < n; i += element_step())
	{
		int column = (int) (i % dim);

		output[i] =
			__float2half((float) reference_attend(all, (int) (i / dim), column / all.head_dim,
												  column % all.head_dim));
	}
}

static __global__ void
reference_multiply(const __half *input, const __half *weight, size_t n, int in_dim, int out_dim,
				   float *output)
{
	for (size_t i = element_first(); i < n; i += element_step())
	{
		const __half *left = input + i / (size_t) out_dim * (size_t) in_dim;
		const __half *right = weight + i % (size_t) out_dim * (size_t) in_dim;
		double sum = 0;

		for (int j = 0; j < in_dim; j++)
			sum += (double) __half2float(left[j]) * (double) __half2float(right[j]);
		output[i] = (float) sum;
	}
}

static __device__ double
reference_pooled(BrPooling pooling, const __half *column, int length, int dim)
{
	double sum = 0;
	double largest = -INFINITY;
	double weights = 0;

	for (int i = 0; i < length; i++)
	{
		double value = (double) __half2float(column[(size_t) i * (size_t) dim]);
		double weight = pooling == BR_POOLING_WEIGHTED_MEAN ? i + 1 : 1;

		if (pooling == BR_POOLING_CLS)
			weight = i == 0;
		if (pooling == BR_POOLING_LAST)
			weight = i == length - 1;
		sum += weight * value;
		weights += weight;
		largest = fmax(largest, value);
	}
	if (pooling == BR_POOLING_MAX)
		return largest;
	return sum / (pooling == BR_POOLING_MEAN_SQRT_LENGTH ? sqrt((double) length) : weights);
}

static __global__ void
reference_pool(BrPooling pooling, const __half *tokens, const int32_t *offsets, size_t n, int dim,
			   float *pooled)
{
	for (size_t i = element_first(); i < n; i += element_step())
	{
		const int32_t *own = offsets + i / (size_t) dim;

		pooled[i] =
			(float) reference_pooled(pooling,
									 tokens + (size_t) own[0] * (size_t) dim + i % (size_t) dim,
									 own[1] - own[0], dim);
	}
}

static __global__ void
reference_assign(const float *vectors, size_t n, int dims, const float *centroids, int lists,
				 int32_t *nearest, float *distances)
{
	for (size_t i = element_first(); i < n; i += element_step())
	{
		double best = INFINITY;

		for (int list = 0; list < lists; list++)
		{
			double sum = 0;

			for (size_t j = 0; j < (size_t) dims; j++)
			{
				double difference = (double) vectors[i * (size_t) dims + j] -
					(double) centroids[(size_t) list * (size_t) dims + j];

				sum += difference * difference;
			}
			if (sum < best)
			{
				best = sum;
				nearest[i] = list;
			}
		}
		distances[i] = (float) best;
	}
}

/* A thread has a query: the greatest that comes behind the one before it, k times. */
static __global__ void
reference_top_k(const float *similarities, size_t n_queries, int n, int k, int32_t *ids,
				float *best)
{
	for (size_t query = element_first(); query < n_queries; query += element_step())
	{
		const float *row = similarities + query * (size_t) n;
		int before = -1;

		for (int i = 0; i < k; i++)
		{
			int next = -1;

			for (int j = 0; j < n; j++)
				if ((before < 0 || row[j] < row[before] || (row[j] == row[before] && j > before)) &&
					(next < 0 || row[j] > row[next]))
					next = j;
			ids[query * (size_t) k + (size_t) i] = next;
			best[query * (size_t) k + (size_t) i] = next >= 0 ? row[next] : 0;
			if (next >= 0)
				before = next;
			else
				break;
		}
	}
}

void
br_cuda_reference_add_layer_norm(BrStream stream, const BrHalf *input, const BrHalf *residual,
								 const float *gain, const float *bias, float epsilon, int rows,
								 int dim, BrHalf *output)
{
	size_t n = (size_t) rows * (size_t) dim;

	LAUNCH(reference_norm, n, (const __half *) input, (const __half *) residual, gain, bias,
		   epsilon, n, dim, (__half *) output);
}

void
br_cuda_reference_embed(BrStream stream, const int32_t *ids, const int32_t *positions,
						const BrHalf *word, const BrHalf *position, const BrHalf *type_row,
						const float *gain, const float *bias, float epsilon, int rows, int dim,
						BrHalf *output)
{
	size_t n = (size_t) rows * (size_t) dim;

	LAUNCH(reference_embed, n, ids, positions, (const __half *) word, (const __half *) position,
		   (const __half *) type_row, gain, bias, epsilon, n, dim, (__half *) output);
}

void
br_cuda_reference_attention(BrStream stream, const BrHalf *qkv, const int32_t *offsets, int texts,
							int rows, int heads, int head_dim, const float *relative, int longest,
							BrHalf *output)
{
	ReferenceAttention all =
		{(const __half *) qkv, offsets, texts, heads, head_dim, relative, longest};
	size_t n = (size_t) rows * (size_t) heads * (size_t) head_dim;

	LAUNCH(reference_attention, n, all, n, (__half *) output);
}

void
br_cuda_reference_multiply(BrStream stream, const BrHalf *input, const BrHalf *weight, int rows,
						   int in_dim, int out_dim, float *output)
{
	size_t n = (size_t) rows * (size_t) out_dim;

	LAUNCH(reference_multiply, n, (const __half *) input, (const __half *) weight, n, in_dim,
		   out_dim, output);
}

void
br_cuda_reference_pool(BrStream stream, BrPooling pooling, const BrHalf *tokens,
					   const int32_t *offsets, int texts, int dim, float *pooled)
{
	size_t n = (size_t) texts * (size_t) dim;

	LAUNCH(reference_pool, n, pooling, (const __half *) tokens, offsets, n, dim, pooled);
}

void
br_cuda_reference_assign(BrStream stream, const float *vectors, int n, int dims,
						 const float *centroids, int lists, int32_t *nearest, float *distances)
{
	LAUNCH(reference_assign, (size_t) n, vectors, (size_t) n, dims, centroids, lists, nearest,
		   distances);
}

void
br_cuda_reference_top_k(BrStream stream, const float *similarities, int n_queries, int n, int k,
						int32_t *ids, float *best)
{
	LAUNCH(reference_top_k, (size_t) n_queries, similarities, (size_t) n_queries, n, k, ids, best);
}
