/*
 * validate_int.h
 *	  What validation reads its figures from.
 */
#ifndef VALIDATE_INT_H
#define VALIDATE_INT_H

#include "core/tune/tune_int.h"

/* The different texts of validation examples and their embeddings. */
typedef struct BrTuneTable
{
	int32_t *texts; /* (n): the first of their ids */
	int32_t *place; /* (all texts): where one stands in it; -1: not there */
	BrReal *rows;	/* (n, dim): for figures of length 1 */
	int n;
} BrTuneTable;

/* How many examples of a batch have the label that the head finds likeliest. */
extern int br_tune_count_right(const BrTune *tune, const BrTuneBatch *batch,
							   const BrReal *embeddings);

/* Figures as BrTuneValidation tells them, of rows of length 1. */
extern BrStatus br_tune_rank_partners(const BrTune *tune, const BrTuneTable *table, double *figure);
extern BrStatus br_tune_rank_members(const BrTune *tune, const BrTuneTable *table, double *figure);
extern double br_tune_share_nearer(const BrTune *tune, const BrTuneTable *table);
extern BrStatus br_tune_correlate(const BrTune *tune, const BrTuneTable *table, double *spearman,
								  double *pearson);

#endif /* VALIDATE_INT_H */
