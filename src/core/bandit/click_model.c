/*
 * click_model.c
 *	  What clicks say about items once the position is taken out of them.
 *
 * Under the position-based model a click needs two things that are not seen
 * apart: that the position was examined and that the item attracts. Expectation
 * maximisation fills in what a missing click leaves open,
 *
 *		P(examined | no click)	 = kappa (1 - a) / (1 - kappa a),
 *		P(attractive | no click) = a (1 - kappa) / (1 - kappa a),
 *
 * and averages. Only products kappa a are observed: where no chain of items
 * links two positions, any ratio of their kappa explains the clicks as well, and
 * the fit is refused instead of returning where it happened to start.
 */
#include <math.h>
#include <string.h>

#include "core/bandit/br_bandit.h"
#include "core/math/br_math.h"

/* Parameters start inside of (0, 1): EM never leaves its ends. */
#define SMALLEST_START 1e-3
#define LARGEST_START 0.99

typedef struct PositionModel
{
	size_t n_cells;
	const BrClickCell *cells;
	int n_items;
	int n_positions;
	double *kappa;			/* (n_positions) */
	double *attractiveness; /* (n_items) */
	double *position_shown; /* (n_positions): of items with clicks */
	double *position_clicks;
	double *item_shown; /* (n_items): at positions with clicks */
	double *item_clicks;
	double *position_sum; /* expected examinations */
	double *item_sum;	  /* expected attractions */
	int *root;			  /* (n_positions + n_items): forest of linked ones */
} PositionModel;

static BrStatus
check_cells(BrContext *context, size_t n_cells, const BrClickCell *cells, int n_items,
			int n_positions)
{
	for (size_t i = 0; i < n_cells; i++)
	{
		const BrClickCell *cell = &cells[i];

		if (cell->item < 0 || cell->item >= n_items || cell->position < 0 ||
			cell->position >= n_positions)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Cell %zu is item %d at position %d, of %d items and %d positions.",
								i + 1, cell->item + 1, cell->position + 1, n_items, n_positions);
		if (!(cell->clicks >= 0 && cell->clicks <= cell->shown) || isinf(cell->shown))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Cell %zu has %g clicks of %g times shown.", i + 1, cell->clicks,
								cell->shown);
	}
	return BR_OK;
}

static bool
alloc_model(BrArena *arena, PositionModel *model)
{
	size_t items = (size_t) model->n_items;
	size_t positions = (size_t) model->n_positions;

	model->position_shown = br_base_arena_alloc_array(arena, positions, sizeof(double));
	model->position_clicks = br_base_arena_alloc_array(arena, positions, sizeof(double));
	model->position_sum = br_base_arena_alloc_array(arena, positions, sizeof(double));
	model->item_shown = br_base_arena_alloc_array(arena, items, sizeof(double));
	model->item_clicks = br_base_arena_alloc_array(arena, items, sizeof(double));
	model->item_sum = br_base_arena_alloc_array(arena, items, sizeof(double));
	model->root = br_base_arena_alloc_array(arena, items + positions, sizeof(int));
	return model->position_shown != NULL && model->position_clicks != NULL &&
		model->position_sum != NULL && model->item_shown != NULL && model->item_clicks != NULL &&
		model->item_sum != NULL && model->root != NULL;
}

/* Whether the cell says anything: its item and its position were clicked somewhere. */
static bool
counts(const PositionModel *model, const BrClickCell *cell)
{
	return cell->shown > 0 && model->item_clicks[cell->item] > 0 &&
		model->position_clicks[cell->position] > 0;
}

static void
sum_cells(PositionModel *model)
{
	for (size_t i = 0; i < model->n_cells; i++)
	{
		model->item_clicks[model->cells[i].item] += model->cells[i].clicks;
		model->position_clicks[model->cells[i].position] += model->cells[i].clicks;
	}
	for (size_t i = 0; i < model->n_cells; i++)
	{
		const BrClickCell *cell = &model->cells[i];

		if (counts(model, cell))
		{
			model->item_shown[cell->item] += cell->shown;
			model->position_shown[cell->position] += cell->shown;
		}
	}
}

static int
find_root(int *root, int node)
{
	while (root[node] != node)
	{
		root[node] = root[root[node]];
		node = root[node];
	}
	return node;
}

/* Positions with clicks are all linked, or the fit says which two are not. */
static BrStatus
check_links(BrContext *context, PositionModel *model, BrClickFit *fit)
{
	int first = -1;

	for (int node = 0; node < model->n_positions + model->n_items; node++)
		model->root[node] = node;
	for (size_t i = 0; i < model->n_cells; i++)
	{
		const BrClickCell *cell = &model->cells[i];

		if (counts(model, cell))
			model->root[find_root(model->root, model->n_positions + cell->item)] =
				find_root(model->root, cell->position);
	}
	for (int k = 0; k < model->n_positions; k++)
	{
		if (model->position_clicks[k] == 0)
			continue;
		if (first < 0)
			first = k;
		if (find_root(model->root, k) != find_root(model->root, first))
		{
			fit->linked = first;
			fit->unlinked = k;
			return br_base_fail(context, BR_ERR_UNSUPPORTED,
								"No item with clicks was shown both where position %d is linked "
								"to and where position %d is: their examination cannot be "
								"compared.",
								first + 1, k + 1);
		}
	}
	if (first < 0)
		return br_base_fail(context, BR_ERR_NUMERIC, "There are no clicks.");
	return BR_OK;
}

static double
inside(double value)
{
	return value < SMALLEST_START ? SMALLEST_START : value > LARGEST_START ? LARGEST_START : value;
}

/* Click rates of positions over the largest, and what they leave of an item's clicks. */
static void
start(PositionModel *model)
{
	double largest = 0;

	for (int k = 0; k < model->n_positions; k++)
	{
		model->kappa[k] = model->position_clicks[k] > 0
			? model->position_clicks[k] / model->position_shown[k]
			: 0;
		largest = fmax(largest, model->kappa[k]);
	}
	for (int k = 0; k < model->n_positions; k++)
		model->kappa[k] = model->kappa[k] > 0 ? inside(model->kappa[k] / largest) : 0;
	memset(model->item_sum, 0, sizeof(double) * (size_t) model->n_items);
	for (size_t i = 0; i < model->n_cells; i++)
		model->item_sum[model->cells[i].item] +=
			model->cells[i].shown * model->kappa[model->cells[i].position];
	for (int i = 0; i < model->n_items; i++)
		model->attractiveness[i] =
			model->item_clicks[i] > 0 ? inside(model->item_clicks[i] / model->item_sum[i]) : 0;
}

static double
log_likelihood(const PositionModel *model)
{
	double sum = 0;

	for (size_t i = 0; i < model->n_cells; i++)
	{
		const BrClickCell *cell = &model->cells[i];
		double p = model->kappa[cell->position] * model->attractiveness[cell->item];

		if (cell->clicks > 0)
			sum += cell->clicks * br_math_log(p);
		if (cell->clicks < cell->shown)
			sum += (cell->shown - cell->clicks) * br_math_log(1 - p);
	}
	return sum;
}

/* The largest relative change that replacing value by next makes. */
static double
replace(double *value, double next, double change)
{
	double own = *value > 0 ? fabs(next - *value) / *value : 0;

	*value = next;
	return fmax(own, change);
}

/* One step of EM; returns the largest relative change of a parameter. */
static double
improve(PositionModel *model)
{
	double change = 0;

	memset(model->position_sum, 0, sizeof(double) * (size_t) model->n_positions);
	memset(model->item_sum, 0, sizeof(double) * (size_t) model->n_items);
	for (size_t i = 0; i < model->n_cells; i++)
	{
		const BrClickCell *cell = &model->cells[i];
		double kappa = model->kappa[cell->position];
		double a = model->attractiveness[cell->item];
		double missed = cell->shown - cell->clicks;

		if (!counts(model, cell))
			continue;
		/* where both are 1 every showing was a click */
		missed = missed > 0 ? missed / (1 - kappa * a) : 0;
		model->position_sum[cell->position] += cell->clicks + missed * (kappa * (1 - a));
		model->item_sum[cell->item] += cell->clicks + missed * (a * (1 - kappa));
	}
	for (int k = 0; k < model->n_positions; k++)
	{
		if (model->position_clicks[k] > 0)
			change = replace(&model->kappa[k], model->position_sum[k] / model->position_shown[k],
							 change);
	}
	for (int i = 0; i < model->n_items; i++)
	{
		if (model->item_clicks[i] > 0)
			change = replace(&model->attractiveness[i], model->item_sum[i] / model->item_shown[i],
							 change);
	}
	return change;
}

/* Until what is left of a geometric series of changes is at most the tolerance. */
static BrStatus
iterate(BrContext *context, PositionModel *model, double tolerance, int max_iterations,
		BrClickFit *fit)
{
	double before = INFINITY;

	for (fit->iterations = 1; fit->iterations <= max_iterations; fit->iterations++)
	{
		double change = improve(model);
		double rate = change / before;

		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Cancelled.");
		if (change == 0 ||
			(fit->iterations > 1 && rate < 1 && change * rate / (1 - rate) <= tolerance))
			return BR_OK;
		before = change;
	}
	return br_base_fail(context, BR_ERR_NUMERIC,
						"After %d iterations parameters still change by a %gth.", max_iterations,
						1 / before);
}

static void
scale_to_one(PositionModel *model)
{
	double largest = 0;

	for (int k = 0; k < model->n_positions; k++)
		largest = fmax(largest, model->kappa[k]);
	for (int k = 0; k < model->n_positions; k++)
		model->kappa[k] /= largest;
	for (int i = 0; i < model->n_items; i++)
		model->attractiveness[i] *= largest;
}

BrStatus
br_bandit_fit_position_model(BrContext *context, size_t n_cells, const BrClickCell *cells,
							 int n_items, int n_positions, double tolerance, int max_iterations,
							 double *examination, double *attractiveness, BrClickFit *fit)
{
	PositionModel model = {.n_cells = n_cells,
						   .cells = cells,
						   .n_items = n_items,
						   .n_positions = n_positions,
						   .kappa = examination,
						   .attractiveness = attractiveness};
	BrArena *arena;
	BrStatus status = check_cells(context, n_cells, cells, n_items, n_positions);

	*fit = (BrClickFit){.unlinked = -1, .linked = -1};
	if (status != BR_OK)
		return status;
	if (!(tolerance > 0 && tolerance < 1) || max_iterations < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Tolerance %g and at most %d iterations; the tolerance must lie "
							"between 0 and 1, iterations be at least 1.",
							tolerance, max_iterations);
	arena = br_base_arena_create(context, 65536);
	if (arena == NULL)
		return BR_ERR_MEMORY;
	status = alloc_model(arena, &model) ? BR_OK : BR_ERR_MEMORY;
	if (status == BR_OK)
	{
		sum_cells(&model);
		status = check_links(context, &model, fit);
	}
	if (status == BR_OK)
	{
		start(&model);
		status = iterate(context, &model, tolerance, max_iterations, fit);
	}
	if (status == BR_OK)
	{
		scale_to_one(&model);
		fit->log_likelihood = log_likelihood(&model);
	}
	br_base_arena_destroy(arena);
	return status;
}

BrStatus
br_bandit_fit_cascade_model(BrContext *context, size_t n_places, const BrListPlace *places,
							int n_items, double *attractiveness, double *examined, double *clicked,
							double *log_likelihood)
{
	bool over = false;

	memset(examined, 0, sizeof(double) * (size_t) n_items);
	memset(clicked, 0, sizeof(double) * (size_t) n_items);
	for (size_t i = 0; i < n_places; i++)
	{
		int item = places[i].item;

		if (item < 0 || item >= n_items)
			return br_base_fail(context, BR_ERR_ARGUMENT, "Place %zu holds item %d, of %d items.",
								i + 1, item + 1, n_items);
		if (i == 0 || places[i].list != places[i - 1].list)
			over = false;
		if (over)
			continue;
		examined[item]++;
		if (places[i].clicked)
			clicked[item]++;
		over = places[i].clicked;
	}
	*log_likelihood = 0;
	for (int i = 0; i < n_items; i++)
	{
		double rate = examined[i] > 0 ? clicked[i] / examined[i] : 0;

		attractiveness[i] = rate;
		if (rate > 0 && rate < 1)
			*log_likelihood +=
				clicked[i] * br_math_log(rate) + (examined[i] - clicked[i]) * br_math_log(1 - rate);
	}
	return BR_OK;
}

double
br_bandit_expected_clicks_by_position(int slots, const double *attractiveness,
									  const double *examination, double *clicks)
{
	double sum = 0;

	for (int k = 0; k < slots; k++)
	{
		clicks[k] = examination[k] * attractiveness[k];
		sum += clicks[k];
	}
	return sum;
}

double
br_bandit_expected_clicks_by_cascade(int slots, const double *attractiveness, double *clicks)
{
	double sum = 0;
	double reached = 1;

	for (int k = 0; k < slots; k++)
	{
		clicks[k] = reached * attractiveness[k];
		reached *= 1 - attractiveness[k];
		sum += clicks[k];
	}
	return sum;
}

void
br_bandit_scale_features(const float *features, int dims, double kappa, float *scaled)
{
	for (int i = 0; i < dims; i++)
		scaled[i] = (float) (kappa * (double) features[i]);
}
