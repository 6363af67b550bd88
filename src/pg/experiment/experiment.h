/*
 * experiment.h
 *	  Experiments as SQL sees them: created, altered, ended, who gets which
 *	  variant, and what the variants were worth.
 *
 * An experiment's exposures stand in a table of its own, exposure_<n>, and the
 * rights on it are the rights on the experiment: INSERT lets a role assign,
 * SELECT lets it analyse, and whoever may pass INSERT on, as its creator may, is
 * its owner. So dumps, DROP OWNED and GRANT know all of them.
 */
#ifndef BR_EXPERIMENT_H
#define BR_EXPERIMENT_H

#include "nodes/execnodes.h"

#include "pg/br_pg.h"

/* Slots that a unit's hash chooses from. */
#define BR_PG_SLOTS (INT64CONST(1) << 32)

typedef struct BrPgExperiment
{
	int32 number;  /* the n of exposure_<n> */
	Oid exposures; /* that table */
	char *name;
	int32 layer; /* 0: none */
	char *salt;
	char *traffic_salt; /* the layer's, or its own */
	double holdout;
	int64 first_slot;
	int64 end_slot;
	int32 version;
	bool stopped;
	int n_variants; /* of that version, in the order of bytes */
	char **variants;
	double *weights;
	int64 *end_slots;
} BrPgExperiment;

/*
 * The experiment of that name, in the current memory context, as it is now;
 * otherwise as the active snapshot shows it. SPI must be connected. Raises 42704.
 */
extern BrPgExperiment *br_pg_experiment_open(const char *name, bool now);

/* What create_experiment is asked for. */
typedef struct BrPgExperimentRequest
{
	const char *name;
	Datum variants;	   /* jsonb: weight by name */
	const char *layer; /* NULL: none */
	double traffic;
	double holdout;	  /* NaN: the layer's, or none */
	const char *salt; /* NULL: a random one */
} BrPgExperimentRequest;

/*
 * As the caller, with SPI connected. Raise 22023 for numbers out of range, 42710,
 * 42704, 42501, and 55000 where the layer has no room.
 */
extern void br_pg_experiment_create(const BrPgExperimentRequest *request);

/* variants NULL, traffic NaN: as it is. */
extern void br_pg_experiment_alter(const char *name, const Datum *variants, double traffic);
extern void br_pg_experiment_stop(const char *name);
extern void br_pg_experiment_drop(const char *name);

typedef enum BrPgExposureLog
{
	BR_PG_EXPOSURE_AUTO, /* where something can be written */
	BR_PG_EXPOSURE_ON,	 /* or raise 25006 */
	BR_PG_EXPOSURE_OFF
} BrPgExposureLog;

/*
 * The variant of a unit, palloc'd, or NULL. Logs the first exposure of the unit.
 * Raises 22023 for a unit id that is empty or too long, 42704, 42501.
 */
extern char *br_pg_experiment_assign(const char *name, const char *unit_id, BrPgExposureLog log);

/* The same without the log. */
extern char *br_pg_experiment_assignment(const char *name, const char *unit_id);

/* What ab_test is asked for. */
typedef struct BrPgTestRequest
{
	const char *query;
	const char *experiment; /* NULL: the query names the variants */
	int n_metrics;
	char **metrics;
	const char *control;
	Datum covariates; /* jsonb objects by metric */
	Datum denominators;
	Datum margins;
	const Datum *weights; /* jsonb by variant; NULL: the experiment's, or equal */
	double confidence;
	double planned;
} BrPgTestRequest;

/* Puts the rows of ab_test into result. SPI must be connected; runs as the caller. */
extern void br_pg_experiment_test(const BrPgTestRequest *request, ReturnSetInfo *result);

/* ---- shared by the files of this folder ---- */

/* Keys and float8 values of a jsonb object; raises 22023 for anything else. argument names it. */
typedef struct BrPgNumbers
{
	int n;
	char **keys; /* in the order of bytes */
	double *values;
} BrPgNumbers;

extern BrPgNumbers br_pg_numbers_of(Datum object, const char *argument);

#endif /* BR_EXPERIMENT_H */
