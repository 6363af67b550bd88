/*
 * learn_shop.h
 *	  Items for the tests of complements: seven known by heart, and a shop of
 *	  phones and cases.
 */
#ifndef LEARN_SHOP_H
#define LEARN_SHOP_H

#include <math.h>
#include <string.h>

#include "core/learn/br_learn.h"
#include "core/math/br_math.h"

enum
{
	FEW = 7,
	FEW_DIMS = 5,
	FEW_RANK = 3
};

static float few_embeddings[FEW * FEW_DIMS];
static const int32_t few_category[FEW] = {0, 1, -1, 0, 1, 1, 0};
static const BrComplementItems few = {FEW, FEW_DIMS, few_embeddings, few_category, 2};

static inline void
set_few(void)
{
	for (int i = 0; i < FEW * FEW_DIMS; i++)
		few_embeddings[i] = (float) sin(1.3 * i + 0.5);
}

/* Phones and cases of eight makes; a make is half of what a text says, its kind a third. */
enum
{
	MAKES = 8,
	OF_A_KIND = 6,
	ITEMS = MAKES * OF_A_KIND * 2, /* phones first */
	DIMS = 24,
	PAIRS = MAKES * OF_A_KIND * 3
};

typedef struct Shop
{
	float embeddings[ITEMS * DIMS];
	int32_t category[ITEMS];
	BrComplementPair pairs[PAIRS];
	BrComplementItems items;
	int64_t alike_starts[ITEMS + 1];
	int32_t alike_ids[ITEMS * (OF_A_KIND - 1)];
	BrLists alike; /* the others of the make and kind */
} Shop;

static inline int
phone(int make, int number)
{
	return make * OF_A_KIND + number;
}

static inline int
phone_case(int make, int number)
{
	return ITEMS / 2 + make * OF_A_KIND + number;
}

static inline void
draw_vector(BrRandom *random, double scale, float *vector)
{
	for (int d = 0; d < DIMS; d++)
		vector[d] += (float) (scale * br_math_normal(random));
}

static inline void
be_alike(Shop *shop)
{
	for (int item = 0; item < ITEMS; item++)
	{
		int64_t next = shop->alike_starts[item];

		for (int k = 0; k < OF_A_KIND; k++)
			if (item / OF_A_KIND * OF_A_KIND + k != item)
				shop->alike_ids[next++] = item / OF_A_KIND * OF_A_KIND + k;
		shop->alike_starts[item + 1] = next;
	}
	shop->alike = (BrLists){ITEMS, shop->alike_starts, shop->alike_ids, NULL};
}

/* Three of the six cases of its make are bought after each phone. */
static inline void
open_shop(Shop *shop)
{
	int n = 0;

	memset(shop, 0, sizeof(*shop));
	for (int item = 0; item < ITEMS; item++)
	{
		float *row = shop->embeddings + item * DIMS;
		double squared = 0;
		BrRandom random;

		br_base_random_init(&random, 1, (uint64_t) (item / OF_A_KIND % MAKES));
		draw_vector(&random, 1, row);
		br_base_random_init(&random, 2, (uint64_t) (item >= ITEMS / 2));
		draw_vector(&random, 0.8, row);
		br_base_random_init(&random, 3, (uint64_t) item);
		draw_vector(&random, 0.5, row);
		for (int d = 0; d < DIMS; d++)
			squared += (double) row[d] * (double) row[d];
		for (int d = 0; d < DIMS; d++)
			row[d] /= (float) sqrt(squared);
		shop->category[item] = item >= ITEMS / 2;
	}
	for (int make = 0; make < MAKES; make++)
		for (int i = 0; i < OF_A_KIND; i++)
			for (int k = 0; k < 3; k++)
				shop->pairs[n++] = (BrComplementPair){phone(make, i),
													  phone_case(make, (i + 2 * k) % OF_A_KIND), 1};
	shop->items = (BrComplementItems){ITEMS, DIMS, shop->embeddings, NULL, 2};
	be_alike(shop);
}

static inline BrComplementOptions
shop_options(void)
{
	BrComplementOptions options;

	br_learn_complement_defaults(&options);
	options.rank = 16;
	options.temperature = 0.1;
	options.penalty = 1;
	options.learning_rate = 0.003;
	options.batch = 48;
	options.epochs = 60;
	options.hard = 0;
	options.seed = 4;
	return options;
}

#endif /* LEARN_SHOP_H */
