/*
 * choose.c
 *	  One choice: the slate that a policy draws among its options.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/choose/choose.h"

void
br_pg_choose(BrPgChoice *choice)
{
	const BrPgOptions *options = choice->options;
	BrSlateRequest request = br_pg_options_request(options, choice->wanted, choice->key);
	BrContext context;

	if (choice->wanted > options->n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d arms are wanted and %d are eligible", choice->wanted, options->n),
				 errhint("Ask for fewer, or add arms to policy \"%s\".", options->policy->name)));
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bandit_slate(&context, options->state->belief, &request, &choice->slate),
				&context, psprintf("policy \"%s\" could not choose", options->policy->name), NULL);
	CHECK_FOR_INTERRUPTS();
}
