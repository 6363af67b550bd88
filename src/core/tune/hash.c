/*
 * hash.c
 *	  A hash that tells states, options and data apart, and damage.
 *
 * Each step is a bijection of the state for a given word, and of the word for a
 * given state, so that one changed bit always changes the result. It keeps out
 * mistakes, not enemies.
 */
#include <string.h>

#include "core/tune/tune_int.h"

#define FACTOR UINT64_C(0x9e3779b97f4a7c15)

static inline void
add_word(BrTuneHash *hash, uint64_t word)
{
	uint64_t state = (hash->state ^ word) * FACTOR;

	hash->state = state ^ (state >> 29);
}

void
br_tune_hash_init(BrTuneHash *hash)
{
	hash->state = FACTOR;
}

void
br_tune_hash_number(BrTuneHash *hash, int64_t number)
{
	add_word(hash, (uint64_t) number);
}

void
br_tune_hash_add(BrTuneHash *hash, const void *bytes, size_t size)
{
	const char *from = bytes;
	uint64_t word;

	add_word(hash, size);
	for (; size >= sizeof(word); size -= sizeof(word), from += sizeof(word))
	{
		memcpy(&word, from, sizeof(word));
		add_word(hash, word);
	}
	word = 0;
	if (size > 0)
	{
		memcpy(&word, from, size);
		add_word(hash, word);
	}
}
