/*
 * emulated.cpp
 *	  Blocks of threads as fibres, and a device's memory in the host's.
 *
 * A context of its own takes a fibre to its stack; from then on fibre and scheduler
 * jump to each other, which asks nothing of the kernel, as swapcontext would for
 * the signals.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <vector>

#include "cuda_runtime.h"

#define STACK_BYTES (256 * 1024)
#define MOST_THREADS 1024
#define MOST_WARPS (MOST_THREADS / EMULATED_WARP)
#define MOST_SHARED (48 * 1024)
#define ALIGNMENT 256

/*
 * A sanitizer takes the library's jump for the end of all that is on the stack, and
 * clears what it knows of that; the compiler's own passes by it.
 */
#ifdef __SANITIZE_ADDRESS__
typedef void *Place[5];
#define UNWATCHED __attribute__((no_sanitize_address, noinline))
#define MARK(place) __builtin_setjmp(place)
#define JUMP(place) __builtin_longjmp(place, 1)
#else
typedef jmp_buf Place;
#define UNWATCHED
#define MARK(place) _setjmp(place)
#define JUMP(place) _longjmp(place, 1)
#endif

/* NaN as float, as double and as half. */
#define POISON 0xff

dim3 gridDim;
dim3 blockIdx;
dim3 threadIdx;

typedef enum State
{
	READY,
	AT_BLOCK, /* waits for the block */
	AT_WARP,  /* waits for its warp */
	RETURNED
} State;

typedef struct Fibre
{
	ucontext_t context; /* where it begins */
	Place place;		/* where it waits */
	bool begun;
	State state;
} Fibre;

/* What the lanes of a warp that wait have brought. */
typedef struct Warp
{
	EmulatedWork work;
	void *lanes[EMULATED_WARP];
	int arrived;
} Warp;

static Fibre fibres[MOST_THREADS];
static Warp warps[MOST_WARPS];
static std::vector<char> stacks;
static Place scheduler;
static unsigned n_fibres;
static unsigned current;
static const std::function<void()> *kernel_of_block;
static int pieces;

__attribute__((aligned(128))) static unsigned char shared_memory[MOST_SHARED];

static void
give_up(const char *why)
{
	fprintf(stderr, "emulated device: %s (block %u, thread %u)\n", why, blockIdx.x, threadIdx.x);
	abort();
}

UNWATCHED static void
wait_as(State state)
{
	fibres[current].state = state;
	if (MARK(fibres[current].place) == 0)
		JUMP(scheduler);
}

void
__syncthreads(void)
{
	wait_as(AT_BLOCK);
}

void
emulated_together(EmulatedWork work, void *argument)
{
	Warp *warp = &warps[current / EMULATED_WARP];

	if (warp->arrived > 0 && warp->work != work)
		give_up("lanes of a warp do different things");
	warp->work = work;
	warp->lanes[current % EMULATED_WARP] = argument;
	warp->arrived++;
	wait_as(AT_WARP);
}

unsigned char *
emulated_shared(void)
{
	return shared_memory;
}

UNWATCHED static void
run_fibre(void)
{
	(*kernel_of_block)();
	fibres[current].state = RETURNED;
	JUMP(scheduler);
}

/* Until it waits or returns. */
UNWATCHED static void
resume(Fibre *fibre)
{
	if (MARK(scheduler) != 0)
		return;
	if (fibre->begun)
		JUMP(fibre->place);
	fibre->begun = true;
	setcontext(&fibre->context);
}

static void
prepare_fibre(unsigned number)
{
	Fibre *fibre = &fibres[number];

	getcontext(&fibre->context);
	fibre->context.uc_stack.ss_sp = &stacks[(size_t) number * STACK_BYTES];
	fibre->context.uc_stack.ss_size = STACK_BYTES;
	fibre->context.uc_link = NULL;
	fibre->begun = false;
	fibre->state = READY;
	makecontext(&fibre->context, run_fibre, 0);
}

/* Runs every fibre that can, once; says whether one did. */
static bool
take_turns(bool backwards)
{
	bool moved = false;

	for (unsigned i = 0; i < n_fibres; i++)
	{
		current = backwards ? n_fibres - 1 - i : i;
		if (fibres[current].state != READY)
			continue;
		threadIdx = dim3(current, 0, 0);
		resume(&fibres[current]);
		moved = true;
	}
	return moved;
}

/* Does what whole warps wait for; says whether there was one. */
static bool
release_warps(void)
{
	bool released = false;

	for (unsigned i = 0; i < n_fibres / EMULATED_WARP; i++)
		if (warps[i].arrived == EMULATED_WARP)
		{
			warps[i].work(warps[i].lanes);
			warps[i].arrived = 0;
			for (unsigned j = 0; j < EMULATED_WARP; j++)
				fibres[i * EMULATED_WARP + j].state = READY;
			released = true;
		}
	return released;
}

/* The threads that returned wait for nobody. */
static bool
release_block(void)
{
	unsigned waiting = 0;
	unsigned returned = 0;

	for (unsigned i = 0; i < n_fibres; i++)
	{
		waiting += fibres[i].state == AT_BLOCK;
		returned += fibres[i].state == RETURNED;
	}
	if (waiting == 0 || waiting + returned < n_fibres)
		return false;
	for (unsigned i = 0; i < n_fibres; i++)
		if (fibres[i].state == AT_BLOCK)
			fibres[i].state = READY;
	return true;
}

static void
run_block(bool backwards)
{
	memset(shared_memory, POISON, sizeof(shared_memory));
	memset(warps, 0, sizeof(warps));
	for (unsigned i = 0; i < n_fibres; i++)
		prepare_fibre(i);
	while (take_turns(backwards) || release_warps() || release_block())
		;
	for (unsigned i = 0; i < n_fibres; i++)
		if (fibres[i].state != RETURNED)
			give_up("threads wait for others that do not come");
}

void
emulated_launch(dim3 grid, unsigned threads, size_t shared_bytes,
				const std::function<void()> &kernel)
{
	if (threads == 0 || threads > MOST_THREADS || threads % EMULATED_WARP != 0 ||
		shared_bytes > MOST_SHARED || grid.x == 0 || grid.y == 0 || grid.y > 65535)
		give_up("a launch that a device refuses");
	if (stacks.empty())
		stacks.resize((size_t) MOST_THREADS * STACK_BYTES);
	n_fibres = threads;
	gridDim = grid;
	kernel_of_block = &kernel;
	for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
		for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++)
			run_block((blockIdx.x + blockIdx.y) % 2 != 0);
	blockIdx = dim3(0, 0, 0);
}

/* ---- the runtime ---- */

extern "C" {

int
emulated_pieces(void)
{
	return pieces;
}

cudaError_t
cudaDriverGetVersion(int *version)
{
	*version = 13000;
	return cudaSuccess;
}

cudaError_t
cudaGetDeviceCount(int *count)
{
	*count = 1;
	return cudaSuccess;
}

cudaError_t
cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
	*value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
	return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t
cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
	memset(properties, 0, sizeof(*properties));
	strcpy(properties->name, "emulated");
	properties->major = 9;
	return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t
cudaSetDevice(int device)
{
	return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t
cudaMemGetInfo(size_t *memory_free, size_t *memory)
{
	*memory = (size_t) 1 << 32;
	*memory_free = *memory / 2;
	return cudaSuccess;
}

cudaError_t
cudaMalloc(void **memory, size_t bytes)
{
	if (posix_memalign(memory, ALIGNMENT, bytes) != 0)
		return cudaErrorMemoryAllocation;
	memset(*memory, POISON, bytes);
	pieces++;
	return cudaSuccess;
}

cudaError_t
cudaFree(void *memory)
{
	pieces -= memory != NULL;
	free(memory);
	return cudaSuccess;
}

cudaError_t
cudaMallocHost(void **memory, size_t bytes)
{
	return cudaMalloc(memory, bytes);
}

cudaError_t
cudaFreeHost(void *memory)
{
	return cudaFree(memory);
}

cudaError_t
cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
				cudaStream_t stream)
{
	(void) kind;
	(void) stream;
	memcpy(to, from, bytes);
	return cudaSuccess;
}

cudaError_t
cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream)
{
	(void) stream;
	memset(memory, value, bytes);
	return cudaSuccess;
}

cudaError_t
cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
	(void) flags;
	*stream = (cudaStream_t) malloc(1);
	return *stream != NULL ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t
cudaStreamDestroy(cudaStream_t stream)
{
	free(stream);
	return cudaSuccess;
}

cudaError_t
cudaStreamQuery(cudaStream_t stream)
{
	(void) stream;
	return cudaSuccess;
}

cudaError_t
cudaStreamSynchronize(cudaStream_t stream)
{
	(void) stream;
	return cudaSuccess;
}

cudaError_t
cudaGetLastError(void)
{
	return cudaSuccess;
}

const char *
cudaGetErrorString(cudaError_t error)
{
	return error == cudaErrorMemoryAllocation ? "out of memory" : "no error that is known here";
}

const char *
cudaGetErrorName(cudaError_t error)
{
	return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "unknown";
}

} /* extern "C" */
