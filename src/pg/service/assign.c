/*
 * assign.c
 *	  A device that assigns the vectors of an index build to lists.
 *
 * Millions of vectors are too much for slots of 256 kB that texts wait for as
 * well. So the session that builds has a helper of its own, for as long as it
 * builds, and both lanes of it: while vectors in one are computed, the other one
 * is filled and emptied. Centroids for which a lane is too small go in parts, of
 * which each vector keeps the nearest.
 *
 * What core calls here raises no error and looks for a cancel by itself. After
 * any failure the helper is ended, and core has the CPU compute (br_ann.h).
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/service/service_int.h"

/*
 * What a build must save before a helper is worth its start, which takes a
 * device up to a second: in that time a core makes some 30 billion multiply-adds,
 * and the setting stands at three times as many. On its way to the device a
 * component passes memory three times or so, in which time a core compares it
 * with those of so many centroids: what these take is not saved.
 */
#define BILLION 1e9
#define LISTS_OF_THE_WAY 50

#define PIECE_BYTES (UINT64_C(8) * 1024 * 1024)
#define PIECE_SECONDS 30

typedef struct Assigner
{
	BrAssigner assigner; /* what the caller has */
	MemoryContextCallback callback;
	bool is_told;
	int64 vectors; /* that were assigned */
} Assigner;

/* Vectors that are compared with a part of the centroids. */
typedef struct Part
{
	BrContext *context;
	const float *vectors;
	int n;
	int dims;
	int first; /* of the centroids */
	int lists;
	int32_t *nearest;
	float *distances;

	/* the vectors in each lane */
	int begin[BR_EXCHANGE_LANES];
	int rows[BR_EXCHANGE_LANES];
} Part;

static BrPgHelper helper;
static Assigner *open_assigner = NULL;

/* ---- talking with the helper ---- */

static void *
lane_of(int lane)
{
	return helper.lanes + (Size) lane * BR_EXCHANGE_LANE_BYTES;
}

static BrStatus
send_vectors(BrContext *context, BrExchangeKind kind, int lane, const float *vectors, int n,
			 int dims)
{
	BrExchangeRequest request = {.kind = kind,
								 .lane = (uint32) lane,
								 .rows = (uint32) n,
								 .dims = (uint32) dims};

	memcpy(lane_of(lane), vectors, sizeof(float) * (Size) dims * n);
	if (br_pg_helper_send(&helper, &request))
		return BR_OK;
	return br_base_fail(context, BR_ERR_DEVICE, "%s", helper.detail);
}

static BrStatus
receive(BrContext *context, BrExchangeReply *reply)
{
	return br_pg_lent_receive(&helper, context, PIECE_SECONDS, "vectors", reply);
}

/* ---- assigning ---- */

/* What a lane holds of an answer to the part, each number read once: it is the helper's. */
static BrStatus
take_answer(const Part *part, int lane)
{
	const volatile int32_t *answer = lane_of(lane);
	const volatile float *answered = (const volatile float *) (answer + part->rows[lane]);

	for (int i = 0; i < part->rows[lane]; i++)
	{
		int at = part->begin[lane] + i;
		int32_t list = answer[i];
		float distance = answered[i];

		if (list < 0 || list >= part->lists)
			return br_base_fail(part->context, BR_ERR_FORMAT,
								"The device assigned a vector to centroid %d, of %d from 0 on.",
								list, part->lists);
		if (part->first == 0 || distance < part->distances[at])
		{
			part->nearest[at] = part->first + list;
			part->distances[at] = distance;
		}
	}
	return BR_OK;
}

static BrStatus
place_centroids(const Part *part, const float *centroids)
{
	BrExchangeReply reply;
	BrStatus status =
		send_vectors(part->context, BR_EXCHANGE_CENTROIDS, 0, centroids, part->lists, part->dims);

	return status == BR_OK ? receive(part->context, &reply) : status;
}

/* Vectors into all lanes that are free, from *next on. */
static BrStatus
fill_lanes(Part *part, int *next)
{
	int most = (int) Max(1, PIECE_BYTES / (sizeof(float) * part->dims));
	BrStatus status = BR_OK;

	for (int lane = 0; lane < BR_EXCHANGE_LANES && status == BR_OK; lane++)
	{
		if (helper.busy[lane] || *next >= part->n)
			continue;
		part->begin[lane] = *next;
		part->rows[lane] = Min(most, part->n - *next);
		status =
			send_vectors(part->context, BR_EXCHANGE_ASSIGN, lane,
						 part->vectors + (Size) *next * part->dims, part->rows[lane], part->dims);
		*next += part->rows[lane];
	}
	return status;
}

static BrStatus
assign_to_part(Part *part, const float *centroids)
{
	BrStatus status = place_centroids(part, centroids);
	int next = 0;

	for (int done = 0; done < part->n && status == BR_OK;)
	{
		BrExchangeReply reply;

		status = fill_lanes(part, &next);
		if (status == BR_OK)
			status = receive(part->context, &reply);
		if (status == BR_OK)
			status = take_answer(part, (int) reply.lane);
		if (status == BR_OK)
			done += part->rows[reply.lane];
	}
	return status;
}

static BrStatus
assign(void *arg, BrContext *context, const float *vectors, int n, int dims, const float *centroids,
	   int lists, int32_t *nearest, float *distances)
{
	Assigner *assigner = arg;
	int most = (int) Min(BR_EXCHANGE_MAX_LISTS, BR_EXCHANGE_LANE_BYTES / (sizeof(float) * dims));
	BrStatus status = BR_OK;

	if (assigner != open_assigner || helper.state != BR_PG_HELPER_READY)
		return br_base_fail(context, BR_ERR_DEVICE, "The helper process has ended.");
	for (int first = 0; first < lists && status == BR_OK; first += most)
	{
		Part part = {.context = context,
					 .vectors = vectors,
					 .n = n,
					 .dims = dims,
					 .first = first,
					 .lists = Min(most, lists - first),
					 .nearest = nearest,
					 .distances = distances};

		status = assign_to_part(&part, centroids + (Size) first * dims);
	}
	if (status == BR_OK)
		assigner->vectors += n;
	else
		br_pg_helper_release(&helper);
	return status;
}

/* ---- the door ---- */

/* With the memory that the assigner is in. */
static void
release(void *arg)
{
	if (arg != open_assigner)
		return;
	open_assigner = NULL;
	br_pg_helper_release(&helper);
}

static void
tell(const char *detail)
{
	ereport(WARNING,
			(errmsg("the device does not assign vectors to lists: this session does it by itself"),
			 errdetail("%s", detail)));
}

/* Whether a device would save so much. */
static bool
pays(double vectors, int lists, int dims)
{
	double saved = vectors * dims * Max(0, lists - LISTS_OF_THE_WAY);

	return br_pg_service_build_work >= 0 && saved >= br_pg_service_build_work * BILLION;
}

BrAssigner *
br_pg_service_open_assigner(double vectors, int lists, int dims)
{
	Assigner *assigner;

	if (!pays(vectors, lists, dims) || br_pg_service_precision() < 0 || open_assigner != NULL)
		return NULL;
	assigner = palloc0(sizeof(Assigner));
	assigner->assigner = (BrAssigner){.assign = assign, .arg = assigner};
	assigner->callback = (MemoryContextCallback){.func = release, .arg = assigner};
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &assigner->callback);
	if (!br_pg_helper_init(&helper, true))
	{
		tell(psprintf("Could not map memory for its helper process: %s.", strerror(errno)));
		return NULL;
	}
	open_assigner = assigner;
	if (br_pg_lent_start(&helper))
		return &assigner->assigner;
	tell(helper.detail);
	release(assigner);
	return NULL;
}

void
br_pg_service_tell_assigner(BrAssigner *assigner)
{
	Assigner *ours = (Assigner *) assigner;

	if (ours == NULL || assigner->failure == BR_OK || ours->is_told)
		return;
	ours->is_told = true;
	release(ours);
	tell(assigner->detail);
}

void
br_pg_service_close_assigner(BrAssigner *assigner)
{
	Assigner *ours = (Assigner *) assigner;

	if (ours == NULL)
		return;
	ereport(DEBUG1,
			(errmsg_internal("a device has assigned " INT64_FORMAT
							 " vectors to lists, k-means's included",
							 ours->vectors)));
	release(ours);
}
