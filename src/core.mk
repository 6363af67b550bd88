# core.mk
#     Builds core, the backends and the C tests. Needs no pg_config.
#
# Run from the top of the tree:  make -f src/core.mk [TARGET] [VARIABLE=...]
#
#   core        $(BUILD)/libbr_core.a, what the extension and the tests link
#   backends    $(BUILD)/br_backend_NAME.so: openblas, onednn
#   helper      $(BUILD)/bundle_rec_helper, the program that computes for the embedding service
#   tests       the programs of test/unit and test/backend
#   unit        builds and runs them all; unit-NAME runs test_NAME alone
#   bench       the programs of test/bench
#   encode      the program of test/tokenizer
#   sanitize    unit under AddressSanitizer and UndefinedBehaviorSanitizer
#   clean       removes $(BUILD)
#   list-tests  the test programs, one a line
#   cuda        $(BUILD)/br_backend_cuda.so; this and what follows of CUDA is in cuda.mk
#   fuzzers     with LIBFUZZER=1 and CC=clang-14, into a BUILD of its own: the programs of test/fuzz
#
#   BUILD=dir      where everything goes (build)
#   DEPS_DIR=dir   headers and archives of utf8proc and cJSON that are not
#                  installed: dir itself, dir/include and dir/lib are searched
#   WERROR=1       warnings are errors
#   V=1            prints the commands
#   CFLAGS=...     instead of -O2 -g
#
# A library that is not there is named, and what needs it is left out.

BUILD ?= build
DEPS_DIR ?=
WERROR ?=
SANITIZE ?=
LIBFUZZER ?=
CFLAGS ?= -O2 -g

# How the tests find their data; a test whose data is missing skips.
export BR_GOLDEN ?= $(abspath ../shared/golden)
export BR_TEST_DIR ?= $(abspath test/golden)
export BR_BACKEND_DIR ?= $(abspath $(BUILD))
ifndef BR_MODEL_DIR
export BR_MODEL_DIR := $(shell tools/model path 2>/dev/null)
endif

BR_WARNINGS := -Wall -Wextra -Wmissing-prototypes -Wpointer-arith -Wvla -Wshadow=local \
	-Wformat-security -Werror=implicit -Werror=incompatible-pointer-types -Werror=int-conversion
BR_SANITIZE := $(if $(SANITIZE),-fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
ifneq ($(LIBFUZZER),)
BR_SANITIZE := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
	-DBR_LIBFUZZER -Wno-unknown-warning-option
endif
BR_INCLUDES := -Isrc $(if $(DEPS_DIR),-I$(DEPS_DIR) -I$(DEPS_DIR)/include)
BR_LIBRARY_PATH := $(if $(DEPS_DIR),-L$(DEPS_DIR) -L$(DEPS_DIR)/lib)
BR_FLAGS := $(BR_INCLUDES) $(BR_WARNINGS) $(if $(WERROR),-Werror) $(BR_SANITIZE) \
	-ffp-contract=off -fPIC -fvisibility=hidden -MMD -MP

# $(call br_links,HEADER,LIBRARY): yes where both are found
br_links = $(shell echo 'int main(void) { return 0; }' | $(CC) -x c $(BR_INCLUDES) -include stddef.h \
	-include stdint.h -include stdarg.h -include setjmp.h -include $(1) - $(BR_LIBRARY_PATH) -l$(2) \
	-o /dev/null 2>/dev/null && echo yes)

HAVE_UTF8PROC := $(call br_links,utf8proc.h,utf8proc)
HAVE_CJSON := $(call br_links,cjson/cJSON.h,cjson)
HAVE_CMOCKA := $(call br_links,cmocka.h,cmocka)
HAVE_OPENBLAS := $(call br_links,cblas.h,openblas)
HAVE_ONEDNN := $(call br_links,oneapi/dnnl/dnnl.h,dnnl)

# The encoder needs both text libraries; without them core is built without it, and without words.
HAVE_ENCODER := $(if $(HAVE_UTF8PROC),$(HAVE_CJSON))
BR_TEXT_LIBRARIES := $(if $(HAVE_ENCODER),-lutf8proc -lcjson)

CORE_SOURCES := $(wildcard src/core/*/*.c)
UNIT_SOURCES := $(wildcard test/unit/test_*.c)
BACKEND_TEST_SOURCES := $(wildcard test/backend/test_*.c)
HELPER_SOURCES := $(filter-out $(UNIT_SOURCES) $(BACKEND_TEST_SOURCES),$(wildcard test/unit/*.c test/backend/*.c))
BENCH_SOURCES := $(wildcard test/bench/bench_*.c)
FUZZ_SOURCES := $(wildcard test/fuzz/*.c)
ENCODE_SOURCE := test/tokenizer/encode.c
PROGRAM_SOURCES := $(wildcard src/helper/*.c)
ifeq ($(HAVE_ENCODER),)
# What is in the rooms of the encoder, of training or of compressing, or calls one of them, asks the helper, reads JSON, or
# folds words (words_int.h) or calls what does.
br_no_encoder = $(filter-out $(shell grep -lw -e '"core/encoder/.*' -e '"core/train/.*' -e '"core/tune/.*' -e '"unit/encoder_fixture.*' \
	-e '"unit/helper_fixture.*' -e '[<"]cjson/.*' -e '<utf8proc.*' \
	-e '"core/learn/words_int.*' -e 'br_learn_words' -e 'br_learn_shared_words' -e 'br_learn_vocabulary_[a-z]*' \
	$(1) /dev/null),$(1))
CORE_SOURCES := $(call br_no_encoder,$(filter-out src/core/encoder/% src/core/train/% src/core/tune/% src/core/compress/%,$(CORE_SOURCES)))
UNIT_SOURCES := $(call br_no_encoder,$(UNIT_SOURCES))
BACKEND_TEST_SOURCES := $(call br_no_encoder,$(BACKEND_TEST_SOURCES))
HELPER_SOURCES := $(call br_no_encoder,$(HELPER_SOURCES))
BENCH_SOURCES := $(call br_no_encoder,$(BENCH_SOURCES))
FUZZ_SOURCES :=
ENCODE_SOURCE :=
PROGRAM_SOURCES :=
$(info without the encoder: $(if $(HAVE_UTF8PROC),,utf8proc) $(if $(HAVE_CJSON),,cJSON) not found)
endif
ifeq ($(HAVE_CMOCKA),)
UNIT_SOURCES :=
BACKEND_TEST_SOURCES :=
$(info without the C tests: cmocka not found)
endif
ifeq ($(HAVE_OPENBLAS),)
$(info without the openblas backend: OpenBLAS not found)
endif
ifeq ($(HAVE_ONEDNN),)
$(info without the onednn backend: oneDNN not found)
endif

ARCHIVE := $(BUILD)/libbr_core.a
CORE_OBJECTS := $(CORE_SOURCES:src/%.c=$(BUILD)/%.o)
OPENBLAS_OBJECTS := $(patsubst src/%.c,$(BUILD)/%.o,$(wildcard src/backend/openblas/*.c src/backend/vector/*.c))
ONEDNN_OBJECTS := $(patsubst src/%.c,$(BUILD)/%.o,$(wildcard src/backend/onednn/*.c src/backend/vector/*.c))
BACKENDS := $(if $(HAVE_OPENBLAS),$(BUILD)/br_backend_openblas.so) $(if $(HAVE_ONEDNN),$(BUILD)/br_backend_onednn.so)
PROGRAM_OBJECTS := $(PROGRAM_SOURCES:src/%.c=$(BUILD)/%.o)
PROGRAM := $(if $(PROGRAM_SOURCES),$(BUILD)/bundle_rec_helper)
# A device that fails as it is told to, which is never installed.
FAULTY_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard test/helper/*.c)) \
	$(addprefix $(BUILD)/test/backend/,reference_transformer.o linear_training.o)
FAULTY := $(BUILD)/test/helper/br_backend_faulty.so
HELPER_OBJECTS := $(HELPER_SOURCES:%.c=$(BUILD)/%.o)
TEST_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(UNIT_SOURCES) $(BACKEND_TEST_SOURCES))
BENCH_PROGRAMS := $(BENCH_SOURCES:%.c=$(BUILD)/%)
# The libraries that bench_products compares: those that are there.
PRODUCT_OBJECTS := $(addprefix $(BUILD)/test/bench/product_,backend.o peak.o $(if $(HAVE_OPENBLAS),openblas.o) \
	$(if $(HAVE_ONEDNN),dnnl.o))
PRODUCT_LIBRARIES := $(if $(HAVE_OPENBLAS),-lopenblas) $(if $(HAVE_ONEDNN),-ldnnl)
ENCODE_PROGRAM := $(ENCODE_SOURCE:%.c=$(BUILD)/%)
# All targets in one program that replays the seeds, and each in one of its own with libFuzzer.
FUZZ_MUTATOR := test/fuzz/json_mutator.c
FUZZ_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(FUZZ_MUTATOR),$(FUZZ_SOURCES)))
FUZZ_REPLAY := $(if $(FUZZ_SOURCES),$(BUILD)/test/fuzz/test_fuzz)
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(filter test/fuzz/fuzz_%,$(FUZZ_SOURCES)))
FUZZER_HELPERS := $(filter-out $(FUZZERS:=.o) %/seeds.o %/test_fuzz.o,$(FUZZ_OBJECTS))
# What the helper is but for its main, which fuzz_helper asks.
ASKED_OBJECTS := $(filter-out %/main.o,$(PROGRAM_OBJECTS))

.DEFAULT_GOAL := core
include src/cuda.mk

# Of all rooms, the programs that are tests.
ALL_TESTS := $(TEST_PROGRAMS) $(FUZZ_REPLAY) $(CUDA_TESTS)
UNIT_NAMES := $(patsubst test_%,unit-%,$(notdir $(ALL_TESTS)))

.PHONY: core backends helper tests unit bench encode fuzzers sanitize clean list-tests $(UNIT_NAMES) core-force
.SECONDARY:

core: $(ARCHIVE)
	@:
backends: $(BACKENDS)
	@:
helper: $(PROGRAM)
	@:
tests: $(ALL_TESTS) $(BACKENDS) $(PROGRAM) $(FAULTY) $(EMULATED_DEVICE)
bench: $(BENCH_PROGRAMS) $(BACKENDS)
encode: $(ENCODE_PROGRAM)
fuzzers: $(FUZZERS)

# Rewritten only when their contents change: new flags compile, and a source
# that came or went links anew.
$(BUILD)/core.flags: contents = $(CC) $(CFLAGS) $(CPPFLAGS) $(BR_FLAGS)
$(BUILD)/core.list: contents = $(CORE_OBJECTS) $(PROGRAM_OBJECTS) $(HELPER_OBJECTS) $(FUZZ_OBJECTS)
$(BUILD)/core.flags $(BUILD)/core.list: core-force | $(BUILD)
	$(file >$@.new,$(contents))
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(BUILD):
	mkdir -p $@

$(BUILD)/core/%.o: src/core/%.c $(BUILD)/core.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  cc $<';) $(CC) -std=c11 $(CFLAGS) $(CPPFLAGS) $(BR_FLAGS) -c -o $@ $<

$(BUILD)/backend/%.o: src/backend/%.c $(BUILD)/core.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  cc $<';) $(CC) -std=c11 $(CFLAGS) $(CPPFLAGS) $(BR_FLAGS) -c -o $@ $<

$(BUILD)/helper/%.o: src/helper/%.c $(BUILD)/core.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  cc $<';) $(CC) -std=gnu11 -D_GNU_SOURCE $(CFLAGS) $(CPPFLAGS) $(BR_FLAGS) -c -o $@ $<

$(BUILD)/test/%.o: test/%.c $(BUILD)/core.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  cc $<';) $(CC) -std=gnu11 -D_GNU_SOURCE -Itest $(CFLAGS) $(CPPFLAGS) $(BR_FLAGS) -c -o $@ $<

# Built anew each time: ar would keep the object of a source that is gone.
$(ARCHIVE): $(CORE_OBJECTS) $(BUILD)/core.list
	@rm -f $@
	$(if $(V),,@echo '  ar $@';) $(AR) rcs $@ $(CORE_OBJECTS)

$(BUILD)/br_backend_openblas.so: $(OPENBLAS_OBJECTS)
	$(if $(V),,@echo '  ld $@';) $(CC) -shared $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -o $@ $^ -lopenblas -lm

$(BUILD)/br_backend_onednn.so: $(ONEDNN_OBJECTS)
	$(if $(V),,@echo '  ld $@';) $(CC) -shared $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -o $@ $^ -ldnnl -lm -lpthread

$(BUILD)/bundle_rec_helper: $(PROGRAM_OBJECTS) $(ARCHIVE)
	$(if $(V),,@echo '  ld $@';) $(CC) $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -o $@ $(PROGRAM_OBJECTS) $(ARCHIVE) \
		$(BR_LIBRARY_PATH) $(BR_TEXT_LIBRARIES) -lm -ldl -lpthread

$(FAULTY): $(FAULTY_OBJECTS) $(ARCHIVE)
	$(if $(V),,@echo '  ld $@';) $(CC) -shared $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -o $@ $(FAULTY_OBJECTS) $(ARCHIVE) -lm

$(TEST_PROGRAMS): %: %.o $(HELPER_OBJECTS) $(ARCHIVE)
	$(if $(V),,@echo '  ld $@';) $(CC) $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -o $@ $< $(HELPER_OBJECTS) $(ARCHIVE) \
		$(BR_LIBRARY_PATH) -lcmocka $(BR_TEXT_LIBRARIES) -lm -ldl -lpthread

$(BENCH_PROGRAMS) $(ENCODE_PROGRAM): %: %.o $(ARCHIVE)
	$(if $(V),,@echo '  ld $@';) $(CC) $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) \
		$(BR_LIBRARY_PATH) $(BENCH_LIBRARIES) $(BR_TEXT_LIBRARIES) -lm -ldl -lpthread

$(BENCH_PROGRAMS): $(BUILD)/test/bench/load_backend.o
$(filter %/bench_encoder %/bench_train,$(BENCH_PROGRAMS)): $(BUILD)/test/bench/load_model.o
$(BUILD)/test/bench/bench_products: $(PRODUCT_OBJECTS)
$(BUILD)/test/bench/bench_products: BENCH_LIBRARIES := $(PRODUCT_LIBRARIES)
$(BUILD)/test/bench/bench_products.o: CPPFLAGS += $(if $(HAVE_OPENBLAS),-DHAVE_OPENBLAS) $(if $(HAVE_ONEDNN),-DHAVE_ONEDNN)

$(FUZZ_REPLAY): $(FUZZ_OBJECTS) $(ASKED_OBJECTS) $(ARCHIVE)
	$(if $(V),,@echo '  ld $@';) $(CC) $(CFLAGS) $(BR_SANITIZE) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) \
		$(BR_LIBRARY_PATH) $(BR_TEXT_LIBRARIES) -lm -ldl -lpthread

# These read JSON.
$(addprefix $(BUILD)/test/fuzz/fuzz_,folder safetensors tokenizer): $(FUZZ_MUTATOR:%.c=$(BUILD)/%.o)
$(BUILD)/test/fuzz/fuzz_helper: $(ASKED_OBJECTS)
$(FUZZERS): %: %.o $(FUZZER_HELPERS) $(ARCHIVE)
	$(if $(V),,@echo '  ld $@';) $(CC) $(CFLAGS) -fsanitize=fuzzer,address,undefined $(LDFLAGS) -o $@ \
		$(filter %.o,$^) $(ARCHIVE) $(BR_LIBRARY_PATH) $(BR_TEXT_LIBRARIES) -lm -ldl -lpthread

# Arithmetic decides nothing, and watching its loops would take all of the fuzzer's time.
ifneq ($(LIBFUZZER),)
$(BUILD)/core/math/portable_backend.o $(BUILD)/core/encoder/forward.o: BR_FLAGS += -fno-sanitize=fuzzer-no-link
endif

unit: tests
	@failed=; for program in $(ALL_TESTS); do \
		echo "# $$program"; $$program || failed="$$failed $$program"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

$(UNIT_NAMES): unit-%: tests
	@for program in $(filter %/test_$*,$(ALL_TESTS)); do $$program || exit 1; done

list-tests:
	@for program in $(ALL_TESTS); do echo $$program; done

sanitize:
	$(MAKE) -f src/core.mk BUILD=$(BUILD)/sanitize SANITIZE=1 CFLAGS='-O1 -g' unit

clean:
	rm -rf $(BUILD)

-include $(CORE_OBJECTS:.o=.d) $(OPENBLAS_OBJECTS:.o=.d) $(ONEDNN_OBJECTS:.o=.d) $(PROGRAM_OBJECTS:.o=.d) \
	$(FAULTY_OBJECTS:.o=.d) $(HELPER_OBJECTS:.o=.d) \
	$(TEST_PROGRAMS:=.d) $(BENCH_PROGRAMS:=.d) $(ENCODE_PROGRAM:=.d) $(PRODUCT_OBJECTS:.o=.d) $(addprefix $(BUILD)/test/bench/load_,backend.d model.d) \
	$(FUZZ_OBJECTS:.o=.d) $(CUDA_DEPENDENCIES)
