/*
 * embedding.cu
 *	  What the tokens are: their rows of three tables, added and normed (row.cuh).
 *
 * A row of a table is gathered by a whole warp, so that scattered as the rows
 * are, each is read in full lines.
 */
#include "backend/cuda/row.cuh"

struct EmbeddedRow
{
	const __half *word;		/* (dim) */
	const __half *position; /* (dim) */
	const __half *type_row; /* (dim), may be NULL */

	__device__ inline void read(int column, float *values) const
	{
		float more[BR_HALF_STEP];

		read_halves(word + column, values);
		read_halves(position + column, more);
		for (int i = 0; i < BR_HALF_STEP; i++)
			values[i] += more[i];
		if (type_row == NULL)
			return;
		read_halves(type_row + column, more);
		for (int i = 0; i < BR_HALF_STEP; i++)
			values[i] += more[i];
	}

	__device__ inline float at(int column) const
	{
		float value = __half2float(word[column]) + __half2float(position[column]);

		return type_row != NULL ? value + __half2float(type_row[column]) : value;
	}
};

/* The tables; ids and positions say which row of each. */
typedef struct Tables
{
	const int32_t *ids;
	const int32_t *positions;
	const __half *word;
	const __half *position;
	const __half *type_row;
} Tables;

template <int VECTORS>
ROW_KERNEL void
embed(Tables tables, Norm norm)
{
	size_t number = row_of_warp();
	EmbeddedRow row;

	if (number >= (size_t) norm.rows)
		return;
	row.word = tables.word + (size_t) tables.ids[number] * (size_t) norm.dim;
	row.position = tables.position + (size_t) tables.positions[number] * (size_t) norm.dim;
	row.type_row = tables.type_row;
	norm_row<EmbeddedRow, VECTORS>(row, norm, number);
}

void
br_cuda_embed(BrStream stream, const int32_t *ids, const int32_t *positions, const BrHalf *word,
			  const BrHalf *position, const BrHalf *type_row, const float *gain, const float *bias,
			  float epsilon, int rows, int dim, BrHalf *output)
{
	Tables tables = {ids, positions, (const __half *) word, (const __half *) position,
					 (const __half *) type_row};
	Norm norm = {gain, bias, epsilon, rows, dim, (__half *) output};
	unsigned blocks = blocks_for((size_t) rows, ROW_WARPS);

	if (rows == 0)
		return;
	switch (row_vectors(dim))
	{
		case ROW_FEW:
			BR_LAUNCH(embed<ROW_FEW>, blocks, ROW_THREADS, 0, stream, tables, norm);
			break;
		case ROW_MANY:
			BR_LAUNCH(embed<ROW_MANY>, blocks, ROW_THREADS, 0, stream, tables, norm);
			break;
		default:
			BR_LAUNCH(embed<0>, blocks, ROW_THREADS, 0, stream, tables, norm);
	}
}
