SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# How long each fuzz test runs under "make fuzz".
FUZZTIME ?= 30s
# How many histories "make histories" draws.
HISTORIES ?= 10000

# How much of "make failover" is done, in percent, and how long "make soak" takes.
FAILOVER ?= 100
SOAK ?= 10m
BENCH_ROUNDS ?= 3
# How many procs the fleet of "make bench" has, and how long they report.
BENCH_PROCS ?= 100000
BENCH_FLEET ?= 30s
# The fleets of "make bench-scale", and how long each reports.
SCALE ?= 1000,10000,100000,1000000
SCALE_FLEET ?= 60s

TOOLS := $(CURDIR)/.build/tools
BUF := $(TOOLS)/buf
STATICCHECK := $(TOOLS)/staticcheck
PLUGINS := $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc
GENERATED := .build/generated

.PHONY: help build test test-long lint generate check-generate regenerate demo torture failover bench bench-scale soak cluster cluster-stop fuzz histories clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the static binary ./muster
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o muster ./cmd/muster

test: ## run all tests with the race detector
	go test -race -timeout 20m ./...

test-long: ## the same as test, and what takes minutes, ten thousand sessions without the race detector
	MUSTER_LONG=1 go test -race -count=1 -timeout 60m ./...
	MUSTER_LONG=1 go test -count=1 -timeout 10m -run '^TestReconnectStorm_10000Sessions$$' ./cmd/muster/clustertest/process

# The last step goes without the cache, which does not know that these tests read every file of the tree.
lint: $(STATICCHECK) ## gofmt, vet, staticcheck, and the rules on imports and purity
	@unformatted=$$(find . -name '*.go' -not -path './.*' -print0 | xargs -0 gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not formatted; run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$(STATICCHECK) ./...
	go test -count=1 ./cmd/lint

generate: regenerate ## make the Go files below proto/ from the .proto files
	find proto -name '*.pb.go' -delete
	cp -R $(GENERATED)/proto .

check-generate: regenerate ## fail if the Go files below proto/ are not what generate makes
	@diff -ru --exclude='*.proto' --exclude=buf.yaml --exclude=wire proto $(GENERATED)/proto || \
		{ echo "proto/ (-) differs from what its .proto files make (+); run make generate"; exit 1; }

# Into a directory of its own, so that a failure leaves the tree as it was.
regenerate: $(BUF) $(PLUGINS)
	$(BUF) lint proto
	rm -rf $(GENERATED)
	PATH="$(TOOLS):$$PATH" $(BUF) generate proto --template .ci/tools/buf.gen.yaml --output $(GENERATED)

demo: build ## three servers, two host agents, killed leaders, ranks and agents, a restore: under a minute
	go build -o .build/ ./deploy/demo ./deploy/wordcount
	.build/demo -muster ./muster -wordcount .build/wordcount

torture: build ## ten worlds of programs over four agents while the leader is killed every three seconds: over a minute
	go build -o .build/ ./deploy/torture
	.build/torture -muster ./muster

# etcdbench is a module of its own: nothing else needs etcd.
failover: build ## what a change of the leader costs, and what it costs etcd, in FAILOVER (100) percent of eight minutes
	go build -o .build/ ./deploy/failover
	cd cmd/etcdbench && go build -o ../../.build/ .
	.build/failover -muster ./muster -etcdbench .build/etcdbench -percent $(FAILOVER)

bench: build ## joins, reports, watching, memory, expiry, etcd beside each, BENCH_ROUNDS (3) times in turn; a fleet and a state of BENCH_PROCS (100000): about ten minutes
	go build -o .build/ ./deploy/throughput
	cd cmd/etcdbench && go build -o ../../.build/ .
	.build/throughput -muster ./muster -etcdbench .build/etcdbench -rounds $(BENCH_ROUNDS) -procs $(BENCH_PROCS) -fleet $(BENCH_FLEET)

bench-scale: build ## fleets of SCALE (1000,10000,100000,1000000) procs, some die, the leader too: deploy/bench/scale.md, about fifteen minutes
	go build -o .build/ ./deploy/throughput
	.build/throughput -muster ./muster -scale $(SCALE) -fleet $(SCALE_FLEET)

soak: build ## full load and two busy loops for SOAK (10m), in which no leader may change
	./muster bench soak --duration $(SOAK)

cluster: build ## start three local nodes in the background, data below .muster/
	deploy/cluster.sh start

cluster-stop: ## end the nodes that "make cluster" started; their data stays
	@deploy/cluster.sh stop

# Nearly all that a history makes is garbage at once, so it is collected seldom.
histories: ## draw HISTORIES (10,000) histories of 200 entries without the race detector; "make test" draws 300 with it
	GOGC=400 go test -count=1 -timeout 30m -run '^TestHistories$$' ./fsm -histories $(HISTORIES)

# go test -list prints the tests of a package and then a line "ok PACKAGE". Now and then go test takes the end of the time for a fault and says
# "context deadline exceeded", with no input that fails: then that test runs once more.
fuzz: ## run every fuzz test for FUZZTIME (30s), one after the other
	@mkdir -p .build; \
	list=$$(go test -list '^Fuzz' ./...); \
	awk '/^Fuzz/ { tests[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, tests[i]; n = 0 }' <<<"$$list" | \
	while read -r package test; do \
		echo "== $$package $$test"; \
		for try in 1 2; do \
			if go test -run '^$$' -fuzz "^$$test\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$package" </dev/null | tee .build/fuzz.log; then break; fi; \
			if [ $$try = 2 ] || ! grep -q '^ *context deadline exceeded$$' .build/fuzz.log; then exit 1; fi; \
		done; \
	done

clean: cluster-stop ## remove what these targets made, the local cluster's data too
	rm -rf muster .build .muster

# The tools, built once from modfiles of their own, so that their dependencies are not Muster's.

$(BUF): .ci/tools/buf/go.mod .ci/tools/buf/go.sum
	go build -modfile=.ci/tools/buf/go.mod -o $@ github.com/bufbuild/buf/cmd/buf

$(STATICCHECK): .ci/tools/staticcheck/go.mod .ci/tools/staticcheck/go.sum
	go build -modfile=.ci/tools/staticcheck/go.mod -o $@ honnef.co/go/tools/cmd/staticcheck

$(TOOLS)/protoc-gen-go: .ci/tools/gen/go.mod .ci/tools/gen/go.sum
	go build -modfile=.ci/tools/gen/go.mod -o $@ google.golang.org/protobuf/cmd/protoc-gen-go

$(TOOLS)/protoc-gen-go-grpc: .ci/tools/gen/go.mod .ci/tools/gen/go.sum
	go build -modfile=.ci/tools/gen/go.mod -o $@ google.golang.org/grpc/cmd/protoc-gen-go-grpc
