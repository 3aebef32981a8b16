# hoy: build, try and test. `make help` lists the targets.
GO        ?= go
GOTESTSUM := gotest.tools/gotestsum@v1.13.0
LINTER    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS   := -s -w -X hoy/internal/version.Version=$(VERSION) -X hoy/internal/version.Commit=$(shell git rev-parse --short HEAD 2>/dev/null)
export CGO_ENABLED = 0

.PHONY: help build demo test unit e2e lint bench idle probes chaos powercut fuzz vm vm-shell clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

build: ## bin/hoy, bin/hoyd and bin/hoy-run
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/hoy ./cmd/hoyd ./cmd/hoy-run

demo: build ## start an engine of its own and run real containers; installs busybox-static
	@scripts/packages demo
	@scripts/demo

test: ## all tests, as root; installs what they need (scripts/packages test)
	@scripts/packages test
	@$(MAKE) --no-print-directory lint build
	$(GO) run $(GOTESTSUM) --format pkgname --format-hide-empty-pkg $(RERUN) --packages ./... -- -count=1 -timeout 25m

unit: ## the tests that need neither root nor packages beyond Go
	$(GO) run $(GOTESTSUM) --format pkgname --format-hide-empty-pkg -- -short $$($(GO) list ./... | grep -v /test/e2e)

e2e: build ## the end-to-end tests alone
	@scripts/packages test
	$(GO) run $(GOTESTSUM) --format testname -- -count=1 -timeout 25m ./test/e2e/...

chaos: build ## daemons killed and steps broken, in full: half an hour
	@scripts/packages test
	HOY_LONG=1 $(GO) test -p 1 -count=1 -timeout 90m -v ./test/chaos ./test/e2e/stress

probes: build ## a million native health probes and 20,000 by a command; writes docs/performance.md
	@scripts/packages test
	HOY_LONG=1 $(GO) test -p 1 -count=1 -timeout 60m -v ./test/e2e/probes -update

idle: build ## a thousand idle containers beside a hundred of Docker's; writes docs/benchmarks.md
	@scripts/packages bench
	@bench/run -idle

powercut: build ## the power cut 50 times under an engine at work
	HOY_LONG=1 $(GO) test -p 1 -count=1 -timeout 30m -v ./test/e2e/powercut

.tools/golangci-lint:
	GOBIN=$(CURDIR)/.tools $(GO) install $(LINTER)

lint: .tools/golangci-lint ## golangci-lint; its rules and their reasons are in .golangci.yml
	.tools/golangci-lint run ./...

bench: build ## hoy beside Docker and podman; installs them
	@scripts/packages bench
	@bench/run

vm: ## the tests in virtual machines alone
	@scripts/packages test
	$(GO) test -count=1 -timeout 25m -v ./test/vm

vm-shell: ## a shell in a test machine; ARGS=-systemd boots it with systemd
	@scripts/packages test
	$(GO) run ./test/vm/shell $(ARGS)

fuzz: ## each fuzz test for a minute, two at a time
	@scripts/fuzz

clean: ## what the build left
	rm -rf bin .tools
