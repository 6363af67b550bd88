# bundle_rec: recommends and optimises product bundles inside PostgreSQL 15.
#
# `make help` lists the targets. This file sets up and delegates: src/core.mk
# builds core and the C tests without PostgreSQL, src/module.mk the extension
# with PGXS, tools/ holds what the targets run.

BUILD ?= build

# PostgreSQL 15's own pg_config rather than libpq's, unless the caller names one.
PG_CONFIG ?= $(firstword $(wildcard /usr/lib/postgresql/15/bin/pg_config) pg_config)
export PG_CONFIG BUILD

# Folders that the caller gives, absolute because the tools change directory.
ifdef MODEL
override MODEL := $(abspath $(MODEL))
export MODEL
endif
ifdef DATA
override DATA := $(abspath $(DATA))
export DATA
endif
ifdef PGVECTOR
override PGVECTOR := $(abspath $(PGVECTOR))
export PGVECTOR
endif

CORE := $(MAKE) --no-print-directory -f src/core.mk
MODULE := $(MAKE) --no-print-directory -f src/module.mk
# what make demo and make check build with: as many jobs as cores, unless the caller said how many
STRICT_BUILD = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc)) all WERROR=1
PGXS_READY := $(shell dir=$$($(PG_CONFIG) --includedir-server 2>/dev/null) && test -f "$$dir/postgres.h" && echo yes)

.PHONY: all help install uninstall installcheck clean setup demo check psql stop lint format results \
	check-core check-sanitize check-slow fuzz fuzz-tokenizer sqlsmith bench-ann bench-bandit bench-encoder bench-learn \
	bench-quality bench-recommend bench-sync bench-train bench-tune need-pgxs

all: need-pgxs					## build the extension, its backends and its install script
	+@$(MODULE) all

help:							## this list
	@echo 'make demo and make check need nothing but git and make; they install what is missing.'
	@echo
	@awk -F '## ' '/^[a-z-]+:.*## / { split($$1, target, ":"); printf "  %-17s %s\n", target[1], $$2 }' Makefile
	@echo
	@echo 'Variables: PG_CONFIG=path  MODEL=dir (instead of the downloaded model)  DATA=dir (CSVs, for demo)'
	@echo '           BUILD=dir (build)  WERROR=1 (warnings are errors)  V=1 (whole commands)  DESTDIR=dir (for install)'

install: need-pgxs				## install into the PostgreSQL that pg_config names
	+@$(MODULE) install

uninstall: need-pgxs			## remove from there what install put there
	+@$(MODULE) uninstall

installcheck: need-pgxs			## run the SQL tests against a running server that has it installed
	+@BR_GOLDEN_DIR="$${BR_GOLDEN_DIR-$(CURDIR)/test/golden}" $(MODULE) installcheck

clean:							## end the demo's server and remove everything that was built
	@tools/cluster remove demo
	@tools/cluster remove check
ifeq ($(PGXS_READY),yes)
	+@$(MODULE) clean
else
	rm -rf $(BUILD) bundle_rec.so
endif

setup:							## install missing packages and fetch the model (demo and check do it too)
	@tools/setup

demo:							## the sample shop, or DATA=dir: ranked bundles before and after feedback
	@tools/setup
	+@$(STRICT_BUILD)
	@tools/demo/run

psql:							## a session on the demo's server, which keeps running after make demo
	@tools/cluster psql demo

stop:							## end the demo's server
	@tools/cluster stop demo

check:							## everything that must pass: builds without warnings, tests, lint
	@tools/setup
	+@$(STRICT_BUILD)
	@tools/check

check-core:						## the C tests alone; needs no PostgreSQL
	+@$(CORE) unit

check-sanitize:					## the C tests under AddressSanitizer and UndefinedBehaviorSanitizer
	+@$(CORE) sanitize

check-slow:						## the long campaigns: everything named slow
	@tools/setup
	+@$(STRICT_BUILD)
	@tools/check slow

lint:							## format, names, exports, order of rooms, lengths
	@tools/lint

format:							## clang-format over every C file
	@tools/lint --format

results:						## write expected/ anew from what the SQL tests print now
	@tools/setup
	+@$(STRICT_BUILD)
	@tools/check results

fuzz:							## libFuzzer on all that reads what a stranger wrote, FUZZ_SECONDS each
	@tools/setup clang-14 libclang-rt-14-dev
	@test/fuzz/run

fuzz-tokenizer:					## token ids of TEXTS random texts from SEED beside those of the reference
	@tools/setup
	@test/tokenizer/run

sqlsmith:						## random SQL, SQLSMITH_STATEMENTS of it, on a private server
	@tools/setup sqlsmith
	+@$(STRICT_BUILD)
	@test/fuzz/sqlsmith.sh

bench-ann:						## search by bundle_ann beside pgvector, whose source PGVECTOR=dir names
	@tools/setup
	+@$(STRICT_BUILD)
	@test/bench/ann.sh

bench-bandit:					## estimators beside avg(), choices beside INSERTs, replay beside its peers
	@tools/setup
	+@$(STRICT_BUILD)
	@test/bench/bandit.sh

bench-encoder:					## texts per second beside sentence-transformers, ONNX Runtime and OpenVINO
	@tools/setup
	+@$(STRICT_BUILD)
	@test/bench/encoder.sh

bench-learn:					## factors by ALS beside the library implicit, BPR and lists alone
	@tools/setup
	+@$(STRICT_BUILD)
	@test/bench/learn.sh

bench-quality:					## what learners and rankers find on real data, SEEDS=10 splits each
	@tools/setup
	+@$(STRICT_BUILD)
	@test/bench/quality.sh

bench-recommend:				## latency of recommend on 100,000 items, memory of a connection
	@tools/setup
	+@$(STRICT_BUILD)
	@test/bench/recommend.sh

bench-sync:					## triggers and sync beside plain SQL
	@tools/setup
	+@$(STRICT_BUILD)
	@test/bench/sync.sh

bench-train:					## tokens per second of a training step beside PyTorch
	@tools/setup
	+@$(STRICT_BUILD)
	@test/bench/train.sh

bench-tune:					## what fine-tuning finds on real data, and what it does to queries meanwhile
	@tools/setup
	+@$(STRICT_BUILD)
	@test/bench/tune_quality.sh
	@test/bench/tune_queries.sh

need-pgxs:
ifneq ($(PGXS_READY),yes)
	@echo 'PostgreSQL 15 server headers not found by $(PG_CONFIG): run "make setup" or give PG_CONFIG=path.' >&2
	@exit 1
endif
