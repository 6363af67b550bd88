/*
 * weights.c
 *	  Weights as a backend has packed them, in files that sessions share.
 *
 * The first session that needs a form makes its file from the image, which it
 * has mapped: no table is read, so that a standby makes its own. What a
 * processor's instructions determine stands in the file's name; a data
 * directory may meet several processors, on a standby or after a move.
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/memutils.h"

#include "pg/model/model_int.h"

struct BrPgWeights
{
	BrPgWeights *next;
	const BrBackend *backend;
	BrPrecision precision;
	BrPgPackedKey key;
	BrPgPacked packed;
};

void
br_pg_weights_key(const BrPgPackedKey *image, const BrBackend *backend, BrPrecision precision,
				  BrPgPackedKey *key)
{
	*key = *image;
	key->size = 0;
	snprintf(key->form, sizeof(key->form), "%s_%s_%s_%d", backend->name, backend->instruction_set(),
			 br_pg_precision_name(precision), BR_ENCODER_PACKED_VERSION);
	for (char *at = key->form; *at != '\0'; at++)
		if (!isalnum((unsigned char) *at) && *at != '_')
			*at = '-';
}

/* ---- as a source of contents ---- */

typedef struct Packing
{
	const BrPgOpenModel *model;
	const BrBackend *backend;
	BrPrecision precision;
	size_t size;
} Packing;

static void
pack(void *arg, void *contents)
{
	Packing *packing = arg;
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_encoder_pack(packing->model->encoder, &context, packing->backend,
								packing->precision, contents),
				&context, "could not pack the weights of a model", NULL);
}

static const char *
find_wrong(void *arg, const void *contents)
{
	Packing *packing = arg;
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	return br_encoder_check_packed(packing->model->encoder, &context, packing->backend,
								   packing->precision, contents, packing->size) == BR_OK
		? NULL
		: "its contents are of another version";
}

/* ---- of an open model ---- */

static BrPgWeights *
find(const BrPgOpenModel *model, const BrBackend *backend, BrPrecision precision)
{
	for (BrPgWeights *weights = model->weights; weights != NULL; weights = weights->next)
		if (weights->backend == backend && weights->precision == precision)
			return weights;
	return NULL;
}

const void *
br_pg_weights_open(BrPgOpenModel *model, const BrBackend *backend, BrPrecision precision)
{
	BrPgWeights *weights = find(model, backend, precision);
	Packing packing = {model, backend, precision, 0};
	BrPgPackedSource source = {.fill = pack, .wrong = find_wrong, .arg = &packing};
	BrPgPackedKey key;
	BrPgPacked packed;

	if (weights != NULL)
		return weights->packed.contents;
	if (backend->packs == NULL)
		return NULL;
	packing.size = br_encoder_packed_size(model->encoder, backend, precision);
	if (packing.size == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
				 errdetail("The backend \"%s\" has none to plan packed weights with.",
						   backend->name)));
	br_pg_weights_key(&model->key, backend, precision, &key);
	key.size = packing.size;
	weights = MemoryContextAlloc(GetMemoryChunkContext(model), sizeof(BrPgWeights));
	PG_TRY();
	{
		br_pg_packed_map(&key, &source, &packed);
	}
	PG_CATCH();
	{
		pfree(weights);
		PG_RE_THROW();
	}
	PG_END_TRY();
	*weights = (BrPgWeights){model->weights, backend, precision, key, packed};
	model->weights = weights;
	return packed.contents;
}

void
br_pg_weights_find(BrPgOpenModel *model, const BrBackend *backend, BrPrecision precision,
				   BrPgPackedKey *key)
{
	const BrPgWeights *weights;

	memset(key, 0, sizeof(*key));
	if (br_pg_weights_open(model, backend, precision) == NULL)
		return;
	weights = find(model, backend, precision);
	*key = weights->key;
}

void
br_pg_weights_renew(const BrPgOpenModel *model)
{
	char name[BR_PG_PACKED_NAME];

	for (const BrPgWeights *weights = model->weights; weights != NULL; weights = weights->next)
	{
		br_pg_packed_name(&weights->key, name);
		br_pg_packed_renew(name);
	}
}

void
br_pg_weights_close(BrPgOpenModel *model)
{
	while (model->weights != NULL)
	{
		BrPgWeights *weights = model->weights;

		model->weights = weights->next;
		br_pg_packed_unmap(&weights->packed);
		pfree(weights);
	}
}
