# Every target is one line to read, and CI (.ci/run) calls the same ones.
# `make test` needs Go only; lint, bench and the rest say below what else.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TOOL := go tool -modfile=tools.mod

VULNDB   ?= https://vuln.go.dev
LICENCES := Apache-2.0,BSD-2-Clause,BSD-3-Clause,ISC,MIT

TIMEOUT  ?= 10m
COUNT    ?= 10
BENCH    ?= .
OUT      ?= bench/new.txt
BASE     ?= bench/old.txt
FUZZTIME ?= 30s
RUN      ?= .
SEEDS    ?= $(if $(RULE),20,20000)
SEED     ?=
RULE     ?=
REQUESTS ?= 20000
ARGS     ?= --nodes 3 --listen 127.0.0.1:8761 --instances 50

# Some tests wait for processes and clocks most of the time, so more packages than there are cores run at once.
PACKAGES ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

# These wait the longest, so they begin first.
LONGEST := ./topology ./node ./cmd/registryd ./broker ./cluster

# The race detector needs a C compiler. Without one the tests run all the same, and say so.
RACE := $(if $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v "$$(go env CC)"),-race)

.PHONY: help
help: ## show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 12

.PHONY: run
run: ## a demo: three nodes in one process, 127.0.0.1:8761 to 8763, 50 instances; ARGS= for others, as for `registryd dev`
	go run ./cmd/registryd dev $(ARGS)

.PHONY: build
build: ## build bin/registryd, one static file
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -o bin/registryd ./cmd/registryd

# Built without the race detector in any case, and run so: each builds its package's tests once more.
PLANTED := ^(TestPlantedBugs|TestBrokenRulesAreNoticed)$$
# With the race detector these take a sample of what they take without it.
SAMPLED := ^(TestPipelineSeeds|TestClustersHeal|TestBigBurst|TestRepairCost)$$

# One goroutine's work, at length: the race detector has nothing to find in it.
MODELS  := ^(TestVersionsOfClientsActions|TestVersionsUnderCrookedClocks|TestSameAsJavaFromClients|TestSameAsJavaFromClientsAndReplicas|TestJoinIsCommutativeAndIdempotent|TestJoinIsAssociative|TestDeltaFollower|TestDeltaFollowerWithinRetention|TestNodesAgreeOnceQuiet|TestSlowRenewals|TestJoinByParts|TestRepairTakesAllLeavesInTurn|TestDivergentCountsAllLeaves|TestSelfPreservationDoesNotOutliveTombstones)$$

.PHONY: test
test: ## vet, then all tests with the race detector, then what it makes too slow without it (TIMEOUT=10m)
	$(if $(RACE),,@echo 'make test: no C compiler (cgo), so WITHOUT the race detector' >&2)
	go vet ./...
	go test -p $(PACKAGES) $(RACE) $(if $(RACE),-skip '$(PLANTED)|$(MODELS)') -timeout $(TIMEOUT) $(LONGEST) ./...
	$(if $(RACE),go test -p 2 -run '$(PLANTED)|$(SAMPLED)|$(MODELS)' -timeout $(TIMEOUT) ./cluster ./simulate ./node ./registry)

.PHONY: quick
quick: ## vet, then the rooms whose tests need no process and no broker, without the race detector and the many seeds: under a minute
	go vet ./...
	go test -p $(PACKAGES) -skip '$(PLANTED)|$(SAMPLED)|$(MODELS)' -timeout $(TIMEOUT) $$(go list ./... | grep -vE '/(topology|node|broker|dev|registrytest|cmd/registryd)$$')

.PHONY: simulate
simulate: ## random pipelines, then whole clusters, in fake time, SEEDS=20000 of each; SEED=n replays one; RULE='no tombstones' breaks a rule
	$(if $(RULE),,go test -count 1 -timeout 0 -v -run '^TestPipelineSeeds$$' ./cluster -args -seeds $(SEEDS) $(if $(SEED),-seed $(SEED)))
	go test -count 1 -timeout 0 -v -run '^TestClustersHeal$$' ./simulate -args -seeds $(SEEDS) $(if $(SEED),-seed $(SEED)) $(if $(RULE),-rule "$(RULE)")

.PHONY: docs
docs: ## write docs/metrics.md, docs/cli.md and docs/configuration.md from the program
	go test -count 1 -run '^TestMetrics$$' ./node -args -update
	go test -count 1 -run '^(TestCommandLineDoc|TestConfigurationDoc)$$' ./cmd/registryd -args -update

.PHONY: lint
lint: ## gofmt, vet, golangci-lint (built from tools.mod, slow the first time), known vulnerabilities, licences of modules
	@files=$$(gofmt -l $$(go list -f '{{.Dir}}' ./...) | sort -u); [ -z "$$files" ] || { printf 'gofmt would change:\n%s\n' "$$files"; exit 1; }
	go vet ./...
	$(TOOL) golangci-lint run ./...
	cd interop && go vet ./... && go tool -modfile=../tools.mod golangci-lint run --path-prefix interop ./...
	@out=$$($(TOOL) govulncheck -db $(VULNDB) ./... 2>&1) || case "$$out" in \
	  *'fetching vulnerabilities'*) echo "make lint: NOT checked for known vulnerabilities: $$out" >&2 ;; \
	  *) echo "$$out"; exit 1 ;; esac
	@out=$$(go run github.com/google/go-licenses@v1.6.0 check ./cmd/registryd --ignore github.com/registryd/registryd \
	  --allowed_licenses=$(LICENCES) 2>&1) || { echo "$$out" | grep -v 'non-Go code\|[.]s$$'; exit 1; }

.PHONY: vulncheck
vulncheck: ## known vulnerabilities in what the program calls; VULNDB= for a copy of the database, as file:///DIR
	$(TOOL) govulncheck -db $(VULNDB) ./...

.PHONY: dist
dist: ## archives, Debian and RPM packages and SBOMs of this commit in dist/ (goreleaser is built the first time: minutes)
	go tool -modfile=release.mod goreleaser release --snapshot --clean

.PHONY: deploy
deploy: ## check deploy/ and what a release is made of; as root on Debian install the package too (Linux, Python 3)
	deploy/check

# A registry that refuses one of many downloads is asked again.
RETRY := retry() { for try in 1 2 3; do "$$@" && return; sleep $$((10 * try)); done; "$$@"; }; retry

.PHONY: interop
interop: build java interop-page ## real clients (Node 20, npm; fargo; Spring; Python 3), real Eureka servers (Java 17, Maven), promtool and Chromium against real processes; SEED=n for its requests
	cd interop/node && $(RETRY) npm ci && npm test
	cd interop && go vet ./... && go test $(RACE) -count 1 -v -timeout $(TIMEOUT) ./fargo
	cd interop && go test -count 1 -v -timeout $(TIMEOUT) ./prometheus
	python3 -m venv interop/python && $(RETRY) interop/python/bin/pip install -q --disable-pip-version-check -r interop/requirements.txt
	cd interop && go test -count 1 -v -timeout $(TIMEOUT) ./started
	cd interop && go test -count 1 -v -timeout $(TIMEOUT) ./differential $(if $(SEED),-args -seed $(SEED))
	cd interop && go test -count 1 -v -parallel 8 -timeout $(TIMEOUT) ./mixed $(if $(SEED),-args -seed $(SEED))

.PHONY: interop-page
interop-page: build ## the page in a real Chromium; pictures in interop/page/screenshots: a minute
	cd interop && go vet ./page && go test -count 1 -v -timeout $(TIMEOUT) ./page

.PHONY: interop-long
interop-long: build java ## registryd beside a real Eureka server, REQUESTS=20000 random requests; SEED=n replays some, else one is drawn
	cd interop && go test -count 1 -v -timeout 0 -run '^TestDifferential$$' ./differential -args -requests $(REQUESTS) -seed $(or $(SEED),0)

.PHONY: java
java: ## build the Java programs of the interop tests
	$(RETRY) mvn -q -B -f interop/java package

.PHONY: faults
faults: ## real processes under kill -9, SIGSTOP, partitions, loss, delay, a full disk: 15 minutes (Linux, root, iproute2; RUN=.)
	go vet -tags faults ./faults
	go test -tags faults -run '$(RUN)' -count 1 -v -timeout 60m ./faults

.PHONY: faults-short
faults-short: ## the same in two minutes
	go vet -tags faults ./faults
	go test -tags faults -run '^TestShort' -count 1 -v -parallel 8 -timeout $(TIMEOUT) ./faults

.PHONY: bench
bench: ## benchmarks to OUT=bench/new.txt, compared with BASE=bench/old.txt (COUNT=10, BENCH=.)
	@mkdir -p $(dir $(OUT))
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 0 $$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n1 dirname | sort -u) | tee $(OUT)
	$(TOOL) benchstat $(wildcard $(BASE)) $(OUT)

.PHONY: bench-guard
bench-guard: ## the benchmarks that users feel, as ratios to a yardstick, against bench/baseline.txt (UPDATE=1 writes it): a minute
	go run ./bench/guard $(if $(UPDATE),-update)

.PHONY: storm
storm: build ## heartbeats of a process while 5,000 clients register at once beside 200 slow ones: at most ten times as long (Linux, a machine at rest)
	go run ./bench/storm -registryd bin/registryd

JAR ?= interop/java/server/target/server.jar
.PHONY: bench-processes
bench-processes: build ## registryd and a real Java server as processes, in turn: CPU, times, memory (Linux; JAR= none; LOAD='-sizes 1000'): 15 minutes
	go run ./bench/load -registryd bin/registryd $(if $(wildcard $(JAR)),-jar $(JAR)) $(LOAD)

.PHONY: growth
growth: build ## how costs grow with instances, nodes and peers: tables, bench/growth.json, pictures (Linux; GROWTH='-sizes 1000'): 20 minutes
	go run ./bench/growth -registryd bin/registryd $(GROWTH)
	$(MAKE) pictures

.PHONY: pictures
pictures: ## docs/pictures/*.svg from bench/growth.json
	@mkdir -p docs/pictures
	cd bench/plot && go run . ../growth.json ../../docs/pictures

.PHONY: capacity
capacity: build ## three nodes of 1 core and 256 MB hold 100,000 instances, then twice the load (Linux; CAPACITY='-lasts 30s'): 17 minutes
	go run ./bench/capacity -registryd bin/registryd $(CAPACITY)

.PHONY: fuzz
fuzz: ## each fuzz target in turn for FUZZTIME=30s
	@grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*:func | |' | sort | while read -r dir name; do \
	  echo "== $$name in $$dir"; go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null; done
