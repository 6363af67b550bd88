/*
 * algorithm.c
 *	  The algorithms by name, their parameters, and what a policy may be.
 */
#include <math.h>
#include <string.h>

#include "core/bandit/bandit_int.h"

/* of a prior that is a distribution: Beta parameters below it are spikes at 0 and 1 */
#define LEAST_STRENGTH 1e-6

static const BrAlgorithm *const algorithms[] = {
	&br_bandit_epsilon_greedy,	  &br_bandit_epsilon_delta,	  &br_bandit_ucb1,
	&br_bandit_ucb_tuned,		  &br_bandit_kl_ucb,		  &br_bandit_thompson_beta,
	&br_bandit_thompson_gaussian, &br_bandit_softmax,		  &br_bandit_exp3,
	&br_bandit_linear_ucb,		  &br_bandit_linear_thompson, &br_bandit_logistic_thompson,
	&br_bandit_square_cb,
};

/* Bounds are inclusive; those that the field writes as "above 0" begin a little above it. */
static const BrParameterRule rules[] = {
	{"epsilon", offsetof(BrParameters, epsilon), 0, 1, false},
	{"epsilon_decay", offsetof(BrParameters, epsilon_decay), 0, 1e6, false},
	{"epsilon_min", offsetof(BrParameters, epsilon_min), 0, 1, false},
	{"delta", offsetof(BrParameters, delta), 0, 1e12, false},
	{"eta", offsetof(BrParameters, eta), 1e-12, 1 - 1e-12, false},
	{"width", offsetof(BrParameters, width), 0, 1e6, false},
	{"temperature", offsetof(BrParameters, temperature), 1e-9, 1e12, false},
	{"learning_rate", offsetof(BrParameters, learning_rate), 1e-12, 1e6, false},
	{"exploration", offsetof(BrParameters, exploration), 1e-9, 1e12, false},
	{"draws", offsetof(BrParameters, draws), 1, BR_BANDIT_MAX_DRAWS, true},
	{"diversity", offsetof(BrParameters, diversity), 0, 100, false},
	{"prior_precision", offsetof(BrParameters, prior_precision), 1e-9, 1e12, false},
	{"noise", offsetof(BrParameters, noise), 1e-9, 1e12, false},
	{"prior_rate", offsetof(BrParameters, prior_rate), -1e12, 1e12, false},
	{"prior_strength", offsetof(BrParameters, prior_strength), 0, 1e12, false},
};

#define COUNT(array) ((int) (sizeof(array) / sizeof((array)[0])))

const BrAlgorithm *
br_bandit_algorithm(const char *name)
{
	for (int i = 0; i < COUNT(algorithms); i++)
	{
		if (strcmp(algorithms[i]->name, name) == 0)
			return algorithms[i];
	}
	return NULL;
}

const char *
br_bandit_algorithm_name(int i)
{
	return i >= 0 && i < COUNT(algorithms) ? algorithms[i]->name : NULL;
}

unsigned
br_bandit_algorithm_models(const BrAlgorithm *algorithm)
{
	return algorithm->models;
}

bool
br_bandit_algorithm_refits(const BrAlgorithm *algorithm)
{
	return algorithm->refits;
}

bool
br_bandit_algorithm_bounded(const BrAlgorithm *algorithm)
{
	return algorithm->bounded;
}

bool
br_bandit_algorithm_has_incumbent(const BrAlgorithm *algorithm)
{
	return algorithm->has_incumbent;
}

const BrParameterRule *
br_bandit_parameter_rule(int i)
{
	return i >= 0 && i < COUNT(rules) ? &rules[i] : NULL;
}

bool
br_bandit_algorithm_takes(const BrAlgorithm *algorithm, BrModel model, const char *parameter)
{
	if (strcmp(parameter, "epsilon") == 0 || strcmp(parameter, "diversity") == 0)
		return true;
	for (const BrTakes *takes = algorithm->takes; takes->name != NULL; takes++)
	{
		if (strcmp(takes->name, parameter) == 0)
			return (takes->models & BR_MODEL_BIT(model)) != 0;
	}
	return false;
}

BrParameters
br_bandit_default_parameters(const BrAlgorithm *algorithm, BrModel model)
{
	double strength = algorithm->prior_strength > 0 ? algorithm->prior_strength : 2;
	BrParameters parameters = {
		.epsilon = algorithm->epsilon,
		.delta = 0.01,
		.eta = 0.05,
		.width = 1,
		.temperature = 0.1,
		.learning_rate = 0.1,
		.exploration = 10,
		.draws = 256,
		.diversity = 0.5,
		.prior_precision = 1,
		.noise = 0.25,
		.prior_rate = NAN,
		.prior_strength = model == BR_MODEL_ARM ? strength : 0,
	};

	return parameters;
}

static const char *
model_name(BrModel model)
{
	switch (model)
	{
		case BR_MODEL_ARM:
			return "arms without features";
		case BR_MODEL_SHARED:
			return "a shared linear model";
		case BR_MODEL_DISJOINT:
			return "a linear model for each arm";
	}
	return "an unknown model";
}

static BrStatus
check_parameter(BrContext *context, const BrPolicySpec *spec, const BrParameterRule *rule)
{
	double value;

	memcpy(&value, (const char *) &spec->parameters + rule->offset, sizeof(value));
	if (rule->offset == offsetof(BrParameters, prior_rate))
	{
		bool open = spec->algorithm->proper;

		/* the pooled mean */
		if (isnan(value))
			return BR_OK;
		if (spec->algorithm->bounded && !(open ? value > 0 && value < 1 : value >= 0 && value <= 1))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Parameter \"prior_rate\" is %g; %s takes one %s 0 and 1.", value,
								spec->algorithm->name, open ? "strictly between" : "between");
	}
	if (rule->offset == offsetof(BrParameters, prior_strength) && spec->algorithm->proper &&
		value < LEAST_STRENGTH)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Parameter \"prior_strength\" is %g; %s takes one of at least %g.",
							value, spec->algorithm->name, LEAST_STRENGTH);
	if (!(value >= rule->least && value <= rule->most) || (rule->whole && value != rint(value)))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Parameter \"%s\" is %g; it is a %s between %g and %g.", rule->name,
							value, rule->whole ? "whole number" : "number", rule->least,
							rule->most);
	return BR_OK;
}

BrStatus
br_bandit_check_spec(BrContext *context, const BrPolicySpec *spec)
{
	const BrAlgorithm *algorithm = spec->algorithm;

	if (algorithm == NULL)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A policy without an algorithm.");
	if ((unsigned) spec->model > BR_MODEL_DISJOINT ||
		(algorithm->models & BR_MODEL_BIT(spec->model)) == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Algorithm %s does not work over %s.",
							algorithm->name, model_name(spec->model));
	if (spec->model == BR_MODEL_ARM && spec->dims != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Arms without features, of %d features.",
							spec->dims);
	if (spec->model != BR_MODEL_ARM && (spec->dims < 1 || spec->dims > BR_BANDIT_MAX_DIMS))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A policy of %d features; 1 to %d are allowed.", spec->dims,
							BR_BANDIT_MAX_DIMS);
	for (int i = 0; i < COUNT(rules); i++)
	{
		if (br_bandit_algorithm_takes(algorithm, spec->model, rules[i].name))
		{
			BrStatus status = check_parameter(context, spec, &rules[i]);

			if (status != BR_OK)
				return status;
		}
	}
	for (int i = 0; spec->prior_mean != NULL && i < spec->dims; i++)
	{
		if (!isfinite(spec->prior_mean[i]))
			return br_base_fail(context, BR_ERR_ARGUMENT, "The prior mean of feature %d is %g.",
								i + 1, spec->prior_mean[i]);
	}
	return BR_OK;
}
