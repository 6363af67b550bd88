/*
 * encoder_fixture.h
 *	  Model folders and golden rows for the tests of the encoder.
 */
#ifndef BR_ENCODER_FIXTURE_H
#define BR_ENCODER_FIXTURE_H

#include <cjson/cJSON.h>

#include "core/encoder/br_encoder.h"

#define FOLDER_MAX_FILES 32

/* Bounds of the design in f32: on the cosine, and on components of a normalised embedding. */
#define COMPONENT_BOUND 5e-6
#define COSINE_BOUND 0.9999

/* The files of a folder in memory, which a test may change before importing. */
typedef struct Folder
{
	BrModelFile files[FOLDER_MAX_FILES];
	int n;
} Folder;

/* Reads what an import may need; false: no such folder. */
extern bool folder_read(Folder *folder, const char *directory);

/* A model of test/golden/models; the test fails where it is missing. */
extern void folder_read_golden(Folder *folder, const char *name);
extern void folder_free(Folder *folder);

extern const BrModelFile *folder_find(const Folder *folder, const char *path);
extern void folder_remove(Folder *folder, const char *path);
extern void folder_set(Folder *folder, const char *path, const void *data, size_t size);
extern void folder_set_text(Folder *folder, const char *path, const char *text);

/* Replaces the first occurrence of a string, which must be there, in a file. */
extern void folder_replace(Folder *folder, const char *path, const char *from, const char *to);

/* Puts a tensor in place of one of its name, or at the end, of a safetensors file. */
extern void folder_set_tensor(Folder *folder, const char *path, const char *name, const char *type,
							  int rows, int columns, const void *data, size_t size);

/* A copy of a tensor's bytes, which must be there. */
extern void *folder_tensor(const Folder *folder, const char *path, const char *name, size_t *size);

/* An encoder over an image of its own, both freed together. */
typedef struct OpenModel
{
	BrContext context;
	void *image;
	size_t image_size;
	BrEncoder *encoder;
} OpenModel;

extern void model_open(OpenModel *model, const Folder *folder);
extern void model_open_golden(OpenModel *model, const char *name);
extern void model_close(OpenModel *model);

/* An allocator that counts bytes and can refuse. */
typedef struct Ledger
{
	size_t outstanding;
	size_t peak;
	int allowed; /* allocations before it refuses; below 0: no limit */
} Ledger;

extern void ledger_context(BrContext *context, Ledger *ledger);

/*
 * Attempts with memory for no allocation, for one, for two and so on until one
 * succeeds; the others must lack memory alone, and none may leave any taken. Returns
 * how many there were.
 */
extern int expect_no_leaks(BrStatus (*attempt)(BrContext *context, void *arg), void *arg);

/* A cancel callback, and what it counts. */
typedef struct Countdown
{
	int checks; /* after which it says yes */
	int made;
} Countdown;

extern bool count_down(void *countdown);

/* A whole file with a NUL behind it, to be freed; NULL: no such file. */
extern void *fixture_read_file(const char *path, size_t *size);

/* One row of a golden file. */
typedef struct GoldenRow
{
	char *text;
	int32_t *ids;
	int n_ids;
	float *embedding;
	int dimensions;
} GoldenRow;

typedef struct Golden
{
	GoldenRow *rows;
	int n;
	int max_tokens;
} Golden;

/* false: no such file. */
extern bool golden_read(Golden *golden, const char *path);
extern void golden_free(Golden *golden);

/*
 * Cosine of an embedding with that of the row; *difference: the largest of a
 * component, relative to the row's largest one unless normalized.
 */
extern double golden_cosine(const GoldenRow *row, const float *embedding, bool normalized,
							double *difference);

/* Applies the "remove" and "replace" lists of a case, as in tokenizer_cases.json. */
extern void folder_change(Folder *folder, const cJSON *json);

/* A whole JSON file of BR_TEST_DIR; the test fails where it is missing. cJSON_Delete it. */
extern cJSON *read_cases(const char *name);

/*
 * Imports the changed folder of every case of such a file, of which there are
 * more than least, and compares ids with its rows, with special tokens parsed
 * and plain. prepare: further changes of the folder, by the case.
 */
extern void check_cases(const char *file, int least,
						void (*prepare)(Folder *folder, const cJSON *json));

/* The import fails with this status and a detail that contains the hint. */
extern void expect_failure(const Folder *folder, BrStatus expected, const char *hint);

/* A path made of an environment variable's directory and a name; NULL where it is not set. */
extern char *path_from(const char *variable, const char *name);

/* A backend's table, NULL where its shared object is not built. */
extern const BrBackend *load_backend(const char *name);

#endif /* BR_ENCODER_FIXTURE_H */
