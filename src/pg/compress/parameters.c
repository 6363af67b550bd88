/*
 * parameters.c
 *	  Methods of compress_model, and the numbers by name that each takes.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "pg/compress/compress_int.h"

typedef struct Method
{
	const char *name;
	const BrPgParameter *parameters;
} Method;

#define OF_ALL                                                  \
	[BR_PG_COMPRESS_SAMPLE] = {"sample", 1000, 1, 20000, true}, \
	[BR_PG_COMPRESS_SEED] = {"seed", 1, 0, PG_INT32_MAX, true}

static const BrPgParameter vocabulary_parameters[] = {
	OF_ALL,
	[BR_PG_VOCABULARY_LEAST_USES] = {"least_uses", 1, 1, PG_INT32_MAX, true},
	{NULL},
};

static const BrPgParameter structure_parameters[] = {
	OF_ALL,
	[BR_PG_STRUCTURE_HEADS_REMOVED] = {"heads_removed", 0, 0, .99, false},
	[BR_PG_STRUCTURE_NEURONS_REMOVED] = {"neurons_removed", .25, 0, .99, false},
	[BR_PG_STRUCTURE_TEXTS] = {"texts", 1000, 1, 1000000, true},
	[BR_PG_STRUCTURE_DRAWS] = {"draws", 1, 1, 1000, true},
	{NULL},
};

static const BrPgParameter layers_parameters[] = {
	OF_ALL,
	[BR_PG_LAYERS_LAYERS] = {"layers", 0, 1, 1000, true},
	[BR_PG_LAYERS_TEXTS] = {"texts", 10000, 1, 1000000, true},
	[BR_PG_LAYERS_EPOCHS] = {"epochs", 5, 1, 10000, true},
	[BR_PG_LAYERS_BATCH] = {"batch", 32, 1, 65536, true},
	[BR_PG_LAYERS_RATE] = {"rate", 6e-4, 1e-9, 1, false},
	{NULL},
};

static const BrPgParameter int8_parameters[] = {
	OF_ALL,
	{NULL},
};

static const Method methods[BR_PG_COMPRESS_METHODS] = {
	[BR_PG_COMPRESS_VOCABULARY] = {"vocabulary", vocabulary_parameters},
	[BR_PG_COMPRESS_STRUCTURE] = {"structure", structure_parameters},
	[BR_PG_COMPRESS_LAYERS] = {"layers", layers_parameters},
	[BR_PG_COMPRESS_INT8] = {"int8", int8_parameters},
};

static BrPgCompressMethod
find_method(const char *name)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < BR_PG_COMPRESS_METHODS; i++)
	{
		if (strcmp(methods[i].name, name) == 0)
			return (BrPgCompressMethod) i;
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", methods[i].name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no method \"%s\"", name),
			 errhint("Methods are %s.", list.data)));
}

void
br_pg_read_compress_parameters(const BrPgCompression *compression,
							   BrPgCompressParameters *parameters)
{
	const Method *method;

	parameters->method = find_method(compression->method);
	method = &methods[parameters->method];
	br_pg_read_parameters(method->parameters, psprintf("method \"%s\"", method->name),
						  "{\"sample\": 500}", compression->parameters, parameters->numbers);
}

Jsonb *
br_pg_compress_parameters_json(const BrPgCompressParameters *parameters)
{
	return br_pg_parameters_json(methods[parameters->method].parameters, parameters->numbers);
}
