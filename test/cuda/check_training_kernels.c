/*
 * check_training_kernels.c
 *	  The kernels of training, each alone, against its definition.
 *
 * Slopes are held to differences of the forward pass in double, which knows
 * nothing of how a kernel finds them. Sums of whole numbers, which floats hold and
 * so does what products round their factors to, must be exact.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/cuda/training.h"
#include "core/math/br_math.h"
#include "cuda/checks.h"

static float *
whole_numbers(size_t n, int most)
{
	float *values = check_memory((n + 1) * sizeof(float));

	for (size_t i = 0; i < n; i++)
		values[i] = (float) (check_below(2 * most + 1) - most);
	return values;
}

static float *
upload_floats(const float *values, size_t n)
{
	return check_upload(values, n * sizeof(float));
}

static float *
copy_floats(const float *values, size_t n)
{
	return memcpy(check_memory((n + 1) * sizeof(float)), values, n * sizeof(float));
}

/* ---- products ---- */

static void
check_product(BrProducts *products, const int *shape, int way, bool biased, float keep)
{
	int rows = shape[0];
	int columns = shape[1];
	int depth = shape[2];
	bool turned[] = {way % 2 != 0, way / 2 != 0};
	int strides[] = {(turned[0] ? rows : depth) + 4, turned[1] ? depth : columns};
	size_t sizes[] = {(size_t) (turned[0] ? depth : rows) * (size_t) strides[0],
					  (size_t) (turned[1] ? columns : depth) * (size_t) strides[1]};
	size_t n = (size_t) rows * (size_t) columns;
	float *factors[] = {whole_numbers(sizes[0], 30), whole_numbers(sizes[1], 30)};
	float *bias = biased ? whole_numbers((size_t) columns, 99) : NULL;
	float *before = keep != 0 ? whole_numbers(n, 99) : check_room(n);
	float *expected = check_room(n);
	float *actual = check_room(n);
	float *own = upload_floats(before, n);
	BrFactor left = {upload_floats(factors[0], sizes[0]), strides[0], turned[0]};
	BrFactor right = {upload_floats(factors[1], sizes[1]), strides[1], turned[1]};
	float *own_bias = upload_floats(bias, (size_t) columns);

	for (int i = 0; i < rows; i++)
		for (int j = 0; j < columns; j++)
		{
			double sum = keep != 0 ? (double) (keep * before[i * columns + j]) : 0;

			for (int k = 0; k < depth; k++)
				sum += (double) factors[0][turned[0] ? k * strides[0] + i : i * strides[0] + k] *
					(double) factors[1][turned[1] ? j * strides[1] + k : k * strides[1] + j];
			expected[i * columns + j] = (float) (sum + (biased ? (double) bias[j] : 0));
		}
	if (products != NULL)
		check_ok(br_cuda_multiply_best(products, &check_context, check_stream, left, right,
									   own_bias, rows, columns, depth, keep, own));
	else
		br_cuda_multiply_factors(check_stream, left, right, own_bias, rows, columns, depth, keep,
								 own);
	check_download(actual, own, n * sizeof(float));
	for (size_t i = 0; i < n; i++)
		if (actual[i] != expected[i])
			check_failed("%d x %d x %d, way %d, keep %g%s: element %zu is %.9g, not %.9g", rows,
						 columns, depth, way, (double) keep, biased ? ", with bias" : "", i,
						 (double) actual[i], (double) expected[i]);
}

/* All four ways, of sides that fill blocks of 64 and steps of 16 and that do not. */
static void
products_of_factors_match(void)
{
	static const int shapes[][3] = {{1, 1, 1},	  {3, 7, 5},	{64, 64, 16},
									{65, 33, 40}, {128, 72, 8}, {20, 100, 70}};
	BrProducts *products;

	check_ok(br_cuda_open_products(&check_context, BR_PRODUCT_BEST, &products));
	for (int best = 0; best < 2; best++)
		for (int i = 0; i < LENGTH(shapes); i++)
			for (int way = 0; way < 4 && !check_has_failed(); way++)
			{
				check_product(best != 0 ? products : NULL, shapes[i], way, true, 0);
				check_product(best != 0 ? products : NULL, shapes[i], way, false,
							  (float) (way % 3) - 1);
			}
	br_cuda_close_products(products);
}

/* ---- sums over rows ---- */

static void
sums_over_rows_match(void)
{
	static const int rows[] = {1, 63, 64, 65, 300};
	static const int dims[] = {1, 31, 32, 70};

	for (int i = 0; i < LENGTH(rows) * LENGTH(dims) && !check_has_failed(); i++)
	{
		int n = rows[i / LENGTH(dims)];
		int dim = dims[i % LENGTH(dims)];
		size_t size = (size_t) n * (size_t) dim;
		float *values = whole_numbers(size, 50);
		float *normed = whole_numbers(size, 9);
		float *moments = whole_numbers(2 * (size_t) n, 3);
		float *expected[2] = {whole_numbers((size_t) dim, 50), whole_numbers((size_t) dim, 50)};
		float *actual = check_room((size_t) dim);
		float *scratch = check_take(br_cuda_columns_scratch(n, dim) * sizeof(float));
		float *sums[] = {upload_floats(expected[0], (size_t) dim),
						 upload_floats(expected[1], (size_t) dim)};
		float *own = upload_floats(values, size);

		for (int row = 0; row < n; row++)
			for (int j = 0; j < dim; j++)
			{
				float z = (normed[row * dim + j] - moments[2 * row]) * moments[2 * row + 1];

				expected[0][j] += values[row * dim + j] * z;
				expected[1][j] += 2 * values[row * dim + j];
			}
		br_cuda_add_norm_columns(check_stream, upload_floats(normed, size),
								 upload_floats(moments, 2 * (size_t) n), own, n, dim, scratch,
								 sums[0], sums[1]);
		br_cuda_add_columns(check_stream, own, n, dim, scratch, sums[1]);
		for (int j = 0; j < 2; j++)
		{
			check_download(actual, sums[j], (size_t) dim * sizeof(float));
			check_close("sums", actual, expected[j], (size_t) dim, 0, 0);
		}
	}
}

/* ---- dropout ---- */

/* What core draws for the same key and stream, in its order. */
static void
dropout_draws_what_core_draws(void)
{
	static const int dims[] = {1, 7, 8, 9, 100};

	for (int i = 0; i < LENGTH(dims); i++)
	{
		int dim = dims[i];
		size_t n = 5 * (size_t) dim;
		BrDropout dropout = {UINT64_C(0x123456789abcdef1), UINT64_C(7) << 32 | 0xffffffff, 20000};
		float *values = check_floats(n, 1);
		float *actual = check_room(n);
		float *own = upload_floats(values, n);
		int dropped = 0;

		br_cuda_drop_rows(check_stream, dropout, own, 5, dim, own);
		check_download(actual, own, n * sizeof(float));
		for (int row = 0; row < 5; row++)
		{
			BrRandom random;
			uint32_t bits = 0;

			br_base_random_init(&random, dropout.key, dropout.stream + (uint64_t) row);
			for (int j = 0; j < dim; j++)
			{
				bits = j % 2 == 0 ? br_base_random_u32(&random) : bits >> 16;
				dropped += (bits & 65535) < dropout.share;
				CHECK(actual[row * dim + j] ==
					  ((bits & 65535) < dropout.share
						   ? 0
						   : values[row * dim + j] * (65536.0f / 45536.0f)));
			}
		}
		CHECK(dim < 100 || (dropped > 100 && dropped < 210));
	}
}

/* ---- attention ---- */

#define LONGEST 40
#define BUCKETS 5

/* Attention over a few texts, with what stands on the device. */
typedef struct Attention
{
	BrTrainingAttention batch;
	const int32_t *offsets;
	int texts;
	int dim;
	const int32_t *bucket;
	double *qkv;		 /* (rows, 3 * dim) */
	double *table;		 /* (BUCKETS, heads); NULL: there is none */
	double *kept;		 /* (rows, heads, LONGEST): factors of keys */
	float *output_slope; /* (rows, dim) */
} Attention;

/* The sum of outputs times their slopes, over the text of a row. */
static double
weigh_text(const Attention *all, int text)
{
	int first = all->offsets[text];
	int n = all->offsets[text + 1] - first;
	int heads = all->batch.heads;
	int size = all->batch.head_dim;
	double weights[LONGEST];
	double sum = 0;

	for (int query = 0; query < n; query++)
		for (int head = 0; head < heads; head++)
		{
			const double *q = all->qkv + (first + query) * 3 * all->dim + head * size;
			const float *outer = all->output_slope + (first + query) * all->dim + head * size;
			double total = 0;
			double row = 0;

			for (int key = 0; key < n; key++)
			{
				const double *k = all->qkv + (first + key) * 3 * all->dim + all->dim + head * size;
				double towards = 0;
				double score = 0;

				for (int i = 0; i < size; i++)
				{
					score += q[i] * k[i] / sqrt(size);
					towards += (double) outer[i] * k[all->dim + i];
				}
				if (all->table != NULL)
					score += all->table[all->bucket[key - query + LONGEST - 1] * heads + head];
				weights[key] = exp(score);
				total += weights[key];
				row += weights[key] * towards *
					all->kept[((first + query) * heads + head) * LONGEST + key];
			}
			sum += row / total;
		}
	return sum;
}

/* The derivative of that with respect to a number that is among its inputs. */
static double
difference(const Attention *all, int text, double *number)
{
	const double step = 1e-5;
	double before = *number;
	double up;
	double down;

	*number = before + step;
	up = weigh_text(all, text);
	*number = before - step;
	down = weigh_text(all, text);
	*number = before;
	return (up - down) / (2 * step);
}

/* The factors that core's random numbers make for the stream of the first head. */
static void
fill_kept(Attention *all, BrDropout dropout)
{
	int heads = all->batch.heads;
	double scale = 65536.0 / (65536.0 - dropout.share);

	for (int row = 0; row < all->batch.rows; row++)
		for (int head = 0; head < heads; head++)
		{
			BrRandom random;
			uint32_t bits = 0;

			br_base_random_init(&random, dropout.key,
								dropout.stream + ((uint64_t) head << 32) + (uint64_t) row);
			for (int key = 0; key < LONGEST; key++)
			{
				bits = key % 2 == 0 ? br_base_random_u32(&random) : bits >> 16;
				all->kept[(row * heads + head) * LONGEST + key] = dropout.share == 0 ? 1
					: (bits & 65535) < dropout.share								 ? 0
																					 : scale;
			}
		}
}

/* On the device: where each row's text is, and where its bits begin. */
static void
place_batch(Attention *all, BrDropout dropout)
{
	BrTrainingAttention *batch = &all->batch;
	int32_t *text = check_memory((size_t) batch->rows * sizeof(int32_t));
	uint64_t *masks = check_memory((size_t) all->texts * sizeof(uint64_t));
	uint8_t *kept;
	uint64_t bytes = 0;

	for (int i = 0; i < all->texts; i++)
	{
		for (int row = all->offsets[i]; row < all->offsets[i + 1]; row++)
			text[row] = i;
		masks[i] = bytes;
		bytes += br_cuda_mask_bytes(batch->heads, all->offsets[i + 1] - all->offsets[i]);
	}
	kept = check_take(bytes);
	batch->offsets = check_upload(all->offsets, ((size_t) all->texts + 1) * sizeof(int32_t));
	batch->text = check_upload(text, (size_t) batch->rows * sizeof(int32_t));
	batch->masks = check_upload(masks, (size_t) all->texts * sizeof(uint64_t));
	batch->kept = dropout.share > 0 ? kept : NULL;
	batch->kept_scale = (float) (65536.0 / (65536.0 - dropout.share));
	if (dropout.share > 0)
		br_cuda_fill_mask(check_stream, *batch, dropout, kept);
}

static double *
widened(const float *values, size_t n)
{
	double *wide = check_memory((n + 1) * sizeof(double));

	for (size_t i = 0; i < n; i++)
		wide[i] = (double) values[i];
	return wide;
}

/* So many components, and all of the table, against differences. */
static void
check_slopes(Attention *all, const float *slope, const float *table_slopes)
{
	int heads = all->batch.heads;

	for (int i = 0; i < 60; i++)
	{
		int text = check_below(all->texts);
		int row = all->offsets[text] + check_below(all->offsets[text + 1] - all->offsets[text]);
		int at = row * 3 * all->dim + check_below(3 * all->dim);
		double expected = difference(all, text, &all->qkv[at]);

		if (!(fabs((double) slope[at] - expected) <= 2e-5 + 2e-5 * fabs(expected)))
			check_failed("heads of %d: the slope of number %d of row %d is %.7g, not %.7g",
						 all->batch.head_dim, at - row * 3 * all->dim, row, (double) slope[at],
						 expected);
	}
	for (int i = 0; all->table != NULL && i < BUCKETS * heads; i++)
	{
		double expected = 0;
		double actual = 0;

		for (int text = 0; text < all->texts; text++)
			expected += difference(all, text, &all->table[i]);
		for (int row = 0; row < all->batch.rows; row++)
			actual += (double) table_slopes[row * BUCKETS * heads + i];
		if (!(fabs(actual - expected) <= 1e-4 + 1e-4 * fabs(expected)))
			check_failed("heads of %d: the slope of number %d of the table is %.7g, not %.7g",
						 all->batch.head_dim, i, actual, expected);
	}
}

static void
check_attention(int heads, int head_dim, bool with_table, uint32_t share)
{
	static const int32_t offsets[] = {0, 1, 10, 12, 12 + LONGEST, 17 + LONGEST};
	BrDropout dropout = {99, UINT64_C(3) << 40, share};
	Attention all = {.offsets = offsets, .texts = LENGTH(offsets) - 1, .dim = heads * head_dim};
	int rows = offsets[LENGTH(offsets) - 1];
	size_t n = (size_t) rows * (size_t) all.dim;
	size_t n_table = (size_t) BUCKETS * (size_t) heads;
	float *qkv = check_floats(3 * n, 1.5 / pow(head_dim, 0.25));
	float *table = with_table ? check_floats(n_table, 1) : NULL;
	int32_t *bucket = check_memory((2 * LONGEST - 1) * sizeof(int32_t));
	float *slope = check_room(3 * n);
	float *output = check_room(n);
	float *table_slopes = check_room((size_t) rows * n_table);
	BrAttentionSlopes slopes;

	for (int i = 0; i < 2 * LONGEST - 1; i++)
		bucket[i] = check_below(BUCKETS);
	all.output_slope = check_floats(n, 1);
	all.qkv = widened(qkv, 3 * n);
	all.table = with_table ? widened(table, n_table) : NULL;
	all.bucket = bucket;
	all.kept = check_memory((size_t) rows * (size_t) heads * LONGEST * sizeof(double));
	all.batch = (BrTrainingAttention){
		.rows = rows,
		.heads = heads,
		.head_dim = head_dim,
		.table = upload_floats(table, n_table),
		.bucket = check_upload(bucket, (2 * LONGEST - 1) * sizeof(int32_t)),
		.buckets = BUCKETS,
		.longest = LONGEST,
	};
	fill_kept(&all, dropout);
	place_batch(&all, dropout);
	slopes = (BrAttentionSlopes){
		.qkv = upload_floats(qkv, 3 * n),
		.logarithms = check_take((size_t) rows * (size_t) heads * sizeof(float)),
		.output = check_take(n * sizeof(float)),
		.output_slope = upload_floats(all.output_slope, n),
		.along = check_take((size_t) rows * (size_t) heads * sizeof(float)),
		.table_slopes = check_take((size_t) rows * n_table * sizeof(float)),
		.slope = check_take(3 * n * sizeof(float)),
	};
	br_cuda_attend(check_stream, all.batch, slopes.qkv, (float *) slopes.logarithms,
				   (float *) slopes.output);
	br_cuda_attend_slope(check_stream, all.batch, slopes);
	check_download(output, slopes.output, n * sizeof(float));
	check_download(slope, slopes.slope, 3 * n * sizeof(float));
	check_download(table_slopes, slopes.table_slopes, (size_t) rows * n_table * sizeof(float));
	for (int text = 0; text < all.texts; text++)
	{
		double expected = weigh_text(&all, text);
		double actual = 0;

		for (int i = offsets[text] * all.dim; i < offsets[text + 1] * all.dim; i++)
			actual += (double) output[i] * (double) all.output_slope[i];
		if (!(fabs(actual - expected) <= 1e-4))
			check_failed("heads of %d: the outputs of text %d weigh %.7g, not %.7g", head_dim, text,
						 actual, expected);
	}
	check_slopes(&all, slope, table_slopes);
}

/* Of all numbers of components that a lane has: 1, 2, 8, 32. */
static void
slopes_of_attention_match_differences(void)
{
	static const int shapes[][2] = {{3, 1}, {2, 12}, {1, 32}, {2, 40}, {1, 64}, {2, 100}, {1, 300}};

	for (int i = 0; i < LENGTH(shapes) && !check_has_failed(); i++)
	{
		check_attention(shapes[i][0], shapes[i][1], i % 2 == 0, i % 3 == 0 ? 0 : 20000);
		check_attention(shapes[i][0], shapes[i][1], i % 2 != 0, i % 3 == 1 ? 0 : 9000);
	}
}

/* ---- pooling, norms of length 1, activations ---- */

/* By what token i of n is multiplied in the embedding, of a column. */
static double
pooling_weight(BrPooling pooling, const float *column, int dim, int i, int n)
{
	switch (pooling)
	{
		case BR_POOLING_CLS:
			return i == 0;
		case BR_POOLING_LAST:
			return i == n - 1;
		case BR_POOLING_MEAN:
			return 1.0 / n;
		case BR_POOLING_MEAN_SQRT_LENGTH:
			return 1 / sqrt(n);
		case BR_POOLING_WEIGHTED_MEAN:
			return (i + 1.0) / (n * (n + 1.0) / 2);
		case BR_POOLING_MAX:
			break;
	}
	for (int j = 0; j < n; j++)
		if (column[j * dim] > column[i * dim] || (column[j * dim] == column[i * dim] && j < i))
			return 0;
	return 1;
}

/* Whole numbers, of which the largest is there more than once. */
static void
pooling_goes_both_ways(void)
{
	static const int32_t offsets[] = {0, 1, 9, 40};
	const int texts = LENGTH(offsets) - 1;
	const int dim = 133;
	size_t n = (size_t) offsets[texts] * (size_t) dim;
	float *tokens = whole_numbers(n, 4);
	float *slopes = whole_numbers((size_t) (texts * dim), 9);
	float *own = upload_floats(tokens, n);
	const int32_t *own_offsets = check_upload(offsets, sizeof(offsets));

	for (int pooling = 0; pooling <= BR_POOLING_LAST; pooling++)
	{
		float *expected[] = {check_room((size_t) (texts * dim)), check_room(n)};
		float *actual = check_room(n);
		float *pooled = check_take((size_t) (texts * dim) * sizeof(float));
		float *lowered = check_take(n * sizeof(float));

		for (int i = 0; i < texts * dim; i++)
		{
			int first = offsets[i / dim];
			int length = offsets[i / dim + 1] - first;
			const float *column = tokens + first * dim + i % dim;
			double sum = 0;

			for (int j = 0; j < length; j++)
			{
				double weight = pooling_weight((BrPooling) pooling, column, dim, j, length);

				sum += weight * (double) column[j * dim];
				expected[1][(first + j) * dim + i % dim] = (float) (weight * (double) slopes[i]);
			}
			expected[0][i] = (float) sum;
		}
		br_cuda_pool_rows(check_stream, (BrPooling) pooling, own, own_offsets, texts, dim, pooled);
		check_download(actual, pooled, (size_t) (texts * dim) * sizeof(float));
		check_close("pooled", actual, expected[0], (size_t) (texts * dim), 1e-5, 1e-6);
		br_cuda_pool_slope(check_stream, (BrPooling) pooling, own, own_offsets,
						   upload_floats(slopes, (size_t) (texts * dim)), texts, dim, lowered);
		check_download(actual, lowered, n * sizeof(float));
		check_close("slopes of pooling", actual, expected[1], n, 0, 1e-6);
	}
}

/* <output, slope> of a row of length 1, with one number moved. */
static double
along_slope(const float *row, const float *slope, int dim, int moved, double by)
{
	double squares = 0;
	double product = 0;

	for (int i = 0; i < dim; i++)
	{
		double value = (double) row[i] + (i == moved ? by : 0);

		squares += value * value;
		product += value * (double) slope[i];
	}
	return product / fmax(sqrt(squares), 1e-12);
}

static void
lengths_of_one_go_both_ways(void)
{
	const int n = 6;
	const int dim = 50;
	size_t size = (size_t) n * (size_t) dim;
	float *rows = check_floats(size, 1);
	float *slopes = check_floats(size, 1);
	float *expected = check_room(size);
	float *actual = check_room(size);
	float *own = check_take(size * sizeof(float));
	const float *input;

	/* shorter than what a length is taken for, where the slope is only scaled */
	for (int i = 0; i < dim; i++)
	{
		rows[i] = 0;
		slopes[i] *= 1e-12f;
	}
	input = upload_floats(rows, size);
	br_cuda_normalize_rows(check_stream, input, n, dim, own);
	check_download(actual, own, size * sizeof(float));
	for (int i = 0; i < n * dim; i++)
	{
		float unit[50] = {0};

		unit[i % dim] = 1;
		expected[i] = (float) along_slope(rows + i / dim * dim, unit, dim, -1, 0);
	}
	check_close("rows of length 1", actual, expected, size, 1e-7, 1e-6);
	br_cuda_normalize_slope(check_stream, input, upload_floats(slopes, size), n, dim, own);
	check_download(actual, own, size * sizeof(float));
	for (int i = 0; i < n * dim; i++)
	{
		const float *row = rows + i / dim * dim;
		double step = i < dim ? 1e-14 : 1e-5;

		expected[i] = (float) ((along_slope(row, slopes + i / dim * dim, dim, i % dim, step) -
								along_slope(row, slopes + i / dim * dim, dim, i % dim, -step)) /
							   (2 * step));
	}
	check_close("slopes of rows of length 1", actual, expected, size, 1e-6, 1e-5);
}

/* Against core's own, which are held to PyTorch's. */
static void
slopes_of_activations_match(void)
{
	const int n = 3000;
	float *values = check_memory((size_t) n * sizeof(float));
	float *slopes = check_floats((size_t) n, 1);

	for (int i = 0; i < n; i++)
		values[i] = (float) (i - n / 2) / 150;
	for (int activation = 0; activation <= BR_ACTIVATION_RELU; activation++)
	{
		float *expected = copy_floats(values, (size_t) n);
		float *actual = check_room((size_t) n);
		float *inner = upload_floats(values, (size_t) n);
		float *own = upload_floats(slopes, (size_t) n);
		float *active = check_take((size_t) n * sizeof(float));

		br_math_portable_backend()->activate(expected, (size_t) n, (BrActivation) activation);
		br_cuda_activate_into(check_stream, inner, (size_t) n, (BrActivation) activation, active);
		check_download(actual, active, (size_t) n * sizeof(float));
		check_close("activations", actual, expected, (size_t) n, 3e-6, 1e-6);
		expected = copy_floats(slopes, (size_t) n);
		br_math_portable_backend()->activate_slope(values, (size_t) n, (BrActivation) activation,
												   expected);
		br_cuda_activation_slope(check_stream, inner, (size_t) n, (BrActivation) activation, own);
		check_download(actual, own, (size_t) n * sizeof(float));
		check_close("slopes of activations", actual, expected, (size_t) n, 2e-6, 2e-6);
	}
}

static const Check checks[] = {
	{"products of factors either way are exact", products_of_factors_match},
	{"sums over rows are exact", sums_over_rows_match},
	{"dropout draws what core draws", dropout_draws_what_core_draws},
	{"slopes of attention match differences", slopes_of_attention_match_differences},
	{"pooling goes both ways", pooling_goes_both_ways},
	{"lengths of one go both ways", lengths_of_one_go_both_ways},
	{"slopes of activations match core's", slopes_of_activations_match},
};

const Checks training_kernel_checks = {checks, LENGTH(checks)};
