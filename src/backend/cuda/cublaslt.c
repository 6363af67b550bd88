/*
 * cublaslt.c
 *	  Products by cuBLASLt.
 *
 * The library thinks in columns: a row-major matrix is its transpose to it. So
 * output' = right' left', both as they stand in memory, and the bias, which it
 * adds along the rows of its result, falls on our columns.
 *
 * To choose an algorithm takes it longer than a small product does. What it
 * chose is kept by the shape of the product, the last of each place of a small
 * table: the layers of a model ask for the same shapes one after another.
 */
#include "backend/cuda/cublaslt.h"

#if !defined(BR_WITHOUT_CUBLASLT) && defined(__has_include)
#if __has_include(<cublasLt.h>)
#define HAVE_CUBLASLT
#endif
#endif

#ifdef HAVE_CUBLASLT

#include <cublasLt.h>
#include <dlfcn.h>
#include <string.h>

/* Of the versions whose functions are these; then where the toolkit puts it. */
static const char *const library_names[] = {"libcublasLt.so.13", "libcublasLt.so.12",
											"libcublasLt.so.11",
											"/usr/local/cuda/lib64/libcublasLt.so"};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* As much as its algorithms for the newest devices ask for. */
#define WORKSPACE_BYTES (32 * 1024 * 1024)

/* What matrices begin at, at least. */
#define ALIGNMENT 16

#define PLANS 256

typedef struct Functions
{
	__typeof__(cublasLtCreate) *create;
	__typeof__(cublasLtDestroy) *destroy;
	__typeof__(cublasLtGetVersion) *version;
	__typeof__(cublasLtMatmul) *multiply;
	__typeof__(cublasLtMatmulDescCreate) *create_operation;
	__typeof__(cublasLtMatmulDescDestroy) *destroy_operation;
	__typeof__(cublasLtMatmulDescSetAttribute) *set_operation;
	__typeof__(cublasLtMatrixLayoutCreate) *create_layout;
	__typeof__(cublasLtMatrixLayoutDestroy) *destroy_layout;
	__typeof__(cublasLtMatmulPreferenceCreate) *create_preference;
	__typeof__(cublasLtMatmulPreferenceDestroy) *destroy_preference;
	__typeof__(cublasLtMatmulPreferenceSetAttribute) *set_preference;
	__typeof__(cublasLtMatmulAlgoGetHeuristic) *choose;
} Functions;

/* Of what a product is. */
typedef enum Numbers
{
	HALVES,			  /* of halves, halves */
	HALVES_TO_FLOATS, /* of halves, floats */
	FLOATS			  /* of floats rounded to 10 bits of the mantissa, floats */
} Numbers;

/* output (rows, columns) = left right; a transposed factor stands as its transpose. */
typedef struct Shape
{
	int rows;
	int columns;
	int depth;
	int left_stride;
	int right_stride;
	int left_transposed;
	int right_transposed;
	int epilogue;
	int numbers;
} Shape;

/* A product as the library wants it described; operation NULL: the place is free. */
typedef struct Plan
{
	Shape shape;
	bool works;
	cublasLtMatmulDesc_t operation;
	cublasLtMatrixLayout_t left;
	cublasLtMatrixLayout_t right;
	cublasLtMatrixLayout_t output;
	cublasLtMatmulAlgo_t algorithm;
} Plan;

struct BrCublasLt
{
	BrAllocator allocator;
	void *object;
	Functions call;
	cublasLtHandle_t handle;
	cublasLtMatmulPreference_t preference;
	void *workspace;
	Plan plans[PLANS];
};

/* ---- opening ---- */

static bool
find(void *object, const char *name, void *function)
{
	void *symbol = dlsym(object, name);

	memcpy(function, &symbol, sizeof(symbol));
	return symbol != NULL;
}

static bool
find_functions(void *object, Functions *call)
{
	return find(object, "cublasLtCreate", &call->create) &&
		find(object, "cublasLtDestroy", &call->destroy) &&
		find(object, "cublasLtGetVersion", &call->version) &&
		find(object, "cublasLtMatmul", &call->multiply) &&
		find(object, "cublasLtMatmulDescCreate", &call->create_operation) &&
		find(object, "cublasLtMatmulDescDestroy", &call->destroy_operation) &&
		find(object, "cublasLtMatmulDescSetAttribute", &call->set_operation) &&
		find(object, "cublasLtMatrixLayoutCreate", &call->create_layout) &&
		find(object, "cublasLtMatrixLayoutDestroy", &call->destroy_layout) &&
		find(object, "cublasLtMatmulPreferenceCreate", &call->create_preference) &&
		find(object, "cublasLtMatmulPreferenceDestroy", &call->destroy_preference) &&
		find(object, "cublasLtMatmulPreferenceSetAttribute", &call->set_preference) &&
		find(object, "cublasLtMatmulAlgoGetHeuristic", &call->choose);
}

static bool
load_library(BrCublasLt *library)
{
	for (size_t i = 0; i < LENGTH(library_names) && library->object == NULL; i++)
		library->object = dlopen(library_names[i], RTLD_NOW | RTLD_LOCAL);
	return library->object != NULL && find_functions(library->object, &library->call);
}

/* What algorithms may assume of memory. */
static bool
describe_memory(BrCublasLt *library)
{
	static const cublasLtMatmulPreferenceAttributes_t alignments[] =
		{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
		 CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
	uint64_t bytes = WORKSPACE_BYTES;
	uint32_t alignment = ALIGNMENT;
	bool works = library->call.create_preference(&library->preference) == CUBLAS_STATUS_SUCCESS &&
		library->call.set_preference(library->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
									 &bytes, sizeof(bytes)) == CUBLAS_STATUS_SUCCESS;

	for (size_t i = 0; i < LENGTH(alignments) && works; i++)
		works = library->call.set_preference(library->preference, alignments[i], &alignment,
											 sizeof(alignment)) == CUBLAS_STATUS_SUCCESS;
	return works;
}

BrStatus
br_cuda_open_cublaslt(BrContext *context, BrCublasLt **library)
{
	BrCublasLt *opened = br_base_alloc_array(context, 1, sizeof(BrCublasLt));
	BrStatus status = BR_OK;
	bool works;

	*library = NULL;
	if (opened == NULL)
		return BR_ERR_MEMORY;
	opened->allocator = context->allocator;
	works = load_library(opened) && opened->call.create(&opened->handle) == CUBLAS_STATUS_SUCCESS &&
		describe_memory(opened);
	if (works)
		status = br_cuda_allocate(context, WORKSPACE_BYTES, &opened->workspace);
	if (works && status == BR_OK)
		*library = opened;
	else
		br_cuda_close_cublaslt(opened);
	return status;
}

static void
drop_plan(BrCublasLt *library, Plan *plan)
{
	if (plan->operation != NULL)
		(void) library->call.destroy_operation(plan->operation);
	if (plan->left != NULL)
		(void) library->call.destroy_layout(plan->left);
	if (plan->right != NULL)
		(void) library->call.destroy_layout(plan->right);
	if (plan->output != NULL)
		(void) library->call.destroy_layout(plan->output);
	memset(plan, 0, sizeof(*plan));
}

void
br_cuda_close_cublaslt(BrCublasLt *library)
{
	if (library == NULL)
		return;
	for (int i = 0; i < PLANS; i++)
		drop_plan(library, &library->plans[i]);
	if (library->preference != NULL)
		(void) library->call.destroy_preference(library->preference);
	if (library->handle != NULL)
		(void) library->call.destroy(library->handle);
	br_cuda_release(library->workspace);
	if (library->object != NULL)
		dlclose(library->object);
	library->allocator.free(library->allocator.arg, library);
}

size_t
br_cuda_cublaslt_version(const BrCublasLt *library)
{
	return library->call.version();
}

/* ---- products ---- */

bool
br_cuda_cublaslt_fuses(BrActivation activation)
{
	return activation == BR_ACTIVATION_NONE || activation == BR_ACTIVATION_RELU ||
		activation == BR_ACTIVATION_GELU_TANH;
}

static cublasLtEpilogue_t
epilogue_of(BrActivation activation, bool biased)
{
	if (activation == BR_ACTIVATION_RELU)
		return biased ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
	if (activation == BR_ACTIVATION_GELU_TANH)
		return biased ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
	return biased ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/* A factor whose rows, as they stand in memory, are its columns. */
static bool
describe_factor(BrCublasLt *library, cudaDataType_t type, int lines, int depth, bool along_depth,
				int stride, cublasLtMatrixLayout_t *layout)
{
	return library->call.create_layout(layout, type, (uint64_t) (along_depth ? depth : lines),
									   (uint64_t) (along_depth ? lines : depth),
									   (int64_t) stride) == CUBLAS_STATUS_SUCCESS;
}

static bool
describe_product(BrCublasLt *library, Plan *plan)
{
	const Functions *call = &library->call;
	const Shape *shape = &plan->shape;
	cudaDataType_t type = shape->numbers == FLOATS ? CUDA_R_32F : CUDA_R_16F;
	cudaDataType_t output = shape->numbers == HALVES ? CUDA_R_16F : CUDA_R_32F;
	cublasOperation_t first = shape->right_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
	cublasOperation_t second = shape->left_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
	cublasLtEpilogue_t epilogue = (cublasLtEpilogue_t) shape->epilogue;

	return call->create_operation(&plan->operation,
								  shape->numbers == FLOATS ? CUBLAS_COMPUTE_32F_FAST_TF32
														   : CUBLAS_COMPUTE_32F,
								  CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
		call->set_operation(plan->operation, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof(first)) ==
		CUBLAS_STATUS_SUCCESS &&
		call->set_operation(plan->operation, CUBLASLT_MATMUL_DESC_TRANSB, &second,
							sizeof(second)) == CUBLAS_STATUS_SUCCESS &&
		call->set_operation(plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
							sizeof(epilogue)) == CUBLAS_STATUS_SUCCESS &&
		describe_factor(library, type, shape->columns, shape->depth, shape->right_transposed,
						shape->right_stride, &plan->right) &&
		describe_factor(library, type, shape->rows, shape->depth, !shape->left_transposed,
						shape->left_stride, &plan->left) &&
		call->create_layout(&plan->output, output, (uint64_t) shape->columns,
							(uint64_t) shape->rows,
							(int64_t) shape->columns) == CUBLAS_STATUS_SUCCESS;
}

static bool
set_bias(BrCublasLt *library, Plan *plan, const void *bias)
{
	return bias == NULL ||
		library->call.set_operation(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
									sizeof(bias)) == CUBLAS_STATUS_SUCCESS;
}

static void
make_plan(BrCublasLt *library, Plan *plan, const Shape *shape, const void *bias)
{
	cublasLtMatmulHeuristicResult_t found;
	int n = 0;

	drop_plan(library, plan);
	plan->shape = *shape;
	if (!describe_product(library, plan) || !set_bias(library, plan, bias))
		return;
	if (library->call.choose(library->handle, plan->operation, plan->right, plan->left,
							 plan->output, plan->output, library->preference, 1, &found,
							 &n) != CUBLAS_STATUS_SUCCESS ||
		n == 0 || found.state != CUBLAS_STATUS_SUCCESS)
		return;
	plan->algorithm = found.algo;
	plan->works = true;
}

static Plan *
find_plan(BrCublasLt *library, const Shape *shape, const void *bias)
{
	const int *numbers = (const int *) shape;
	uint32_t hash = 2166136261u;
	Plan *plan;

	for (size_t i = 0; i < sizeof(Shape) / sizeof(int); i++)
		hash = (hash ^ (uint32_t) numbers[i]) * 16777619u;
	plan = &library->plans[(hash ^ hash >> 16) % PLANS];
	if (memcmp(&plan->shape, shape, sizeof(*shape)) != 0)
		make_plan(library, plan, shape, bias);
	return plan;
}

static BrStatus
multiply(BrCublasLt *library, BrContext *context, BrStream stream, const Shape *shape,
		 const void *left, const void *right, const void *bias, float keep, void *output)
{
	Plan *plan = find_plan(library, shape, bias);
	float one = 1;
	cublasStatus_t answer;

	if (!plan->works || !set_bias(library, plan, bias))
		return BR_ERR_UNSUPPORTED;
	answer = library->call.multiply(library->handle, plan->operation, &one, right, plan->right,
									left, plan->left, &keep, output, plan->output, output,
									plan->output, &plan->algorithm, library->workspace,
									WORKSPACE_BYTES, (cudaStream_t) stream);
	if (answer == CUBLAS_STATUS_SUCCESS)
		return BR_OK;
	if (answer == CUBLAS_STATUS_ALLOC_FAILED)
		return br_base_fail(context, BR_ERR_MEMORY, "cuBLASLt has not enough memory.");
	if (answer == CUBLAS_STATUS_NOT_SUPPORTED || answer == CUBLAS_STATUS_INVALID_VALUE)
	{
		plan->works = false;
		return BR_ERR_UNSUPPORTED;
	}
	return br_base_fail(context, BR_ERR_DEVICE,
						"cuBLASLt failed with status %d on a product of %d x %d by %d x %d.",
						(int) answer, shape->rows, shape->depth, shape->depth, shape->columns);
}

BrStatus
br_cuda_cublaslt_multiply(BrCublasLt *library, BrContext *context, BrStream stream,
						  const BrHalf *input, const BrHalf *weight, const BrHalf *bias, int rows,
						  int in_dim, int out_dim, BrActivation activation, BrHalf *halves,
						  float *floats)
{
	Shape shape = {
		.rows = rows,
		.columns = out_dim,
		.depth = in_dim,
		.left_stride = in_dim,
		.right_stride = in_dim,
		.right_transposed = true,
		.epilogue = (int) epilogue_of(activation, bias != NULL),
		.numbers = floats != NULL ? HALVES_TO_FLOATS : HALVES,
	};

	return multiply(library, context, stream, &shape, input, weight, bias, 0,
					floats != NULL ? (void *) floats : (void *) halves);
}

static bool
aligned(const void *memory)
{
	return (uintptr_t) memory % ALIGNMENT == 0;
}

BrStatus
br_cuda_cublaslt_multiply_floats(BrCublasLt *library, BrContext *context, BrStream stream,
								 BrFactor left, BrFactor right, const float *bias, int rows,
								 int columns, int depth, float keep, float *output)
{
	Shape shape = {
		.rows = rows,
		.columns = columns,
		.depth = depth,
		.left_stride = left.stride,
		.right_stride = right.stride,
		.left_transposed = left.transposed,
		.right_transposed = right.transposed,
		.epilogue = (int) epilogue_of(BR_ACTIVATION_NONE, bias != NULL),
		.numbers = FLOATS,
	};

	if (!aligned(left.values) || !aligned(right.values) || !aligned(bias) || !aligned(output))
		return BR_ERR_UNSUPPORTED;
	return multiply(library, context, stream, &shape, left.values, right.values, bias, keep,
					output);
}

#else

/* Built without the library's header: it is never there. */
struct BrCublasLt
{
	int unused;
};

BrStatus
br_cuda_open_cublaslt(BrContext *context, BrCublasLt **library)
{
	(void) context;
	*library = NULL;
	return BR_OK;
}

void
br_cuda_close_cublaslt(BrCublasLt *library)
{
	(void) library;
}

size_t
br_cuda_cublaslt_version(const BrCublasLt *library)
{
	(void) library;
	return 0;
}

bool
br_cuda_cublaslt_fuses(BrActivation activation)
{
	return activation == BR_ACTIVATION_NONE;
}

BrStatus
br_cuda_cublaslt_multiply(BrCublasLt *library, BrContext *context, BrStream stream,
						  const BrHalf *input, const BrHalf *weight, const BrHalf *bias, int rows,
						  int in_dim, int out_dim, BrActivation activation, BrHalf *halves,
						  float *floats)
{
	(void) library, (void) context, (void) stream, (void) input, (void) weight, (void) bias;
	(void) rows, (void) in_dim, (void) out_dim, (void) activation, (void) halves, (void) floats;
	return BR_ERR_UNSUPPORTED;
}

BrStatus
br_cuda_cublaslt_multiply_floats(BrCublasLt *library, BrContext *context, BrStream stream,
								 BrFactor left, BrFactor right, const float *bias, int rows,
								 int columns, int depth, float keep, float *output)
{
	(void) library, (void) context, (void) stream, (void) left, (void) right, (void) bias;
	(void) rows, (void) columns, (void) depth, (void) keep, (void) output;
	return BR_ERR_UNSUPPORTED;
}

#endif
