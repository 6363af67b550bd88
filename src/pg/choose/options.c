/*
 * options.c
 *	  What may be chosen: the eligible arms, and their features in the context.
 *
 * Over the shared model the features of an arm are 1, those of the arm, those
 * of the context, and where the policy has interactions all products of one of
 * the context and one of the arm: without them the context would say the same
 * of every arm. Over the disjoint model, where each arm weighs them for itself,
 * they are 1, those of the context and those of the arm.
 */
#include "postgres.h"

#include "pg/choose/choose.h"
#include "pg/policy/context.h"

/* ---- arms ---- */

static void
set_arm(BrPgOptions *options, int member, int arm)
{
	options->arms[member] = arm;
	options->numbers[member] = options->state->arms[arm];
	options->names[member] = options->state->names[arm];
}

static void
make_room(BrPgOptions *options, int n)
{
	options->n = n;
	options->arms = palloc(sizeof(int) * Max(n, 1));
	options->numbers = palloc(sizeof(int32) * Max(n, 1));
	options->names = palloc(sizeof(char *) * Max(n, 1));
}

static void
all_arms(BrPgOptions *options)
{
	options->all = true;
	make_room(options, options->state->n_arms);
	for (int i = 0; i < options->n; i++)
		set_arm(options, i, i);
}

static void
named_arms(BrPgOptions *options, char **names, int n)
{
	make_room(options, n);
	for (int i = 0; i < n; i++)
	{
		int arm = br_pg_policy_arm(options->state, names[i]);

		if (arm < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("policy \"%s\" has no arm \"%s\"", options->policy->name, names[i]),
					 errdetail("It was never added, or it was retired."),
					 errhint("add_arms adds it.")));
		set_arm(options, i, arm);
	}
}

static void
numbered_arms(BrPgOptions *options, const int32 *numbers, int n)
{
	make_room(options, n);
	for (int i = 0; i < n; i++)
	{
		int arm = br_pg_policy_arm_number(options->state, numbers[i]);

		if (arm < 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("arm number %d of policy \"%s\" is not known", numbers[i],
							options->policy->name)));
		set_arm(options, i, arm);
	}
}

static int
compare_numbers(const void *left, const void *right)
{
	int32 a = *(const int32 *) left, b = *(const int32 *) right;

	return a < b ? -1 : a > b;
}

static void
refuse_twice(const BrPgOptions *options)
{
	int32 *sorted = palloc(sizeof(int32) * Max(options->n, 1));

	memcpy(sorted, options->numbers, sizeof(int32) * options->n);
	qsort(sorted, options->n, sizeof(int32), compare_numbers);
	for (int i = 1; i < options->n; i++)
		if (sorted[i] == sorted[i - 1])
			for (int j = 0; j < options->n; j++)
				if (options->numbers[j] == sorted[i])
					ereport(ERROR,
							(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							 errmsg("arm \"%s\" is given twice", options->names[j])));
	pfree(sorted);
}

/* ---- features ---- */

static const float *
features_of_arm(const BrPgOptions *options, int member)
{
	const BrPgPolicyState *state = options->state;
	int n = options->policy->arm_features;

	if (options->given != NULL)
		return options->given + (size_t) member * n;
	if (options->stored != NULL)
		return options->stored + (size_t) member * n;
	if (state->featureless[options->arms[member]])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arm \"%s\" of policy \"%s\" has no features", options->names[member],
						options->policy->name),
				 errhint("Store them with add_arms, or give \"features\" with the call.")));
	return state->features + (size_t) options->arms[member] * n;
}

static float *
append(float *place, const float *values, int n)
{
	memcpy(place, values, sizeof(float) * n);
	return place + n;
}

static void
fill_features(BrPgOptions *options)
{
	const BrPgPolicy *policy = options->policy;
	int n_arm = policy->arm_features;
	bool shared = policy->spec.model == BR_MODEL_SHARED;
	float *place;

	if (policy->spec.model == BR_MODEL_ARM)
		return;
	place = options->features =
		palloc(sizeof(float) * Max((size_t) options->n * policy->spec.dims, 1));
	for (int i = 0; i < options->n; i++)
	{
		const float *arm = n_arm > 0 ? features_of_arm(options, i) : NULL;

		*place++ = 1;
		if (shared)
			place = append(place, arm, n_arm);
		place = append(place, options->context, options->n_context);
		if (!shared)
			place = append(place, arm, n_arm);
		if (shared && policy->interactions)
			for (int c = 0; c < options->n_context; c++)
				for (int a = 0; a < n_arm; a++)
					*place++ = options->context[c] * arm[a];
	}
}

static void
read_given(BrPgOptions *options, const BrPgGiven *given)
{
	const BrPgPolicy *policy = options->policy;
	int64 wanted = (int64) options->n * policy->arm_features;

	if (given->features == NULL)
		return;
	if (given->arms == NULL || policy->arm_features == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 policy->arm_features == 0
					 ? errmsg("policy \"%s\" takes no features of arms", policy->name)
					 : errmsg("\"features\" are given without \"arms\""),
				 errhint("%s",
						 policy->arm_features == 0
							 ? "Declare \"arm_features\" in params of create_policy."
							 : "Name the arms that they belong to, in their order.")));
	if (given->n_features != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"features\" has %d numbers instead of %lld", given->n_features,
						(long long) wanted),
				 errdetail("There are %d arms with %d features each.", options->n,
						   policy->arm_features)));
	options->given = br_pg_context_floats(given->features, given->n_features, "\"features\"");
}

static BrPgOptions *
open_options(BrPgPolicy *policy)
{
	BrPgOptions *options = palloc0(sizeof(BrPgOptions));

	options->policy = policy;
	options->state = br_pg_policy_state(policy);
	options->n_context = br_pg_context_dims(policy->context);
	return options;
}

static void
refuse_nothing(const BrPgOptions *options, const BrPgGiven *given)
{
	if (options->n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy \"%s\" has nothing to choose among", options->policy->name),
				 given->arms == NULL ? errhint("Add arms with add_arms.")
									 : errdetail("The list of eligible arms is empty.")));
}

BrPgOptions *
br_pg_options(BrPgPolicy *policy, const BrPgGiven *given, int slots, uint64 key)
{
	BrPgOptions *options = open_options(policy);

	options->context =
		br_pg_context_features(policy->name, policy->context, given->context_type, given->context);
	if (policy->indexed && given->arms == NULL)
		br_pg_options_search(options, slots, key);
	else if (policy->indexed)
		br_pg_options_find(options, given->arms, NULL, given->n_arms);
	else if (given->arms == NULL)
		all_arms(options);
	else
		named_arms(options, given->arms, given->n_arms);
	refuse_nothing(options, given);
	if (given->arms != NULL)
		refuse_twice(options);
	read_given(options, given);
	fill_features(options);
	return options;
}

/* as many numbers stand in the log as the policy takes */
static void
check_logged(const BrPgOptions *options, const char *what, int n, int64 wanted)
{
	if (n != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a logged choice of policy \"%s\" has %d numbers in its %s instead of %lld",
						options->policy->name, n, what, (long long) wanted),
				 errhint("See who may INSERT into bundle_rec.choice_%d: choose and arrange write "
						 "rows that fit.",
						 options->policy->catalog)));
}

BrPgOptions *
br_pg_options_logged(BrPgPolicy *policy, const BrPgLoggedOptions *logged)
{
	BrPgOptions *options = open_options(policy);

	if (policy->indexed)
		br_pg_options_find(options, NULL, logged->numbers, logged->n);
	else if (logged->numbers == NULL)
		all_arms(options);
	else
		numbered_arms(options, logged->numbers, logged->n);
	check_logged(options, "context", logged->n_context, options->n_context);
	options->context = logged->context;
	if (logged->given != NULL)
		check_logged(options, "features", logged->n_given,
					 (int64) options->n * policy->arm_features);
	options->given = logged->given;
	fill_features(options);
	return options;
}

BrSlateRequest
br_pg_options_request(const BrPgOptions *options, int slots, uint64 key)
{
	BrSlateRequest request = {
		.pool = options->n,
		.arms = options->arms,
		.features = options->features,
		.slots = slots,
		.key = key,
	};

	return request;
}
