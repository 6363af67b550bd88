/*
 * search.c
 *	  Arms of an indexed policy: found by draws of theta, by name, by number.
 *
 * The score of an arm under a draw is linear in the arm's features, so its best
 * arms are one scan by largest inner product. What all draws find together is
 * the pool, in which each draw then votes: exactly, over what was found. An arm
 * that no draw found cannot be chosen, and has propensity 0, as one that no
 * draw would vote for; the log says what was found.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"

#include "pg/choose/choose.h"

/* of the exact inner products of one scan, so many are found */
#define SEARCH_RECALL "0.99"

/* ---- members ---- */

static void
make_room(BrPgOptions *options, int room)
{
	options->n = 0;
	options->numbers = palloc(sizeof(int32) * Max(room, 1));
	options->names = palloc(sizeof(char *) * Max(room, 1));
	options->stored = palloc(sizeof(float) * Max((size_t) room * options->policy->arm_features, 1));
}

/* columns 1 to 3 of a row: number, name, features */
static void
add_member(BrPgOptions *options, uint64 row)
{
	int n = options->policy->arm_features;
	int n_features;
	const float *features = br_pg_column_elements(row, 3, &n_features);
	bool is_null;

	if (n_features != n)
		elog(ERROR, "arm with another number of features");
	options->numbers[options->n] = DatumGetInt32(br_pg_column(row, 1, &is_null));
	options->names[options->n] = br_pg_column_text(row, 2);
	memcpy(options->stored + (size_t) options->n * n, features, sizeof(float) * n);
	options->n++;
}

/* ---- by draws ---- */

/* what of theta meets the features of an arm, as real[] of length 1 */
static Datum
direction(const BrPgOptions *options, const double *theta)
{
	const BrPgPolicy *policy = options->policy;
	int n = policy->arm_features;
	double *sum = palloc(sizeof(double) * n);
	float *scaled = palloc(sizeof(float) * n);
	double norm = 0;

	for (int a = 0; a < n; a++)
	{
		sum[a] = theta[1 + a];
		for (int c = 0; policy->interactions && c < options->n_context; c++)
			sum[a] += options->context[c] * theta[1 + n + options->n_context + c * n + a];
		norm = Max(norm, fabs(sum[a]));
	}
	for (int a = 0; a < n; a++)
		scaled[a] = norm > 0 ? (float) (sum[a] / norm) : 0;
	return br_pg_float4_array(scaled, n);
}

void
br_pg_options_search(BrPgOptions *options, int slots, uint64 key)
{
	static const Oid types[] = {FLOAT4ARRAYOID};
	const BrPgPolicy *policy = options->policy;
	int draws = (int) policy->spec.parameters.draws;
	double *theta = palloc(sizeof(double) * policy->spec.dims);
	const char *sql = psprintf("SELECT arm, name, features FROM bundle_rec.arm_%d"
							   " WHERE retired IS NULL ORDER BY vector OPERATOR(bundle_rec.<#>)"
							   " $1::bundle_rec.embedding LIMIT %d",
							   policy->catalog, slots);
	HASHCTL control = {.keysize = sizeof(int32),
					   .entrysize = sizeof(int32),
					   .hcxt = CurrentMemoryContext};
	HTAB *found =
		hash_create("bundle_rec arms found", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	BrPgRights rights;

	make_room(options, draws * slots);
	br_pg_enter_owner(&rights);
	br_pg_set_for_section("bundle_rec.recall", SEARCH_RECALL);
	br_pg_set_for_section("bundle_rec.probes", "0");
	br_pg_set_for_section("bundle_rec.scan_order", "strict");
	for (int m = 0; m < draws; m++)
	{
		Datum values[1];
		uint64 n;

		br_bandit_draw_of(options->state->belief, key, m, theta);
		values[0] = direction(options, theta);
		n = br_pg_execute(sql, 1, types, values, NULL, true, slots);
		for (uint64 row = 0; row < n; row++)
		{
			bool is_null, known;
			int32 arm = DatumGetInt32(br_pg_column(row, 1, &is_null));

			hash_search(found, &arm, HASH_ENTER, &known);
			if (!known)
				add_member(options, row);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	br_pg_leave(&rights);
}

/* ---- by name or number ---- */

/* $1 names or numbers, $2 the set of arms; in their order */
#define FIND(key)                                                                         \
	"SELECT a.arm, a.name, a.features, u.key FROM pg_catalog.unnest($1) WITH ORDINALITY"  \
	" u(key, place) LEFT JOIN bundle_rec.arm_%d a ON a." key " = u.key AND a.added <= $2" \
	" AND (a.retired IS NULL OR a.retired > $2) ORDER BY u.place"

void
br_pg_options_find(BrPgOptions *options, char **names, const int32 *numbers, int n)
{
	const BrPgPolicy *policy = options->policy;
	const Oid types[] = {names != NULL ? TEXTARRAYOID : INT4ARRAYOID, INT4OID};
	Datum values[] = {names != NULL ? br_pg_text_array_datum(names, n)
									: br_pg_int4_array(numbers, n),
					  Int32GetDatum(policy->arms_version)};
	uint64 found;
	BrPgRights rights;

	make_room(options, n);
	br_pg_enter_owner(&rights);
	found = br_pg_execute(psprintf(names != NULL ? FIND("name") : FIND("arm"), policy->catalog), 2,
						  types, values, NULL, true, 0);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;

		(void) br_pg_column(row, 1, &is_null);
		if (is_null)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("policy \"%s\" has no arm \"%s\"", policy->name,
							SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 4)),
					 errdetail("It was never added, or it was retired."),
					 errhint("add_arms adds it.")));
		add_member(options, row);
	}
	SPI_freetuptable(SPI_tuptable);
	br_pg_leave(&rights);
}
