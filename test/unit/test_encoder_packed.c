/*
 * test_encoder_packed.c
 *	  Packed weights: what is made, refused and given up.
 *
 * The backend here packs by copying: its products are those of the portable
 * one, bit by bit, and it fails when it is told to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_math.h"
#include "unit/encoder_fixture.h"

/* As the head of packed.c says: sizes of the header and of an entry of its table. */
#define HEADER_SIZE 96
#define ENTRY_SIZE 16

/* Of the next calls, how many the backend below does; below 0: all. */
static int packs_left = -1;
static int products_left = -1;
static bool plans = true;

static bool
spend(int *left)
{
	if (*left == 0)
		return false;
	*left -= *left > 0;
	return true;
}

static bool
copy_packs(BrPrecision precision)
{
	return precision != BR_PRECISION_BF16;
}

/* int8 has room for more, so that layouts differ */
static size_t
copy_size(BrPrecision precision, int in_dim, int out_dim)
{
	size_t floats = (size_t) in_dim * (size_t) (out_dim + 1) * sizeof(float);

	return plans ? (floats + 63) / 64 * 64 + (precision == BR_PRECISION_INT8 ? 64 : 0) : 0;
}

/* The matrix, and behind it the factor or zeros. */
static bool
copy_pack(BrPrecision precision, const float *weight, const float *factor, int in_dim, int out_dim,
		  void *packed)
{
	size_t n = (size_t) in_dim * (size_t) out_dim;

	(void) precision;
	memcpy(packed, weight, n * sizeof(float));
	if (factor != NULL)
		memcpy((float *) packed + n, factor, (size_t) in_dim * sizeof(float));
	return spend(&packs_left);
}

static size_t
copy_scratch(BrPrecision precision, int rows, int in_dim, int out_dim)
{
	(void) precision, (void) rows, (void) in_dim, (void) out_dim;
	return 0;
}

static bool
copy_linear(BrPrecision precision, const float *input, const void *packed, const float *bias,
			int rows, int in_dim, int out_dim, BrActivation activation, void *scratch,
			float *output)
{
	(void) precision, (void) scratch;
	br_math_portable_backend()->linear(input, packed, bias, rows, in_dim, out_dim, activation,
									   output);
	return spend(&products_left);
}

static BrBackend
copying_backend(void)
{
	BrBackend backend = *br_math_portable_backend();

	backend.name = "copying";
	backend.packs = copy_packs;
	backend.packed_size = copy_size;
	backend.pack = copy_pack;
	backend.packed_scratch = copy_scratch;
	backend.linear_packed = copy_linear;
	return backend;
}

typedef struct Block
{
	OpenModel model;
	BrBackend backend;
	size_t size;
	unsigned char *bytes;
	size_t described; /* bytes of header and table */
} Block;

/* dirt: what is in the memory before */
static void
make_block(Block *block, const char *name, BrPrecision precision, int dirt)
{
	void *bytes = NULL;

	model_open_golden(&block->model, name);
	block->backend = copying_backend();
	block->size = br_encoder_packed_size(block->model.encoder, &block->backend, precision);
	assert_true(block->size > 0);
	assert_int_equal(block->size % 64, 0);
	assert_int_equal(posix_memalign(&bytes, 64, block->size + 64), 0);
	memset(bytes, dirt, block->size + 64);
	assert_int_equal(br_encoder_pack(block->model.encoder, &block->model.context, &block->backend,
									 precision, bytes),
					 BR_OK);
	block->bytes = bytes;
	for (int i = 0; i < 64; i++)
		assert_int_equal(block->bytes[block->size + (size_t) i], dirt);
	/* four matrices of a layer */
	block->described =
		HEADER_SIZE + 4 * ENTRY_SIZE * (size_t) br_encoder_info(block->model.encoder)->layers;
}

static void
free_block(Block *block)
{
	free(block->bytes);
	model_close(&block->model);
}

static BrStatus
check(Block *block, BrPrecision precision, size_t size)
{
	return br_encoder_check_packed(block->model.encoder, &block->model.context, &block->backend,
								   precision, block->bytes, size);
}

static void
packed_weights_give_the_same(void **state)
{
	const char *texts[] = {"a bundle of words", "more words", ""};
	const size_t sizes[] = {17, 10, 0};
	float expected[3 * 16];
	float actual[3 * 16];
	Block block;

	(void) state;
	make_block(&block, "tiny-bert-cased-max-dense", BR_PRECISION_F32, 0xA5);
	assert_int_equal(check(&block, BR_PRECISION_F32, block.size), BR_OK);
	assert_int_equal(br_encoder_embed(block.model.encoder, &block.model.context,
									  &(BrCompute){.backend = br_math_portable_backend()}, texts,
									  sizes, 3, false, expected),
					 BR_OK);
	assert_int_equal(br_encoder_embed(block.model.encoder, &block.model.context,
									  &(BrCompute){.backend = &block.backend,
												   .packed = block.bytes},
									  texts, sizes, 3, false, actual),
					 BR_OK);
	assert_memory_equal(actual, expected, sizeof(expected));
	free_block(&block);
}

/* Nothing of the memory it stood in, nor of an address. */
static void
packing_twice_gives_the_same(void **state)
{
	Block first;
	Block second;

	(void) state;
	make_block(&first, "tiny-mpnet-mean", BR_PRECISION_INT8, 0xFF);
	make_block(&second, "tiny-mpnet-mean", BR_PRECISION_INT8, 0x11);
	assert_int_equal(first.size, second.size);
	assert_memory_equal(first.bytes, second.bytes, first.size);
	free_block(&first);
	free_block(&second);
}

/* A backend of plain weights, and a precision that a backend lacks. */
static void
what_is_not_packed_is_refused(void **state)
{
	const BrBackend *portable = br_math_portable_backend();
	Block block;

	(void) state;
	make_block(&block, "tiny-bert-cls", BR_PRECISION_F32, 0);
	for (int i = 0; i < BR_PRECISION_COUNT; i++)
	{
		assert_int_equal(br_encoder_packed_size(block.model.encoder, portable, (BrPrecision) i), 0);
		assert_int_equal(br_encoder_pack(block.model.encoder, &block.model.context, portable,
										 (BrPrecision) i, block.bytes),
						 BR_ERR_ARGUMENT);
	}
	assert_int_equal(br_encoder_packed_size(block.model.encoder, &block.backend, BR_PRECISION_BF16),
					 0);
	assert_int_equal(br_encoder_pack(block.model.encoder, &block.model.context, &block.backend,
									 BR_PRECISION_BF16, block.bytes),
					 BR_ERR_ARGUMENT);

	/* a block that says it is the portable backend's */
	block.backend = *portable;
	memset(block.bytes + 16, 0, 32);
	strcpy((char *) block.bytes + 16, portable->name);
	assert_int_equal(check(&block, BR_PRECISION_F32, block.size), BR_ERR_FORMAT);
	free_block(&block);
}

static const char *
other_set(void)
{
	return "other";
}

static void
foreign_blocks_are_refused(void **state)
{
	Block block;
	Block other;

	(void) state;
	make_block(&block, "tiny-bert-cls", BR_PRECISION_F32, 0);
	assert_int_equal(check(&block, BR_PRECISION_INT8, block.size), BR_ERR_FORMAT);
	assert_int_equal(check(&block, BR_PRECISION_BF16, block.size), BR_ERR_FORMAT);
	block.backend.name = "copying2";
	assert_int_equal(check(&block, BR_PRECISION_F32, block.size), BR_ERR_FORMAT);
	block.backend = copying_backend();
	block.backend.instruction_set = other_set;
	assert_int_equal(check(&block, BR_PRECISION_F32, block.size), BR_ERR_FORMAT);
	assert_non_null(strstr(block.model.context.detail, "\"copying\" on other"));
	block.backend = copying_backend();
	assert_int_equal(check(&block, BR_PRECISION_F32, block.size), BR_OK);

	/* of a model with a dense layer behind the pooling */
	make_block(&other, "tiny-bert-cased-max-dense", BR_PRECISION_F32, 0);
	assert_int_equal(br_encoder_check_packed(block.model.encoder, &block.model.context,
											 &block.backend, BR_PRECISION_F32, other.bytes,
											 other.size),
					 BR_ERR_FORMAT);
	free_block(&other);
	free_block(&block);
}

static void
truncated_blocks_are_refused(void **state)
{
	Block block;

	(void) state;
	make_block(&block, "tiny-bert-cls", BR_PRECISION_F32, 0);
	for (size_t size = 0; size < block.size; size++)
	{
		/* of exactly that many bytes, so that a sanitizer sees a read behind them */
		void *cut = size < block.described + 200 ? malloc(size + (size == 0)) : NULL;

		if (cut != NULL)
		{
			memcpy(cut, block.bytes, size);
			assert_int_equal(br_encoder_check_packed(block.model.encoder, &block.model.context,
													 &block.backend, BR_PRECISION_F32, cut, size),
							 BR_ERR_FORMAT);
			free(cut);
		}
		else
			assert_int_equal(check(&block, BR_PRECISION_F32, size), BR_ERR_FORMAT);

		/* and where the header agrees: its size stands behind magic, numbers and two names */
		if (size < HEADER_SIZE)
			continue;
		memcpy(block.bytes + 80, &(uint64_t){size}, sizeof(uint64_t));
		assert_int_equal(check(&block, BR_PRECISION_F32, size), BR_ERR_FORMAT);
		memcpy(block.bytes + 80, &(uint64_t){block.size}, sizeof(uint64_t));
	}
	assert_int_equal(check(&block, BR_PRECISION_F32, block.size + 64), BR_ERR_FORMAT);
	assert_int_equal(check(&block, BR_PRECISION_F32, block.size), BR_OK);
	free_block(&block);
}

/* Whichever byte of the header or the table is another one. */
static void
damaged_tables_are_refused(void **state)
{
	static const unsigned char flips[] = {0x01, 0x40, 0x80, 0xFF};
	Block block;

	(void) state;
	make_block(&block, "tiny-bert-cased-max-dense", BR_PRECISION_INT8, 0);
	for (size_t i = 0; i < block.described; i++)
		for (size_t j = 0; j < sizeof(flips); j++)
		{
			block.bytes[i] ^= flips[j];
			assert_int_equal(check(&block, BR_PRECISION_INT8, block.size), BR_ERR_FORMAT);
			block.bytes[i] ^= flips[j];
		}
	assert_int_equal(check(&block, BR_PRECISION_INT8, block.size), BR_OK);
	free_block(&block);
}

/* Before each of the two layers' four matrices, and of the dense layer's. */
static void
packing_is_cancelled_at_every_matrix(void **state)
{
	Countdown countdown = {1000, 0};
	Ledger ledger = {.allowed = -1};
	BrContext context;
	Block block;
	int matrices;

	(void) state;
	make_block(&block, "tiny-bert-cased-max-dense", BR_PRECISION_F32, 0);
	ledger_context(&context, &ledger);
	context.cancel = (BrCancel){count_down, &countdown};
	assert_int_equal(br_encoder_pack(block.model.encoder, &context, &block.backend,
									 BR_PRECISION_F32, block.bytes),
					 BR_OK);
	matrices = countdown.made;
	assert_true(matrices >= 9);
	for (int i = 0; i < matrices; i++)
	{
		countdown = (Countdown){i, 0};
		assert_int_equal(br_encoder_pack(block.model.encoder, &context, &block.backend,
										 BR_PRECISION_F32, block.bytes),
						 BR_ERR_CANCELLED);
		assert_int_equal(countdown.made, i + 1);
		assert_int_equal(ledger.outstanding, 0);
	}
	free_block(&block);
}

/* Whoever has no memory: the backend for its plan, a matrix or a product, or the caller. */
static void
no_memory_is_an_error_and_no_leak(void **state)
{
	const char *text = "words";
	const size_t size = 5;
	float embedding[16];
	Ledger ledger = {.allowed = 0};
	BrContext context;
	Block block;

	(void) state;
	make_block(&block, "tiny-bert-cased-max-dense", BR_PRECISION_F32, 0);
	ledger_context(&context, &ledger);
	assert_int_equal(br_encoder_check_packed(block.model.encoder, &context, &block.backend,
											 BR_PRECISION_F32, block.bytes, block.size),
					 BR_ERR_MEMORY);
	assert_int_equal(br_encoder_pack(block.model.encoder, &context, &block.backend,
									 BR_PRECISION_F32, block.bytes),
					 BR_ERR_MEMORY);
	ledger.allowed = -1;
	for (int i = 0; i < 9; i++)
	{
		packs_left = i;
		assert_int_equal(br_encoder_pack(block.model.encoder, &context, &block.backend,
										 BR_PRECISION_F32, block.bytes),
						 BR_ERR_MEMORY);
		assert_int_equal(ledger.outstanding, 0);
	}
	packs_left = -1;
	plans = false;
	assert_int_equal(br_encoder_packed_size(block.model.encoder, &block.backend, BR_PRECISION_F32),
					 0);
	assert_int_equal(br_encoder_pack(block.model.encoder, &context, &block.backend,
									 BR_PRECISION_F32, block.bytes),
					 BR_ERR_MEMORY);
	plans = true;
	assert_int_equal(br_encoder_pack(block.model.encoder, &context, &block.backend,
									 BR_PRECISION_F32, block.bytes),
					 BR_OK);
	for (int i = 0; i < 9; i++)
	{
		products_left = i;
		context.detail[0] = '\0';
		assert_int_equal(br_encoder_embed(block.model.encoder, &context,
										  &(BrCompute){.backend = &block.backend,
													   .packed = block.bytes},
										  &text, &size, 1, false, embedding),
						 BR_ERR_MEMORY);
		assert_true(context.detail[0] != '\0');
		assert_int_equal(ledger.outstanding, 0);
	}
	products_left = -1;
	free_block(&block);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packed_weights_give_the_same),
		cmocka_unit_test(packing_twice_gives_the_same),
		cmocka_unit_test(what_is_not_packed_is_refused),
		cmocka_unit_test(foreign_blocks_are_refused),
		cmocka_unit_test(truncated_blocks_are_refused),
		cmocka_unit_test(damaged_tables_are_refused),
		cmocka_unit_test(packing_is_cancelled_at_every_matrix),
		cmocka_unit_test(no_memory_is_an_error_and_no_leak),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
