/*
 * sessions.c
 *	  Sessions and the bundles that were made of them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/learn/sessions.h"

/* ---- which there are ---- */

static int
compare_int32(const void *left, const void *right)
{
	int32_t a = *(const int32_t *) left;
	int32_t b = *(const int32_t *) right;

	return a < b ? -1 : a > b;
}

/* sorted, each once; returns how many */
static int
sort_once(int32_t *values, int n)
{
	int kept = 0;

	qsort(values, n, sizeof(int32_t), compare_int32);
	for (int i = 0; i < n; i++)
		if (kept == 0 || values[kept - 1] != values[i])
			values[kept++] = values[i];
	return kept;
}

/* Events in use of one basket after the other. */
typedef struct ByBasket
{
	int64 *starts; /* (n_baskets + 1) */
	int64 *events; /* (starts[n_baskets]) */
} ByBasket;

static ByBasket
sort_by_basket(const BrPgLearnData *data, const bool *use)
{
	ByBasket sorted = {
		.starts = palloc_extended(sizeof(int64) * ((Size) data->n_baskets + 2),
								  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO),
		.events = palloc_extended(sizeof(int64) * Max(data->n_events, 1), MCXT_ALLOC_HUGE),
	};

	/* counts two places ahead become the place where a basket's next event goes */
	for (int64 i = 0; i < data->n_events; i++)
		if ((use == NULL || use[i]) && data->events[i].basket >= 0)
			sorted.starts[data->events[i].basket + 2]++;
	for (int b = 0; b < data->n_baskets; b++)
		sorted.starts[b + 2] += sorted.starts[b + 1];
	for (int64 i = 0; i < data->n_events; i++)
		if ((use == NULL || use[i]) && data->events[i].basket >= 0)
			sorted.events[sorted.starts[data->events[i].basket + 1]++] = i;
	return sorted;
}

static int
bundle_size(const BrPgLearnData *data, int bundle)
{
	return (int) (data->bundle_items.starts[bundle + 1] - data->bundle_items.starts[bundle]);
}

static bool
is_kept_bundle(const BrPgLearnData *data, const BrPgLearnEvent *event)
{
	return event->bundle >= 0 && event->bought > 0 && bundle_size(data, event->bundle) >= 2;
}

/* Baskets of one id, whichever source they are from, one after the other. */
typedef struct SameId
{
	int32 *baskets; /* (n_baskets) */
	int32 *first;	/* (n_baskets): where the group of each basket begins in baskets */
	int32 *last;	/* (n_baskets): behind its end */
} SameId;

static int
compare_names(const void *left, const void *right, void *names)
{
	int32 a = *(const int32 *) left;
	int32 b = *(const int32 *) right;
	int order = strcmp(((char **) names)[a], ((char **) names)[b]);

	CHECK_FOR_INTERRUPTS();
	return order != 0 ? order : a < b ? -1 : a > b;
}

static SameId
group_baskets(const BrPgLearnData *data)
{
	int n = data->n_baskets;
	Size bytes = sizeof(int32) * Max(n, 1);
	SameId same = {.baskets = palloc_extended(bytes, MCXT_ALLOC_HUGE),
				   .first = palloc_extended(bytes, MCXT_ALLOC_HUGE),
				   .last = palloc_extended(bytes, MCXT_ALLOC_HUGE)};

	for (int b = 0; b < n; b++)
		same.baskets[b] = b;
	qsort_arg(same.baskets, n, sizeof(int32), compare_names, data->baskets);
	for (int first = 0, last; first < n; first = last)
	{
		for (last = first + 1; last < n &&
			 strcmp(data->baskets[same.baskets[first]], data->baskets[same.baskets[last]]) == 0;
			 last++)
			continue;
		for (int i = first; i < last; i++)
		{
			same.first[same.baskets[i]] = first;
			same.last[same.baskets[i]] = last;
		}
	}
	return same;
}

/* What sessions are made of. */
typedef struct Making
{
	const BrPgLearnData *data;
	ByBasket events;
	SameId same;
} Making;

/* all items of a basket, bundles taken apart, sorted; NULL: too many, or nothing beside bundles */
static int32_t *
gather_items(const Making *making, int basket, int *n_items)
{
	const BrPgLearnData *data = making->data;
	int64 first = making->events.starts[basket], last = making->events.starts[basket + 1];
	int64 most = 0, kept = 0;
	bool any = false;
	int32_t *items;

	for (int64 i = first; i < last; i++)
	{
		const BrPgLearnEvent *event = &data->events[making->events.events[i]];

		any = any || event->item >= 0;
		most += event->item >= 0 ? 1 : bundle_size(data, event->bundle);
	}
	if (!any || most > PG_INT32_MAX)
		return NULL;
	items = palloc_extended(sizeof(int32_t) * most, MCXT_ALLOC_HUGE);
	for (int64 i = first; i < last; i++)
	{
		const BrPgLearnEvent *event = &data->events[making->events.events[i]];

		if (event->item >= 0)
			items[kept++] = event->item;
		else if (is_kept_bundle(data, event))
		{
			memcpy(items + kept, data->bundle_items.ids + data->bundle_items.starts[event->bundle],
				   sizeof(int32_t) * bundle_size(data, event->bundle));
			kept += bundle_size(data, event->bundle);
		}
	}
	*n_items = sort_once(items, (int) kept);
	if (*n_items >= 2 && *n_items <= BR_BUNDLE_MAX_SESSION)
		return items;
	pfree(items);
	return NULL;
}

static bool
has_bundle(const BrPgSession *session, const int *members, int size)
{
	for (int b = 0; b < session->n_bundles; b++)
		if (session->starts[b + 1] - session->starts[b] == size &&
			memcmp(session->members + session->starts[b], members, sizeof(int) * size) == 0)
			return true;
	return false;
}

/* a bundle of which all is in the session, as places in it, unless it is known already */
static void
add_bundle(const BrPgLearnData *data, int bundle, BrPgSession *session)
{
	int *members = session->members + session->starts[session->n_bundles];
	const int32_t *ids = data->bundle_items.ids + data->bundle_items.starts[bundle];
	int size = bundle_size(data, bundle);

	for (int i = 0; i < size; i++)
	{
		const int32_t *place =
			bsearch(&ids[i], session->items, session->n, sizeof(int32_t), compare_int32);

		if (place == NULL)
			return;
		members[i] = (int) (place - session->items);
	}
	if (has_bundle(session, members, size))
		return;
	session->starts[session->n_bundles + 1] = session->starts[session->n_bundles] + size;
	session->n_bundles++;
}

/*
 * Those bought under the basket's id. Another source may mean something else by
 * it: then the items would not be the session's.
 */
static void
gather_bundles(const Making *making, BrPgSession *session)
{
	const BrPgLearnData *data = making->data;
	int first = making->same.first[session->basket], last = making->same.last[session->basket];
	int64 most = 0;
	int count = 0;

	for (int pass = 0; pass < 2; pass++)
	{
		for (int b = first; b < last; b++)
		{
			int basket = making->same.baskets[b];

			for (int64 i = making->events.starts[basket]; i < making->events.starts[basket + 1];
				 i++)
			{
				const BrPgLearnEvent *event = &data->events[making->events.events[i]];

				if (!is_kept_bundle(data, event))
					continue;
				if (pass == 1)
					add_bundle(data, event->bundle, session);
				most += bundle_size(data, event->bundle);
				count++;
			}
		}
		/* counted first: most sessions have none */
		if (count == 0)
			return;
		if (pass == 0)
		{
			session->starts = palloc0(sizeof(int) * (count + 1));
			session->members = palloc_extended(sizeof(int) * most, MCXT_ALLOC_HUGE);
		}
	}
}

BrPgSession *
br_pg_sessions(const BrPgLearnData *data, const bool *use, int *n)
{
	Making making = {.data = data,
					 .events = sort_by_basket(data, use),
					 .same = group_baskets(data)};
	int room = 64;
	BrPgSession *sessions = palloc(sizeof(BrPgSession) * room);

	*n = 0;
	for (int b = 0; b < data->n_baskets; b++)
	{
		BrPgSession session = {.basket = b};

		session.items = gather_items(&making, b, &session.n);
		if (session.items == NULL)
			continue;
		gather_bundles(&making, &session);
		if (session.n_bundles == 0)
			continue;
		if (*n == room)
		{
			room *= 2;
			sessions = repalloc_huge(sessions, sizeof(BrPgSession) * (Size) room);
		}
		sessions[(*n)++] = session;
		CHECK_FOR_INTERRUPTS();
	}
	return sessions;
}

/* ---- how well sets name the bundles ---- */

/* of two ascending sets */
static double
jaccard(const int *left, int n_left, const int *right, int n_right)
{
	int both = 0;

	for (int l = 0, r = 0; l < n_left && r < n_right;)
	{
		both += left[l] == right[r];
		if (left[l] < right[r])
			l++;
		else if (left[l] > right[r])
			r++;
		else
			l++, r++;
	}
	return (double) both / (n_left + n_right - both);
}

double
br_pg_best_jaccard(const BrPgSession *session, const int *members, int size)
{
	double best = 0;

	for (int b = 0; b < session->n_bundles; b++)
		best = Max(best,
				   jaccard(members, size, session->members + session->starts[b],
						   session->starts[b + 1] - session->starts[b]));
	return best;
}

BrPgDetected
br_pg_judge_sets(const BrPgSession *session, const int *starts, const int *members,
				 const int *chosen, int n)
{
	BrPgDetected detected = {0, 0};
	double precision = 0, recall = 0;

	for (int i = 0; i < n; i++)
		precision += br_pg_best_jaccard(session, members + starts[chosen[i]],
										starts[chosen[i] + 1] - starts[chosen[i]]) /
			n;
	for (int b = 0; b < session->n_bundles; b++)
	{
		double best = 0;

		for (int i = 0; i < n; i++)
			best = Max(best,
					   jaccard(session->members + session->starts[b],
							   session->starts[b + 1] - session->starts[b],
							   members + starts[chosen[i]],
							   starts[chosen[i] + 1] - starts[chosen[i]]));
		recall += best / session->n_bundles;
		detected.exact += (best == 1) / (double) session->n_bundles;
	}
	if (precision + recall > 0)
		detected.f1 = 2 * precision * recall / (precision + recall);
	return detected;
}
