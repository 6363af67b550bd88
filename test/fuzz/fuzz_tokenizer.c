/*
 * fuzz_tokenizer.c
 *	  A tokenizer that a stranger wrote: tokenizer.json or, where the input does
 *	  not begin with a brace, sentencepiece.bpe.model or, where it does not begin
 *	  with a piece, vocab.txt.
 */
#include <string.h>

#include "fuzz/fuzz.h"

FUZZ_TARGET(tokenizer)
{
	static const char class[] = "{\"tokenizer_class\":\"XLMRobertaTokenizer\"}";
	FuzzFolder folder;

	fuzz_folder_init(&folder, FUZZ_MANY_WORDS);
	/* what the tokenizer says counts, not what the other file says over it */
	fuzz_folder_set(&folder, "tokenizer_config.json", NULL, 0);
	if (size > 0 && data[0] == '{')
		fuzz_folder_set(&folder, "tokenizer.json", data, size);
	else if (size > 0 && data[0] == FUZZ_PIECE)
	{
		fuzz_folder_set(&folder, "tokenizer.json", NULL, 0);
		fuzz_folder_set(&folder, "vocab.txt", NULL, 0);
		fuzz_folder_set(&folder, "sentencepiece.bpe.model", data, size);
		fuzz_folder_set(&folder, "tokenizer_config.json", class, strlen(class));
	}
	else
	{
		fuzz_folder_set(&folder, "tokenizer.json", NULL, 0);
		fuzz_folder_set(&folder, "vocab.txt", data, size);
	}
	fuzz_import(&folder, size, fuzz_hash(data, size));
}
