/*
 * board.h
 *	  Where methods stand that ranked the same cases.
 *
 * A case has one thing hidden among n; a method gives each thing a score. What
 * counts is the rank of the hidden one, where ties take the expected rank: with
 * g scores above its own and e equal ones, itself among them, it is in the first k
 * with probability clip((k - g) / e, 0, 1).
 */
#ifndef BR_PG_BOARD_H
#define BR_PG_BOARD_H

#include "pg/br_pg.h"

#define BR_PG_BOARD_METHODS 24
#define BR_PG_BOARD_CUTOFFS 8

/* A figure of a method. */
typedef struct BrPgFigure
{
	const char *method;
	const char *metric;
	int k; /* 0: of none */
	double value;
	double error; /* standard error, clustered; NaN: none */
	int64 cases;
	double difference; /* from the baseline's, case by case; NaN: it is the baseline, or has none */
	double difference_error;
} BrPgFigure;

typedef struct BrPgBoard BrPgBoard;

/*
 * k: cutoffs, each at least 1. In the current memory context. macro: every
 * cluster counts alike within a seed, however many cases it has.
 */
extern BrPgBoard *br_pg_board_create(const int *k, int n_k, bool macro);

/* What follows belongs to another split. */
extern void br_pg_board_begin_seed(BrPgBoard *board);

/*
 * The next case: cases of one cluster are not independent. popularity: (n), how
 * often each thing was taken in training, for what the methods recommend; NULL:
 * no such figures.
 */
extern void br_pg_board_begin_case(BrPgBoard *board, int32 cluster, int hidden, int n,
								   const bool *left_out, const float *popularity);

/*
 * What a method says of the case, at most once. Where it lacks cases, its figures
 * are over those that it has, and differences over those of both.
 */
extern void br_pg_board_score(BrPgBoard *board, const char *method, const float *scores);

/* A case that is a number by itself, such as an F1. */
extern void br_pg_board_value(BrPgBoard *board, const char *method, const char *metric,
							  double value);

extern int64 br_pg_board_cases(const BrPgBoard *board);

/* Whether a method of that name did any case; their names, for a hint. */
extern bool br_pg_board_has_method(const BrPgBoard *board, const char *method);
extern const char *br_pg_board_list_methods(const BrPgBoard *board);

/* All figures, by method in the order in which they came; *n of them. */
extern BrPgFigure *br_pg_board_figures(const BrPgBoard *board, const char *baseline, int *n);

#endif /* BR_PG_BOARD_H */
