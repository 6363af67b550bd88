/*
 * test_train_adalora.c
 *	  Additions that share out their rank, compiled in double: their gradient
 *	  beside differences of the loss, which triplets they give up beside the
 *	  paper's formulas written out plainly, and what a checkpoint restores.
 */
#include "unit/train_double.h"

#include "unit/adapted_fixture.h"

#define RANK 4
#define MATRICES 12 /* 2 layers of 6 */
#define TRIPLETS (MATRICES * RANK)

static const BrTrainAdaloraOptions usual = {.rank = RANK,
											.target_rank = 1.5,
											.alpha = 6,
											.matrices = BR_TRAIN_LORA_ALL,
											.orthogonality = 0.1,
											.beta1 = 0.85,
											.beta2 = 0.8,
											.steps = 40,
											.warm_up = 5,
											.final = 10,
											.interval = 3,
											.seed = 5};
static const BrTrainRecipe recipe = {.rate = 0.02,
									 .steps = 40,
									 .beta1 = 0.9,
									 .beta2 = 0.999,
									 .epsilon = 1e-8};

/* Adapted, and what makes its steps. */
typedef struct Shared
{
	Adapted adapted;
	BrTrainAdalora *adalora;
	BrTrainSet set;
	BrTrainOptimiser *optimiser;
} Shared;

static void
shared_open(Shared *shared, const BrTrainAdaloraOptions *adalora)
{
	const AdditionOptions options = {.kind = ADALORA, .adalora = *adalora};
	Adapted *adapted = &shared->adapted;

	adapted_open(adapted, "tiny-bert-cls", &options, (BrTrainOptions){.seed = 0});
	shared->adalora = adapted->addition.adalora;
	shared->set = adapted->set;
	assert_int_equal(br_train_optimiser_create(&adapted->trained.open.context, &shared->set,
											   &recipe, NULL, &shared->optimiser),
					 BR_OK);
}

static void
shared_close(Shared *shared)
{
	br_train_optimiser_destroy(shared->optimiser);
	adapted_close(&shared->adapted);
}

static void
step_of(Shared *shared)
{
	double length;

	adapted_loss(&shared->adapted);
	br_train_adalora_pull(shared->adalora);
	assert_int_equal(br_train_update(shared->optimiser, &length), BR_OK);
	br_train_adalora_push(shared->adalora);
}

/* |F F' - 1|^2 of the vectors of every P and Q. */
static double
orthogonality_of(const BrTrainSet *set)
{
	double sum = 0;

	for (int t = 0; t < 3 * MATRICES; t++)
	{
		const BrTrainTensor *tensor = &set->tensors[t];
		bool rows = strstr(tensor->name, "adalora_Q") != NULL;
		const double *values = set->parameters + tensor->offset;

		for (int a = 0; a < RANK && tensor->columns > 0; a++)
			for (int b = 0; b < RANK; b++)
			{
				double product = a == b ? -1 : 0;

				for (int i = 0; i < (rows ? tensor->columns : tensor->rows); i++)
					product += rows
						? values[a * tensor->columns + i] * values[b * tensor->columns + i]
						: values[i * RANK + a] * values[i * RANK + b];
				sum += product * product;
			}
	}
	return sum;
}

static double
whole_loss(void *arg)
{
	Shared *shared = arg;

	return adapted_loss(&shared->adapted) + usual.orthogonality * orthogonality_of(&shared->set);
}

static void
gradients_are_differences(void **state)
{
	Shared shared;
	const Differences differences = {whole_loss, &shared, 1e-5, 1e-7, 1e-5};

	(void) state;
	shared_open(&shared, &usual);
	adapted_move(&shared.adapted, 0.1);
	adapted_loss(&shared.adapted);
	br_train_adalora_pull(shared.adalora);
	/* as if nothing had been pulled, so that no triplet is given up */
	*br_train_adalora_state(shared.adalora).steps = 0;
	assert_true(expect_set_gradient(&differences, &shared.set, 5) > 500);
	shared_close(&shared);
}

/*
 * 12 matrices of rank 4 to 18 triplets; after the warm-up, 5 steps, 25 remain
 * before the last 10: after 10 of them 18 + 30 * (15/25)^3 = 24.48.
 */
static void
budget_is_the_papers(void **state)
{
	BrTrainAdaloraOptions small = usual;
	int before = TRIPLETS;

	(void) state;
	assert_int_equal(br_train_adalora_budget(&usual, MATRICES, 1), 48);
	assert_int_equal(br_train_adalora_budget(&usual, MATRICES, 5), 48);
	assert_int_equal(br_train_adalora_budget(&usual, MATRICES, 15), 24);
	assert_int_equal(br_train_adalora_budget(&usual, MATRICES, 30), 18);
	assert_int_equal(br_train_adalora_budget(&usual, MATRICES, 1000), 18);
	for (int64_t step = 1; step <= 40; step++)
	{
		int budget = br_train_adalora_budget(&usual, MATRICES, step);

		assert_true(budget <= before && budget >= 18);
		before = budget;
	}
	small.target_rank = 0.01;
	assert_int_equal(br_train_adalora_budget(&small, MATRICES, 40), 1);
}

/* ---- importance, written out ---- */

/* Of every number of the set that is of a triplet. */
typedef struct Importance
{
	double *mean;
	double *spread;
} Importance;

static void
follow_importance(const BrTrainSet *set, size_t n, Importance *importance)
{
	for (size_t i = 0; i < n; i++)
	{
		double now = fabs(set->parameters[i] * set->gradient[i]);

		importance->mean[i] = 0.85 * importance->mean[i] + 0.15 * now;
		importance->spread[i] = 0.8 * importance->spread[i] + 0.2 * fabs(now - importance->mean[i]);
	}
}

static double
score_of(const BrTrainSet *set, const Importance *importance, int matrix, int r)
{
	double score = 0;

	for (int part = 0; part < 3; part++)
	{
		const BrTrainTensor *tensor = &set->tensors[3 * matrix + part];
		int n = part == 1 ? 1 : part == 0 ? tensor->columns : tensor->rows;

		for (int i = 0; i < n; i++)
		{
			size_t at = tensor->offset +
				(size_t) (part == 0		  ? r * tensor->columns + i
							  : part == 1 ? r
										  : i * RANK + r);

			score += importance->mean[at] * importance->spread[at] / n;
		}
	}
	return score;
}

/* How many triplets of all matrices are more important. */
static int
place_of(const double scores[TRIPLETS], int triplet)
{
	int n = 0;

	for (int i = 0; i < TRIPLETS; i++)
		n += scores[i] > scores[triplet];
	return n;
}

static double
singular_of(const BrTrainSet *set, int triplet)
{
	const BrTrainTensor *tensor = &set->tensors[3 * (triplet / RANK) + 1];

	assert_non_null(strstr(tensor->name, "adalora_lambda"));
	return set->parameters[tensor->offset + (size_t) (triplet % RANK)];
}

/* After every third step, and every one of the last ten, the least important numbers are 0. */
static void
least_important_are_given_up(void **state)
{
	Importance importance;
	Shared shared;
	size_t n;
	int chosen = 0;
	int uneven = 0;

	(void) state;
	shared_open(&shared, &usual);
	n = shared.set.tensors[3 * MATRICES].offset;
	importance.mean = calloc(n, sizeof(double));
	importance.spread = calloc(n, sizeof(double));
	for (int64_t step = 1; step <= 40; step++)
	{
		double scores[TRIPLETS];
		double length;
		bool due = step > 5 && (step % 3 == 0 || step >= 30);
		int budget = br_train_adalora_budget(&usual, MATRICES, step);
		int zeros = 0;
		int n_ranks;
		int total = 0;
		const BrTrainMatrixRank *ranks;

		adapted_loss(&shared.adapted);
		br_train_adalora_pull(shared.adalora);
		if (step <= 30)
			follow_importance(&shared.set, n, &importance);
		assert_int_equal(br_train_update(shared.optimiser, &length), BR_OK);
		br_train_adalora_push(shared.adalora);
		for (int i = 0; i < TRIPLETS; i++)
			scores[i] = score_of(&shared.set, &importance, i / RANK, i % RANK);
		for (int i = 0; due && i < TRIPLETS; i++)
		{
			bool zero = singular_of(&shared.set, i) == 0;

			assert_true(zero == (place_of(scores, i) >= budget));
			zeros += zero;
		}
		if (!due)
			continue;
		assert_int_equal(zeros, TRIPLETS - budget);
		ranks = br_train_adalora_ranks(shared.adalora, &n_ranks);
		assert_int_equal(n_ranks, MATRICES);
		for (int i = 0; i < MATRICES; i++)
		{
			total += ranks[i].rank;
			uneven += ranks[i].rank != ranks[0].rank;
		}
		assert_int_equal(total, budget);
		chosen++;
	}
	/* 6, 9, ... 27, and 30 to 40 */
	assert_int_equal(chosen, 8 + 11);
	assert_true(uneven > 0);
	free(importance.mean);
	free(importance.spread);
	shared_close(&shared);
}

/* ---- a problem whose answer is known ---- */

/*
 * The slope of half the squared distance between a matrix's addition and a
 * diagonal of the first so many numbers, which a low-rank addition would be given.
 */
static void
add_distance_slope(Shared *shared, int matrix, int wanted)
{
	BrTrainLora *lora = shared->adalora->lora;
	const LoraTarget *target = &lora->targets[matrix];
	const double *down = lora->delta.set.parameters + target->down;
	const double *up = lora->delta.set.parameters + target->up;
	double *slopes = lora->delta.slopes;

	for (int o = 0; o < target->outputs; o++)
		for (int i = 0; i < target->inputs; i++)
		{
			double rest = o == i && o < wanted ? -3 : 0;

			for (int r = 0; r < RANK; r++)
				rest += lora->scale * up[o * RANK + r] * down[r * target->inputs + i];
			for (int r = 0; r < RANK; r++)
			{
				slopes[target->up + (size_t) (o * RANK + r)] +=
					lora->scale * rest * down[r * target->inputs + i];
				slopes[target->down + (size_t) (r * target->inputs + i)] +=
					lora->scale * rest * up[o * RANK + r];
			}
		}
}

/* One matrix needs rank 4 and one rank 2, all others none: 6 triplets of 48 go there. */
static void
ranks_go_where_they_are_needed(void **state)
{
	BrTrainAdaloraOptions options = usual;
	BrTrainRecipe fast = recipe;
	const BrTrainMatrixRank *ranks;
	BrTrainOptimiser *optimiser;
	Shared shared;
	double length;
	int n;

	(void) state;
	options.steps = 300;
	options.warm_up = 60;
	options.final = 60;
	options.target_rank = 0.5;
	fast.steps = 300;
	shared_open(&shared, &options);
	assert_int_equal(br_train_optimiser_create(&shared.adapted.trained.open.context, &shared.set,
											   &fast, NULL, &optimiser),
					 BR_OK);
	for (int step = 0; step < 300; step++)
	{
		for (int matrix = 0; matrix < MATRICES; matrix++)
			add_distance_slope(&shared, matrix, matrix == 4 ? 4 : matrix == 9 ? 2 : 0);
		br_train_adalora_pull(shared.adalora);
		assert_int_equal(br_train_update(optimiser, &length), BR_OK);
		br_train_adalora_push(shared.adalora);
	}
	ranks = br_train_adalora_ranks(shared.adalora, &n);
	assert_int_equal(n, MATRICES);
	for (int i = 0; i < MATRICES; i++)
		if (ranks[i].rank != (i == 4 ? 4 : i == 9 ? 2 : 0))
			fail_msg("%s has rank %d", ranks[i].name, ranks[i].rank);
	assert_string_equal(ranks[4].name, "encoder.layer.0.intermediate.dense.weight");
	assert_string_equal(ranks[9].name, "encoder.layer.1.attention.output.dense.weight");
	br_train_optimiser_destroy(optimiser);
	shared_close(&shared);
}

/* ---- the set and its state ---- */

static void
set_is_named(void **state)
{
	Shared shared;
	double *before;
	size_t n;

	(void) state;
	shared_open(&shared, &usual);
	n = shared.adapted.model->n;
	before = copy_parameters(shared.adapted.model);
	adapted_loss(&shared.adapted);
	assert_memory_equal(before, shared.adapted.model->parameters, n * sizeof(double));
	free(before);
	assert_int_equal(shared.set.n_tensors, MATRICES * 3 + 2);
	/* P and Q of squares of 32, of 64 by 32 and of 32 by 64; l; the head */
	assert_int_equal(shared.set.n,
					 2 * RANK * (4 * (32 + 32) + 2 * (32 + 64)) + TRIPLETS + 3 * 32 + 3);
	assert_string_equal(shared.set.tensors[0].name,
						"encoder.layer.0.attention.self.query.adalora_Q.weight");
	assert_string_equal(shared.set.tensors[1].name,
						"encoder.layer.0.attention.self.query.adalora_lambda.weight");
	assert_string_equal(shared.set.tensors[35].name,
						"encoder.layer.1.output.dense.adalora_P.weight");
	assert_string_equal(shared.set.tensors[37].name, "head.bias");
	assert_true(shared.set.tensors[0].decays && !shared.set.tensors[1].decays &&
				shared.set.tensors[2].decays && !shared.set.tensors[37].decays);
	shared_close(&shared);
}

/* A run that goes on from what a checkpoint holds after 11 steps, between two choices. */
static void
restored_runs_go_on(void **state)
{
	Shared first;
	Shared second;
	BrTrainState kept[2];
	BrTrainState states[2];
	int64_t steps[2];
	double *moments[2];
	double *parameters;
	size_t size;
	int n;
	int ranks[MATRICES];

	(void) state;
	shared_open(&first, &usual);
	for (int step = 0; step < 11; step++)
		step_of(&first);
	kept[0] = br_train_state_of(first.optimiser);
	kept[1] = br_train_adalora_state(first.adalora);
	for (int i = 0; i < 2; i++)
	{
		steps[i] = *kept[i].steps;
		moments[i] = copied(kept[i].moments, kept[i].n * sizeof(double));
	}
	size = first.set.n * sizeof(double);
	parameters = copied(first.set.parameters, size);
	for (int i = 0; i < MATRICES; i++)
		ranks[i] = br_train_adalora_ranks(first.adalora, &n)[i].rank;
	for (int step = 11; step < 40; step++)
		step_of(&first);

	shared_open(&second, &usual);
	states[0] = br_train_state_of(second.optimiser);
	states[1] = br_train_adalora_state(second.adalora);
	for (int i = 0; i < 2; i++)
	{
		*states[i].steps = steps[i];
		memcpy(states[i].moments, moments[i], states[i].n * sizeof(double));
		free(moments[i]);
	}
	memcpy(second.set.parameters, parameters, size);
	br_train_adalora_push(second.adalora);
	for (int i = 0; i < MATRICES; i++)
		assert_int_equal(br_train_adalora_ranks(second.adalora, &n)[i].rank, ranks[i]);
	for (int step = 11; step < 40; step++)
		step_of(&second);
	assert_memory_not_equal(first.set.parameters, parameters, size);
	assert_memory_equal(first.set.parameters, second.set.parameters, size);
	assert_memory_equal(first.adapted.model->parameters, second.adapted.model->parameters,
						first.adapted.model->n * sizeof(double));
	free(parameters);
	shared_close(&first);
	shared_close(&second);
}

/* A slope that is not a number reaches neither averages nor the count of steps. */
static void
broken_gradients_are_not_remembered(void **state)
{
	Shared shared;
	BrTrainState kept;
	double length;
	double *before;

	(void) state;
	shared_open(&shared, &usual);
	step_of(&shared);
	kept = br_train_adalora_state(shared.adalora);
	before = copied(kept.moments, kept.n * sizeof(double));
	adapted_loss(&shared.adapted);
	shared.adalora->lora->delta.slopes[3] = NAN;
	br_train_adalora_pull(shared.adalora);
	assert_int_equal(br_train_update(shared.optimiser, &length), BR_ERR_NUMERIC);
	assert_memory_equal(kept.moments, before, kept.n * sizeof(double));
	assert_int_equal(*kept.steps, 1);
	free(before);
	shared_close(&shared);
}

static void
wrong_options_are_refused(void **state)
{
	const BrTrainOptions how = {.backend = br_math_portable_backend()};
	BrTrainAdaloraOptions bad[13];
	int n = sizeof(bad) / sizeof(bad[0]);
	Trained trained;

	(void) state;
	for (int i = 0; i < n; i++)
		bad[i] = usual;
	bad[0].rank = 0;
	bad[1].rank = 33;
	bad[2].target_rank = 0;
	bad[3].target_rank = 4.5;
	bad[4].alpha = 0;
	bad[5].matrices = 0;
	bad[6].orthogonality = -1;
	bad[7].beta1 = 1;
	bad[8].beta2 = NAN;
	bad[9].warm_up = 30;
	bad[10].interval = 0;
	bad[11].final = -1;
	bad[12].orthogonality = INFINITY;
	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &how);
	for (int i = 0; i < n; i++)
		expect_addition_refused(&trained, how.backend,
								&(AdditionOptions){.kind = ADALORA, .adalora = bad[i]},
								BR_ERR_ARGUMENT);
	expect_addition_leaks_nothing(&trained, how.backend,
								  &(AdditionOptions){.kind = ADALORA, .adalora = usual});
	trained_close(&trained);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_differences),
		cmocka_unit_test(budget_is_the_papers),
		cmocka_unit_test(least_important_are_given_up),
		cmocka_unit_test(ranks_go_where_they_are_needed),
		cmocka_unit_test(set_is_named),
		cmocka_unit_test(restored_runs_go_on),
		cmocka_unit_test(broken_gradients_are_not_remembered),
		cmocka_unit_test(wrong_options_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
