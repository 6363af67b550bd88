/*
 * catalog_sql.c
 *	  SQL doors of catalogs (sql/parts/catalog.sql).
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/br_pg.h"
#include "pg/catalog/catalog.h"
#include "pg/catalog/create.h"
#include "pg/refresh/refresh.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_create_catalog);
PG_FUNCTION_INFO_V1(br_alter_catalog);
PG_FUNCTION_INFO_V1(br_add_event_source);
PG_FUNCTION_INFO_V1(br_drop_event_source);
PG_FUNCTION_INFO_V1(br_sync);
PG_FUNCTION_INFO_V1(br_log_event);
PG_FUNCTION_INFO_V1(br_refresh);
PG_FUNCTION_INFO_V1(br_drop_catalog);

/* NULL for NULL */
static char *
name_argument(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(i)));
}

/* a kind of event */
static char *
kind_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	char *kind = br_pg_text_argument(fcinfo, i, name);

	if (kind[0] == '\0' || strlen(kind) > BR_PG_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must have between 1 and %d bytes", name, BR_PG_MAX_ID)));
	return kind;
}

/* a jsonb object of numbers between -1 and 1 */
static Datum
weights_argument(FunctionCallInfo fcinfo, int i)
{
	Jsonb *weights = PG_GETARG_JSONB_P(i);
	JsonbIterator *iterator = JsonbIteratorInit(&weights->root);
	JsonbIteratorToken token = JB_ROOT_IS_OBJECT(weights) ? WJB_KEY : WJB_DONE;
	bool sound = token != WJB_DONE;
	JsonbValue value;

	while (sound && (token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_VALUE)
			sound = value.type == jbvNumeric &&
				fabs(DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
														NumericGetDatum(value.val.numeric)))) <= 1;
	if (!sound)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"weights\" must be an object of numbers between -1 and 1"),
				 errhint("For example {\"click\": 0.2, \"purchase\": 1, \"return\": -1}.")));
	return JsonbPGetDatum(weights);
}

static void
text_columns(BrPgCatalog *catalog, ArrayType *array)
{
	Datum *names;
	bool *nulls;

	deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &names, &nulls,
					  &catalog->n_text);
	catalog->text = palloc(sizeof(char *) * Max(catalog->n_text, 1));
	for (int i = 0; i < catalog->n_text; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("element %d of \"text\" is NULL", i + 1)));
		catalog->text[i] = pstrdup(NameStr(*DatumGetName(names[i])));
	}
}

static double
discount_argument(FunctionCallInfo fcinfo, int i)
{
	double discount = PG_GETARG_FLOAT8(i);

	if (!(discount >= 0 && discount < 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("discount must be at least 0 and less than 1"),
				 errdetail("It is %g.", discount),
				 errhint("A discount is a fraction: 0.1 takes 10 percent off.")));
	return discount;
}

PGDLLEXPORT Datum
br_create_catalog(PG_FUNCTION_ARGS)
{
	BrPgCatalog catalog = {0};

	br_pg_require_writes("create_catalog()");
	catalog.name = br_pg_text_argument(fcinfo, 0, "name");
	if (catalog.name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a catalog's name must not be empty")));
	br_pg_require_argument(fcinfo, 1, "items");
	catalog.items = PG_GETARG_OID(1);
	br_pg_require_argument(fcinfo, 2, "item_id");
	catalog.item_id = name_argument(fcinfo, 2);
	if (!PG_ARGISNULL(3))
		text_columns(&catalog, PG_GETARG_ARRAYTYPE_P(3));
	catalog.price = name_argument(fcinfo, 4);
	catalog.cost = name_argument(fcinfo, 5);
	catalog.stock = name_argument(fcinfo, 6);
	catalog.category = name_argument(fcinfo, 7);
	catalog.active = name_argument(fcinfo, 8);
	catalog.created_at = name_argument(fcinfo, 9);
	catalog.discount = PG_ARGISNULL(12) ? 0 : discount_argument(fcinfo, 12);

	SPI_connect();
	br_pg_catalog_create(&catalog, name_argument(fcinfo, 10),
						 PG_ARGISNULL(11) ? NULL : br_pg_text_argument(fcinfo, 11, "model"));
	SPI_finish();
	PG_RETURN_VOID();
}

/* catalog, model, items, item_id, text, price .. created_at, discount */
PGDLLEXPORT Datum
br_alter_catalog(PG_FUNCTION_ARGS)
{
	enum
	{
		MODEL = 1,
		ITEMS,
		ITEM_ID,
		TEXT_COLUMNS,
		PRICE,
		DISCOUNT = PRICE + BR_PG_CATALOG_COLUMNS - 1
	};
	char *name = br_pg_text_argument(fcinfo, 0, "catalog");
	BrPgCatalogChange change = {.model = PG_ARGISNULL(MODEL)
									? NULL
									: br_pg_text_argument(fcinfo, MODEL, "model"),
								.items = PG_ARGISNULL(ITEMS) ? InvalidOid : PG_GETARG_OID(ITEMS)};
	BrPgCatalog columns = {0};

	br_pg_require_writes("alter_catalog()");
	change.columns[0] = name_argument(fcinfo, ITEM_ID);
	for (int i = 1; i < BR_PG_CATALOG_COLUMNS; i++)
		change.columns[i] = name_argument(fcinfo, PRICE + i - 1);
	change.has_text = !PG_ARGISNULL(TEXT_COLUMNS);
	if (change.has_text)
		text_columns(&columns, PG_GETARG_ARRAYTYPE_P(TEXT_COLUMNS));
	change.text = columns.text;
	change.n_text = columns.n_text;
	change.has_discount = !PG_ARGISNULL(DISCOUNT);
	if (change.has_discount)
		change.discount = discount_argument(fcinfo, DISCOUNT);
	SPI_connect();
	br_pg_catalog_alter(name, &change);
	SPI_finish();
	PG_RETURN_VOID();
}

/* catalog, events, user_id .. occurred_at, default_kind, weights */
PGDLLEXPORT Datum
br_add_event_source(PG_FUNCTION_ARGS)
{
	enum
	{
		EVENTS = 1,
		COLUMNS,
		DEFAULT_KIND = COLUMNS + BR_PG_EVENT_COLUMNS,
		WEIGHTS
	};
	BrPgEventRequest request = {.default_kind = "purchase"};
	char *name = br_pg_text_argument(fcinfo, 0, "catalog");

	br_pg_require_writes("add_event_source()");
	br_pg_require_argument(fcinfo, EVENTS, "events");
	request.events = PG_GETARG_OID(EVENTS);
	for (int i = 0; i < BR_PG_EVENT_COLUMNS; i++)
		request.columns[i] = name_argument(fcinfo, COLUMNS + i);
	if (request.columns[BR_PG_EVENT_ITEM] == NULL && request.columns[BR_PG_EVENT_BUNDLE] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("an event source needs its column of item ids, or of bundle ids"),
				 errhint("Name it: item_id => 'column', or bundle_id => 'column'.")));
	if (!PG_ARGISNULL(DEFAULT_KIND))
		request.default_kind = kind_argument(fcinfo, DEFAULT_KIND, "default_kind");
	request.has_weights = !PG_ARGISNULL(WEIGHTS);
	if (request.has_weights)
		request.weights = weights_argument(fcinfo, WEIGHTS);

	SPI_connect();
	(void) br_pg_catalog_add_events(br_pg_catalog_open(name), &request);
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_drop_event_source(PG_FUNCTION_ARGS)
{
	char *name = br_pg_text_argument(fcinfo, 0, "catalog");

	br_pg_require_writes("drop_event_source()");
	br_pg_require_argument(fcinfo, 1, "events");
	SPI_connect();
	br_pg_catalog_drop_events(name, PG_GETARG_OID(1), !PG_ARGISNULL(2) && PG_GETARG_BOOL(2));
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_sync(PG_FUNCTION_ARGS)
{
	char *name = br_pg_text_argument(fcinfo, 0, "catalog");

	br_pg_require_writes("sync()");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	br_pg_catalog_sync(name, (ReturnSetInfo *) fcinfo->resultinfo);
	SPI_finish();
	return (Datum) 0;
}

/* NULL for NULL and for "" */
static char *
optional_text(FunctionCallInfo fcinfo, int i)
{
	char *value = PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));

	return value == NULL || value[0] == '\0' ? NULL : value;
}

/* catalog, user_id, item_id, kind, basket_id, bundle_id, quantity, price, occurred_at */
PGDLLEXPORT Datum
br_log_event(PG_FUNCTION_ARGS)
{
	char *name = br_pg_text_argument(fcinfo, 0, "catalog");
	BrPgEvent event = {
		.user_id = optional_text(fcinfo, 1),
		.item_id = optional_text(fcinfo, 2),
		.kind = PG_ARGISNULL(3) ? "purchase" : kind_argument(fcinfo, 3, "kind"),
		.basket_id = optional_text(fcinfo, 4),
		.bundle_id = optional_text(fcinfo, 5),
		.quantity = PG_ARGISNULL(6) ? 1 : PG_GETARG_FLOAT8(6),
		.price = PG_ARGISNULL(7) ? 0 : PG_GETARG_FLOAT8(7),
		.has_price = !PG_ARGISNULL(7),
		.occurred_at =
			PG_ARGISNULL(8) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(8),
	};

	br_pg_require_writes("log_event()");
	SPI_connect();
	br_pg_catalog_log_event(name, &event);
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_refresh(PG_FUNCTION_ARGS)
{
	char *name = br_pg_text_argument(fcinfo, 0, "catalog");
	BrPgRefreshWork work = {.budget = br_pg_texts_argument(fcinfo, 1)};

	br_pg_require_writes("refresh()");
	SPI_connect();
	br_pg_catalog_refresh(name, &work);
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_drop_catalog(PG_FUNCTION_ARGS)
{
	char *name = br_pg_text_argument(fcinfo, 0, "name");

	br_pg_require_writes("drop_catalog()");
	SPI_connect();
	br_pg_catalog_drop(name);
	SPI_finish();
	PG_RETURN_VOID();
}
