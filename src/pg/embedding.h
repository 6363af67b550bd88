/*
 * embedding.h
 *	  The type bundle_rec.embedding as the rest of src/pg sees it.
 */
#ifndef BR_EMBEDDING_H
#define BR_EMBEDDING_H

#include "core/math/br_math.h"
#include "pg/br_pg.h"

#define BR_EMBEDDING_MAX_DIMS BR_MATH_MAX_COMPONENTS

/* A varlena: little-endian IEEE half components, never NaN or infinite. */
typedef struct BrEmbedding
{
	int32 vl_len_; /* varlena header: use SET_VARSIZE */
	uint16 dims;   /* 1 .. BR_EMBEDDING_MAX_DIMS */
	uint16 unused; /* 0 */
	uint16 components[FLEXIBLE_ARRAY_MEMBER];
} BrEmbedding;

#define BR_EMBEDDING_SIZE(dims) (offsetof(BrEmbedding, components) + sizeof(uint16) * (dims))
#define DatumGetEmbedding(d) ((BrEmbedding *) PG_DETOAST_DATUM(d))
#define PG_GETARG_EMBEDDING(n) DatumGetEmbedding(PG_GETARG_DATUM(n))

/* Components all zero. Raises an error where dims is no number of dimensions. */
extern BrEmbedding *br_pg_embedding_create(int64 dims);

/* Rounds to half. Raises 22003 where a component is NaN or leaves the range of a half. */
extern BrEmbedding *br_pg_embedding_from_floats(const float *components, int dims);

/*
 * value to the nearest half, ties to even; what is too small becomes 0. Raises
 * 22003 like the above; index counts from 0 and is named in the error.
 */
extern uint16 br_pg_embedding_component(double value, int index);

/*
 * Raises what core found wrong with a text (22P02), a binary form (22P03) or a
 * component (22003) of an embedding; returns when status is BR_OK.
 */
extern void br_pg_embedding_check(BrStatus status, const BrContext *context);

/* Cosine similarity in [-1, 1]; 0 where a vector is zero. Both of equal dims. */
extern double br_pg_embedding_cosine(const BrEmbedding *left, const BrEmbedding *right);

/* The components as floats of a vector of length 1; all 0 of a zero one. */
extern void br_pg_embedding_direction(const BrEmbedding *embedding, float *direction /* (dims) */);

/* Raises 22000 unless dims is what a column or cast declared; a negative typmod declares nothing. */
extern void br_pg_embedding_check_typmod(int dims, int32 typmod);

/* Raises 22000 unless both numbers of dimensions are the same. */
extern void br_pg_embedding_check_same_dims(int left, int right);

/* Oid of the type in this database. */
extern Oid br_pg_embedding_type(void);

#endif /* BR_EMBEDDING_H */
