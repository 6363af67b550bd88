/*
 * load_model.h
 *	  Model folders and files of texts for the programs that measure. What goes
 *	  wrong ends the program with a message.
 */
#ifndef LOAD_MODEL_H
#define LOAD_MODEL_H

#include "core/encoder/br_encoder.h"

typedef struct Texts
{
	char *data;
	const char **texts;
	size_t *sizes;
	int n;
} Texts;

/* Ends the program with status 2. */
extern _Noreturn void die(const char *what, const char *why);
extern void check(BrStatus status, const char *what, const BrContext *context);

/* A file of texts: the size of each as four bytes, little-endian, and then its bytes. */
extern Texts read_texts(const char *path);

/* An encoder over the image of a model folder; both stay until the program ends. */
extern BrEncoder *load_model(BrContext *context, const char *folder);

#endif /* LOAD_MODEL_H */
