/*
 * text_operators_sql.c
 *	  Distances between texts (sql/parts/text_operators.sql): those between
 *	  their embeddings under bundle_rec.default_model.
 *
 * Where a query is answered with an index, rows that it returns leave their
 * vectors in the session's memory, and the query's text is one that was
 * embedded before: then nothing is embedded here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/ann/br_ann.h"
#include "pg/am/text_int.h"
#include "pg/model/model.h"

PG_FUNCTION_INFO_V1(br_text_cosine_distance);
PG_FUNCTION_INFO_V1(br_text_negative_inner_product);
PG_FUNCTION_INFO_V1(br_text_l2_distance);

/* When a model was looked up: as long as this stays, the same one would be found. */
typedef struct Moment
{
	LocalTransactionId transaction;
	SubTransactionId subtransaction;
	CommandId command;
	TimestampTz statement;
	BrPgComputing by;
} Moment;

/* The text that stood on one side last; a query stands there for all rows. */
typedef struct Side
{
	text *text; /* NULL: none yet */
	BrEmbedding *embedding;
} Side;

typedef struct Call
{
	Moment moment;
	char *name; /* bundle_rec.default_model */
	BrPgStoredModel model;
	Side sides[2];
} Call;

/* ---- the model ---- */

static void
forget_sides(Call *call)
{
	for (int i = 0; i < 2; i++)
	{
		if (call->sides[i].text != NULL)
		{
			pfree(call->sides[i].text);
			pfree(call->sides[i].embedding);
		}
		call->sides[i] = (Side){NULL, NULL};
	}
}

static Moment
at_present(void)
{
	BrPgComputing by = br_pg_model_computing();
	Moment moment;

	memset(&moment, 0, sizeof(moment));
	moment.transaction = MyProc->lxid;
	moment.subtransaction = GetCurrentSubTransactionId();
	moment.command = GetCurrentCommandId(false);
	moment.statement = GetCurrentStatementStartTimestamp();
	/* by its members, because moments are compared as bytes */
	moment.by.backend = by.backend;
	moment.by.precision = by.precision;
	return moment;
}

static void
find_model(Call *call, FunctionCallInfo fcinfo, const Moment *moment)
{
	forget_sides(call);
	if (call->name != NULL)
		pfree(call->name);
	call->name = NULL;
	SPI_connect();
	br_pg_model_get(NULL, &call->model);
	SPI_finish();
	call->name = MemoryContextStrdup(fcinfo->flinfo->fn_mcxt, br_pg_default_model);
	call->moment = *moment;
}

/* What is kept from call to call, with the model that is meant at this moment. */
static Call *
prepare(FunctionCallInfo fcinfo)
{
	Call *call = fcinfo->flinfo->fn_extra;
	Moment moment = at_present();

	if (call == NULL)
	{
		call = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Call));
		fcinfo->flinfo->fn_extra = call;
	}
	if (call->name == NULL || memcmp(&call->moment, &moment, sizeof(moment)) != 0 ||
		strcmp(call->name, br_pg_default_model) != 0)
		find_model(call, fcinfo, &moment);
	return call;
}

/* ---- vectors ---- */

static bool
is_same(const text *left, const text *right)
{
	return VARSIZE_ANY_EXHDR(left) == VARSIZE_ANY_EXHDR(right) &&
		memcmp(VARDATA_ANY(left), VARDATA_ANY(right), VARSIZE_ANY_EXHDR(left)) == 0;
}

/* Of a text, as an index has left it or newly made. */
static BrEmbedding *
vector_of(const Call *call, const char *text)
{
	uint8 hash[BR_AM_TEXT_HASH_SIZE];
	const uint16 *known;
	BrEmbedding *embedding;
	int dims;

	br_am_text_hash(text, hash);
	known = br_am_recall_text(call->model.hash, hash, &dims);
	if (known == NULL)
		return br_pg_model_embed_text(call->model.number, text, false);
	embedding = br_pg_embedding_create(dims);
	memcpy(embedding->components, known, sizeof(uint16) * dims);
	return embedding;
}

static const BrEmbedding *
embedding_of(Call *call, FunctionCallInfo fcinfo, int argument)
{
	Side *side = &call->sides[argument];
	text *value = PG_GETARG_TEXT_PP(argument);
	MemoryContext memory = fcinfo->flinfo->fn_mcxt;
	BrEmbedding *embedding;
	Side next;

	if (side->text != NULL && is_same(side->text, value))
		return side->embedding;
	embedding = vector_of(call, text_to_cstring(value));
	next.text = MemoryContextAlloc(memory, VARSIZE_ANY(value));
	memcpy(next.text, value, VARSIZE_ANY(value));
	next.embedding = MemoryContextAlloc(memory, VARSIZE(embedding));
	memcpy(next.embedding, embedding, VARSIZE(embedding));
	if (side->text != NULL)
	{
		pfree(side->text);
		pfree(side->embedding);
	}
	*side = next;
	return side->embedding;
}

static double
distance(FunctionCallInfo fcinfo, BrMetric metric)
{
	Call *call = prepare(fcinfo);
	const BrEmbedding *left = embedding_of(call, fcinfo, 0);
	const BrEmbedding *right = embedding_of(call, fcinfo, 1);

	br_pg_embedding_check_same_dims(left->dims, right->dims);
	return br_ann_distance(metric, left->components,
						   br_ann_squared_norm(left->components, left->dims), right->components,
						   left->dims);
}

PGDLLEXPORT Datum
br_text_cosine_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, BR_METRIC_COSINE));
}

PGDLLEXPORT Datum
br_text_negative_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, BR_METRIC_INNER_PRODUCT));
}

PGDLLEXPORT Datum
br_text_l2_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, BR_METRIC_L2));
}
