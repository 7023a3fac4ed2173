# `make help` lists the targets. Everything that is built or fetched lands in bin/, .cache/ and the caches of go, npm, pip
# and Maven.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
GOLANGCI_VERSION := $(shell sed -n 's|.*github.com/golangci/golangci-lint/v2 v\([^ ]*\).*|\1|p' tools.mod)

# A golangci-lint of the pinned version is used where there is one, else go builds it: that takes minutes, once.
GOLANGCI = $(shell [ "$$(golangci-lint version --short 2>/dev/null)" = "$(GOLANGCI_VERSION)" ] && echo golangci-lint || echo $(GO) tool -modfile=$(CURDIR)/tools.mod golangci-lint)

# Go stamps the commit into the binary and fails if git will not tell it, as in a copy without .git or of another user.
ifneq ($(shell git rev-parse HEAD 2>/dev/null 1>&2 && echo ok),ok)
export GOFLAGS := $(GOFLAGS) -buildvcs=false
endif

# Modules of their own, which keep what only tests need out of the broker's dependencies.
MODULES := compat/go tier/s3test

ROUNDS ?= 1000
FUZZTIME ?= 30s
BENCH ?= .
PKG ?= ./...

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: build
build: ## Compile bin/morrow
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/morrow ./cmd/morrow

.PHONY: run
run: build ## Start a broker: Kafka on 127.0.0.1:9092, HTTP on 127.0.0.1:9644, data in ./data. ARGS= adds flags
	exec bin/morrow serve $(ARGS)

.PHONY: test
test: test-go alerts compat ## Run every test, with every client; installs the clients
	@echo "ok  	make test"

# A test that goes round in circles, in virtual time too, ends with the stacks of its goroutines: once its process has 8 GiB of
# addresses where that can be limited, else when its package's time is up. The tests of whole brokers come last and alone, since
# others would take the processors and the disk from them. All of them wait for a disk or for time to pass more than they compute.
.PHONY: test-go
test-go: ## Run the Go tests only, a few minutes
	ulimit -v 8388608 2>/dev/null || true; \
	$(GO) test -p 4 -timeout 15m $$($(GO) list ./... | grep -v '/e2e$$'); \
	$(GO) test -parallel 4 -timeout 25m ./e2e; \
	for module in $(MODULES); do (cd $$module && $(GO) test -parallel 4 -timeout 25m ./...); done

.PHONY: alerts
alerts: ## Check and test the alert rules in docs/monitoring with promtool, which is fetched if it is missing
	docs/monitoring/check

.PHONY: compat
compat: ## Run the suites of all clients and write compat/README.md. SUITE=kcat runs one
	$(GO) test -tags compat -count=1 -timeout 35m -parallel 4 -run 'TestClients/suite/$(SUITE)' ./compat

.PHONY: lint
lint: ## Run the linters and the tests of internal/lint: import map, homes of libraries, file access
	for module in . $(MODULES); do (cd $$module && $(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./...); done
	$(GO) test ./internal/lint
	@echo "ok  	make lint"

.PHONY: bench
bench: build ## Run the Go benchmarks and compare the broker with the bare machine. BENCH= and PKG= select benchmarks
	mkdir -p .cache
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG) | tee .cache/bench.txt
	cd tier/s3test && $(GO) test -run '^$$' -bench '$(BENCH)' -benchtime 3x . | tee -a $(CURDIR)/.cache/bench.txt
	bin/morrow bench suite --dir .cache

.PHONY: bench-kafka
bench-kafka: build ## Compare the broker with Apache Kafka on this machine. ARGS= goes to `morrow bench compare`
	internal/bench/kafka/run $(ARGS)

.PHONY: bench-kafka-tools
bench-kafka-tools: build ## Measure the broker and Apache Kafka with Kafka's own tools, as often as ARGS=2 says
	internal/bench/kafka/tools $(ARGS)

.PHONY: s3
s3: ## Run the tests of the tier against another S3 server. STORE=minio and STORE=seaweedfs build it first, else host:port
	tier/s3test/against $(or $(STORE),$(error make s3 STORE=minio, seaweedfs or host:port))

.PHONY: crash
crash: ## Kill a loaded broker ROUNDS=1000 times, and one with delayed records as often, and look for every acknowledged record
	$(GO) test ./e2e -count=1 -timeout 0 -v -run RandomKill9 -args -rounds $(ROUNDS) -delay.rounds $(ROUNDS)

.PHONY: history
history: ## Disturb a broker ROUNDS=1000 times and have everything its clients were told checked
	$(GO) test ./e2e -count=1 -timeout 0 -v -run ClientsSeeNothing -args -history-rounds $(ROUNDS)

.PHONY: soak
soak: ## Run everything at once on one broker, disturb it ROUNDS=1000 times, and compare everything with everything
	$(GO) test ./e2e -count=1 -timeout 0 -v -run EverythingAtOnce -args -soak.rounds $(ROUNDS)

.PHONY: fuzz-short
fuzz-short: ## Fuzz the protocol for five minutes in all, on every core: what continuous integration does
	$(MAKE) fuzz PKG='./protocol/...' FUZZTIME=75s

# A run that fails and has found nothing is repeated: now and then go test takes the end of its time for a failure (go.dev/issue/75804).
.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME=30s, and print what one finds. PKG= selects packages
	@mkdir -p .cache && touch .cache/fuzz-began
	@found() { find . -path '*/testdata/fuzz/*' -type f -newer .cache/fuzz-began "$$@"; }; \
	for pkg in $$($(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' $(PKG)); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | sed -n '/^Fuzz/p'); do \
			echo "$$pkg $$target"; \
			fuzz() { $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; }; \
			fuzz || { [ -z "$$(found)" ] && fuzz; } || { found -print -exec cat {} +; exit 1; }; \
		done; \
	done

.PHONY: tools
tools: ## Compile the pinned tools of tools.mod into Go's build cache
	$(GO) build -modfile=tools.mod -o /dev/null tool

.PHONY: clean
clean: ## Remove what was built or fetched here, not ./data
	rm -rf bin .cache compat/kafkajs/node_modules
	find compat -name __pycache__ -prune -exec rm -rf {} +
