/*
 * br_pg.h
 *	  What the files of src/pg share: errors, memory, rights, plans, settings.
 *
 * Core is called with a BrContext made by br_pg_context; its BrStatus becomes
 * an ereport in br_pg_check and nowhere else. The extension's tables are
 * read and written between br_pg_enter_owner and br_pg_leave; anything of the
 * user's runs as the caller or as the catalog's owner, never as us.
 */
#ifndef BR_PG_H
#define BR_PG_H

#include "compat.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/hsearch.h"

#include "core/base/br_base.h"
#include "core/math/br_backend.h"

/* settings.c: what the settings bundle_rec.* say */

typedef enum BrPgBackendChoice
{
	BR_PG_BACKEND_AUTO,
	BR_PG_BACKEND_PORTABLE,
	BR_PG_BACKEND_OPENBLAS,
	BR_PG_BACKEND_ONEDNN
} BrPgBackendChoice;

#define BR_PG_PRECISION_AUTO (-1)

extern int br_pg_backend;		   /* BrPgBackendChoice */
extern char *br_pg_default_model;  /* "" where none is set */
extern double br_pg_log_pool;	   /* share of decisions whose pool is logged, [0, 1] */
extern bool br_pg_mask_users;	   /* whether readers without the right to names see masks */
extern int br_pg_max_basket_items; /* larger baskets count for items but not for pairs */
extern int br_pg_neighbours;	   /* stored content neighbours per item */
extern int br_pg_packed_file_days; /* unused packed files are removed after so many; 0: never */
extern int br_pg_precision;		   /* BrPrecision, or BR_PG_PRECISION_AUTO */
extern double br_pg_refit_share;   /* of all events: after so many new ones refresh queues a fit */
extern int br_pg_query_cache;	   /* kB for embeddings of single texts; 0: none are kept */
extern int br_pg_threads;		   /* of a session; 0: as many as it has cores */
extern int br_pg_worker_threads;   /* the same of a background worker */
extern int br_pg_worker_nice;	   /* how far a background worker stands back, 0 .. 19 */
extern int br_pg_checkpoint_interval; /* seconds between checkpoints of a training; 0: each step */
extern void br_pg_define_settings(void);

/* status.c: between core and ereport */

/*
 * A context whose memory is that of `memory`, without errors, and whose cancel
 * callback answers whether a cancel or a termination is pending.
 */
extern void br_pg_context(BrContext *context, MemoryContext memory);

/*
 * Returns when status is BR_OK. Otherwise raises message with the SQLSTATE of
 * the status and the context's detail; hint may be NULL. A cancelled call
 * raises PostgreSQL's own error.
 */
extern void br_pg_check(BrStatus status, const BrContext *context, const char *message,
						const char *hint);

/* rights.c: whose rights a statement runs with */

typedef struct BrPgRights
{
	Oid user;
	int security;
	int guc_level;
} BrPgRights;

/*
 * Until br_pg_leave: the extension's owner, for statements over the extension's
 * own tables only. SECURITY_RESTRICTED_OPERATION, search_path = pg_catalog,
 * pg_temp. An error in between restores the caller by aborting the transaction.
 */
extern void br_pg_enter_owner(BrPgRights *saved);

/*
 * The same with another role's rights (a catalog's owner reading its source)
 * or, with InvalidOid, the caller's own.
 */
extern void br_pg_enter_role(BrPgRights *saved, Oid role);

/*
 * For a worker, which does what a role asked for and must be that role, as if it
 * had called us: nothing but the user id changes, and SET ROLE cannot change it
 * back.
 */
extern void br_pg_enter_caller(BrPgRights *saved, Oid role);
extern void br_pg_leave(const BrPgRights *saved);

/* Changes a setting until br_pg_leave. */
extern void br_pg_set_for_section(const char *name, const char *value);

/* writes.c */

/*
 * Raises 25006 on a standby and in a read-only transaction; function is what
 * the message names, such as "refresh()". For the doors of whatever writes.
 */
extern void br_pg_require_writes(const char *function);

/* plans.c: statements prepared once per connection */

/*
 * Executes sql with a plan that is kept by its text for the connection. SPI
 * must be connected. read_only: under the active snapshot, nothing written.
 * limit: rows at most, 0 for all. Returns the number of rows (SPI_processed);
 * results are in SPI_tuptable. Errors are raised.
 */
extern uint64 br_pg_execute(const char *sql, int n_arguments, const Oid *types, const Datum *values,
							const char *nulls, bool read_only, long limit);

/*
 * The same with a plan made for this one execution: for long statements over
 * tables that may have grown a thousandfold since a kept plan was made.
 */
extern uint64 br_pg_execute_once(const char *sql, int n_arguments, const Oid *types,
								 const Datum *values);

/*
 * Both again over what is committed at this moment, whatever the transaction's
 * isolation level: for whatever follows sources. A transaction with an older
 * snapshot may write to a table whose catalog, items or events it cannot see;
 * under that snapshot the change would get lost.
 */
extern uint64 br_pg_execute_now(const char *sql, int n_arguments, const Oid *types,
								const Datum *values);
extern uint64 br_pg_execute_once_now(const char *sql, int n_arguments, const Oid *types,
									 const Datum *values);

/* The same as br_pg_execute_once over what a snapshot saw, and what the transaction did since. */
extern uint64 br_pg_execute_once_at(const char *sql, int n_arguments, const Oid *types,
									const Datum *values, Snapshot snapshot);

/*
 * A cursor over the extension's own tables as they are now, whatever the
 * isolation level of the transaction, and its next rows in the SPI result; false
 * at the end, and the cursor is closed then.
 */
extern Portal br_pg_open_latest(const char *sql);
extern bool br_pg_fetch(Portal portal);

/*
 * What the cursors above and the scans of sources read: what is committed now or,
 * while it is pinned, what the transaction's snapshot saw, so that all that a
 * repeatable read transaction gathers fits together. To be let go in an error, too.
 */
extern void br_pg_pin_snapshot(bool pin);
extern Snapshot br_pg_latest_snapshot(void);

/* Column of the current SPI result; *is_null tells whether it is NULL. Columns from 1. */
extern Datum br_pg_column(uint64 row, int column, bool *is_null);

/* The same as a palloc'd C string in the current memory context, NULL for NULL. */
extern char *br_pg_column_text(uint64 row, int column);

/* The same as a float8, if_null for NULL. */
extern double br_pg_column_number(uint64 row, int column, double if_null);

/* values.c: between C and Datums */

/* text[] without NULL elements to C strings; raises 22004 naming the argument otherwise. */
extern char **br_pg_text_array(ArrayType *array, const char *argument, int *n);

/* Arrays without NULLs to pass to a statement; n may be 0. */
extern Datum br_pg_int4_array(const int32 *values, int n);
extern Datum br_pg_float4_array(const float *values, int n);
extern Datum br_pg_float8_array(const double *values, int n);
extern Datum br_pg_text_array_datum(char **values, int n);

/*
 * The n elements of an array of int4, float4 or float8, within it or a copy in
 * the current memory context; NULL and n = 0 where an element is NULL.
 */
extern const void *br_pg_array_elements(Datum datum, int *n);

/* The same of a column of the current SPI result; NULL for NULL, too. */
extern const void *br_pg_column_elements(uint64 row, int column, int *n);

/* Whether values of the type are numbers: int2, int4, int8, float4, float8, numeric. */
extern bool br_pg_is_number(Oid type);

/* A number of such a type: of float4 what its shortest decimal says; infinite out of range. */
extern double br_pg_number(Datum value, Oid type);

/* For qsort of doubles, of which none is NaN: ascending. */
extern int br_pg_compare_doubles(const void *left, const void *right);

/*
 * A hash table whose key, the first member of its entries, is a const char *
 * that the caller keeps; entry: size of one in bytes. Freed with memory.
 */
extern HTAB *br_pg_text_table(const char *name, long expected, Size entry, MemoryContext memory);

/* backends.c: the table of tensor operations of this session */

/* What bundle_rec.backend says, loaded on first use; never NULL. */
extern const BrBackend *br_pg_session_backend(void);

/*
 * What bundle_rec.precision means with that backend. Raises 0A000 where the
 * backend does not compute in it here.
 */
extern BrPrecision br_pg_session_precision(const BrBackend *backend);

/*
 * The classes of precision in which embeddings are computed: those of BrPrecision,
 * under their numbers, and that of devices: "f32", "bf16", "int8", "f16".
 */
#define BR_PG_N_PRECISION_CLASSES (BR_PRECISION_COUNT + 1)

extern const char *br_pg_precision_name(int precision);
extern int br_pg_precision_class(const char *name); /* -1: there is none of that name */

/* pool.c: the threads of this session */

/*
 * As many as bundle_rec.threads says, started on first use; NULL for one.
 * Valid until the setting changes. Raises 53200 where they cannot be started.
 */
extern BrPool *br_pg_session_pool(void);

#endif /* BR_PG_H */
