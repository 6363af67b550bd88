/*
 * model_sql.c
 *	  SQL doors of models and of the encoder (sql/parts/model.sql).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/backends.h"
#include "pg/embedding.h"
#include "pg/model/model.h"

/* Texts whose float embeddings are in memory at once, and their bytes, but for one text more. */
#define TEXTS_AT_ONCE 512
#define BYTES_AT_ONCE (4 * 1024 * 1024)
#define NOTICE_SECONDS 5

PG_FUNCTION_INFO_V1(br_load_model);
PG_FUNCTION_INFO_V1(br_load_model_files);
PG_FUNCTION_INFO_V1(br_load_model_add);
PG_FUNCTION_INFO_V1(br_load_model_finish);
PG_FUNCTION_INFO_V1(br_drop_model);
PG_FUNCTION_INFO_V1(br_model_used_by);
PG_FUNCTION_INFO_V1(br_model_info);
PG_FUNCTION_INFO_V1(br_tokenize);
PG_FUNCTION_INFO_V1(br_embed);
PG_FUNCTION_INFO_V1(br_embed_array);
PG_FUNCTION_INFO_V1(br_backends);

/* ---- models ---- */

PGDLLEXPORT Datum
br_load_model(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *directory = text_to_cstring(PG_GETARG_TEXT_PP(1));

	SPI_connect();
	br_pg_model_load(name, directory);
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_load_model_files(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ArrayType *files = PG_GETARG_ARRAYTYPE_P(1);

	SPI_connect();
	br_pg_model_load_given(name, br_pg_given_array(files));
	SPI_finish();
	PG_RETURN_VOID();
}

/* State of the aggregate load_model(name, path, content). */
typedef struct Gathered
{
	char *name;
	BrPgGiven *given;
} Gathered;

/* what a row gives, NULL refused */
static Datum
row_argument(FunctionCallInfo fcinfo, int i, const char *what)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the %s of a file of a model must not be NULL", what)));
	return PG_GETARG_DATUM(i);
}

/* state, name, path, content */
PGDLLEXPORT Datum
br_load_model_add(PG_FUNCTION_ARGS)
{
	Gathered *gathered = PG_ARGISNULL(0) ? NULL : (Gathered *) PG_GETARG_POINTER(0);
	char *name = TextDatumGetCString(row_argument(fcinfo, 1, "model"));
	Datum path = row_argument(fcinfo, 2, "path");
	Datum content = row_argument(fcinfo, 3, "content");
	MemoryContext memory, before;

	if (AggCheckCallContext(fcinfo, &memory) == 0)
		elog(ERROR, "load_model_add was called outside an aggregate");
	before = MemoryContextSwitchTo(memory);
	if (gathered == NULL)
	{
		gathered = palloc(sizeof(Gathered));
		gathered->name = pstrdup(name);
		gathered->given = br_pg_given_create(true);
	}
	if (strcmp(name, gathered->name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("files of the models \"%s\" and \"%s\" are mixed", gathered->name, name),
				 errhint("Load one model at a time, or GROUP BY its name.")));
	br_pg_given_add(gathered->given, TextDatumGetCString(path), DatumGetByteaPCopy(content));
	MemoryContextSwitchTo(before);
	PG_RETURN_POINTER(gathered);
}

PGDLLEXPORT Datum
br_load_model_finish(PG_FUNCTION_ARGS)
{
	Gathered *gathered = PG_ARGISNULL(0) ? NULL : (Gathered *) PG_GETARG_POINTER(0);

	if (gathered == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE), errmsg("there are no files of a model"),
				 errhint("The query gives no rows to load_model.")));
	SPI_connect();
	br_pg_model_load_given(gathered->name, gathered->given);
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_drop_model(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	SPI_connect();
	br_pg_model_drop(name);
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_model_used_by(PG_FUNCTION_ARGS)
{
	Datum names;

	SPI_connect();
	names = SPI_datumTransfer(PointerGetDatum(br_pg_model_used_by(PG_GETARG_INT32(0), false)),
							  false, -1);
	SPI_finish();
	PG_RETURN_DATUM(names);
}

/* ---- the encoder ---- */

/* The model named by an argument, NULL or not. */
static int32
model_argument(FunctionCallInfo fcinfo, int argument)
{
	char *name = PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
	int32 model;

	SPI_connect();
	model = br_pg_model_number(name);
	SPI_finish();
	return model;
}

static bool
flag_argument(FunctionCallInfo fcinfo, int argument)
{
	return !PG_ARGISNULL(argument) && PG_GETARG_BOOL(argument);
}

static int
dimensions_of(int32 model)
{
	int dimensions;

	SPI_connect();
	dimensions = br_encoder_info(br_pg_model_encoder(model))->dimensions;
	SPI_finish();
	return dimensions;
}

PGDLLEXPORT Datum
br_model_info(PG_FUNCTION_ARGS)
{
	int32 model = model_argument(fcinfo, 0);
	TupleDesc descriptor;
	HeapTupleHeader row;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "model_info returns a row");
	descriptor = BlessTupleDesc(descriptor);
	SPI_connect();
	row = SPI_returntuple(br_pg_model_info(model, descriptor), descriptor);
	SPI_finish();
	PG_RETURN_HEAPTUPLEHEADER(row);
}

PGDLLEXPORT Datum
br_tokenize(PG_FUNCTION_ARGS)
{
	Datum *elements;
	int32 *ids;
	int n;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	ids = br_pg_model_tokenize(model_argument(fcinfo, 1), text_to_cstring(PG_GETARG_TEXT_PP(0)),
							   flag_argument(fcinfo, 2), &n);
	elements = palloc(sizeof(Datum) * Max(n, 1));
	for (int i = 0; i < n; i++)
		elements[i] = Int32GetDatum(ids[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

PGDLLEXPORT Datum
br_embed(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(br_pg_model_embed_text(model_argument(fcinfo, 1),
											 text_to_cstring(PG_GETARG_TEXT_PP(0)),
											 flag_argument(fcinfo, 2)));
}

/* What an array is turned into. */
typedef struct ArrayEmbedding
{
	int32 model;
	int dimensions;
	bool parse_special;
	int n;
	const Datum *elements; /* (n) */
	const bool *nulls;	   /* (n) */
	Datum *results;		   /* (n) */
	int64 all;			   /* elements that are not NULL */
	int64 done;
} ArrayEmbedding;

/*
 * Embeds the elements from first on that are not NULL, as many as are in memory
 * at once, in the context `batch`; returns the element after the last one done.
 */
static int
embed_some(ArrayEmbedding *work, int first, MemoryContext batch)
{
	MemoryContext outer = MemoryContextSwitchTo(batch);
	char *texts[TEXTS_AT_ONCE];
	int places[TEXTS_AT_ONCE];
	Size bytes = 0;
	float *components;
	int taken = 0;
	int at;

	for (at = first; at < work->n && taken < TEXTS_AT_ONCE && bytes < BYTES_AT_ONCE; at++)
	{
		if (work->nulls[at])
			continue;
		texts[taken] = TextDatumGetCString(work->elements[at]);
		bytes += strlen(texts[taken]);
		places[taken++] = at;
	}
	components = palloc(sizeof(float) * work->dimensions * Max(taken, 1));
	br_pg_model_embed(work->model, texts, taken, work->parse_special, NULL, components);
	MemoryContextSwitchTo(outer);
	for (int i = 0; i < taken; i++)
		work->results[places[i]] =
			PointerGetDatum(br_pg_embedding_from_floats(components + (size_t) i * work->dimensions,
														work->dimensions));
	MemoryContextReset(batch);
	work->done += taken;
	return at;
}

/* before hours of work, rather than after them */
static void
require_room(ArrayEmbedding *work)
{
	for (int i = 0; i < work->n; i++)
		work->all += !work->nulls[i];
	if (work->all * MAXALIGN(BR_EMBEDDING_SIZE(work->dimensions)) > MaxAllocSize - work->n)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the embeddings of %lld texts do not fit into an array",
						(long long) work->all),
				 errdetail("An embedding of this model has %d bytes, an array at most %d.",
						   (int) BR_EMBEDDING_SIZE(work->dimensions), (int) MaxAllocSize),
				 errhint("Embed them in several arrays.")));
}

static void
embed_all(ArrayEmbedding *work)
{
	MemoryContext batch =
		AllocSetContextCreate(CurrentMemoryContext, "texts", ALLOCSET_DEFAULT_SIZES);
	TimestampTz told = GetCurrentTimestamp();

	require_room(work);
	for (int at = 0; at < work->n;)
	{
		TimestampTz now;

		at = embed_some(work, at, batch);
		now = GetCurrentTimestamp();
		if (at < work->n && TimestampDifferenceExceeds(told, now, NOTICE_SECONDS * 1000))
		{
			told = now;
			ereport(NOTICE,
					(errmsg("embedded %lld of %lld texts", (long long) work->done,
							(long long) work->all)));
		}
	}
	MemoryContextDelete(batch);
}

PGDLLEXPORT Datum
br_embed_array(PG_FUNCTION_ARGS)
{
	ArrayEmbedding work = {.parse_special = flag_argument(fcinfo, 2)};
	ArrayType *array;
	Datum *elements;
	bool *nulls;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	array = PG_GETARG_ARRAYTYPE_P(0);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &work.n);
	work.elements = elements;
	work.nulls = nulls;
	work.model = model_argument(fcinfo, 1);
	work.dimensions = dimensions_of(work.model);
	work.results = palloc0(sizeof(Datum) * Max(work.n, 1));
	embed_all(&work);
	PG_RETURN_ARRAYTYPE_P(construct_md_array(work.results, nulls, ARR_NDIM(array), ARR_DIMS(array),
											 ARR_LBOUND(array), br_pg_embedding_type(), -1, false,
											 TYPALIGN_INT));
}

/* ---- backends ---- */

static Datum
precisions_of(const BrBackend *backend)
{
	Datum names[BR_PRECISION_COUNT];
	int n = 0;

	for (int i = 0; i < BR_PRECISION_COUNT; i++)
		if (br_pg_computes_in(backend, (BrPrecision) i))
			names[n++] = CStringGetTextDatum(br_pg_precision_name(i));
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

PGDLLEXPORT Datum
br_backends(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgBackendStatus backends[BR_PG_N_BACKENDS];

	br_pg_list_backends(backends);
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < BR_PG_N_BACKENDS; i++)
	{
		const BrPgBackendStatus *backend = &backends[i];
		bool available = backend->table != NULL;
		Datum values[6] = {CStringGetTextDatum(backend->name), BoolGetDatum(available),
						   BoolGetDatum(backend->in_use)};
		bool nulls[6] = {false, false, false, !available, !available, available};

		if (available)
		{
			values[3] = CStringGetTextDatum(backend->table->instruction_set());
			values[4] = precisions_of(backend->table);
		}
		else
			values[5] = CStringGetTextDatum(backend->reason);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
