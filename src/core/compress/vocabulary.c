/*
 * vocabulary.c
 *	  Fewer tokens: those that texts use.
 *
 * In small models the table of words is most of the weights, and a catalog uses
 * a part of it. Rows that no text looks up cost bytes and nothing else.
 */
#include "core/compress/br_compress.h"

BrStatus
br_compress_vocabulary(BrContext *context, const void *image, size_t image_size,
					   const char *const *texts, const size_t *sizes, int n, int64_t least_uses,
					   void **copy, size_t *copy_size)
{
	BrEncoder *encoder;
	BrStatus status;
	size_t vocabulary;
	int64_t *uses;
	uint8_t *kept;

	*copy = NULL;
	*copy_size = 0;
	if (least_uses < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Tokens are kept from a number of uses on that is at least 1, not %lld.",
							(long long) least_uses);
	status = br_encoder_open(context, image, image_size, &encoder);
	if (status != BR_OK)
		return status;
	vocabulary = (size_t) br_encoder_info(encoder)->vocabulary;
	uses = br_base_alloc_array(context, vocabulary, sizeof(int64_t));
	kept = br_base_alloc_array(context, vocabulary, 1);
	status = uses != NULL && kept != NULL
		? br_encoder_count_tokens(encoder, context, texts, sizes, n, uses)
		: BR_ERR_MEMORY;
	if (status == BR_OK)
	{
		for (size_t id = 0; id < vocabulary; id++)
			kept[id] = uses[id] >= least_uses;
		status = br_encoder_with_tokens(context, image, image_size, kept, copy, copy_size);
	}
	br_base_free(context, uses);
	br_base_free(context, kept);
	br_encoder_close(encoder);
	return status;
}
