# `make help` lists the targets. Everything that is built or fetched lands in bin/, .cache/ and the caches of go, npm, pip
# and Maven.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
GOLANGCI_VERSION := $(shell sed -n 's|.*github.com/golangci/golangci-lint/v2 v\([^ ]*\).*|\1|p' tools.mod)

# A golangci-lint of the pinned version is used where there is one, else go builds it: that takes minutes, once.
GOLANGCI = $(shell [ "$$(golangci-lint version --short 2>/dev/null)" = "$(GOLANGCI_VERSION)" ] && echo golangci-lint || echo $(GO) tool -modfile=$(CURDIR)/tools.mod golangci-lint)

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: build
build: ## Compile bin/morrow
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/morrow ./cmd/morrow

.PHONY: run
run: build ## Start a broker: Kafka on 127.0.0.1:9092, HTTP on 127.0.0.1:9644, data in ./data. ARGS= adds flags
	exec bin/morrow serve $(ARGS)

.PHONY: test
test: test-go compat ## Run every test, with every client; installs the clients
	@echo "ok  	make test"

.PHONY: test-go
test-go: ## Run the Go tests only: no network, a few minutes
	$(GO) test ./...

.PHONY: compat
compat: ## Run the suites of all clients and write compat/README.md. SUITE=kcat runs one
	$(GO) test -tags compat -count=1 -timeout 25m -parallel 4 -run 'TestClients/suite/$(SUITE)' ./compat

.PHONY: lint
lint: ## Run the linters and the tests of internal/lint: import map, homes of libraries, file access
	$(GOLANGCI) run ./...
	cd compat/go && $(GOLANGCI) run --config ../../.golangci.yml ./...
	$(GO) test ./internal/lint
	@echo "ok  	make lint"

.PHONY: tools
tools: ## Compile the pinned tools of tools.mod into Go's build cache
	$(GO) build -modfile=tools.mod -o /dev/null tool

.PHONY: clean
clean: ## Remove what was built or fetched here, not ./data
	rm -rf bin .cache compat/kafkajs/node_modules
	find compat -name __pycache__ -prune -exec rm -rf {} +
