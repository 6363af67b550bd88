# module.mk
#     Builds and installs the extension with PGXS, and runs pg_regress on it.
#
# Run by ../Makefile, from the top of the tree, once PostgreSQL's pg_config and
# server headers are there. PGXS brings all, install, uninstall, installcheck
# and clean; its objects go to $(BUILD) like core's.

BUILD ?= build
WERROR ?=

EXTENSION = bundle_rec
MODULE_big = bundle_rec
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" bundle_rec.control)

MODULE_SOURCES := $(wildcard src/pg/*.c src/pg/*/*.c)
OBJS = $(MODULE_SOURCES:src/%.c=$(BUILD)/%.o)

SCRIPT := $(BUILD)/bundle_rec--$(EXTVERSION).sql
DATA_built = $(SCRIPT)
DATA = $(wildcard sql/bundle_rec--*--*.sql)

# Everything is hidden but what says PGDLLEXPORT, which PostgreSQL 15 leaves empty.
PG_CPPFLAGS = -Isrc -D'PGDLLEXPORT=__attribute__((visibility("default")))' -MMD -MP
PG_CFLAGS = -std=gnu11 -fvisibility=hidden $(if $(WERROR),-Werror)
SHLIB_LINK = $(BUILD)/libbr_core.a -lutf8proc -lcjson -lm

REGRESS = $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql))
REGRESS_OPTS = --inputdir=test
NO_INSTALLCHECK = 1
EXTRA_CLEAN = $(BUILD) results regression.diffs regression.out

# PGXS also makes LLVM bitcode where the server has LLVM; nothing here inlines from it.
override with_llvm = no

# PGXS takes the folder of the first makefile for the top of the tree.
override srcdir = .
override VPATH =

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# core is compiled with flags of its own, whatever PGXS has put into CFLAGS
CORE := $(MAKE) --no-print-directory -f src/core.mk BUILD=$(BUILD) WERROR=$(WERROR) CFLAGS='$(strip -O2 -g $(COPT))'
backend_dir = $(DESTDIR)$(pkglibdir)/bundle_rec

.PHONY: module-force backends
all: backends
backends: $(BUILD)/libbr_core.a

# One run for all: two at a time would write the same files.
$(BUILD)/libbr_core.a: module-force
	+@$(CORE) core backends helper

bundle_rec$(DLSUFFIX): $(BUILD)/libbr_core.a $(BUILD)/module.list

$(BUILD):
	mkdir -p $@

# Rewritten only when their contents change: new flags compile, and a source
# that came or went links anew.
$(BUILD)/module.flags: contents = $(CC) $(CFLAGS) $(CPPFLAGS)
$(BUILD)/module.list: contents = $(OBJS)
$(BUILD)/script.list: contents = $(SCRIPT) $(PARTS)
$(BUILD)/module.flags $(BUILD)/module.list $(BUILD)/script.list: module-force | $(BUILD)
	$(file >$@.new,$(contents))
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(OBJS): $(BUILD)/%.o: src/%.c $(BUILD)/module.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  cc $<';) $(CC) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<

# The install script: the parts, in the order of the manifest.
PARTS := $(shell sed -e 's/\#.*//' -e '/^[[:space:]]*$$/d' sql/manifest)
PART_FILES := $(PARTS:%=sql/parts/%.sql)

$(SCRIPT): $(BUILD)/script.list src/module.mk $(PART_FILES)
	@mkdir -p $(@D)
	@{ printf '%s\n' '\echo Use "CREATE EXTENSION bundle_rec" to load this file. \quit'; \
	   for part in $(PART_FILES); do echo; cat $$part || exit 1; done; } >$@.new
	@mv $@.new $@

install: install-backends
install-backends: backends installdirs
	$(MKDIR_P) '$(backend_dir)'
	for backend in $(BUILD)/br_backend_*.so; do \
		test ! -e $$backend || $(INSTALL_SHLIB) $$backend '$(backend_dir)/' || exit 1; \
	done
	$(INSTALL_PROGRAM) $(BUILD)/bundle_rec_helper '$(backend_dir)/'

uninstall: uninstall-backends
uninstall-backends:
	rm -rf '$(backend_dir)'

# One run of pg_regress for each file: a database of its own.
.PHONY: installcheck
installcheck:
	@failed=; for name in $(REGRESS); do \
		$(pg_regress_installcheck) $(REGRESS_OPTS) --dbname=contrib_regression_$$name $$name || failed="$$failed $$name"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

-include $(OBJS:.o=.d)
