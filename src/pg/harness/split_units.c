/*
 * split_units.c
 *	  Training and test parts that share no unit.
 */
#include "postgres.h"

#include <math.h>

#include "pg/harness/harness.h"
#include "pg/learn/split.h"

#define PARTS 5

int32
br_pg_split_unit(const BrPgEvaluation *evaluation, const BrPgLearnEvent *event)
{
	if (evaluation->split == BR_PG_SPLIT_SESSION || evaluation->split == BR_PG_SPLIT_BASKET)
		return event->basket;
	if (evaluation->split == BR_PG_SPLIT_TIME && event->user < 0 && event->basket >= 0)
		return evaluation->data->n_users + event->basket;
	return event->user;
}

int32 *
br_pg_split_basket_units(const BrPgEvaluation *evaluation, const bool *test)
{
	const BrPgLearnData *data = evaluation->data;
	int32 *units = palloc_extended(sizeof(int32) * Max(data->n_baskets, 1), MCXT_ALLOC_HUGE);

	for (int i = 0; i < data->n_baskets; i++)
		units[i] = -1;
	for (int64 i = 0; i < data->n_events; i++)
		if (test[i] && data->events[i].basket >= 0)
			units[data->events[i].basket] = br_pg_split_unit(evaluation, &data->events[i]);
	return units;
}

static void
refuse(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the events cannot be split so"), errdetail("%s", message),
			 errhint("%s", hint)));
}

/* a user with two baskets would stand on both sides of a split by basket */
static void
refuse_shared_users(const BrPgLearnData *data)
{
	int32 *basket = palloc(sizeof(int32) * Max(data->n_users, 1));

	for (int i = 0; i < data->n_users; i++)
		basket[i] = -1;
	for (int64 i = 0; i < data->n_events; i++)
	{
		const BrPgLearnEvent *event = &data->events[i];

		if (event->user < 0 || event->basket < 0)
			continue;
		/* of one id in two sources both are in the same part */
		if (basket[event->user] >= 0 &&
			strcmp(data->baskets[basket[event->user]], data->baskets[event->basket]) != 0)
			refuse(psprintf("User \"%s\" has several baskets, and some of them may be in training"
							" while others are tested.",
							data->users[event->user]),
				   "Split by user, by session where basket_id names sessions, or by time.");
		basket[event->user] = event->basket;
	}
	pfree(basket);
}

/* the moment at which the last fifth of the events begins */
static double
find_moment(const BrPgLearnData *data)
{
	double *times = palloc_extended(sizeof(double) * Max(data->n_events, 1), MCXT_ALLOC_HUGE);
	double moment;
	int64 n = 0;

	for (int64 i = 0; i < data->n_events; i++)
		if (isfinite(data->events[i].at))
			times[n++] = data->events[i].at;
	if (n < PARTS)
		refuse("The events say no time.", "Name occurred_at in add_event_source.");
	qsort(times, n, sizeof(double), br_pg_compare_doubles);
	moment = times[n - n / PARTS];
	if (n == data->n_events && times[0] == moment)
		refuse("All events happened at one time.", "Name occurred_at in add_event_source.");
	pfree(times);
	return moment;
}

/* whether each unit is tested */
static bool *
choose_units(const BrPgEvaluation *evaluation, const char *seed)
{
	const BrPgLearnData *data = evaluation->data;
	bool of_baskets = evaluation->split != BR_PG_SPLIT_USER;
	int n = of_baskets ? data->n_baskets : data->n_users;
	char **names = of_baskets ? data->baskets : data->users;
	bool *tested = palloc(sizeof(bool) * Max(n, 1));

	if (n < 2)
		refuse(of_baskets ? "Fewer than two baskets are known." : "Fewer than two users are known.",
			   "Split by something that the event sources name.");
	for (int i = 0; i < n; i++)
		tested[i] = br_pg_md5_number(names[i], seed) % PARTS == 0;
	return tested;
}

/* what test units have is unknown in training, whoever else has it */
static void
hide_tested_bundles(const BrPgLearnData *data, BrPgParts *parts)
{
	parts->bundle_known = palloc(sizeof(bool) * Max(data->n_bundles, 1));
	memset(parts->bundle_known, true, sizeof(bool) * Max(data->n_bundles, 1));
	for (int64 i = 0; i < data->n_events; i++)
		if (parts->test[i] && data->events[i].bundle >= 0)
			parts->bundle_known[data->events[i].bundle] = false;
	for (int64 i = 0; i < data->n_events; i++)
		if (data->events[i].bundle >= 0 && !parts->bundle_known[data->events[i].bundle])
			parts->train[i] = false;
}

BrPgParts
br_pg_split_events(const BrPgEvaluation *evaluation, const char *seed, bool hide_bundles)
{
	const BrPgLearnData *data = evaluation->data;
	BrPgParts parts = {
		.train = palloc_extended(sizeof(bool) * Max(data->n_events, 1), MCXT_ALLOC_HUGE),
		.test = palloc_extended(sizeof(bool) * Max(data->n_events, 1), MCXT_ALLOC_HUGE),
	};
	bool by_time = evaluation->split == BR_PG_SPLIT_TIME;
	double moment = by_time ? find_moment(data) : 0;
	bool *tested = by_time ? NULL : choose_units(evaluation, seed);

	if (evaluation->split == BR_PG_SPLIT_BASKET)
		refuse_shared_users(data);
	for (int64 i = 0; i < data->n_events; i++)
	{
		const BrPgLearnEvent *event = &data->events[i];
		int32 unit = br_pg_split_unit(evaluation, event);

		parts.test[i] = by_time ? event->at >= moment : unit >= 0 && tested[unit];
		/* what belongs to no unit could belong to one that is tested */
		parts.train[i] = !parts.test[i] && (by_time || unit >= 0);
	}
	if (hide_bundles)
		hide_tested_bundles(data, &parts);
	return parts;
}
