/*
 * test_math.c
 *	  The math room, but for the tensor operations (test/backend).
 *
 * Expected values of exp, log, the logistic function and the normal quantile
 * are the exact values rounded to double, from mpmath 1.4.1 at 200 bits.
 * Halves are compared with numpy 2.4.6's float16: single values in a table,
 * long series by their FNV-1a hash. The Cholesky factor and the solutions are
 * mpmath's at 200 bits and agree with numpy.linalg.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_math.h"
#include "core/math/math_int.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

typedef struct Point
{
	double x;
	double y;
} Point;

/* Distance in units in the last place of expected. */
static double
ulps(double actual, double expected)
{
	double ulp = nextafter(fabs(expected), INFINITY) - fabs(expected);

	return fabs(actual - expected) / ulp;
}

static void
assert_function(double (*function)(double), const Point *points, int n, double largest_ulps)
{
	for (int i = 0; i < n; i++)
	{
		double actual = function(points[i].x);

		if (!(ulps(actual, points[i].y) <= largest_ulps))
			fail_msg("f(%a) is %a, not %a", points[i].x, actual, points[i].y);
	}
}

static void
exp_matches_exact_values(void **state)
{
	static const Point points[] = {{0x0p+0, 0x1p+0},
								   {0x1p+0, 0x1.5bf0a8b145769p+1},
								   {-0x1p+0, 0x1.78b56362cef38p-2},
								   {0x1p-1, 0x1.a61298e1e069cp+0},
								   {-0x1p-1, 0x1.368b2fc6f960ap-1},
								   {0x1.b7cdfd9d7bdbbp-34, 0x1.000000006df38p+0},
								   {0x1.62e42fefa39efp-2, 0x1.6a09e667f3bccp+0},
								   {0x1.62e42fead449cp-2, 0x1.6a09e66640654p+0},
								   {0x1.4p+3, 0x1.5829dcf95056p+14},
								   {-0x1.4p+3, 0x1.7cd79b5647c9bp-15},
								   {0x1.91p+6, 0x1.8c39b9134bac4p+144},
								   {-0x1.91p+6, 0x1.4acd31e167ebbp-145},
								   {0x1.5e4p+9, 0x1.8625c7d4f56c2p+1010},
								   {0x1.62e42fefa370cp+9, 0x1.ffffffff4732ap+1023},
								   {-0x1.624p+9, 0x0.e6cf6d08897acp-1022},
								   {-0x1.684p+9, 0x0.00005cf08fffp-1022},
								   {-0x1.748cccccccccdp+9, 0x0.0000000000001p-1022},
								   {0x1.56e1fc2f8f359p-997, 0x1p+0},
								   {0x1.62ccccccccccdp+6, 0x1.f4705bbffae5cp+127},
								   {-0x1.2599ed7c6fbd2p-15, 0x1.fffb699d8cf11p-1}};

	(void) state;
	assert_function(br_math_exp, points, LENGTH(points), 1);
}

static void
exp_at_its_ends(void **state)
{
	(void) state;
	assert_true(isinf(br_math_exp(709.79)));
	assert_true(isinf(br_math_exp(INFINITY)));
	assert_true(br_math_exp(-745.14) == 0);
	assert_true(br_math_exp(-INFINITY) == 0);
	assert_true(isnan(br_math_exp(NAN)));
}

static void
log_matches_exact_values(void **state)
{
	static const Point points[] = {{0x1p+0, 0x0p+0},
								   {0x1p+1, 0x1.62e42fefa39efp-1},
								   {0x1p-1, -0x1.62e42fefa39efp-1},
								   {0x1.4p+3, 0x1.26bb1bbb55516p+1},
								   {0x1.999999999999ap-4, -0x1.26bb1bbb55515p+1},
								   {0x1.000001ad7f29bp+0, 0x1.ad7f2847b6492p-24},
								   {0x1.fffffca501acbp-1, -0x1.ad7f2b1049b9fp-24},
								   {0x1.6a09e667f3bcdp+0, 0x1.62e42fefa39fp-2},
								   {0x1.6a09e667f3bcep+0, 0x1.62e42fefa39f3p-2},
								   {0x1.6a09e667f3bccp-1, -0x1.62e42fefa39f1p-2},
								   {0x1.8p+1, 0x1.193ea7aad030bp+0},
								   {0x1.1ccf385ebc8ap+1023, 0x1.62991d5d62a5ep+9},
								   {0x0.730d67819e8d2p-1022, -0x1.62991d5d62a5ep+9},
								   {0x0.0000000000001p-1022, -0x1.74385446d71c3p+9},
								   {0x1.e240c9fbe76c9p+16, 0x1.77281cad8a844p+3},
								   {0x1.fae147ae147aep-1, -0x1.495453e6fd4bcp-7},
								   {0x1.028f5c28f5c29p+0, 0x1.460d6ccca367cp-7},
								   {0x1p-1022, -0x1.6232bdd7abcd2p+9},
								   {0x0.00000000007e8p-1022, -0x1.7069e3078e52dp+9}};

	(void) state;
	assert_function(br_math_log, points, LENGTH(points), 1);
}

static void
log_at_its_ends(void **state)
{
	(void) state;
	assert_true(br_math_log(0) == -INFINITY);
	assert_true(br_math_log(INFINITY) == INFINITY);
	assert_true(isnan(br_math_log(-1)));
	assert_true(isnan(br_math_log(-INFINITY)));
	assert_true(isnan(br_math_log(NAN)));
}

static void
logistic_matches_exact_values(void **state)
{
	static const Point points[] = {{0x0p+0, 0x1p-1},
								   {0x1p+0, 0x1.764d4f5d5a2bdp-1},
								   {-0x1p+0, 0x1.136561454ba86p-2},
								   {0x1.48p+4, 0x1.fffffff542e28p-1},
								   {-0x1.48p+4, 0x1.57a3afe79aea9p-30},
								   {-0x1.5ep+9, 0x1.14f2b0fb9307fp-1010},
								   {0x1.4p+5, 0x1p+0},
								   {0x1.0624dd2f1a9fcp-10, 0x1.0020c49b78133p-1}};

	(void) state;
	assert_function(br_math_logistic, points, LENGTH(points), 2);
	assert_true(br_math_logistic(-INFINITY) == 0);
	assert_true(br_math_logistic(INFINITY) == 1);
	assert_true(isnan(br_math_logistic(NAN)));
}

/* AS 241 promises a relative error of about 1e-16 but for rounding. */
static void
normal_quantile_matches_exact_values(void **state)
{
	static const Point points[] = {{0x1p-1, 0x0p+0},
								   {0x1p-2, -0x1.5956b87528a49p-1},
								   {0x1.f333333333333p-1, 0x1.f5c0331eeff83p+0},
								   {0x1.999999999999ap-6, -0x1.f5c0331eeff85p+0},
								   {0x1.3333333333333p-4, -0x1.7085226d3e524p+0},
								   {0x1.32ca57a786c22p-4, -0x1.70b374817af52p+0},
								   {0x1.d99999999999ap-1, 0x1.7085226d3e525p+0},
								   {0x1.0624dd2f1a9fcp-10, -0x1.8b8cbb7204471p+1},
								   {0x1.4f8b588e368f1p-17, -0x1.10f3f8843a3d9p+2},
								   {0x1.b7cdfd9d7bdbbp-34, -0x1.97203597a2155p+2},
								   {0x1.19799812dea11p-40, -0x1.c234fba57a32ap+2},
								   {0x1p-53, -0x1.06b48528cea52p+3},
								   {0x1.fffffffffffffp-1, 0x1.06b48528cea52p+3},
								   {0x1.3333333333333p-1, 0x1.036d6c4a04b59p-2},
								   {0x1.d9a6b50b0f27cp-1, 0x1.70b374817af53p+0},
								   {0x1.79ca10c924223p-67, -0x1.2865170b43a4cp+3},
								   {0x1.bff2ee48e053p-333, -0x1.546010d755221p+4}};

	(void) state;
	for (int i = 0; i < LENGTH(points); i++)
	{
		double actual = br_math_normal_quantile(points[i].x);

		if (!(fabs(actual - points[i].y) <= 1e-15 * fabs(points[i].y)))
			fail_msg("quantile of %a is %a, not %a", points[i].x, actual, points[i].y);
	}
	assert_true(br_math_normal_quantile(0) == -INFINITY);
	assert_true(br_math_normal_quantile(1) == INFINITY);
	assert_true(isnan(br_math_normal_quantile(-0.1)));
	assert_true(isnan(br_math_normal_quantile(1.1)));
	assert_true(isnan(br_math_normal_quantile(NAN)));
}

/* Mean and variance of 100,000 draws lie within 4 standard errors of 0 and 1. */
static void
normal_draws_invert_one_uniform(void **state)
{
	BrRandom random;
	BrRandom uniforms;
	double sum = 0;
	double squares = 0;

	(void) state;
	br_base_random_init(&random, 11, 3);
	br_base_random_init(&uniforms, 11, 3);
	for (int i = 0; i < 100000; i++)
	{
		double draw = br_math_normal(&random);

		assert_true(draw == br_math_normal_quantile(br_base_random_uniform(&uniforms)));
		sum += draw;
		squares += draw * draw;
	}
	assert_true(fabs(sum / 100000) < 4 / sqrt(100000));
	assert_true(fabs(squares / 100000 - 1) < 4 * sqrt(2.0 / 100000));
}

static void
assert_lanes(BrNormalLanes lanes)
{
	enum
	{
		MOST = 700
	};
	static double values[MOST * BR_MATH_NORMAL_LANES];
	static const size_t lengths[] = {0, 1, 2, 33, MOST};

	for (size_t length = 0; length < sizeof(lengths) / sizeof(lengths[0]); length++)
	{
		/* streams that carry into the upper word */
		uint64_t first = UINT64_C(0xFFFFFFFC) + length;

		lanes(UINT64_C(0xfedcba9876543210), first, lengths[length], values);
		for (uint64_t lane = 0; lane < BR_MATH_NORMAL_LANES; lane++)
		{
			BrRandom random;

			br_base_random_init(&random, UINT64_C(0xfedcba9876543210), first + lane);
			for (size_t i = 0; i < lengths[length]; i++)
				assert_true(values[i * BR_MATH_NORMAL_LANES + lane] == br_math_normal(&random));
		}
	}
}

/* Of 5,600 draws some fall on every branch of the quantile. */
static void
lanes_are_the_draws_of_adjacent_streams(void **state)
{
	(void) state;
	assert_lanes(br_math_normal_lanes);
	assert_lanes(br_math_normal_lanes_portable);
	if (br_math_normal_lanes_avx2() != NULL)
		assert_lanes(br_math_normal_lanes_avx2());
}

/* The kernel sets that this machine can run, NULL behind the last one. */
static void
available_kernels(const BrHalfKernels *kernels[4])
{
	int n = 0;

	memset(kernels, 0, 4 * sizeof(kernels[0]));
	kernels[n++] = br_math_half_kernels_portable();
	if (br_math_half_kernels_avx2() != NULL)
		kernels[n++] = br_math_half_kernels_avx2();
	if (br_math_half_kernels_avx512() != NULL)
		kernels[n++] = br_math_half_kernels_avx512();
}

#define FNV_START UINT64_C(0xcbf29ce484222325)

/* FNV-1a over the bytes of word, lowest first. */
static uint64_t
fnv(uint64_t hash, uint32_t word, int bytes)
{
	for (int i = 0; i < bytes; i++)
		hash = (hash ^ (word >> (8 * i) & 0xFF)) * UINT64_C(0x100000001b3);
	return hash;
}

static bool
half_is_nan(uint32_t half)
{
	return (half & 0x7C00) == 0x7C00 && (half & 0x3FF) != 0;
}

/* All 65,536, in an order and number that leave every kernel a tail. */
static void
every_half_becomes_the_float_of_numpy(void **state)
{
	static uint16_t halves[65536 + 3];
	static float floats[65536 + 3];
	static uint16_t back[65536 + 3];
	const BrHalfKernels *kernels[4];

	(void) state;
	for (int i = 0; i < LENGTH(halves); i++)
		halves[i] = (uint16_t) i;
	available_kernels(kernels);
	for (int set = 0; kernels[set] != NULL; set++)
	{
		uint64_t hash = FNV_START;

		kernels[set]->to_floats(halves, LENGTH(halves), floats);
		kernels[set]->from_floats(floats, LENGTH(halves), back);
		for (int i = 0; i < LENGTH(halves); i++)
		{
			uint32_t bits;

			memcpy(&bits, &floats[i], sizeof(bits));
			if (half_is_nan(halves[i]))
			{
				assert_true(isnan(floats[i]));
				assert_int_equal(back[i], halves[i] | 0x200);
				continue;
			}
			if (i < 65536)
				hash = fnv(hash, bits, 4);
			assert_int_equal(back[i], halves[i]);
		}
		assert_true(hash == UINT64_C(0xa7a575fd4882f925));
	}
}

static void
floats_round_to_the_half_of_numpy(void **state)
{
	static const struct
	{
		float value;
		uint16_t half;
	} cases[] = {{0x1p+0f, 0x3C00},			{-0x0p+0f, 0x8000},		   {0x1.ffcp+15f, 0x7BFF},
				 {0x1.ffdffep+15f, 0x7BFF}, {0x1.ffep+15f, 0x7C00},	   {0x1.2a05f2p+33f, 0x7C00},
				 {-INFINITY, 0xFC00},		{0x1p-24f, 0x0001},		   {0x1p-25f, 0x0000},
				 {0x1.000002p-25f, 0x0001}, {0x1p-14f, 0x0400},		   {0x1.ffcp-15f, 0x0400},
				 {0x1.ffep-15f, 0x0400},	{0x1.002p+0f, 0x3C00},	   {0x1.006p+0f, 0x3C02},
				 {0x1.99999ap-4f, 0x2E66},	{-0x1.921fb6p+1f, 0xC248}, {0x1.5798eep-27f, 0x0000},
				 {0x1.002002p+0f, 0x3C01}};
	const BrHalfKernels *kernels[4];

	(void) state;
	available_kernels(kernels);
	for (int i = 0; i < LENGTH(cases); i++)
		for (int set = 0; kernels[set] != NULL; set++)
		{
			float values[8];
			uint16_t halves[8];

			for (int lane = 0; lane < 8; lane++)
				values[lane] = cases[i].value;
			kernels[set]->from_floats(values, 8, halves);
			assert_int_equal(halves[0], cases[i].half);
			assert_int_equal(halves[7], cases[i].half);
			assert_int_equal(br_math_half_from_float(cases[i].value), cases[i].half);
		}
	assert_true(half_is_nan(br_math_half_from_float(NAN)));
}

/* 2^18 floats whose bits are start, start + step, ... (modulo 2^32), without NaN */
static uint64_t
series_hash(const BrHalfKernels *kernels, uint32_t start, uint32_t step)
{
	uint64_t hash = FNV_START;

	for (uint32_t block = 0; block < (1 << 18) / 64; block++)
	{
		float values[64];
		uint16_t halves[64];

		for (uint32_t i = 0; i < 64; i++)
		{
			uint32_t bits = start + (block * 64 + i) * step;

			memcpy(&values[i], &bits, sizeof(bits));
		}
		kernels->from_floats(values, 64, halves);
		for (int i = 0; i < 64; i++)
		{
			if (isnan(values[i]))
				assert_true(half_is_nan(halves[i]));
			else
				hash = fnv(hash, halves[i], 2);
		}
	}
	return hash;
}

/* The first series runs over all floats, the second over those from 2^-27 to 50,000. */
static void
float_series_round_as_in_numpy(void **state)
{
	const BrHalfKernels *kernels[4];

	(void) state;
	available_kernels(kernels);
	for (int set = 0; kernels[set] != NULL; set++)
	{
		assert_true(series_hash(kernels[set], 0, 16411) == UINT64_C(0xa7f7269ef2edb8a7));
		assert_true(series_hash(kernels[set], 0x32000000, 1361) == UINT64_C(0xa38d25cb59f45e7e));
	}
}

/* The value of a finite half by its definition. */
static double
half_value(uint16_t half)
{
	int exponent = half >> 10 & 0x1F;
	double mantissa = half & 0x3FF;
	double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, exponent - 25);

	return half & 0x8000 ? -magnitude : magnitude;
}

/* The documented order: 32 lanes, the upper half of them added to the lower until one is left. */
static double
lane_sum(const uint16_t *left, const uint16_t *right, int n, bool distance)
{
	double lanes[32] = {0};

	for (int i = 0; i < n; i++)
	{
		double l = half_value(left[i]);
		double r = half_value(right[i]);
		volatile double term = distance ? (l - r) * (l - r) : l * r;

		lanes[i % 32] += term;
	}
	for (int width = 16; width > 0; width /= 2)
		for (int i = 0; i < width; i++)
			lanes[i] += lanes[i + width];
	return lanes[0];
}

static void
half_products_keep_one_order(void **state)
{
	const BrHalfKernels *kernels[4];
	uint16_t left[1000];
	uint16_t right[1000];
	BrRandom random;

	(void) state;
	br_base_random_init(&random, 1, 1);
	for (int i = 0; i < 1000; i++)
	{
		/* any finite half: exponents 0 to 30 */
		left[i] = (uint16_t) (br_base_random_below(&random, 31 << 10) |
							  br_base_random_below(&random, 2) << 15);
		right[i] = (uint16_t) (br_base_random_below(&random, 31 << 10) |
							   br_base_random_below(&random, 2) << 15);
	}
	available_kernels(kernels);
	for (int n = 0; n <= 1000; n = n < 100 ? n + 1 : n + 75)
	{
		double product = lane_sum(left, right, n, false);
		double distance = lane_sum(left, right, n, true);

		for (int set = 0; kernels[set] != NULL; set++)
		{
			assert_true(kernels[set]->dot(left, right, (size_t) n) == product);
			assert_true(kernels[set]->squared_distance(left, right, (size_t) n) == distance);
		}
		assert_true(br_math_half_dot(left, right, (size_t) n) == product);
		assert_true(br_math_half_squared_distance(left, right, (size_t) n) == distance);
	}
}

/* (1, 2, 3) and (4, 5, 6): 4 + 10 + 18 and 9 + 9 + 9 */
static void
half_products_by_hand(void **state)
{
	static const uint16_t left[] = {0x3C00, 0x4000, 0x4200};
	static const uint16_t right[] = {0x4400, 0x4500, 0x4600};

	(void) state;
	assert_true(br_math_half_dot(left, right, 3) == 32);
	assert_true(br_math_half_squared_distance(left, right, 3) == 27);
	assert_true(br_math_half_dot(left, right, 0) == 0);
}

/* Sums of small integers are exact in any order: sum of i (i + 1), i below n */
static void
dot_by_hand(void **state)
{
	double left[20];
	double right[20];

	(void) state;
	for (int i = 0; i < 20; i++)
	{
		left[i] = i;
		right[i] = i + 1;
	}
	for (int n = 0; n <= 20; n++)
		assert_true(br_math_dot(left, right, (size_t) n) == (n - 1) * n * (n + 1) / 3.0);
}

static const double matrix[] = {4.42,  3.01, 4.64, 2.55,  2.98,	 5.61, 0.96, -0.51,
								-0.36, 5.48, 0.08, -0.11, -1.67, 1.42, 1.83};

static void
cholesky_matches_numpy(void **state)
{
	static const double factor[] = {2.1023796041628637,	  1.4317109974050271,
									1.6094109543275459,	  1.2129113100939599,
									0.77261903500656204,  1.8819952126909578,
									0.45662543438831432,  -0.72309415626840001,
									-0.18871984488384605, 2.170947459978521,
									0.038052119532359527, -0.10219865694761204,
									-0.86992422053140406, 0.53642625640695041,
									0.87953748793741204};
	static const double middle[] = {0.47565149415449409, -1.6658240506591508, 1.9713781781001574,
									-0.2532092704655835, 0.4689205445549211};
	static const double solution[] = {0.71108413707083962, -1.7220009295509315, 1.2690259641682748,
									  -0.24837172274381172, 0.5331444662518916};
	double packed[BR_MATH_PACKED(5)];
	double vector[] = {1, -2, 3, 0.5, -1.25};
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	memcpy(packed, matrix, sizeof(packed));
	assert_int_equal(br_math_cholesky(&context, packed, 5), BR_OK);
	for (int i = 0; i < LENGTH(factor); i++)
		assert_true(fabs(packed[i] - factor[i]) <= 1e-15);

	br_math_solve_lower(packed, 5, vector);
	for (int i = 0; i < 5; i++)
		assert_true(fabs(vector[i] - middle[i]) <= 3e-15);
	br_math_solve_lower_transposed(packed, 5, vector);
	for (int i = 0; i < 5; i++)
		assert_true(fabs(vector[i] - solution[i]) <= 5e-15);
}

static void
cholesky_refuses_what_is_not_positive_definite(void **state)
{
	static const double bad_values[] = {0, -1, NAN, INFINITY, -INFINITY};
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	/* on and off the diagonal; an off-diagonal 0 or -1 leaves the matrix as it should be */
	for (int i = 0; i < LENGTH(bad_values); i++)
	{
		double packed[BR_MATH_PACKED(5)];

		memcpy(packed, matrix, sizeof(packed));
		packed[5] = bad_values[i];
		assert_int_equal(br_math_cholesky(&context, packed, 5), BR_ERR_NUMERIC);
		assert_non_null(strstr(context.detail, "pivot 3"));

		memcpy(packed, matrix, sizeof(packed));
		packed[6] = bad_values[i];
		assert_int_equal(br_math_cholesky(&context, packed, 5),
						 isfinite(bad_values[i]) ? BR_OK : BR_ERR_NUMERIC);
	}
	assert_int_equal(br_math_cholesky(&context, NULL, 0), BR_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exp_matches_exact_values),
		cmocka_unit_test(exp_at_its_ends),
		cmocka_unit_test(log_matches_exact_values),
		cmocka_unit_test(log_at_its_ends),
		cmocka_unit_test(logistic_matches_exact_values),
		cmocka_unit_test(normal_quantile_matches_exact_values),
		cmocka_unit_test(normal_draws_invert_one_uniform),
		cmocka_unit_test(lanes_are_the_draws_of_adjacent_streams),
		cmocka_unit_test(every_half_becomes_the_float_of_numpy),
		cmocka_unit_test(floats_round_to_the_half_of_numpy),
		cmocka_unit_test(float_series_round_as_in_numpy),
		cmocka_unit_test(half_products_keep_one_order),
		cmocka_unit_test(half_products_by_hand),
		cmocka_unit_test(dot_by_hand),
		cmocka_unit_test(cholesky_matches_numpy),
		cmocka_unit_test(cholesky_refuses_what_is_not_positive_definite),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
