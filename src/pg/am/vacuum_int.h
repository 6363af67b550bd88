/*
 * vacuum_int.h
 *	  What the files that vacuum an index share.
 */
#ifndef BR_VACUUM_INT_H
#define BR_VACUUM_INT_H

#include "pg/am/am_int.h"

/* At most so many lists are replaced together: their entries change in one record. */
#define BR_AM_MAX_REPLACED 3

/* What rewriting lists needs. */
typedef struct BrAmRewriter
{
	Relation index;
	BrAmMeta meta;
	BrAmQuantizer quantizer;
	BufferAccessStrategy strategy;
} BrAmRewriter;

/* ---- rewrite.c ---- */

/*
 * Puts new lists in the place of live ones, each row into the one with the
 * nearest centroid. keep_one: writes a list even where no row is left, and
 * before anything is frozen one that takes what is inserted meanwhile, if that
 * would have to wait long. Returns how many live lists there are in place of
 * the n_old.
 */
extern int br_am_rewrite(BrAmRewriter *rewriter, BrAmList *const *old, int n_old,
						 const uint16 *centroids /* (n_new, rotated_dims) */, int n_new,
						 bool keep_one);

/* ---- divide.c ---- */

/*
 * Centroids of the parts into which a list is divided, palloc'd, and how many;
 * 0 where it cannot be divided, as when nearly all its rows are equal.
 */
extern int br_am_divide_list(BrAmRewriter *rewriter, const BrAmList *list, int parts,
							 uint16 **centroids);

/* ---- lists.c ---- */

/*
 * Rewrites what has too many dead rows, too many rows or too few. Returns how
 * many rows all lists hold. After br_am_thaw, for an index that has lists.
 */
extern double br_am_tend_lists(Relation index, BufferAccessStrategy strategy);

#endif /* BR_VACUUM_INT_H */
