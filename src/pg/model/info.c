/*
 * info.c
 *	  All that is known of one model: what it is, who uses it, what computes it.
 *
 * What a model is may be seen by everybody, as in the view bundle_rec.model.
 * How many items of a catalog it has embedded is shown to those who may read
 * that catalog, the file in the data directory to those who may look there.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/htup_details.h"
#include "catalog/pg_authid_d.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "pg/backends.h"
#include "pg/model/model_int.h"

/* the columns of stored_model that come first, in the order of the function's */
#define STORED 14

typedef enum Column
{
	USED_BY = STORED,
	EMBEDDED,
	BACKEND,
	INSTRUCTION_SET,
	PRECISION,
	PACKED_FILE,
	PACKED_BYTES,
	WEIGHTS_FILE,
	WEIGHTS_BYTES,
	BYTES_BY_PRECISION,
	TOKENS,
	TOKENS_PER_SECOND,
	QUERY_HITS,
	QUERY_MISSES,
	N_COLUMNS
} Column;

typedef struct Info
{
	Datum values[N_COLUMNS];
	bool nulls[N_COLUMNS];
} Info;

static void
set(Info *info, Column column, Datum value)
{
	info->values[column] = value;
	info->nulls[column] = false;
}

static void
read_stored(int32 model, Info *info, BrPgPackedKey *key)
{
	static const char sql[] =
		"SELECT name, architecture, tokenizer, pooling, normalize, dimensions, max_tokens,"
		" parameters, bytes, weights, (SELECT pg_catalog.sum(pg_catalog.octet_length(c.data))::bigint"
		" FROM bundle_rec.model_chunk c WHERE c.model = s.model), pg_catalog.encode(hash, 'hex'),"
		" loaded_at, loaded_by, hash, layout FROM bundle_rec.stored_model s WHERE model = $1";
	Oid type = INT4OID;
	Datum value = Int32GetDatum(model);
	BrPgRights rights;
	bool is_null;

	br_pg_enter_owner(&rights);
	if (br_pg_execute(sql, 1, &type, &value, NULL, true, 1) != 1)
		elog(ERROR, "model number %d does not exist", model);
	br_pg_leave(&rights);
	for (int i = 0; i < STORED; i++)
		info->values[i] = br_pg_column(0, i + 1, &info->nulls[i]);
	memcpy(key->hash, VARDATA_ANY(DatumGetByteaPP(br_pg_column(0, STORED + 1, &is_null))),
		   BR_PG_HASH_SIZE);
	key->layout = DatumGetInt32(br_pg_column(0, STORED + 2, &is_null));
}

/* as catalog_coverage shows catalogs; a catalog whose source is gone has no more readers */
static void
count_embedded(int32 model, Info *info)
{
	static const char sql[] =
		"SELECT pg_catalog.jsonb_object_agg(name, items) FROM"
		" (SELECT c.name, pg_catalog.count(*) AS items FROM bundle_rec.catalog c"
		"  JOIN bundle_rec.item i ON i.catalog = c.catalog AND i.model = $1"
		"  WHERE pg_catalog.has_table_privilege($2, c.items, 'SELECT')"
		"  OR pg_catalog.pg_has_role($2, c.owner, 'USAGE') GROUP BY c.name) e";
	Oid types[] = {INT4OID, OIDOID};
	Datum values[] = {Int32GetDatum(model), ObjectIdGetDatum(GetUserId())};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute(sql, lengthof(types), types, values, NULL, true, 1);
	br_pg_leave(&rights);
	info->values[EMBEDDED] = br_pg_column(0, 1, &info->nulls[EMBEDDED]);
}

/* ---- what computes it ---- */

/* The table in use; NULL where what the setting names cannot be loaded. */
static const BrBackend *
find_backend(Info *info)
{
	BrPgBackendStatus backends[BR_PG_N_BACKENDS];
	const BrBackend *backend = NULL;

	br_pg_list_backends(backends);
	for (int i = 0; i < BR_PG_N_BACKENDS; i++)
		if (backends[i].in_use)
			backend = backends[i].table;
	if (backend == NULL)
		return NULL;
	set(info, BACKEND, CStringGetTextDatum(backend->name));
	set(info, INSTRUCTION_SET, CStringGetTextDatum(backend->instruction_set()));
	return backend;
}

/* Says in what it computes; false where the setting asks for what it does not. */
static bool
find_precision(const BrBackend *backend, Info *info, BrPrecision *precision)
{
	if (br_pg_precision != BR_PG_PRECISION_AUTO &&
		!br_pg_computes_in(backend, (BrPrecision) br_pg_precision))
		return false;
	*precision = br_pg_session_precision(backend);
	set(info, PRECISION, CStringGetTextDatum(br_pg_precision_name(*precision)));
	return true;
}

/* ---- files ---- */

/* Where there is a file, its size. */
static bool
find_size(const BrPgPackedKey *key, int64 *size)
{
	char name[BR_PG_PACKED_NAME];
	struct stat status;

	br_pg_packed_name(key, name);
	if (lstat(name, &status) != 0)
		return false;
	*size = (int64) status.st_size;
	return true;
}

static void
find_file(const BrPgPackedKey *key, Info *info, Column file, Column bytes)
{
	char name[BR_PG_PACKED_NAME];
	int64 size;

	if (!has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) &&
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		return;
	br_pg_packed_name(key, name);
	set(info, file, CStringGetTextDatum(name));
	if (find_size(key, &size))
		set(info, bytes, Int64GetDatum(size));
}

/* Of a model that some session has used: opening another would make its file. */
static void
find_bytes(int32 model, const BrPgPackedKey *image, const BrBackend *backend, Info *info)
{
	const BrEncoder *encoder;
	StringInfoData json;
	int64 size;

	if (image->layout != BR_ENCODER_LAYOUT_VERSION || !find_size(image, &size))
		return;
	encoder = br_pg_model_encoder(model);
	initStringInfo(&json);
	for (int i = 0; i < BR_PRECISION_COUNT; i++)
		if (br_pg_computes_in(backend, (BrPrecision) i))
			appendStringInfo(&json, "%s\"%s\": %zu", json.len > 0 ? ", " : "{",
							 br_pg_precision_name(i),
							 br_encoder_packed_size(encoder, backend, (BrPrecision) i));
	appendStringInfoChar(&json, '}');
	set(info, BYTES_BY_PRECISION, DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

/* ---- what this session did ---- */

static void
find_use(const BrPgPackedKey *key, Info *info)
{
	const BrPgModelUse *use = br_pg_model_use(key->hash);

	set(info, TOKENS, Int64GetDatum(use->tokens));
	if (use->seconds > 0)
		set(info, TOKENS_PER_SECOND, Float8GetDatum((double) use->tokens / use->seconds));
	set(info, QUERY_HITS, Int64GetDatum(use->query_hits));
	set(info, QUERY_MISSES, Int64GetDatum(use->query_misses));
}

HeapTuple
br_pg_model_info(int32 model, TupleDesc descriptor)
{
	BrPgPackedKey image = {.form = BR_PG_PACKED_IMAGE};
	BrPgPackedKey weights;
	const BrBackend *backend;
	BrPrecision precision;
	Info info;

	if (descriptor->natts != N_COLUMNS)
		elog(ERROR, "model_info returns %d columns, not %d", descriptor->natts, N_COLUMNS);
	memset(info.nulls, true, sizeof(info.nulls));
	read_stored(model, &info, &image);
	set(&info, USED_BY, PointerGetDatum(br_pg_model_used_by(model, false)));
	count_embedded(model, &info);
	find_file(&image, &info, PACKED_FILE, PACKED_BYTES);
	backend = find_backend(&info);
	if (backend != NULL)
	{
		if (find_precision(backend, &info, &precision) && backend->packs != NULL &&
			backend->packs(precision))
		{
			br_pg_weights_key(&image, backend, precision, &weights);
			find_file(&weights, &info, WEIGHTS_FILE, WEIGHTS_BYTES);
		}
		find_bytes(model, &image, backend, &info);
	}
	find_use(&image, &info);
	return heap_form_tuple(descriptor, info.values, info.nulls);
}
