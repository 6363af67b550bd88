# cuda.mk
#     Builds and checks the CUDA backend. Included by core.mk.
#
#   cuda         $(BUILD)/br_backend_cuda.so, among the backends where nvcc is found
#   cuda-check   parity of every operation and whole models on a device, and every
#                allocation failing in its turn; then memcheck and racecheck of
#                compute-sanitizer, where it is found. Skipped without a device
#   cuda-bench   texts a second, latency, k-means; beside sentence-transformers
#                where torch is installed
#   cuda-bundle  $(BUILD)/cuda-bundle: what the two above need on a machine that has
#                neither packages nor a network; they are given DEPS_DIR=,
#                BR_MODEL_DIR= and BR_TEST_DIR= of it
#
#   NVCC=program        (nvcc)
#   CUDA_ARCHS='75 80'  devices to compile for, of those that nvcc knows; the last
#                       one's PTX serves later ones
#   CXX=program         of the emulated device, on which the unit test cuda_kernels runs

NVCC ?= nvcc
CUDA_ARCHS ?= 75 80 86 89 90

HAVE_NVCC := $(shell $(NVCC) --version >/dev/null 2>&1 && command -v $(NVCC))
HAVE_CXX := $(shell echo 'int main() { return __is_same(int, int) ? 0 : 1; }' | \
	$(CXX) -std=c++17 -x c++ - -o /dev/null 2>/dev/null && echo yes)

CUDA_KERNELS := $(wildcard src/backend/cuda/*.cu)
CUDA_SOURCES := $(wildcard src/backend/cuda/*.c)
CUDA_CHECK_SOURCES := $(filter-out test/cuda/test_%.c test/cuda/bench_%.c,$(wildcard test/cuda/*.c))
CUDA_CHECK_FLAGS := $(if $(HAVE_ENCODER),,-DBR_WITHOUT_ENCODER)
CUDA_CHECK_OBJECTS := $(BUILD)/test/backend/reference_transformer.o
CUDA_CXX_FLAGS = -std=c++17 $(CFLAGS) $(CPPFLAGS) -Isrc -Wall -Wextra -Wno-unknown-pragmas $(if $(WERROR),-Werror) \
	$(BR_SANITIZE) -ffp-contract=off -fno-strict-aliasing -fPIC -MMD -MP

.PHONY: cuda cuda-check cuda-bench cuda-bundle

# ---- for devices ----

ifeq ($(HAVE_NVCC),)
$(info without the cuda backend: nvcc not found)
cuda cuda-check cuda-bench:
	@echo 'skipped: nvcc not found'
else
CUDA_HOME := $(abspath $(dir $(realpath $(HAVE_NVCC)))..)
CUDA_KNOWN := $(patsubst compute_%,%,$(shell $(NVCC) --list-gpu-arch))
CUDA_CHOSEN := $(filter $(CUDA_KNOWN),$(CUDA_ARCHS))
CUDA_LAST := $(lastword $(CUDA_CHOSEN))
CUDA_CODE := $(foreach arch,$(CUDA_CHOSEN),-gencode arch=compute_$(arch),code=sm_$(arch)) \
	-gencode arch=compute_$(CUDA_LAST),code=compute_$(CUDA_LAST)
CUDA_FLAGS = -std=c++17 -O3 $(CUDA_CODE) -Isrc -Xcompiler -fPIC,-fvisibility=hidden,-fno-exceptions,-fno-threadsafe-statics,-Wall,-Wextra \
	$(if $(WERROR),-Werror all-warnings) -MMD -MP
# Where a toolkit has its libraries, its own layout and a distribution's.
CUDA_LIBRARIES := $(addprefix -L,$(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/targets/$(shell uname -m)-linux/lib)) \
	-lcudart_static -lrt -ldl -lpthread -lm

CUDA_KERNEL_OBJECTS := $(CUDA_KERNELS:src/%.cu=$(BUILD)/%.cu.o)
CUDA_SOURCE_OBJECTS := $(CUDA_SOURCES:src/%.c=$(BUILD)/%.o)
CUDA_OBJECTS := $(CUDA_KERNEL_OBJECTS) $(CUDA_SOURCE_OBJECTS)
CUDA_BASE_OBJECTS := $(patsubst src/%.c,$(BUILD)/%.o,$(wildcard src/core/base/*.c))
CUDA_DEVICE_CHECKS := $(CUDA_CHECK_SOURCES:test/cuda/%.c=$(BUILD)/cuda/%.o)
CUDA_CHECK := $(BUILD)/cuda/cuda_check
CUDA_BENCH := $(BUILD)/cuda/bench_cuda
BACKENDS += $(BUILD)/br_backend_cuda.so

cuda: $(BUILD)/br_backend_cuda.so
	@:

$(BUILD)/cuda.flags: contents = $(NVCC) $(CUDA_FLAGS)
$(BUILD)/cuda.flags: core-force | $(BUILD)
	$(file >$@.new,$(contents))
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(CUDA_KERNEL_OBJECTS): $(BUILD)/%.cu.o: src/%.cu $(BUILD)/cuda.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  nvcc $<';) $(NVCC) $(CUDA_FLAGS) -MF $(@:.o=.d) -c -o $@ $<

$(CUDA_SOURCE_OBJECTS): BR_FLAGS += -isystem $(CUDA_HOME)/include

# The runtime's own symbols stay inside, and nothing else is needed: no C++ library.
$(BUILD)/br_backend_cuda.so: $(CUDA_OBJECTS) $(CUDA_BASE_OBJECTS)
	$(if $(V),,@echo '  ld $@';) $(CC) -shared $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -Wl,--exclude-libs,ALL -Wl,-z,defs -o $@ $^ \
		$(CUDA_LIBRARIES)

$(BUILD)/cuda/%.o: test/cuda/%.c $(BUILD)/core.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  cc $<';) $(CC) -std=gnu11 -Itest $(CFLAGS) $(CPPFLAGS) $(BR_FLAGS) $(CUDA_CHECK_FLAGS) \
		-isystem $(CUDA_HOME)/include -c -o $@ $<

$(CUDA_CHECK): $(CUDA_DEVICE_CHECKS)
$(CUDA_BENCH): $(BUILD)/cuda/bench_cuda.o
$(CUDA_CHECK) $(CUDA_BENCH): $(CUDA_CHECK_OBJECTS) $(CUDA_OBJECTS) $(ARCHIVE)
	$(if $(V),,@echo '  ld $@';) $(CC) $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) \
		$(BR_LIBRARY_PATH) $(BR_TEXT_LIBRARIES) $(CUDA_LIBRARIES)

# Shared objects among what DEPS_DIR brings are found by the programs, too.
CUDA_RUN = LD_LIBRARY_PATH=$(if $(DEPS_DIR),$(abspath $(DEPS_DIR)):$(abspath $(DEPS_DIR))/lib:)$$LD_LIBRARY_PATH
CUDA_SANITIZER ?= $(firstword $(wildcard $(CUDA_HOME)/bin/compute-sanitizer) compute-sanitizer)

cuda-check: $(CUDA_CHECK)
	@export $(CUDA_RUN); $(CUDA_CHECK) >$(BUILD)/cuda/check.log; status=$$?; cat $(BUILD)/cuda/check.log; \
	test $$status = 0 || exit $$status; \
	if grep -q '^1..0 # SKIP' $(BUILD)/cuda/check.log; then exit 0; fi; \
	if ! $(CUDA_SANITIZER) --version >/dev/null 2>&1; then \
		echo 'skipped: compute-sanitizer not found'; exit 0; fi; \
	for tool in memcheck racecheck; do \
		echo "# $$tool"; \
		$(CUDA_SANITIZER) --tool $$tool --error-exitcode 1 $(CUDA_CHECK) --small || exit 1; \
	done

cuda-bench: $(CUDA_BENCH)
	@export $(CUDA_RUN); test/cuda/bench.sh $(CUDA_BENCH)
endif

cuda-bundle:
	@tools/cuda_bundle $(BUILD)/cuda-bundle

# ---- on the emulated device ----

CUDA_TESTS := $(BUILD)/test/cuda/test_cuda_absent
ifeq ($(HAVE_CXX),)
$(info without the unit test cuda_kernels: no C++17 compiler found)
else
EMULATED := $(BUILD)/test/cuda/emulated
EMULATED_FLAGS := -DBR_EMULATED -DBR_WITHOUT_CUBLASLT -Itest/cuda/emulated
EMULATED_KERNELS := $(CUDA_KERNELS:src/backend/cuda/%.cu=$(EMULATED)/backend/%.cu.o) $(EMULATED)/emulated.o
EMULATED_SOURCES := $(CUDA_SOURCES:src/backend/cuda/%.c=$(EMULATED)/backend/%.o)
EMULATED_CHECKS := $(CUDA_CHECK_SOURCES:test/cuda/%.c=$(EMULATED)/%.o)
CUDA_TESTS += $(BUILD)/test/cuda/test_cuda_kernels
# The same as a device of the embedding service, which is never installed.
EMULATED_DEVICE := $(BUILD)/test/helper/br_backend_emulated.so

$(EMULATED)/backend/%.cu.o: src/backend/cuda/%.cu $(BUILD)/core.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  c++ $<';) $(CXX) $(EMULATED_FLAGS) $(CUDA_CXX_FLAGS) -x c++ -c -o $@ $<

$(EMULATED)/emulated.o: test/cuda/emulated/emulated.cpp $(BUILD)/core.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  c++ $<';) $(CXX) $(EMULATED_FLAGS) $(CUDA_CXX_FLAGS) -c -o $@ $<

$(EMULATED)/backend/%.o: src/backend/cuda/%.c $(BUILD)/core.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  cc $<';) $(CC) -std=c11 $(EMULATED_FLAGS) $(CFLAGS) $(CPPFLAGS) $(BR_FLAGS) -c -o $@ $<

$(EMULATED)/%.o: test/cuda/%.c $(BUILD)/core.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  cc $<';) $(CC) -std=gnu11 -Itest $(EMULATED_FLAGS) $(CFLAGS) $(CPPFLAGS) $(BR_FLAGS) \
		$(CUDA_CHECK_FLAGS) -c -o $@ $<

$(BUILD)/test/cuda/test_cuda_kernels: $(EMULATED_KERNELS) $(EMULATED_SOURCES) $(EMULATED_CHECKS) $(CUDA_CHECK_OBJECTS) $(ARCHIVE)
	$(if $(V),,@echo '  ld $@';) $(CXX) $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) \
		$(BR_LIBRARY_PATH) $(BR_TEXT_LIBRARIES) -lm -ldl -lpthread

$(EMULATED_DEVICE): $(EMULATED_KERNELS) $(EMULATED_SOURCES) $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo '  ld $@';) $(CXX) -shared $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -Wl,--exclude-libs,ALL -o $@ $^ -lm
endif

$(BUILD)/test/cuda/test_cuda_absent: $(BUILD)/test/cuda/test_cuda_absent.o $(ARCHIVE)
	$(if $(V),,@echo '  ld $@';) $(CC) $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -o $@ $< $(ARCHIVE) -ldl -lm -lpthread

CUDA_DEPENDENCIES := $(patsubst %.o,%.d,$(CUDA_OBJECTS) $(CUDA_DEVICE_CHECKS) $(CUDA_CHECK_OBJECTS) \
	$(EMULATED_KERNELS) $(EMULATED_SOURCES) $(EMULATED_CHECKS)) $(BUILD)/test/cuda/test_cuda_absent.d
