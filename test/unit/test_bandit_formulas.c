/*
 * test_bandit_formulas.c
 *	  Each algorithm's formula, on evidence small enough to compute elsewhere.
 *
 * Expected values are those of numpy 1.26.4 and scipy 1.17.1: UCB1, UCB-tuned,
 * softmax, EXP3 and SquareCB by their formulas, KL-UCB by optimize.brentq,
 * Thompson probabilities by integrate.quad over density times the product of
 * the others' distribution functions (stats.beta, stats.norm), linear models by
 * linalg.solve. Evidence is that of bandit_teach.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/bandit_fixture.h"
#include "unit/bandit_policy.h"

#define ARMS 5
#define UNSEEN 3 /* the arm without evidence */

static void
open_arms(BanditPolicy *policy, const char *algorithm)
{
	bandit_policy_open(policy, algorithm, BR_MODEL_ARM, 0, ARMS);
	policy->spec.parameters.epsilon = 0;
	bandit_teach(policy);
}

/* With the fixture's prior; over BR_MODEL_DISJOINT the fourth arm has seen nothing. */
static void
open_linear(BanditPolicy *policy, const char *algorithm, BrModel model)
{
	bandit_policy_open(policy, algorithm, model, DIMS, 4);
	policy->spec.parameters.epsilon = 0;
	policy->spec.parameters.prior_precision = bandit_prior.precision;
	policy->spec.parameters.noise = bandit_prior.noise;
	policy->spec.prior_mean = bandit_prior_mean;
	bandit_teach(policy);
}

static void
assert_all_near(const double *actual, const double *expected, int n, double tolerance)
{
	for (int i = 0; i < n; i++)
		bandit_assert_near(actual[i], expected[i], tolerance);
}

/* Probabilities of the first slot. */
static void
assert_probabilities(BanditPolicy *policy, const BrSlateRequest *request, const double *expected,
					 double tolerance)
{
	double probability[POOL];
	double sum = 0;

	bandit_refresh(policy);
	assert_int_equal(br_bandit_probabilities(&policy->context, policy->belief, request, NULL, 0,
											 probability),
					 BR_OK);
	for (int b = 0; b < request->pool; b++)
		sum += probability[b];
	bandit_assert_near(sum, 1, 1e-12);
	assert_all_near(probability, expected, request->pool, tolerance);
	bandit_policy_close(policy);
}

static const BrSlateRequest all_arms = {.pool = ARMS, .slots = 1};
static const BrSlateRequest four_bundles = {.pool = 4, .features = &bandit_shown[0][0], .slots = 1};

/* ---- indexes ---- */

static void
assert_indexes(const char *algorithm, double width, const double *expected)
{
	BanditPolicy policy;

	open_arms(&policy, algorithm);
	policy.spec.parameters.width = width;
	bandit_refresh(&policy);
	for (int arm = 0; arm < ARMS; arm++)
	{
		if (arm == UNSEEN)
			assert_true(policy.belief->index[arm] > 1e300);
		else
			bandit_assert_near(policy.belief->index[arm], expected[arm], 1e-13);
	}
	bandit_policy_close(&policy);
}

static void
indexes_match_the_formulas(void **state)
{
	static const double ucb1[] = {0.9372026390296655, 0.5686013195148327, 0.9011406140956805, 0,
								  0.9624142081562963};
	static const double tuned[] = {0.6862031203267203, 0.4431015601633601, 0.546173690596856, 0,
								   0.6817882150865386};
	static const double kl[] = {0.7718752679074725, 0.49445655330077404, 0.6330899674100864, 0,
								0.7771537824111049};

	(void) state;
	assert_indexes("ucb1", 0.7, ucb1);
	assert_indexes("ucb_tuned", 1.2, tuned);
	assert_indexes("kl_ucb", 1.1, kl);
}

/* A mean of 1 leaves no room above, and one slot in all leaves ln t = 0. */
static void
kl_index_ends_at_the_edges(void **state)
{
	BanditPolicy policy;

	(void) state;
	bandit_policy_open(&policy, "kl_ucb", BR_MODEL_ARM, 0, 2);
	bandit_learn(&policy, 0, NULL, 1, 1, 0);
	bandit_refresh(&policy);
	bandit_assert_near(policy.belief->index[0], 0, 1e-15);
	for (int i = 0; i < 9; i++)
		bandit_learn(&policy, 1, NULL, 1, 1, 1);
	bandit_refresh(&policy);
	bandit_assert_near(policy.belief->index[1], 1, 0);
	/* kl(0, q) = -ln(1 - q) = ln 10 */
	bandit_assert_near(policy.belief->index[0], 0.9, 1e-14);
	bandit_policy_close(&policy);
}

/* Unseen arms come first, then the index: 4, 0, 2, 1 by ucb1 as above. */
static void
indexes_order_slates(void **state)
{
	static const int expected[] = {3, 4, 0, 2, 1};
	BrSlateRequest request = all_arms;
	BanditPolicy policy;
	BrSlate slate;

	(void) state;
	open_arms(&policy, "ucb1");
	policy.spec.parameters.width = 0.7;
	bandit_refresh(&policy);
	request.slots = ARMS;
	assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &request, &slate), BR_OK);
	for (int k = 0; k < ARMS; k++)
	{
		assert_int_equal(slate.chosen[k], expected[k]);
		bandit_assert_near(slate.propensity[k], 1, 0);
	}
	/* the arm without evidence is expected to earn the pooled mean, 15 in 63 */
	bandit_assert_near(slate.expected[UNSEEN], 15.0 / 63, 1e-15);
	br_bandit_slate_free(&policy.context, &slate);
	bandit_policy_close(&policy);
}

/* Half the weight halves every count: the index of D-UCB over 31.5 slots. */
static void
discounted_counts_enter_the_bonus(void **state)
{
	BanditPolicy policy;

	(void) state;
	open_arms(&policy, "ucb1");
	br_bandit_evidence_scale(policy.shared, br_bandit_shared_length(&policy.spec), 0.5);
	for (int arm = 0; arm < ARMS; arm++)
		br_bandit_evidence_scale(policy.arms[arm], br_bandit_arm_length(&policy.spec), 0.5);
	bandit_refresh(&policy);
	bandit_assert_near(policy.belief->index[0], 0.3 + sqrt(2 * log(31.5) / 5), 1e-14);
	bandit_policy_close(&policy);
}

/* ---- closed forms ---- */

static void
softmax_matches_numpy(void **state)
{
	static const double expected[] = {0.445133440597236, 0.19901604340378493, 0.00528708750326453,
									  0.15863850685059538, 0.1919249216451192};
	BanditPolicy policy;

	(void) state;
	open_arms(&policy, "softmax");
	policy.spec.parameters.temperature = 0.05;
	policy.spec.parameters.prior_strength = 2;
	assert_probabilities(&policy, &all_arms, expected, 1e-14);
}

static void
exp3_matches_numpy(void **state)
{
	static const double expected[] = {0.14344004236812055, 0.5816780550554012, 0.0787215643334447,
									  0.0787215643334447, 0.11743877390958896};
	BanditPolicy policy;

	(void) state;
	open_arms(&policy, "exp3");
	policy.spec.parameters.learning_rate = 0.05;
	assert_probabilities(&policy, &all_arms, expected, 1e-14);
}

static void
square_cb_matches_numpy(void **state)
{
	static const double expected[] = {0.5420028423392795, 0.13785557986870894, 0.05742935278030993,
									  0.12676056338028166, 0.13595166163141992};
	BanditPolicy policy;

	(void) state;
	open_arms(&policy, "square_cb");
	policy.spec.parameters.exploration = 7;
	assert_probabilities(&policy, &all_arms, expected, 1e-14);
}

/* .3 e^(-.02 * 63) to the best arm's four rivals and itself, and never below epsilon_min */
static void
share_decays(void **state)
{
	const double share = 0.08509620794993111;
	const double decayed[] = {1 - share * 4 / 5, share / 5, share / 5, share / 5, share / 5};
	const double least[] = {1 - 0.2 * 4 / 5, 0.2 / 5, 0.2 / 5, 0.2 / 5, 0.2 / 5};
	BanditPolicy policy;

	(void) state;
	open_arms(&policy, "epsilon_greedy");
	policy.spec.parameters.epsilon = 0.3;
	policy.spec.parameters.epsilon_decay = 0.02;
	policy.spec.parameters.epsilon_min = 0.01;
	assert_probabilities(&policy, &all_arms, decayed, 1e-15);
	open_arms(&policy, "epsilon_greedy");
	policy.spec.parameters.epsilon = 0.3;
	policy.spec.parameters.epsilon_decay = 0.02;
	policy.spec.parameters.epsilon_min = 0.2;
	assert_probabilities(&policy, &all_arms, least, 1e-15);
}

/*
 * Arm 0 leads. P(mu_0 - mu_i > .02) is .5551 for arm 1 and .8979 for arm 2,
 * with variances of (mean square - mean^2) / (n + 2), priors of two slots.
 */
static void
challenger_replaces_only_beyond_doubt(void **state)
{
	static const bool all[ARMS] = {true, true, true, true, true};
	static const bool without_leader[ARMS] = {false, true, true, true, true};
	static const bool none[ARMS] = {false};
	static const struct
	{
		int incumbent;
		double eta;
		int next;
	} cases[] = {{-1, 0.05, 0},	 {0, 0.05, 0},	 {1, 0.4450, 0},
				 {1, 0.4447, 1}, {2, 0.1022, 0}, {2, 0.1020, 2}};
	BanditPolicy policy;

	(void) state;
	open_arms(&policy, "epsilon_delta");
	policy.spec.parameters.delta = 0.02;
	policy.spec.parameters.noise = 0.04;
	for (int i = 0; i < 6; i++)
	{
		policy.spec.parameters.eta = cases[i].eta;
		bandit_refresh(&policy);
		assert_int_equal(br_bandit_next_incumbent(policy.belief, cases[i].incumbent, all),
						 cases[i].next);
	}
	assert_int_equal(br_bandit_next_incumbent(policy.belief, 0, without_leader), 1);
	assert_int_equal(br_bandit_next_incumbent(policy.belief, 0, none), -1);
	bandit_policy_close(&policy);
}

static void
incumbent_is_chosen_while_it_competes(void **state)
{
	static const double on_incumbent[] = {0.02, 0.02, 0.92, 0.02, 0.02};
	static const int without_it[] = {0, 1, 4};
	static const double on_best[] = {0.1 / 3 + 0.9, 0.1 / 3, 0.1 / 3};
	BrSlateRequest request = {.pool = 3, .arms = without_it, .slots = 1};
	BanditPolicy policy;

	(void) state;
	open_arms(&policy, "epsilon_delta");
	policy.spec.parameters.epsilon = 0.1;
	policy.incumbent = 2;
	assert_probabilities(&policy, &all_arms, on_incumbent, 1e-15);
	open_arms(&policy, "epsilon_delta");
	policy.spec.parameters.epsilon = 0.1;
	policy.incumbent = 2;
	assert_probabilities(&policy, &request, on_best, 1e-15);
}

/* ---- Thompson ---- */

/* Beta priors of strength 2 at the pooled rate (15 + 1/2) / (63 + 1). */
static void
thompson_beta_matches_scipy(void **state)
{
	static const double expected[] = {0.3238106048817087, 0.16078916393472428, 0.019147884258721083,
									  0.2796501439139584, 0.216602203010888};
	BanditPolicy policy;

	(void) state;
	open_arms(&policy, "thompson_beta");
	assert_probabilities(&policy, &all_arms, expected, 1e-9);
}

static void
open_gaussian(BanditPolicy *policy)
{
	open_arms(policy, "thompson_gaussian");
	policy->spec.parameters.noise = 0.09;
	policy->spec.parameters.width = 1.5;
	policy->spec.parameters.prior_rate = 0.3;
	policy->spec.parameters.prior_strength = 4;
}

static void
similar_to_the_third(void *arg, int chosen, double *similarity)
{
	static const double penalty[ARMS] = {0, 0.5, 0.25, 1, 0};

	(void) arg;
	(void) chosen;
	memcpy(similarity, penalty, sizeof(penalty));
}

static void
thompson_gaussian_matches_scipy(void **state)
{
	static const double expected[] = {0.27398846761120466, 0.09322091765399775,
									  0.053723702181042506, 0.3778799464835724, 0.2011869660701828};
	BanditPolicy policy;

	(void) state;
	open_gaussian(&policy);
	assert_probabilities(&policy, &all_arms, expected, 1e-9);
}

/* Penalties of 0, .1, .05, .2 and 0 after a sixth member, a copy of nothing, was chosen. */
static void
penalties_are_in_units_of_reward(void **state)
{
	static const double expected[] = {0.44677465601934324, 0.029773950169433305,
									  0.05206491802143123, 0.14208737549001146,
									  0.32929910029978093};
	static const int arms[] = {0, 1, 2, 3, 4, -1};
	static const int earlier[] = {5};
	BrSlateRequest request = {.pool = 6,
							  .arms = arms,
							  .slots = 2,
							  .diversity = 0.2,
							  .similarity = similar_to_the_third};
	double probability[6];
	BanditPolicy policy;

	(void) state;
	open_gaussian(&policy);
	bandit_refresh(&policy);
	assert_int_equal(br_bandit_probabilities(&policy.context, policy.belief, &request, earlier, 1,
											 probability),
					 BR_OK);
	assert_all_near(probability, expected, ARMS, 1e-9);
	bandit_assert_near(probability[5], 0, 0);
	bandit_policy_close(&policy);
}

/* ---- linear models ---- */

static void
linear_ucb_matches_numpy(void **state)
{
	static const double shared[] = {0.9775310628854178,	 0.7010237489620001, 1.1012529367660626,
									0.33881867306408364, 1.9510431396952301, 0.3811593079392057,
									0.9953628478004763,	 1.0539597622588481};
	static const double disjoint[] = {1.0120981975080516, 0.9568749269000777, 1.0395149556137846,
									  0.46479029457183074};
	BrSlateRequest request = {.pool = POOL, .features = &bandit_shown[0][0], .slots = POOL};
	BanditPolicy policy;

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		const double *bound = i == 0 ? shared : disjoint;
		BrSlate slate;

		open_linear(&policy, "linear_ucb", i == 0 ? BR_MODEL_SHARED : BR_MODEL_DISJOINT);
		policy.spec.parameters.width = 1.3;
		bandit_refresh(&policy);
		request.pool = i == 0 ? POOL : 4;
		assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &request, &slate), BR_OK);
		for (int k = 1; k < slate.slots; k++)
			assert_true(bound[slate.chosen[k]] < bound[slate.chosen[k - 1]]);
		br_bandit_slate_free(&policy.context, &slate);
		bandit_policy_close(&policy);
	}
}

static void
disjoint_models_match_numpy(void **state)
{
	static const double thompson[] = {0.4703827095553693, 0.23597583733435995, 0.27263626368052235,
									  0.021005189429748383};
	static const double softmax[] = {0.532640459373931, 0.22705545008035105, 0.23839836273913628,
									 0.0019057278065818073};
	static const double square_cb[] = {0.5514765136216441, 0.18514915588892625, 0.18793642280994025,
									   0.07543790767948941};
	BanditPolicy policy;

	(void) state;
	open_linear(&policy, "linear_thompson", BR_MODEL_DISJOINT);
	policy.spec.parameters.width = 0.8;
	assert_probabilities(&policy, &four_bundles, thompson, 1e-9);
	open_linear(&policy, "softmax", BR_MODEL_DISJOINT);
	policy.spec.parameters.temperature = 0.2;
	assert_probabilities(&policy, &four_bundles, softmax, 1e-13);
	open_linear(&policy, "square_cb", BR_MODEL_DISJOINT);
	policy.spec.parameters.exploration = 3;
	assert_probabilities(&policy, &four_bundles, square_cb, 1e-13);
}

static void
logistic_matches_scipy(void **state)
{
	static const double probability[] = {0.03967537085207201, 0.05220901580918498,
										 0.7738129404790649, 0.13430267285967148};
	static const double reward[] = {0.33946987024815667, 0.2770417908734849, 0.676102948874938,
									0.388560207931831};
	BanditPolicy policy;
	BrSlate slate;

	(void) state;
	open_linear(&policy, "logistic_thompson", BR_MODEL_DISJOINT);
	bandit_refresh(&policy);
	assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &four_bundles, &slate), BR_OK);
	assert_all_near(slate.expected, reward, 4, 1e-14);
	br_bandit_slate_free(&policy.context, &slate);
	policy.spec.parameters.width = 1.25;
	assert_probabilities(&policy, &four_bundles, probability, 1e-9);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(indexes_match_the_formulas),
		cmocka_unit_test(kl_index_ends_at_the_edges),
		cmocka_unit_test(indexes_order_slates),
		cmocka_unit_test(discounted_counts_enter_the_bonus),
		cmocka_unit_test(softmax_matches_numpy),
		cmocka_unit_test(exp3_matches_numpy),
		cmocka_unit_test(square_cb_matches_numpy),
		cmocka_unit_test(share_decays),
		cmocka_unit_test(challenger_replaces_only_beyond_doubt),
		cmocka_unit_test(incumbent_is_chosen_while_it_competes),
		cmocka_unit_test(thompson_beta_matches_scipy),
		cmocka_unit_test(thompson_gaussian_matches_scipy),
		cmocka_unit_test(penalties_are_in_units_of_reward),
		cmocka_unit_test(linear_ucb_matches_numpy),
		cmocka_unit_test(disjoint_models_match_numpy),
		cmocka_unit_test(logistic_matches_scipy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
