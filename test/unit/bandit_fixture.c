/*
 * bandit_fixture.c
 *	  Eight shown bundles, their rewards, and what follows from them.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/bandit_fixture.h"

const float bandit_shown[POOL][DIMS] = {{1, 0.5f, 0.25f, 0.125f},	   {1, 0.75f, -0.5f, 0.25f},
										{1, 0.125f, 0.875f, 0.5f},	   {1, -0.25f, 0.375f, 1},
										{1, 0.625f, 0.5f, -0.75f},	   {1, 0, 0.0625f, 0.5f},
										{1, 0.9375f, -0.125f, 0.375f}, {1, 0.3125f, 0.75f, 0.625f}};
static const double shown_weight[POOL] = {1, 1, 0.5, 1, 0.25, 1, 0.75, 1};
static const double shown_reward[POOL][2] = {{1, 0},	{0, 0}, {1, 0}, {0, 0},
											 {2, -0.5}, {0, 0}, {0, 0}, {1, 0}};

const double bandit_prior_mean[DIMS] = {0.25, 1, 0, -0.5};
const BrLinearPrior bandit_prior = {bandit_prior_mean, 4, 0.25};

const double bandit_mean[DIMS] = {0.2736934810150726, 0.623908288851801, 0.6740087008368079,
								  -0.4464425234525007};
void
bandit_add_shown(double *evidence, int bundle)
{
	double before = 0;

	br_bandit_evidence_add_slot(evidence, DIMS, bandit_shown[bundle], shown_weight[bundle]);
	for (int i = 0; i < 2; i++)
	{
		br_bandit_evidence_add_reward(evidence, DIMS, bandit_shown[bundle], shown_weight[bundle],
									  before, shown_reward[bundle][i]);
		before += shown_reward[bundle][i];
	}
}

void
bandit_set_up(BanditFixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	br_base_context_init(&fixture->context);
	for (int b = 0; b < POOL; b++)
		bandit_add_shown(fixture->evidence, b);
	fixture->posterior.dims = DIMS;
	fixture->posterior.mean = fixture->mean;
	fixture->posterior.factor = fixture->factor;
	assert_int_equal(br_bandit_posterior(&fixture->context, fixture->evidence, &bandit_prior,
										 &fixture->posterior),
					 BR_OK);
	fixture->spec.algorithm = br_bandit_algorithm("linear_thompson");
	fixture->spec.model = BR_MODEL_SHARED;
	fixture->spec.dims = DIMS;
	fixture->spec.prior_mean = bandit_prior_mean;
	fixture->spec.parameters = (BrParameters){.epsilon = 0.02,
											  .draws = 257,
											  .width = 1,
											  .prior_precision = bandit_prior.precision,
											  .noise = bandit_prior.noise};
	fixture->request = (BrSlateRequest){.pool = POOL,
										.features = &bandit_shown[0][0],
										.slots = 3,
										.key = UINT64_C(0xfedcba9876543210)};
}

BrStatus
bandit_slate(BanditFixture *fixture, BrSlate *slate)
{
	BrPolicyEvidence evidence = {.shared = fixture->evidence, .incumbent = -1};
	BrBelief *belief;
	BrStatus status = br_bandit_believe(&fixture->context, &fixture->spec, &evidence, &belief);

	memset(slate, 0, sizeof(*slate));
	if (status != BR_OK)
		return status;
	status = br_bandit_slate(&fixture->context, belief, &fixture->request, slate);
	br_bandit_belief_free(&fixture->context, belief);
	return status;
}

void
bandit_similar_by_place(void *arg, int chosen, double *similarity)
{
	(void) arg;
	for (int b = 0; b < POOL; b++)
		similarity[b] = 1 - fabs((double) (b - chosen)) / 8;
}

void
bandit_assert_near(double actual, double expected, double tolerance)
{
	if (!(fabs(actual - expected) <= tolerance))
		fail_msg("%.17g is not within %g of %.17g", actual, tolerance, expected);
}
