/*
 * attention_items.c
 *	  Cuts attention over a batch into pieces of work, on the host.
 *
 * A text of up to 16 tokens keeps one warp busy, so that four of its heads share
 * a block of threads; one of up to 32 keeps two, and two of its heads do; of a
 * longer one a block computes 64 queries under one head. Texts are
 * taken from the longest on: blocks start in the order of their items, and those
 * that take long are not left to the end.
 */
#include "backend/cuda/attention.h"
#include "backend/cuda/cuda_int.h"

/* Lengths are told apart up to it, a multiple of the tile; longer ones all come first. */
#define MOST_TILES 64

typedef struct Writer
{
	BrAttentionItem *items;
	int capacity;
	int n;
} Writer;

static int
tiles_of(int length)
{
	int tiles = (length + ATTENTION_TILE - 1) / ATTENTION_TILE;

	return tiles < MOST_TILES ? tiles : MOST_TILES;
}

static void
add_text(Writer *writer, int start, int length, int heads)
{
	int heads_of_block = ATTENTION_WARPS / ATTENTION_SHARE(length);

	for (int query = 0; query < length; query += ATTENTION_BLOCK)
		for (int head = 0; head < heads; head += heads_of_block)
		{
			if (writer->n < writer->capacity)
				writer->items[writer->n] = (BrAttentionItem){start, length, query, head};
			writer->n++;
		}
}

int
br_cuda_attention_items(const int32_t *offsets, int texts, int heads, BrAttentionItem *items,
						int capacity)
{
	Writer writer = {items, capacity, 0};
	bool there[MOST_TILES + 1] = {false};

	for (int i = 0; i < texts; i++)
		there[tiles_of(offsets[i + 1] - offsets[i])] = true;
	for (int tiles = MOST_TILES; tiles > 0; tiles--)
		for (int i = 0; i < texts && there[tiles]; i++)
		{
			int length = offsets[i + 1] - offsets[i];

			if (tiles_of(length) == tiles)
				add_text(&writer, offsets[i], length, heads);
		}
	return writer.n;
}

size_t
br_cuda_attention_most_items(int texts, int tokens, int heads)
{
	return ((size_t) texts + (size_t) (tokens / ATTENTION_BLOCK)) * (size_t) heads;
}
