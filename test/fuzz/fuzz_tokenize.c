/*
 * fuzz_tokenize.c
 *	  Any bytes as a text, for the golden models, which are lower-cased and cased.
 *
 * Besides what holds of all ids: the template stands around them; special
 * tokens inside a text are plain text unless they are asked for; and since
 * BERT's words end at whitespace, the ids of two texts with a space between
 * are those of the first, then those of the second.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"

/* Of the golden models' vocabulary. */
enum
{
	ID_PAD = 0,
	ID_UNK = 1,
	ID_CLS = 2,
	ID_SEP = 3,
	ID_MASK = 4
};

/* Ids in front of the text, and behind it. */
#define BEFORE 1
#define AROUND 2

static BrEncoder *
golden_model(int number)
{
	static const char *const names[] = {"tiny-bert-cls", "tiny-bert-cased-max-dense"};
	static BrEncoder *encoders[2];
	static BrContext context;
	FuzzFolder folder;
	void *image;
	size_t size;

	if (encoders[number] != NULL)
		return encoders[number];
	br_base_context_init(&context);
	fuzz_golden_folder(&folder, names[number]);
	if (br_encoder_import(&context, folder.files, folder.n, &image, &size) != BR_OK ||
		br_encoder_open(&context, image, size, &encoders[number]) != BR_OK)
		fuzz_fail(__FILE__, __LINE__, "a golden model opens", context.detail);
	fuzz_golden_free(&folder);
	return encoders[number];
}

static void
check_template(const int32_t *ids, int n)
{
	FUZZ_CHECK(n >= AROUND && ids[0] == ID_CLS && ids[n - 1] == ID_SEP);
}

static void
check_plain(const int32_t *ids, int n)
{
	for (int i = BEFORE; i < n - 1; i++)
		FUZZ_CHECK(ids[i] != ID_PAD && ids[i] != ID_CLS && ids[i] != ID_SEP && ids[i] != ID_MASK);
}

/* The text cut in two at a whole character, a space put between. */
static void
check_halves(const BrEncoder *encoder, FuzzContext *fuzz, const char *text, size_t size,
			 bool parse_special)
{
	int room = br_encoder_info(encoder)->max_tokens - AROUND;
	char *spaced = malloc(size + 1);
	size_t cut = size / 2;
	int32_t *ids[3];
	int n[3];
	int inner;

	while (cut < size && ((unsigned char) text[cut] & 0xC0) == 0x80)
		cut++;
	memcpy(spaced, text, cut);
	spaced[cut] = ' ';
	memcpy(spaced + cut + 1, text + cut, size - cut);
	fuzz_tokenize(encoder, fuzz, text, cut, parse_special, &ids[0], &n[0]);
	fuzz_tokenize(encoder, fuzz, text + cut, size - cut, parse_special, &ids[1], &n[1]);
	fuzz_tokenize(encoder, fuzz, spaced, size + 1, parse_special, &ids[2], &n[2]);

	inner = n[0] + n[1] - 2 * AROUND;
	FUZZ_CHECK(n[2] - AROUND == (inner < room ? inner : room));
	for (int i = 0; i < n[2] - AROUND; i++)
	{
		int of_first = n[0] - AROUND;
		int32_t expected = i < of_first ? ids[0][BEFORE + i] : ids[1][BEFORE + i - of_first];

		FUZZ_CHECK(ids[2][BEFORE + i] == expected);
	}
	for (int i = 0; i < 3; i++)
		br_base_free(&fuzz->context, ids[i]);
	free(spaced);
}

FUZZ_TARGET(tokenize)
{
	/* behind it lies nothing, so that the sanitizer sees a byte too many */
	char *text = malloc(size > 0 ? size : 1);
	uint64_t hash = fuzz_hash(data, size);

	if (size > 0)
		memcpy(text, data, size);
	for (int model = 0; model < 2; model++)
		for (int special = 0; special < 2; special++)
		{
			const BrEncoder *encoder = golden_model(model);
			FuzzContext fuzz;
			int32_t *ids;
			int n;

			fuzz_context_init(&fuzz, size);
			if (fuzz_tokenize(encoder, &fuzz, text, size, special, &ids, &n) == BR_OK)
			{
				fuzz_accepted++;
				check_template(ids, n);
				if (!special)
					check_plain(ids, n);
				br_base_free(&fuzz.context, ids);
				check_halves(encoder, &fuzz, text, size, special);
				if (hash % 512 == 0)
					fuzz_embed(encoder, &fuzz, text, size, special);
			}
			fuzz_check_freed(&fuzz);
		}
	free(text);
}
