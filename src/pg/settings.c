/*
 * settings.c
 *	  The settings bundle_rec.*.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "pg/am/am.h"
#include "pg/br_pg.h"

#define MAX_QUERY_CACHE (1024 * 1024) /* kB */
#define MAX_CHECKPOINT_INTERVAL (24 * 3600)
#define LEAST_PRIORITY 19

int br_pg_backend = BR_PG_BACKEND_AUTO;
char *br_pg_default_model = NULL;
double br_pg_log_pool = 1.0;
bool br_pg_mask_users = true;
int br_pg_max_basket_items = 200;
int br_pg_neighbours = 32;
int br_pg_packed_file_days = 30;
int br_pg_precision = BR_PG_PRECISION_AUTO;
double br_pg_refit_share = 0.1;
int br_pg_query_cache = 1024;
int br_pg_threads = 1;
int br_pg_checkpoint_interval = 60;
int br_pg_worker_nice = 10;
int br_pg_worker_threads = 0;

static const struct config_enum_entry backend_choices[] = {
	{"auto", BR_PG_BACKEND_AUTO, false},
	{"portable", BR_PG_BACKEND_PORTABLE, false},
	{"openblas", BR_PG_BACKEND_OPENBLAS, false},
	{"onednn", BR_PG_BACKEND_ONEDNN, false},
	{NULL, 0, false},
};

static const struct config_enum_entry precision_choices[] = {
	{"auto", BR_PG_PRECISION_AUTO, false},
	{"f32", BR_PRECISION_F32, false},
	{"bf16", BR_PRECISION_BF16, false},
	{"int8", BR_PRECISION_INT8, false},
	{NULL, 0, false},
};

/* how embeddings are computed */
static void
define_computing(void)
{
	DefineCustomEnumVariable("bundle_rec.backend",
							 "Library that computes embeddings in this session.",
							 "auto takes the fastest that can be loaded here.", &br_pg_backend,
							 BR_PG_BACKEND_AUTO, backend_choices, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("bundle_rec.precision",
							 "In what the weights of models are multiplied in this session.",
							 "auto takes the fastest here whose cosine to f32 is at least .999.",
							 &br_pg_precision, BR_PG_PRECISION_AUTO, precision_choices, PGC_USERSET,
							 0, NULL, NULL, NULL);
	DefineCustomIntVariable("bundle_rec.query_cache",
							"Memory of a session for the embeddings of texts it embedded singly.",
							"Less than 32 kB keeps none.", &br_pg_query_cache, 1024, 0,
							MAX_QUERY_CACHE, PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("bundle_rec.threads", "Threads that compute embeddings in a session.",
							"0 means one for each core that the server may use.", &br_pg_threads, 1,
							0, BR_POOL_MAX_THREADS, PGC_USERSET, 0, NULL, NULL, NULL);
}

/* how background workers go about it */
static void
define_working(void)
{
	DefineCustomIntVariable("bundle_rec.checkpoint_interval",
							"How often a training job writes down all that it would go on from.",
							"A crash costs so much of its work at most; 0 means after each step.",
							&br_pg_checkpoint_interval, 60, 0, MAX_CHECKPOINT_INTERVAL, PGC_USERSET,
							GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("bundle_rec.worker_nice",
							"How far background workers stand back for other processes.",
							"As nice has it: 0 is as important as a session, 19 the least.",
							&br_pg_worker_nice, 10, 0, LEAST_PRIORITY, PGC_USERSET, 0, NULL, NULL,
							NULL);
	DefineCustomIntVariable("bundle_rec.worker_threads",
							"Threads that compute in a background worker.",
							"0 means one for each core that the server may use.",
							&br_pg_worker_threads, 0, 0, BR_POOL_MAX_THREADS, PGC_USERSET, 0, NULL,
							NULL, NULL);
}

void
br_pg_define_settings(void)
{
	define_computing();
	define_working();
	br_am_define_settings();
	DefineCustomStringVariable("bundle_rec.default_model",
							   "Model that is used where none is named.",
							   "Empty: the only model there is, or an error if there are several.",
							   &br_pg_default_model, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("bundle_rec.log_pool",
							 "Share of decisions that are logged with the whole pool and all votes.",
							 "Off-policy evaluation of other policies needs the pool; learning "
							 "needs only the slots shown, which are always logged.",
							 &br_pg_log_pool, 1.0, 0.0, 1.0, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("bundle_rec.mask_users",
							 "Shows keyed hashes of users, queries and event ids to readers of "
							 "decisions who may not SELECT user_id.",
							 NULL, &br_pg_mask_users, true, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("bundle_rec.max_basket_items",
							"Baskets with more items than this count for items but not for pairs.",
							NULL, &br_pg_max_basket_items, 200, 2, 10000, PGC_USERSET, 0, NULL,
							NULL, NULL);
	DefineCustomIntVariable("bundle_rec.neighbours",
							"Nearest items by text that refresh stores for each item.", NULL,
							&br_pg_neighbours, 32, 1, 1000, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("bundle_rec.packed_file_days",
							"Days after which a model's packed file that no session uses is removed.",
							"It is made again when it is wanted; 0 removes none.",
							&br_pg_packed_file_days, 30, 0, 10000, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("bundle_rec.refit_share",
							 "Share of new events after which refresh queues a fit.",
							 "Of a catalog that was fitted before: so the cost of learning, too, "
							 "is in proportion to what is new. 0 queues none.",
							 &br_pg_refit_share, 0.1, 0.0, 1000.0, PGC_USERSET, 0, NULL, NULL,
							 NULL);
	MarkGUCPrefixReserved("bundle_rec");
}
