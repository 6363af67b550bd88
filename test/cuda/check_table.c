/*
 * check_table.c
 *	  br_backend_table, operation by operation against the portable one.
 */
#include <math.h>
#include <string.h>

#include "core/math/br_math.h"
#include "cuda/checks.h"

extern const BrBackend *br_backend_table(void);

#define ROWS 9
#define DIM 64
#define WIDE 40

static void
the_table_names_itself(void)
{
	const BrBackend *table = br_backend_table();

	CHECK(table != NULL);
	if (table == NULL)
		return;
	CHECK(table->version == BR_BACKEND_VERSION);
	CHECK(strcmp(table->name, "cuda") == 0);
	CHECK(strncmp(table->instruction_set(), "sm_", 3) == 0);
}

static void
dense_layers_match(void)
{
	const BrBackend *tables[] = {br_math_portable_backend(), br_backend_table()};
	float *input = check_rounded(ROWS * DIM, 1);
	float *weight = check_rounded(WIDE * DIM, 0.2);
	float *bias = check_rounded(WIDE, 1);
	float *outputs[2];

	for (int i = 0; i < 2; i++)
	{
		outputs[i] = check_room(ROWS * WIDE);
		tables[i]->linear(input, weight, bias, ROWS, DIM, WIDE, BR_ACTIVATION_GELU_ERF, outputs[i]);
	}
	check_close("linear", outputs[1], outputs[0], ROWS * WIDE, 2.5e-3, 5e-4);
	for (int i = 0; i < 2; i++)
		tables[i]->multiply_transposed(input, weight, ROWS, WIDE, DIM, outputs[i]);
	check_close("multiply_transposed", outputs[1], outputs[0], ROWS * WIDE, 1e-6, 1e-6);
	tables[1]->linear(input, weight, bias, 0, DIM, WIDE, BR_ACTIVATION_NONE, outputs[1]);
}

static void
embeddings_and_norms_match(void)
{
	static const int32_t ids[ROWS] = {0, 7, 3, 3, 2, 1, 6, 5, 4};
	static const int32_t positions[ROWS] = {0, 1, 2, 3, 0, 1, 0, 1, 2};
	const BrBackend *tables[] = {br_math_portable_backend(), br_backend_table()};
	float *word = check_rounded(8 * DIM, 1);
	float *position = check_rounded(4 * DIM, 1);
	float *gain = check_floats(DIM, 1);
	float *outputs[2];

	for (int i = 0; i < 2; i++)
	{
		outputs[i] = check_room(ROWS * DIM);
		tables[i]->embed(ids, positions, word, position, gain, ROWS, DIM, outputs[i]);
	}
	check_close("embed", outputs[1], outputs[0], ROWS * DIM, 1e-3, 1e-3);
	for (int i = 0; i < 2; i++)
		tables[i]->add_layer_norm(word, word, gain, position, 1e-5f, 8, DIM, outputs[i]);
	check_close("add_layer_norm", outputs[1], outputs[0], 8 * DIM, 2e-6, 5e-4);
}

static void
attention_matches(void)
{
	static const int32_t offsets[] = {0, 5, 9};
	const BrBackend *tables[] = {br_math_portable_backend(), br_backend_table()};
	float *qkv = check_rounded(ROWS * DIM * 3, 1.5);
	float *relative = check_floats(2 * 13, 1);
	float scratch[BR_ATTENTION_SCRATCH(7)];
	float *outputs[2];

	for (int i = 0; i < 2; i++)
	{
		outputs[i] = check_room(ROWS * DIM);
		tables[i]->attention(qkv, offsets, 2, 2, 32, 1, 2, relative, 7, scratch, outputs[i]);
		/* of the other head nothing is written */
		for (int row = 0; row < ROWS; row++)
			for (int column = 0; column < 32; column++)
				CHECK(isnan(outputs[i][row * DIM + column]));
		tables[i]->attention(qkv, offsets, 2, 2, 32, 0, 1, relative, 7, scratch, outputs[i]);
	}
	check_close("attention", outputs[1], outputs[0], ROWS * DIM, 2e-3, 0);
}

/* (1 2; 3 4) (5 6; 7 8)' = (17 23; 39 53), halved and added to ten. */
static void
double_products_are_right_by_hand(void)
{
	static const double left[] = {1, 2, -1, 3, 4};
	static const double right[] = {5, 6, 7, 8};
	double output[] = {10, 10, 77, 10, 10};
	static const double expected[] = {18.5, 21.5, 77, 29.5, 36.5};

	br_backend_table()->multiply_transposed_double(left, right, 2, 2, 2, 3, 2, 3, 0.5, 1, output);
	for (int i = 0; i < 5; i++)
		CHECK(output[i] == expected[i]);
}

static const Check checks[] = {
	{"the table of operations names itself", the_table_names_itself},
	{"dense layers of the table match", dense_layers_match},
	{"embeddings and norms of the table match", embeddings_and_norms_match},
	{"attention of the table matches", attention_matches},
	{"double products of the table are right by hand", double_products_are_right_by_hand},
};

const Checks table_checks = {checks, LENGTH(checks)};
