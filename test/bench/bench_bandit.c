/*
 * bench_bandit.c
 *	  What a decision costs on one core: microseconds of one slot among 10, 100
 *	  and 1,000 arms, for every algorithm over every model it works over.
 *
 * Linear models have 33 features (32 and a bias). Policies have their default
 * parameters and have counted ten slots of each arm. Figures are the best of
 * some rounds.
 *
 * bench_bandit [ALGORITHM]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/bandit/bandit_int.h"
#include "core/math/br_math.h"

#define MAX_ARMS 1000
#define DIMS 33
#define SLOTS_OF_ARM 10
#define ROUNDS 9
#define ROUND_SECONDS 0.05

typedef struct Bench
{
	BrContext context;
	BrPolicySpec spec;
	int n_arms;
	double *shared;
	double *arms[MAX_ARMS];
	float features[MAX_ARMS][DIMS];
	BrBelief *belief;
} Bench;

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

static void
check(BrStatus status, const BrContext *context)
{
	if (status == BR_OK)
		return;
	fprintf(stderr, "bench_bandit: %s\n", context->detail);
	exit(1);
}

static double *
allocate(size_t n)
{
	double *values = calloc(n, sizeof(double));

	if (values == NULL)
		abort();
	return values;
}

/* A theta as br_bandit_fit would leave it, without the slots that led to it. */
static void
fit(double *evidence, BrRandom *random)
{
	evidence[0] = SLOTS_OF_ARM;
	for (int i = 0; i < DIMS; i++)
	{
		evidence[2 + i] = 0.3 * br_math_normal(random);
		evidence[2 + DIMS + BR_MATH_PACKED(i + 1) - 1] = 10;
	}
}

static void
learn(Bench *bench, BrRandom *random)
{
	const BrPolicySpec *spec = &bench->spec;

	for (int arm = 0; arm < bench->n_arms; arm++)
	{
		for (int i = 0; i < DIMS; i++)
			bench->features[arm][i] = i == 0 ? 1 : (float) (0.3 * br_math_normal(random));
		for (int slot = 0; slot < SLOTS_OF_ARM; slot++)
		{
			br_bandit_add_slot(spec, bench->shared, bench->arms[arm], bench->features[arm], 1);
			if (br_base_random_below(random, 10) == 0)
				br_bandit_add_reward(spec, bench->shared, bench->arms[arm], bench->features[arm], 1,
									 0.1, 0, 1);
		}
		if (br_bandit_algorithm_refits(spec->algorithm))
			fit(spec->model == BR_MODEL_SHARED ? bench->shared : bench->arms[arm], random);
	}
}

static void
open_bench(Bench *bench, const BrAlgorithm *algorithm, BrModel model, int n_arms)
{
	BrPolicyEvidence evidence;
	BrRandom random;

	br_base_random_init(&random, 1, (uint64_t) n_arms);
	br_base_context_init(&bench->context);
	bench->spec = (BrPolicySpec){.algorithm = algorithm,
								 .model = model,
								 .dims = model == BR_MODEL_ARM ? 0 : DIMS,
								 .parameters = br_bandit_default_parameters(algorithm, model)};
	bench->n_arms = n_arms;
	bench->shared = allocate(br_bandit_shared_length(&bench->spec));
	for (int arm = 0; arm < n_arms; arm++)
		bench->arms[arm] = allocate(br_bandit_arm_length(&bench->spec) + 1);
	learn(bench, &random);
	evidence = (BrPolicyEvidence){bench->shared, model == BR_MODEL_SHARED ? 0 : n_arms,
								  (const double *const *) bench->arms, -1};
	check(br_bandit_believe(&bench->context, &bench->spec, &evidence, &bench->belief),
		  &bench->context);
}

static void
close_bench(Bench *bench)
{
	br_bandit_belief_free(&bench->context, bench->belief);
	free(bench->shared);
	for (int arm = 0; arm < bench->n_arms; arm++)
		free(bench->arms[arm]);
}

/* Microseconds of a decision, the best of some rounds. */
static double
measure(Bench *bench)
{
	double best = 1e9;
	uint64_t key = 0;

	for (int round = 0; round < ROUNDS; round++)
	{
		double begun = now();
		double taken;
		int n = 0;

		do
		{
			BrSlateRequest request = {.pool = bench->n_arms,
									  .features = &bench->features[0][0],
									  .slots = 1,
									  .key = key++};
			BrSlate slate;

			check(br_bandit_slate(&bench->context, bench->belief, &request, &slate),
				  &bench->context);
			br_bandit_slate_free(&bench->context, &slate);
			n++;
			taken = now() - begun;
		} while (taken < ROUND_SECONDS);
		best = taken / n < best ? taken / n : best;
	}
	return 1e6 * best;
}

int
main(int argc, char **argv)
{
	static const char *const model_names[] = {"arm", "shared", "disjoint"};
	static const int sizes[] = {10, 100, 1000};
	static Bench bench;
	const char *name;

	printf("microseconds of one decision, kernels %s\n", br_bandit_kernels()->name);
	printf("%-18s %-9s %9s %9s %9s\n", "algorithm", "model", "10 arms", "100 arms", "1,000 arms");
	for (int i = 0; (name = br_bandit_algorithm_name(i)) != NULL; i++)
	{
		const BrAlgorithm *algorithm = br_bandit_algorithm(name);

		if (argc > 1 && strcmp(argv[1], name) != 0)
			continue;
		for (int model = BR_MODEL_ARM; model <= BR_MODEL_DISJOINT; model++)
		{
			if ((br_bandit_algorithm_models(algorithm) & BR_MODEL_BIT(model)) == 0)
				continue;
			printf("%-18s %-9s", name, model_names[model]);
			for (int s = 0; s < 3; s++)
			{
				open_bench(&bench, algorithm, (BrModel) model, sizes[s]);
				printf(" %9.1f", measure(&bench));
				fflush(stdout);
				close_bench(&bench);
			}
			printf("\n");
		}
	}
	return 0;
}
