# chs: customer health scores inside PostgreSQL. See README.md.

EXTENSION = chs chs_cluster
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" chs.control)

MODULE_big = chs
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))

# The extension's SQL is one file per area, joined in the order of dependence.
AREAS = schema activity scorecards plugins recommendations guards documents retention publish customers events sources queue shipped health failures scoring simulate work operations worker views history movers daily_counts verify advice lint purge past outcomes backtest fit durable refused access dump replication defaults
# Several servers as one: an extension of SQL alone, for the database that reads them.
CLUSTER_AREAS = views nodes everywhere route access
DATA_built = sql/chs--$(EXTVERSION).sql sql/chs_cluster--$(EXTVERSION).sql
EXTRA_CLEAN = $(DATA_built)

# From every released version to the next.
DATA = $(wildcard sql/updates/chs--*--*.sql)

# Further ones are not for a server with a worker: when something is tried again matters in them.
REGRESS_BESIDE = access activity alter curves guards documents segments simulate lint events record explain triggers reinstall versions change advice
REGRESS = $(REGRESS_BESIDE) past outcomes backtest backfill retention operations plugins failures trespass verify
REGRESS_OPTS = --inputdir=. --load-extension=chs
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=test/output --load-extension=chs

PG_CONFIG ?= pg_config

# Warnings are about our code; PostgreSQL's headers are a system's.
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server)
# -ffp-contract=off: a score must have the same bits on every processor.
PG_CFLAGS = -Wall -Wextra -ffp-contract=off

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

sql/chs--$(EXTVERSION).sql: $(AREAS:%=sql/ext/%.sql)
	cat $^ > $@

sql/chs_cluster--$(EXTVERSION).sql: $(CLUSTER_AREAS:%=sql/cluster/%.sql)
	cat $^ > $@

$(OBJS): $(wildcard src/*/*.h)

# Its sums over many rows.
src/score/fit.o: CFLAGS += $(CFLAGS_UNROLL_LOOPS) $(CFLAGS_VECTORIZE)

# What chs costs and how fast it is, against what a user would pick instead.
.PHONY: bench bench-quick
bench:
	test/bench/run
bench-quick:
	test/bench/run --quick

# Hostile input for longer than test/run has time for.
FUZZ_SECONDS ?= 600
.PHONY: fuzz
fuzz:
	CHS_FUZZ_SECONDS=$(FUZZ_SECONDS) test/run fuzz

# Tests with a server that is built to notice what goes wrong in memory.
.PHONY: check-cassert check-asan check-valgrind
check-cassert:
	test/instrumented cassert
check-asan:
	test/instrumented asan
check-valgrind:
	test/instrumented valgrind

# The types of chs, for pgindent --typedefs, after those of PostgreSQL.
.PHONY: typedefs
typedefs:
	@sed -nE -e 's/^typedef (struct|enum|union) ([A-Za-z]+)$$/\2/p' -e 's/^typedef .*[ *]([A-Za-z]+);$$/\1/p' -e 's/^} ([A-Za-z]+);$$/\1/p' \
		-e 's/^typedef .*\(\*([A-Za-z]+)\).*/\1/p' $(sort $(wildcard src/*.c src/*/*.[ch])) | sort -u

# What PGXN takes: the sources with the script made from sql/ext, as chs-VERSION.tar.gz.
DIST_DIR ?= .
DIST_VERSION = $(shell sed -n 's/^    "version": "\(.*\)",/\1/p' META.json)
DIST_FILES = CHANGELOG.md CONTRIBUTING.md LICENSE META.json Makefile README.md SECURITY.md chs.control chs_cluster.control doc sql src expected test
.PHONY: dist
dist: $(DATA_built)
	tar -czf $(DIST_DIR)/chs-$(DIST_VERSION).tar.gz --transform 's,^,chs-$(DIST_VERSION)/,' \
		--exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude=test/output --exclude=test/bench/output $(DIST_FILES)
