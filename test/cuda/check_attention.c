/*
 * check_attention.c
 *	  Attention over packed texts against the portable reference and that of the
 *	  device.
 *
 * Weights and outputs are rounded to half, where outputs are at most about 2:
 * 2^-11 for the output, and as much for a sum of rounded weights.
 */
#include <string.h>

#include "core/math/br_math.h"
#include "cuda/checks.h"

#define TOLERANCE 2e-3

typedef struct Shape
{
	int heads;
	int head_dim;
	double spread; /* of queries, keys and values */
} Shape;

static BrAttentionItem *
make_items(const int32_t *offsets, int texts, int heads, int *n)
{
	size_t most = br_cuda_attention_most_items(texts, offsets[texts], heads);
	BrAttentionItem *items = check_memory((most + 1) * sizeof(BrAttentionItem));

	*n = br_cuda_attention_items(offsets, texts, heads, NULL, 0);
	CHECK((size_t) *n <= most);
	CHECK(br_cuda_attention_items(offsets, texts, heads, items, (int) most) == *n);
	return items;
}

static void
check_attention(const int32_t *offsets, int texts, Shape shape, int longest, bool with_relative)
{
	size_t rows = (size_t) offsets[texts];
	size_t n = rows * (size_t) shape.heads * (size_t) shape.head_dim;
	float *qkv = check_rounded(3 * n, shape.spread);
	size_t n_relative = (size_t) shape.heads * (2 * (size_t) longest - 1);
	float *relative = with_relative ? check_floats(n_relative, 2) : NULL;
	float *scratch = check_memory(BR_ATTENTION_SCRATCH(longest) * sizeof(float));
	float *expected = check_room(n);
	float *actual = check_room(n);
	BrHalf *own = check_take(n * sizeof(BrHalf));
	BrHalf *own_qkv = check_upload_halves(qkv, 3 * n);
	float *own_relative = check_upload(relative, n_relative * sizeof(float));
	int n_items;
	BrAttentionItem *items = make_items(offsets, texts, shape.heads, &n_items);
	BrAttentionItem *own_items = check_upload(items, (size_t) n_items * sizeof(BrAttentionItem));
	int middle = shape.heads / 2;

	br_math_portable_backend()->attention(qkv, offsets, texts, shape.heads, shape.head_dim, 0,
										  shape.heads, relative, longest, scratch, expected);
	br_cuda_attention(check_stream, own_qkv, own_items, n_items, shape.heads, shape.head_dim, 0,
					  shape.heads, own_relative, longest, own);
	check_download_halves(actual, own, n);
	check_close("attention", actual, expected, n, TOLERANCE, 0);

	/* by halves of the heads, into memory that is clear */
	check_ok(br_cuda_clear(&check_context, check_stream, own, n * sizeof(BrHalf)));
	br_cuda_attention(check_stream, own_qkv, own_items, n_items, shape.heads, shape.head_dim,
					  middle, shape.heads, own_relative, longest, own);
	br_cuda_attention(check_stream, own_qkv, own_items, n_items, shape.heads, shape.head_dim, 0,
					  middle, own_relative, longest, own);
	memset(actual, 0xff, n * sizeof(float));
	check_download_halves(actual, own, n);
	check_close("attention by halves", actual, expected, n, TOLERANCE, 0);
}

static void
short_texts_match(void)
{
	static const Shape shapes[] = {{4, 32, 1.5},
								   {3, 64, 1.2},
								   {5, 24, 1.5},
								   {2, 1, 2},
								   {1, 130, 1}};

	for (int i = 0; i < LENGTH(shapes); i++)
		for (int length = 1; length <= 70; length += length < 34 ? 3 : 9)
		{
			int32_t offsets[] = {0, length};

			check_attention(offsets, 1, shapes[i], length, false);
			check_attention(offsets, 1, shapes[i], length + 3, true);
		}
}

static void
mixed_texts_match(void)
{
	int32_t offsets[16] = {0};

	for (int i = 1; i < 16; i++)
		offsets[i] = offsets[i - 1] + (i == 4 ? 0 : (i * 29) % 83 + 1);
	check_attention(offsets, 15, (Shape){6, 32, 1.5}, 96, true);
	check_attention(offsets, 15, (Shape){3, 64, 1.2}, 83, false);
	check_attention(offsets, 15, (Shape){3, 24, 1.5}, 83, true);
}

/* As long as the models take, over several rounds of keys, and one more key than they hold. */
static void
long_texts_match(void)
{
	static const int lengths[] = {128, 129, 257, 512};

	for (int i = 0; i < LENGTH(lengths); i++)
	{
		int32_t offsets[] = {0, lengths[i]};

		check_attention(offsets, 1, (Shape){2, 32, 1.5}, lengths[i], i % 2 == 0);
		check_attention(offsets, 1, (Shape){1, 64, 1.2}, lengths[i], i % 2 != 0);
	}
	if (check_on_device)
		check_attention((const int32_t[]){0, 2000, 4096}, 2, (Shape){2, 64, 1.2}, 2096, true);
}

/* Later keys with far greater scores: what was summed before nearly vanishes. */
static void
rising_scores_match(void)
{
	static const int32_t offsets[] = {0, 200};
	size_t n = 200 * 64;
	float *qkv = check_rounded(3 * n, 1);
	float *scratch = check_memory(BR_ATTENTION_SCRATCH(200) * sizeof(float));
	float *expected = check_room(n);
	float *actual = check_room(n);
	BrHalf *own = check_take(n * sizeof(BrHalf));
	int n_items;
	BrAttentionItem *items = make_items(offsets, 1, 2, &n_items);

	for (int token = 0; token < 200; token++)
		for (int i = 0; i < 64; i++)
		{
			qkv[token * 192 + i] = 1;
			qkv[token * 192 + 64 + i] = (float) (token / 8) / 8 - (i % 32 == 0);
		}
	br_math_portable_backend()->attention(qkv, offsets, 1, 2, 32, 0, 2, NULL, 200, scratch,
										  expected);
	br_cuda_attention(check_stream, check_upload_halves(qkv, 3 * n),
					  check_upload(items, (size_t) n_items * sizeof(BrAttentionItem)), n_items, 2,
					  32, 0, 2, NULL, 200, own);
	check_download_halves(actual, own, n);
	check_close("attention", actual, expected, n, TOLERANCE, 0);
}

static void
the_reference_matches(void)
{
	static const int32_t offsets[] = {0, 3, 20, 21};
	static const int head_dims[] = {1, 24, 64};

	for (int i = 0; i < LENGTH(head_dims); i++)
	{
		size_t n = 21 * 2 * (size_t) head_dims[i];
		float *qkv = check_rounded(3 * n, 1);
		float *relative = check_floats(2 * 39, 2);
		float *scratch = check_memory(BR_ATTENTION_SCRATCH(20) * sizeof(float));
		float *expected = check_room(n);
		float *actual = check_room(n);
		BrHalf *own = check_take(n * sizeof(BrHalf));

		br_math_portable_backend()->attention(qkv, offsets, 3, 2, head_dims[i], 0, 2, relative, 20,
											  scratch, expected);
		br_cuda_reference_attention(check_stream, check_upload_halves(qkv, 3 * n),
									check_upload(offsets, sizeof(offsets)), 3, 21, 2, head_dims[i],
									check_upload(relative, 2 * 39 * sizeof(float)), 20, own);
		check_download_halves(actual, own, n);
		check_close("reference", actual, expected, n, 1e-6, 5e-4);
	}
}

/* Every query of every head is in exactly one item, the longest texts first. */
static void
items_cover_all_queries_once(void)
{
	static const int head_counts[] = {1, 2, 3, 4, 5, 12};
	int32_t offsets[] = {0, 0, 5, 21, 22, 60, 60, 124, 189, 700, 733};
	int texts = LENGTH(offsets) - 1;
	int n;

	for (int h = 0; h < LENGTH(head_counts); h++)
	{
		int heads = head_counts[h];
		BrAttentionItem *items = make_items(offsets, texts, heads, &n);
		int *seen = check_memory(733 * (size_t) heads * sizeof(int));

		memset(seen, 0, 733 * (size_t) heads * sizeof(int));
		for (int i = 0; i < n; i++)
		{
			int share = items[i].length <= 16 ? 1 : items[i].length <= 32 ? 2 : 4;

			CHECK(i == 0 || (items[i].length + 15) / 16 <= (items[i - 1].length + 15) / 16);
			for (int head = items[i].head; head < items[i].head + 4 / share && head < heads; head++)
				for (int q = items[i].query; q < items[i].query + 64 && q < items[i].length; q++)
					seen[(items[i].start + q) * heads + head]++;
		}
		for (int i = 0; i < 733 * heads; i++)
			CHECK(seen[i] == 1);
	}
	CHECK(br_cuda_attention_items(offsets, 0, 12, NULL, 0) == 0);
	br_cuda_attention(check_stream, NULL, NULL, 0, 12, 32, 0, 12, NULL, 1, NULL);
	check_ok(br_cuda_wait(&check_context, check_stream));
}

static const Check checks[] = {
	{"items of attention cover all queries once", items_cover_all_queries_once},
	{"attention over short texts matches", short_texts_match},
	{"attention over mixed texts matches", mixed_texts_match},
	{"attention over long texts matches", long_texts_match},
	{"attention with rising scores matches", rising_scores_match},
	{"the reference of attention matches", the_reference_matches},
};

const Checks attention_checks = {checks, LENGTH(checks)};
