/*
 * refresh.h
 *	  Bringing what is known of a catalog up to date.
 */
#ifndef BR_REFRESH_H
#define BR_REFRESH_H

#include "pg/embedding.h"

/* What one refresh may do, and what it did. */
typedef struct BrPgRefreshWork
{
	int64 budget;		 /* texts that may still be embedded, with whichever model */
	int64 embedded;		 /* texts that were */
	int64 set_aside;	 /* items whose text no embedding can be made of */
	char *first_refusal; /* sentence about the first of those; NULL where there are none */
	double seconds;		 /* that embedding took */
} BrPgRefreshWork;

/*
 * Everything that refresh(catalog, max_texts) does, max_texts being the budget of
 * work. SPI must be connected. Raises 42704, 42501.
 */
extern void br_pg_catalog_refresh(const char *name, BrPgRefreshWork *work);

/* refused.c: texts, some of which a model may make no embedding of */

typedef struct BrPgTexts
{
	int32 model;
	int dims;
	int n;
	char **texts;			  /* (n) */
	BrEmbedding **embeddings; /* (n) NULL where there is a reason */
	uint8 *precisions;		  /* (n) class in which each was computed */
	char **reasons;			  /* (n) why a text has no embedding, otherwise NULL */
} BrPgTexts;

/*
 * Embeds all of them, whatever is wrong with some: fills embeddings and reasons,
 * in the current memory context, and counts them in work. What is no text's fault
 * is raised.
 */
extern void br_pg_texts_embed(BrPgTexts *texts, BrPgRefreshWork *work);

#endif /* BR_REFRESH_H */
