/*
 * adam.c
 *	  The optimiser of what is trained by gradient.
 */
#include "core/learn/real_int.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define DECAY_FIRST 0.9
#define DECAY_SECOND 0.999
#define EPSILON 1e-8

BrStatus
br_learn_adam_create(BrContext *context, int64_t n, BrAdam *adam)
{
	memset(adam, 0, sizeof(*adam));
	adam->n = n;
	adam->first = br_base_alloc_array(context, (size_t) n, sizeof(BrReal));
	adam->second = br_base_alloc_array(context, (size_t) n, sizeof(BrReal));
	if (adam->first != NULL && adam->second != NULL)
		return BR_OK;
	br_learn_adam_free(context, adam);
	return BR_ERR_MEMORY;
}

void
br_learn_adam_free(BrContext *context, BrAdam *adam)
{
	br_base_free(context, adam->first);
	br_base_free(context, adam->second);
	memset(adam, 0, sizeof(*adam));
}

void
br_learn_adam_begin(BrAdam *adam)
{
	adam->steps++;
}

/* What a step's parameters have in common. */
typedef struct Pace
{
	float rate;	  /* over how much of the first moments has been filled */
	float spread; /* 1 / the root of how much of the second */
} Pace;

static void
step_plain(BrAdam *adam, Pace pace, int64_t first, int64_t last, const float *slope,
		   float *parameters)
{
	for (int64_t i = first; i < last; i++)
	{
		float g = slope[i];

		adam->first[i] += (float) (1 - DECAY_FIRST) * (g - adam->first[i]);
		adam->second[i] += (float) (1 - DECAY_SECOND) * (g * g - adam->second[i]);
		parameters[i] -=
			pace.rate * adam->first[i] / (sqrtf(adam->second[i]) * pace.spread + (float) EPSILON);
	}
}

#ifdef __x86_64__

/* The same operations, eight at a time. */
BR_LEARN_WIDE static void
step_wide(BrAdam *adam, Pace pace, int64_t first, int64_t last, const float *slope,
		  float *parameters)
{
	const __m256 rate = _mm256_set1_ps(pace.rate);
	const __m256 spread = _mm256_set1_ps(pace.spread);
	const __m256 epsilon = _mm256_set1_ps((float) EPSILON);
	const __m256 take_first = _mm256_set1_ps((float) (1 - DECAY_FIRST));
	const __m256 take_second = _mm256_set1_ps((float) (1 - DECAY_SECOND));

	for (; first + 8 <= last; first += 8)
	{
		__m256 g = _mm256_loadu_ps(slope + first);
		__m256 one = _mm256_loadu_ps(adam->first + first);
		__m256 two = _mm256_loadu_ps(adam->second + first);
		__m256 root;

		one = _mm256_add_ps(one, _mm256_mul_ps(take_first, _mm256_sub_ps(g, one)));
		two =
			_mm256_add_ps(two, _mm256_mul_ps(take_second, _mm256_sub_ps(_mm256_mul_ps(g, g), two)));
		_mm256_storeu_ps(adam->first + first, one);
		_mm256_storeu_ps(adam->second + first, two);
		root = _mm256_add_ps(_mm256_mul_ps(_mm256_sqrt_ps(two), spread), epsilon);
		_mm256_storeu_ps(parameters + first,
						 _mm256_sub_ps(_mm256_loadu_ps(parameters + first),
									   _mm256_div_ps(_mm256_mul_ps(rate, one), root)));
	}
	step_plain(adam, pace, first, last, slope, parameters);
}

#else

static void
step_wide(BrAdam *adam, Pace pace, int64_t first, int64_t last, const float *slope,
		  float *parameters)
{
	step_plain(adam, pace, first, last, slope, parameters);
}

#endif

/* The moments start at 0; both are divided by how much of them has been filled. */
void
br_learn_adam_step(BrAdam *adam, double rate, int64_t first, int64_t last, const BrReal *slope,
				   BrReal *parameters)
{
	const Pace pace = {(float) (rate / (1 - pow(DECAY_FIRST, (double) adam->steps))),
					   (float) (1 / sqrt(1 - pow(DECAY_SECOND, (double) adam->steps)))};

	if (BR_LEARN_IS_WIDE())
		step_wide(adam, pace, first, last, slope, parameters);
	else
		step_plain(adam, pace, first, last, slope, parameters);
}
