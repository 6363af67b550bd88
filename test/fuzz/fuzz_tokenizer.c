/*
 * fuzz_tokenizer.c
 *	  A tokenizer that a stranger wrote: tokenizer.json or, where the input does
 *	  not begin with a brace, vocab.txt.
 */
#include "fuzz/fuzz.h"

FUZZ_TARGET(tokenizer)
{
	FuzzFolder folder;

	fuzz_folder_init(&folder, FUZZ_MANY_WORDS);
	if (size > 0 && data[0] == '{')
		fuzz_folder_set(&folder, "tokenizer.json", data, size);
	else
	{
		fuzz_folder_set(&folder, "tokenizer.json", NULL, 0);
		fuzz_folder_set(&folder, "vocab.txt", data, size);
	}
	/* what the tokenizer says counts, not what the other file says over it */
	fuzz_folder_set(&folder, "tokenizer_config.json", NULL, 0);
	fuzz_import(&folder, size, fuzz_hash(data, size));
}
