/*
 * fuzz.h
 *	  What the fuzz targets share.
 *
 * A target is a file fuzz_NAME.c with one FUZZ_TARGET(NAME), which gets bytes
 * that somebody else chose. It must not only survive them: what it asserts with
 * FUZZ_CHECK finds wrong answers. The same targets are built twice: each with
 * libFuzzer as a program of its own (make fuzz), which makes up inputs, and all
 * of them in test_fuzz (make check), which replays the seeds.
 */
#ifndef BR_FUZZ_H
#define BR_FUZZ_H

#include "core/base/br_base.h"
#include "core/encoder/br_encoder.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef BR_LIBFUZZER
#define FUZZ_ENTRY(what) LLVMFuzzerTestOneInput
#else
#define FUZZ_ENTRY(what) target_##what
#endif

/* Opens the body of a target: FUZZ_TARGET(what) { ... data ... size ... } */
#define FUZZ_TARGET(what)                                          \
	extern int FUZZ_ENTRY(what)(const uint8_t *data, size_t size); \
	static void what##_input(const uint8_t *data, size_t size);    \
	int FUZZ_ENTRY(what)(const uint8_t *data, size_t size)         \
	{                                                              \
		fuzz_run(what##_input, data, size);                        \
		return 0;                                                  \
	}                                                              \
	static void what##_input(const uint8_t *data, size_t size)

/* Runs a target over one input, which must take less than a second of processor time. */
extern void fuzz_run(void (*target)(const uint8_t *data, size_t size), const uint8_t *data,
					 size_t size);

/* Counts the inputs that core accepted: of the seeds of a target some must be. */
extern int fuzz_accepted;

#define FUZZ_CHECK(condition) \
	((condition) ? (void) 0 : fuzz_fail(__FILE__, __LINE__, #condition, ""))

/* Says what did not hold and aborts. */
extern void fuzz_fail(const char *file, int line, const char *condition, const char *detail)
	__attribute__((noreturn));

/* ---- calls into core, watched ---- */

/* A context whose memory is counted, bounded, and can be made to run out. */
typedef struct FuzzContext
{
	BrContext context;
	size_t blocks; /* not yet freed */
	size_t bytes;
	size_t limit; /* of bytes */
	long left;	  /* allocations until one fails; negative: none does */
	bool failed;  /* one did */
} FuzzContext;

/* input_size: what comes in; memory is bounded by a multiple of it. */
extern void fuzz_context_init(FuzzContext *fuzz, size_t input_size);

/* A refusal has a sentence, in UTF-8; a status of BR_ERR_MEMORY has a reason. */
extern void fuzz_check_status(const FuzzContext *fuzz, BrStatus status);

/* Everything that was allocated has been freed. */
extern void fuzz_check_freed(const FuzzContext *fuzz);

/* Depends on the input's bytes alone. */
extern uint64_t fuzz_hash(const uint8_t *data, size_t size);

/* Whether bytes are UTF-8, by its definition (RFC 3629). */
extern bool fuzz_is_utf8(const void *bytes, size_t size);

/* ---- models ---- */

#define FUZZ_MAX_FILES 32

/* Files of a folder; paths and data belong to somebody else. */
typedef struct FuzzFolder
{
	BrModelFile files[FUZZ_MAX_FILES];
	int n;
} FuzzFolder;

/* Words of the smallest model, and of one with room for the golden models' tokens. */
#define FUZZ_WORDS 16
#define FUZZ_MANY_WORDS 1200

/* What sentencepiece.bpe.model begins with: the field of its first piece. */
#define FUZZ_PIECE 0x0A

/* A valid folder of the smallest BERT there may be: one layer, four dimensions. */
extern void fuzz_folder_init(FuzzFolder *folder, int vocabulary);

/* Puts a file in place of one of its path or, with data NULL, takes it away. */
extern void fuzz_folder_set(FuzzFolder *folder, const char *path, const void *data, size_t size);

/* The weights of that model; type: F32, F16 or BF16. malloc'ed. */
extern uint8_t *fuzz_weights(int vocabulary, const char *type, size_t *size);

/*
 * Imports the folder. It may be refused; if it is not, it must open, tokenize
 * and embed, each time with the same result. input_size: bytes of the folder
 * that are not ours. hash decides whether memory runs out on the way, once more.
 */
extern void fuzz_import(const FuzzFolder *folder, size_t input_size, uint64_t hash);

/* Tokenizes a text twice and checks what holds of all ids; *ids is to be freed. */
extern BrStatus fuzz_tokenize(const BrEncoder *encoder, FuzzContext *fuzz, const char *text,
							  size_t size, bool parse_special, int32_t **ids, int *n);

/* Embeds a text, as a text and by its ids, and checks that both are the same. */
extern void fuzz_embed(const BrEncoder *encoder, FuzzContext *fuzz, const char *text, size_t size,
					   bool parse_special);

/* A file of the golden models, malloc'ed; the program ends where it is missing. */
extern void *fuzz_golden_file(const char *model, const char *path, size_t *size);

/* A whole golden model's folder, and its end. */
extern void fuzz_golden_folder(FuzzFolder *folder, const char *model);
extern void fuzz_golden_free(FuzzFolder *folder);

/* ---- seeds ---- */

typedef void FuzzSeedUse(void *arg, const char *name, const void *data, size_t size);

/* Calls use with each seed of a target, which are made from the golden models. */
extern void fuzz_each_seed(const char *target, FuzzSeedUse *use, void *arg);

#endif /* BR_FUZZ_H */
