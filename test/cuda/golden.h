/*
 * golden.h
 *	  The golden models, as the checks open them.
 *
 * The folders of models are in BR_TEST_DIR/models.
 */
#ifndef BR_TEST_CUDA_GOLDEN_H
#define BR_TEST_CUDA_GOLDEN_H

#ifndef BR_WITHOUT_ENCODER

#include "core/encoder/br_encoder.h"

/* A file until the check ends, a NUL behind it; NULL: not there. */
extern char *golden_read(const char *directory, const char *name, size_t *size);

/* Where the golden files are. */
extern const char *golden_directory(void);

/* A model and its image (golden_close); NULL: the folder is not there, or the check has failed. */
extern BrEncoder *golden_open(const char *directory, void **image);
extern BrEncoder *golden_open_tiny(const char *name, void **image);
extern void golden_close(BrEncoder *encoder, void *image);

#endif /* BR_WITHOUT_ENCODER */

#endif /* BR_TEST_CUDA_GOLDEN_H */
