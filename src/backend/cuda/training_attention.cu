/*
 * training_attention.cu
 *	  Self-attention in float, forward and back, a warp a token and head.
 *
 * Weights are never kept: forward leaves the logarithm of the sum of every
 * query's weights, from which a weight comes back by one exponential (Dao et
 * al., "FlashAttention", 2022, section 3.1). With w the weights, m what dropout
 * makes of 1, o the output and a prime on slopes,
 *
 *		o = sum over keys of m w v		w' = m <o', v>
 *		s' = w (w' - <o', o>), of the scores
 *		q' = sum over keys of s' k / sqrt(d), and by distance the table's slope
 *		k' = sum over queries of s' q / sqrt(d)		v' = sum over queries of m w o'
 *
 * so that a warp which has a query finds its slope alone, and one which has a
 * key finds both of its own: nothing is added from two places. A lane has
 * every 32nd component of a head.
 */
#include "backend/cuda/dropout.cuh"

#define WARPS 4
#define THREADS (WARPS * BR_WARP)
#define KERNEL static __global__ __launch_bounds__(THREADS)

/* Keys, or queries, whose products are summed over the lanes side by side. */
#define AT_ONCE 4

/* Of a text and head, with this warp's own token. */
typedef struct Place
{
	size_t number; /* of token and head */
	int row;
	int head;
	int first; /* row of the text's first token */
	int length;
	const uint8_t *kept; /* of the text's first query under the head; NULL: all are */
	size_t kept_row;	 /* bytes from query to query */
} Place;

static __host__ __device__ inline size_t
bytes_of_keys(int length)
{
	return ((size_t) length + DROPOUT_EACH - 1) / DROPOUT_EACH;
}

static __device__ inline bool
find_place(const BrTrainingAttention &batch, Place *place)
{
	int text;

	place->number = (size_t) blockIdx.x * WARPS + threadIdx.x / BR_WARP;
	if (place->number >= (size_t) batch.rows * (size_t) batch.heads)
		return false;
	place->row = (int) (place->number / (size_t) batch.heads);
	place->head = (int) (place->number % (size_t) batch.heads);
	text = batch.text[place->row];
	place->first = batch.offsets[text];
	place->length = batch.offsets[text + 1] - place->first;
	place->kept_row = bytes_of_keys(place->length) * (size_t) batch.heads;
	place->kept = batch.kept != NULL
		? batch.kept + batch.masks[text] + (size_t) place->head * bytes_of_keys(place->length)
		: NULL;
	return true;
}

/* Whether a key is kept for a query, both counted in the text; as a factor. */
static __device__ inline float
kept_factor(const BrTrainingAttention &batch, const Place &place, int query, int key)
{
	const uint8_t *byte;

	if (place.kept == NULL)
		return 1;
	byte = place.kept + (size_t) query * place.kept_row + key / DROPOUT_EACH;
	return (*byte >> (key % DROPOUT_EACH) & 1) != 0 ? batch.kept_scale : 0;
}

/* A row of the table; -1: there is none. */
static __device__ inline int
bucket_of(const BrTrainingAttention &batch, int distance)
{
	return batch.table != NULL ? batch.bucket[distance + batch.longest - 1] : -1;
}

static __device__ inline float
added_score(const BrTrainingAttention &batch, const Place &place, int distance)
{
	int bucket = bucket_of(batch, distance);

	return bucket >= 0 ? batch.table[bucket * batch.heads + place.head] : 0;
}

/* A lane's components of a head; from points to the first of the head. */
template <int GROUPS>
static __device__ inline void
read_head(const float *from, int head_dim, float *to /* (GROUPS) */)
{
#pragma unroll
	for (int g = 0; g < GROUPS; g++)
	{
		int component = g * BR_WARP + (int) threadIdx.x % BR_WARP;

		to[g] = component < head_dim ? from[component] : 0;
	}
}

template <int GROUPS>
static __device__ inline void
write_head(const float *from /* (GROUPS) */, float scale, int head_dim, float *to)
{
#pragma unroll
	for (int g = 0; g < GROUPS; g++)
	{
		int component = g * BR_WARP + (int) threadIdx.x % BR_WARP;

		if (component < head_dim)
			to[component] = scale * from[g];
	}
}

template <int GROUPS>
static __device__ inline float
own_product(const float *left, const float *right)
{
	float sum = 0;

#pragma unroll
	for (int g = 0; g < GROUPS; g++)
		sum += left[g] * right[g];
	return sum;
}

/* Sums over the lanes, side by side. */
static __device__ inline void
sum_all(float *values /* (AT_ONCE) */)
{
	for (int step = BR_WARP / 2; step > 0; step /= 2)
#pragma unroll
		for (int i = 0; i < AT_ONCE; i++)
			values[i] += __shfl_xor_sync(BR_FULL_WARP, values[i], step);
}

/* Where head number `head` of a token begins: 0 its query, 1 its key, 2 its value. */
static __device__ inline size_t
part_at(const BrTrainingAttention &batch, int row, int head, int part)
{
	size_t dim = (size_t) batch.heads * (size_t) batch.head_dim;

	return (size_t) row * 3 * dim + (size_t) part * dim + (size_t) head * (size_t) batch.head_dim;
}

static __device__ inline size_t
output_at(const BrTrainingAttention &batch, int row, int head)
{
	return ((size_t) row * (size_t) batch.heads + (size_t) head) * (size_t) batch.head_dim;
}

/* ---- forward ---- */

template <int GROUPS>
KERNEL void
attend(BrTrainingAttention batch, float scale, const float *qkv, float *logarithms, float *output)
{
	Place place;
	float query[GROUPS];
	float sum[GROUPS];
	float largest = -INFINITY;
	float total = 0;

	if (!find_place(batch, &place))
		return;
	read_head<GROUPS>(qkv + part_at(batch, place.row, place.head, 0), batch.head_dim, query);
#pragma unroll
	for (int g = 0; g < GROUPS; g++)
		sum[g] = 0;
	for (int key = 0; key < place.length; key += AT_ONCE)
	{
		float scores[AT_ONCE];
		float before = largest;
		float shrink;

#pragma unroll
		for (int i = 0; i < AT_ONCE; i++)
		{
			float other[GROUPS];
			int own = key + i < place.length ? key + i : place.length - 1;

			read_head<GROUPS>(qkv + part_at(batch, place.first + own, place.head, 1),
							  batch.head_dim, other);
			scores[i] = own_product<GROUPS>(query, other);
		}
		sum_all(scores);
#pragma unroll
		for (int i = 0; i < AT_ONCE; i++)
		{
			scores[i] = key + i < place.length
				? scale * scores[i] + added_score(batch, place, place.first + key + i - place.row)
				: -INFINITY;
			largest = fmaxf(largest, scores[i]);
		}
		shrink = expf(before - largest);
		total *= shrink;
#pragma unroll
		for (int g = 0; g < GROUPS; g++)
			sum[g] *= shrink;
		for (int i = 0; i < AT_ONCE && key + i < place.length; i++)
		{
			float value[GROUPS];
			float weight = expf(scores[i] - largest);
			float kept = kept_factor(batch, place, place.row - place.first, key + i);

			total += weight;
			read_head<GROUPS>(qkv + part_at(batch, place.first + key + i, place.head, 2),
							  batch.head_dim, value);
#pragma unroll
			for (int g = 0; g < GROUPS; g++)
				sum[g] += weight * kept * value[g];
		}
	}
	write_head<GROUPS>(sum, 1 / total, batch.head_dim,
					   output + output_at(batch, place.row, place.head));
	if (threadIdx.x % BR_WARP == 0)
		logarithms[place.number] = largest + logf(total);
}

/* ---- back ---- */

/* What both ways back have of one pair of tokens. */
typedef struct PairSlope
{
	float kept_weight; /* m w */
	float score;	   /* s' */
} PairSlope;

/* product: <q, k>; towards: <o', v>; along: <o', o>. Queries and keys are counted in the text. */
static __device__ inline PairSlope
pair_slope(const BrTrainingAttention &batch, const Place &place, float scale, int query, int key,
		   float product, float towards, float logarithm, float along)
{
	float score = scale * product + added_score(batch, place, key - query);
	float weight = expf(score - logarithm);
	float kept = kept_factor(batch, place, query, key);
	PairSlope slope = {kept * weight, weight * (kept * towards - along)};

	return slope;
}

template <int GROUPS>
KERNEL void
query_slopes(BrTrainingAttention batch, float scale, BrAttentionSlopes slopes)
{
	int lane = (int) threadIdx.x % BR_WARP;
	Place place;
	float query[GROUPS];
	float outer[GROUPS];
	float sum[GROUPS];
	float of_bucket = 0;
	float along;
	float logarithm;

	if (!find_place(batch, &place))
		return;
	read_head<GROUPS>(slopes.output + output_at(batch, place.row, place.head), batch.head_dim, sum);
	read_head<GROUPS>(slopes.output_slope + output_at(batch, place.row, place.head), batch.head_dim,
					  outer);
	read_head<GROUPS>(slopes.qkv + part_at(batch, place.row, place.head, 0), batch.head_dim, query);
	along = warp_sum(own_product<GROUPS>(sum, outer));
	logarithm = slopes.logarithms[place.number];
#pragma unroll
	for (int g = 0; g < GROUPS; g++)
		sum[g] = 0;
	for (int key = 0; key < place.length; key += AT_ONCE)
	{
		float products[AT_ONCE];
		float towards[AT_ONCE];

#pragma unroll
		for (int i = 0; i < AT_ONCE; i++)
		{
			float other[GROUPS];
			int row = place.first + (key + i < place.length ? key + i : place.length - 1);

			read_head<GROUPS>(slopes.qkv + part_at(batch, row, place.head, 1), batch.head_dim,
							  other);
			products[i] = own_product<GROUPS>(query, other);
			read_head<GROUPS>(slopes.qkv + part_at(batch, row, place.head, 2), batch.head_dim,
							  other);
			towards[i] = own_product<GROUPS>(outer, other);
		}
		sum_all(products);
		sum_all(towards);
		for (int i = 0; i < AT_ONCE && key + i < place.length; i++)
		{
			float other[GROUPS];
			PairSlope pair = pair_slope(batch, place, scale, place.row - place.first, key + i,
										products[i], towards[i], logarithm, along);

			read_head<GROUPS>(slopes.qkv + part_at(batch, place.first + key + i, place.head, 1),
							  batch.head_dim, other);
#pragma unroll
			for (int g = 0; g < GROUPS; g++)
				sum[g] += pair.score * other[g];
			if (bucket_of(batch, place.first + key + i - place.row) == lane)
				of_bucket += pair.score;
		}
	}
	write_head<GROUPS>(sum, scale, batch.head_dim,
					   slopes.slope + part_at(batch, place.row, place.head, 0));
	if (batch.table != NULL && lane < batch.buckets)
		slopes.table_slopes[((size_t) place.row * (size_t) batch.buckets + (size_t) lane) *
								(size_t) batch.heads +
							(size_t) place.head] = of_bucket;
	if (lane == 0)
		slopes.along[place.number] = along;
}

template <int GROUPS>
KERNEL void
key_slopes(BrTrainingAttention batch, float scale, BrAttentionSlopes slopes)
{
	Place place;
	float key[GROUPS];
	float value[GROUPS];
	float key_sum[GROUPS];
	float value_sum[GROUPS];

	if (!find_place(batch, &place))
		return;
	read_head<GROUPS>(slopes.qkv + part_at(batch, place.row, place.head, 1), batch.head_dim, key);
	read_head<GROUPS>(slopes.qkv + part_at(batch, place.row, place.head, 2), batch.head_dim, value);
#pragma unroll
	for (int g = 0; g < GROUPS; g++)
		key_sum[g] = value_sum[g] = 0;
	for (int query = 0; query < place.length; query += AT_ONCE)
	{
		float products[AT_ONCE];
		float towards[AT_ONCE];

#pragma unroll
		for (int i = 0; i < AT_ONCE; i++)
		{
			float other[GROUPS];
			int row = place.first + (query + i < place.length ? query + i : place.length - 1);

			read_head<GROUPS>(slopes.qkv + part_at(batch, row, place.head, 0), batch.head_dim,
							  other);
			products[i] = own_product<GROUPS>(key, other);
			read_head<GROUPS>(slopes.output_slope + output_at(batch, row, place.head),
							  batch.head_dim, other);
			towards[i] = own_product<GROUPS>(value, other);
		}
		sum_all(products);
		sum_all(towards);
		for (int i = 0; i < AT_ONCE && query + i < place.length; i++)
		{
			int row = place.first + query + i;
			size_t number = (size_t) row * (size_t) batch.heads + (size_t) place.head;
			float other[GROUPS];
			PairSlope pair =
				pair_slope(batch, place, scale, query + i, place.row - place.first, products[i],
						   towards[i], slopes.logarithms[number], slopes.along[number]);

			read_head<GROUPS>(slopes.qkv + part_at(batch, row, place.head, 0), batch.head_dim,
							  other);
#pragma unroll
			for (int g = 0; g < GROUPS; g++)
				key_sum[g] += pair.score * other[g];
			read_head<GROUPS>(slopes.output_slope + output_at(batch, row, place.head),
							  batch.head_dim, other);
#pragma unroll
			for (int g = 0; g < GROUPS; g++)
				value_sum[g] += pair.kept_weight * other[g];
		}
	}
	write_head<GROUPS>(key_sum, scale, batch.head_dim,
					   slopes.slope + part_at(batch, place.row, place.head, 1));
	write_head<GROUPS>(value_sum, 1, batch.head_dim,
					   slopes.slope + part_at(batch, place.row, place.head, 2));
}

/* ---- dropout of weights ---- */

size_t
br_cuda_mask_bytes(int heads, int length)
{
	return (size_t) length * (size_t) heads * bytes_of_keys(length);
}

KERNEL void
fill_mask(BrTrainingAttention batch, BrDropout dropout, uint8_t *kept)
{
	Place place;
	uint8_t *row;

	if (!find_place(batch, &place))
		return;
	dropout.stream += (uint64_t) place.head << 32;
	row = kept + (place.kept - batch.kept) + (size_t) (place.row - place.first) * place.kept_row;
	for (int i = (int) threadIdx.x % BR_WARP; i < (int) bytes_of_keys(place.length); i += BR_WARP)
		row[i] = (uint8_t) dropout_bits(dropout, (uint64_t) place.row, (unsigned) i);
}

/* ---- launching ---- */

#define LAUNCH(kernel, groups, ...)                                                         \
	BR_LAUNCH(kernel<groups>, blocks_for((size_t) batch.rows *(size_t) batch.heads, WARPS), \
			  THREADS, 0, stream, batch, 1 / sqrtf((float) batch.head_dim), __VA_ARGS__)

/* Components that a lane has, of as few as serve. */
#define LAUNCH_BY_WIDTH(kernel, ...)            \
	do                                          \
	{                                           \
		if (batch.rows == 0)                    \
			break;                              \
		if (batch.head_dim <= BR_WARP)          \
			LAUNCH(kernel, 1, __VA_ARGS__);     \
		else if (batch.head_dim <= 2 * BR_WARP) \
			LAUNCH(kernel, 2, __VA_ARGS__);     \
		else if (batch.head_dim <= 8 * BR_WARP) \
			LAUNCH(kernel, 8, __VA_ARGS__);     \
		else                                    \
			LAUNCH(kernel, 32, __VA_ARGS__);    \
	} while (0)

void
br_cuda_fill_mask(BrStream stream, BrTrainingAttention batch, BrDropout dropout, uint8_t *kept)
{
	if (batch.rows > 0)
		BR_LAUNCH(fill_mask, blocks_for((size_t) batch.rows * (size_t) batch.heads, WARPS), THREADS,
				  0, stream, batch, dropout, kept);
}

void
br_cuda_attend(BrStream stream, BrTrainingAttention batch, const float *qkv, float *logarithms,
			   float *output)
{
	LAUNCH_BY_WIDTH(attend, qkv, logarithms, output);
}

void
br_cuda_attend_slope(BrStream stream, BrTrainingAttention batch, BrAttentionSlopes slopes)
{
	LAUNCH_BY_WIDTH(query_slopes, slopes);
	LAUNCH_BY_WIDTH(key_slopes, slopes);
}
