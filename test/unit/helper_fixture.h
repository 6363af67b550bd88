/*
 * helper_fixture.h
 *	  The helper process as its tests see it: started, asked, ended.
 */
#ifndef BR_HELPER_FIXTURE_H
#define BR_HELPER_FIXTURE_H

#include <sys/types.h>

#include "core/encoder/br_encoder.h"
#include "helper/br_exchange.h"
#include "unit/encoder_fixture.h"

/* For anything that must happen, on a machine with other work. */
#define HELPER_PATIENCE_MS 30000

#define HELPER_PATH 300

/* A folder of the test, with what models and faults are read from. */
extern const char *helper_folder(void);

/* Removes it at the end of all tests of a program. */
extern int helper_clean_up(void **state);

/* What the device for tests does from its next call on; "" for nothing. */
extern void helper_set_faults(const char *faults);

typedef struct HelperProcess
{
	pid_t pid;
	int socket;
	int file;
	char *lanes;
	uint64_t number;
	BrExchangeReply reply; /* the last one */
} HelperProcess;

/*
 * Starts the program that is built beside the tests; the next reply is its first
 * one. memory, threads: as in its arguments.
 */
extern void helper_start(HelperProcess *helper, const char *compute, int64_t memory, int threads);

/* The same, and it must be ready. */
extern void helper_start_ready(HelperProcess *helper, const char *compute, int64_t memory,
							   int threads);

/* Executes the program with arguments, the first one its name; never returns. */
extern void helper_execute(char **arguments);

/* Sends a request as it is. */
extern void helper_send(HelperProcess *helper, const BrExchangeRequest *request);

/* Waits for a reply; false: none came in time, or none will come. */
extern bool helper_receive(HelperProcess *helper, int milliseconds);

/* Both, with version and number; the test fails where no reply comes, or one to something else. */
extern BrStatus helper_ask(HelperProcess *helper, BrExchangeRequest *request);

/* Waits for the end of the process; its status as waitpid has it, -1: it does not end in time. */
extern int helper_wait(HelperProcess *helper, int milliseconds);

/* Closes the socket; the process must end by itself, without a failure. */
extern void helper_end(HelperProcess *helper);

/* Frees what is left of one that has ended. */
extern void helper_forget(HelperProcess *helper);

/* A golden model, and its image in a file behind a page of something else. */
typedef struct StoredModel
{
	OpenModel model;
	const BrModelInfo *info;
	BrExchangeRequest request; /* to embed with it, without texts */
	void *packed;			   /* NULL: none */
} StoredModel;

extern void stored_open(StoredModel *stored, const char *name);

/* Packs weights, too. */
extern void stored_pack(StoredModel *stored, const BrBackend *backend, BrPrecision precision);
extern void stored_close(StoredModel *stored);

/* Token ids of so many random texts. */
#define HELPER_TEXTS 40
#define HELPER_IDS (HELPER_TEXTS * 64)

typedef struct Texts
{
	int n;
	int32_t ids[HELPER_IDS];
	int32_t offsets[HELPER_TEXTS + 1];
	float embeddings[HELPER_TEXTS * 64];
} Texts;

/* texts: at most HELPER_TEXTS. Embeddings are what br_encoder_embed_tokens gives. */
extern void texts_make(Texts *texts, StoredModel *stored, int n, uint64_t seed,
					   const BrBackend *backend);

/* Puts texts into a lane and asks for their embeddings. */
extern BrStatus texts_ask(const Texts *texts, HelperProcess *helper, const StoredModel *stored,
						  int lane);

/* The embeddings in the lane differ from those of the texts by no more than the bound. */
extern void texts_expect(const Texts *texts, const HelperProcess *helper, const StoredModel *stored,
						 int lane, double bound);

/* The backend that the helper chooses for the CPU. */
extern const BrBackend *helper_backend(void);

#endif /* BR_HELPER_FIXTURE_H */
