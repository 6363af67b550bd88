/*
 * fuzz_image.c
 *	  Any bytes as a model's image, as a damaged file of it could be mapped.
 *
 * It may be refused. If it is not, whatever stands in it, tokenizing and
 * embedding stay inside it.
 */
#include <stdlib.h>
#include <string.h>

#include "core/math/br_backend.h"
#include "fuzz/fuzz.h"

/* Larger ones only take longer. */
#define MAX_DIMENSIONS 64
#define MAX_LAYERS 8

static void
use_encoder(const BrEncoder *encoder, FuzzContext *fuzz)
{
	static const char text[] = "a red cable. \xE4\xB8\xAD[MASK]e\xCC\x81 USB";
	const BrModelInfo *info = br_encoder_info(encoder);
	float embedding[MAX_DIMENSIONS];

	for (int special = 0; special < 2; special++)
		/* a damaged token may end in the middle of a character: at the end of the memory, too */
		for (size_t size = 0; size <= sizeof(text) - 1; size++)
		{
			char *copy = malloc(size > 0 ? size : 1);
			int32_t *ids;
			int offsets[2] = {0, 0};

			memcpy(copy, text, size);
			if (fuzz_tokenize(encoder, fuzz, copy, size, special, &ids, &offsets[1]) == BR_OK &&
				offsets[1] > 0 && size == sizeof(text) - 1 && info->dimensions <= MAX_DIMENSIONS &&
				info->layers <= MAX_LAYERS)
				FUZZ_CHECK(
					br_encoder_embed_tokens(encoder, &fuzz->context,
											&(BrCompute){.backend = br_math_portable_backend()},
											ids, offsets, 1, embedding) == BR_OK);
			br_base_free(&fuzz->context, ids);
			free(copy);
		}
}

FUZZ_TARGET(image)
{
	FuzzContext fuzz;
	BrEncoder *encoder;
	/* aligned as a mapped file is */
	void *image = aligned_alloc(64, (size + 64) / 64 * 64);
	BrStatus status;

	if (size > 0)
		memcpy(image, data, size);
	fuzz_context_init(&fuzz, size);
	status = br_encoder_open(&fuzz.context, image, size, &encoder);
	fuzz_check_status(&fuzz, status);
	FUZZ_CHECK((status == BR_OK) == (encoder != NULL));
	if (status == BR_OK)
	{
		fuzz_accepted++;
		use_encoder(encoder, &fuzz);
	}
	br_encoder_close(encoder);
	fuzz_check_freed(&fuzz);
	free(image);
}
