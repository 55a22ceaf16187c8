# `make` builds klab; `make lab` opens the first lesson; `make test` runs every
# test; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := all

# Under sudo, PATH often lacks Go's own directory. Where there are only Debian's
# versioned packages, the newest is taken.
GO ?= $(shell command -v go || ls /usr/local/go/bin/go 2>/dev/null || ls -v /usr/lib/go-1.*/bin/go 2>/dev/null | tail -1 || echo go)
# A Go older than go.mod asks for fetches the right toolchain, as a module.
export GOTOOLCHAIN ?= auto
PREFIX ?= /usr/local
VERSION ?= $(shell git describe --tags --dirty 2>/dev/null || echo v0.1.0-dev)

# Everything but klab-rt is built without cgo. Builds, vet and tests use the
# same flags on purpose (no -trimpath, no other CGO_ENABLED): each difference
# compiles a thousand packages once more.
export CGO_ENABLED := 0
# No VCS stamp: as root in somebody else's clone git refuses to tell. Tests
# build programs too, so it is in the environment.
export GOFLAGS := $(filter-out -buildvcs=%,$(GOFLAGS)) -buildvcs=false
BUILD := $(GO) build

RT := core/runtime/rtbin/bin/klab-rt
LAYER := core/registry/toolsbin/bin/tools.tar.gz
CNI := netlab/cni/cnibin/bin/klab-cni
# The image is small: no inlining (cmd/klab-tools/doc.go).
TOOLS_FLAGS := -tags netgo,osusergo -gcflags=all=-l -ldflags '-s -w'
K8S_VERSION := $(shell sed -n 's,^\tk8s.io/kubernetes \(v[^ ]*\).*,\1,p' go.mod)
K8S_STAMP := -X k8s.io/component-base/version.gitVersion=$(K8S_VERSION)
E2E_STAMP = -X k8s.io/component-base/version.gitVersion=$(shell sed -n 's,^\tk8s.io/kubernetes \(v[^ ]*\).*,\1,p' tests/conformance/go.mod)

.PHONY: all lab test test-deps vet conformance bench soak race vm-test fuzz policy-cases lint golden install clean sizes help FORCE

all: bin/klab ## build bin/klab with everything that it carries

# klab carries three programs of other kinds: klab-rt is cgo, klab-tools is for
# another file system, klab-cni is started for each call. All are embedded, so
# all come first.
bin/klab: $(RT) $(LAYER) $(CNI) FORCE
	@$(BUILD) -ldflags '-s -w -X main.version=$(VERSION) $(K8S_STAMP)' -o $@ ./cmd/klab

$(RT): FORCE
	@command -v gcc >/dev/null && pkg-config --exists libseccomp || \
	  { echo "make: gcc, pkg-config and libseccomp-dev are needed; as root: scripts/provision packages" >&2; exit 1; }
	@CGO_ENABLED=1 $(BUILD) -tags 'netgo osusergo seccomp' \
	  -ldflags '-s -w -linkmode external -extldflags -static' -o $@ ./cmd/klab-rt

$(CNI): FORCE
	@$(BUILD) -ldflags '-s -w' -o $@ ./cmd/klab-cni

bin/klab-tools: $(shell find cmd/klab-tools netlab/dns netlab/ingress netlab/kube core/step/*.go -name '*.go' ! -name '*_test.go') go.sum
	@$(BUILD) $(TOOLS_FLAGS) -o $@ ./cmd/klab-tools

$(LAYER): bin/klab-tools core/registry/layer.go core/registry/mklayer/main.go
	@bin/klab-tools --names | $(GO) run ./core/registry/mklayer -program bin/klab-tools -out $@

bin/kubectl: go.sum ## Kubernetes' own kubectl, unmodified, for the tests
	$(BUILD) -ldflags '-s -w $(K8S_STAMP)' -o $@ k8s.io/kubernetes/cmd/kubectl

lab: ## install what is missing, build, open the first lesson (as root)
	@[ $$(id -u) = 0 ] || { echo "make lab: containers and networks need root: sudo make lab" >&2; exit 1; }
	@scripts/provision packages
	@$(MAKE) --no-print-directory all
	@if [ -t 0 ] && [ -t 1 ]; then exec bin/klab tui --lesson 01; else exec bin/klab lesson run 01 --plain; fi

test: test-deps ## install what tests need, build, run every test (as root, the kernel's too)
	@$(MAKE) --no-print-directory all bin/kubectl
	@$(MAKE) --no-print-directory vet
	@GO='$(GO)' scripts/test $(TESTFLAGS)

test-deps:
	@if [ $$(id -u) = 0 ]; then scripts/provision packages --for-tests; fi

vet: $(RT) $(LAYER) $(CNI)
	$(GO) vet ./...
	CGO_ENABLED=1 $(GO) vet ./cmd/klab-rt

# The official tests are a module of their own, and use the kubectl of their own
# version. ONLY=failed leaves out what has passed.
CLASS ?= b
conformance: test-deps all ## run Kubernetes' official tests (as root): CLASS=b:sig-node FOCUS=regex
	@[ $$(id -u) = 0 ] || { echo "make conformance: containers and networks need root: sudo make conformance CLASS=$(CLASS)" >&2; exit 1; }
	@echo "conformance: building the suite; the first time takes about ten minutes"
	@cd tests/conformance && $(GO) test -count=1 ./catalog ./images ./run
	@cd tests/conformance && $(GO) test -c -ldflags '-s -w $(E2E_STAMP)' -o ../../bin/e2e.test ./suite
	@cd tests/conformance && $(BUILD) -ldflags '-s -w $(E2E_STAMP)' -o ../../bin/e2e.kubectl k8s.io/kubernetes/cmd/kubectl
	@cd tests/conformance && $(BUILD) -o ../../bin/conformance.run .
	@cd tests/conformance && PATH="$$(dirname $(GO)):$$PATH" ../../bin/conformance.run -class '$(CLASS)' -sig '$(SIG)' -focus '$(FOCUS)' -only '$(ONLY)' $(CONFORMANCE_FLAGS)

bench: all bin/kubectl ## print the figures: start-up, pods, idle memory (as root)
	$(GO) test -run '^$$' -bench . -benchtime 3x -timeout 30m ./...

# What is random comes from SOAK_SEED, which a run prints.
soak: all ## start and end SOAK_PODS pods (2000), delete SOAK_GO at once (120), while processes are killed (as root); see that nothing is left
	$(GO) test -tags soak -run 'TestSoak' -v -count 1 -timeout 60m ./core/cluster | grep -vE '^(time|level)='

# What is concurrent and needs no cluster. The detector needs cgo, and everything
# that is tested is compiled once more for it.
RACE ?= ./core/step/... ./core/store ./core/registry ./core/controller/... ./core/apiserver ./core/kubelet ./core/sim ./netlab/... ./tui/... ./lessons
race: $(RT) $(LAYER) $(CNI) ## run the tests of RACE=packages with the race detector (as root)
	CGO_ENABLED=1 KLAB_RT=$(CURDIR)/$(RT) $(GO) test -race -count 1 -p 1 -timeout 30m $(RACE)

# Packages, and of them the tests, that run under another kernel. What klab does
# only where the kernel can (ipvs, ipvlan, netem), and cgroup v2, is seen there.
VM ?= ./netlab/link ./netlab/proxy ./netlab/fault ./netlab/cni
RUN ?= .
vm-test: $(RT) $(LAYER) $(CNI) bin/kubectl ## run the tests RUN of the packages VM under a stock Debian kernel, emulated (as root)
	@scripts/provision packages --for-vm
	@mkdir -p bin/vm
	KLAB_RT=$(CURDIR)/$(RT) KLAB_TEST_KUBECTL=$(CURDIR)/bin/kubectl GOTMPDIR=$(CURDIR)/bin/vm \
	  $(GO) test -exec $(CURDIR)/scripts/vm -count 1 -p 1 -timeout 60m -run '$(RUN)' $(VM)

FUZZTIME ?= 20s
fuzz: ## run every fuzz test for FUZZTIME each
	@grep -rho --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort -u | sed 's/^func //' | while read -r f; do \
	  dir=$$(dirname "$$(grep -rl --include='*_test.go' "^func $$f(" . | head -1)"); \
	  echo "== $$f in $$dir"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$$dir"; done

policy-cases: ## compare the oracle of NetworkPolicies with the kernel on POLICY_CASES random packets (10000; as root)
	POLICY_CASES=$${POLICY_CASES:-10000} $(GO) test -run 'TestOracleAndKernel$$' -v -count 1 -timeout 30m ./netlab/policy | grep -v '\[rapid\] draw'

LINT_VERSION := v2.15.0
lint: ## formatting, vet, and golangci-lint where it is installed
	@out=$$(gofmt -l cmd core netlab tui lessons labs tests 2>/dev/null || true); [ -z "$$out" ] || { echo "gofmt -w these: $$out" >&2; exit 1; }
	@$(MAKE) --no-print-directory vet
	@if command -v golangci-lint >/dev/null; then golangci-lint run ./... && \
	  CGO_ENABLED=1 golangci-lint run --build-tags 'netgo osusergo seccomp' ./cmd/klab-rt/...; \
	  else echo "lint: golangci-lint is not installed, so its rules were not checked: go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION), with \$$(go env GOPATH)/bin in PATH"; fi

critest: all ## judge the runtime by critest: make critest CRITEST=/path/to/critest (as root)
	@[ -n "$(CRITEST)" ] || { echo "critest is built from a clone of github.com/kubernetes-sigs/cri-tools: CGO_ENABLED=0 go test -c -o critest ./cmd/critest; then: make critest CRITEST=/path/to/critest" >&2; exit 1; }
	@scripts/critest '$(CRITEST)' $(CRITESTFLAGS)

golden: ## write the golden files anew; look at the diff
	@dirs=$$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -r -n1 dirname | sort -u); \
	  [ -z "$$dirs" ] || $(GO) test $$dirs -update

install: all ## put klab into $(PREFIX)/bin
	install -D -m 0755 bin/klab $(DESTDIR)$(PREFIX)/bin/klab

sizes: all ## how big the programs are
	@wc -c bin/klab $(RT) $(CNI) bin/klab-tools $(LAYER)

clean: ## remove what make made
	rm -rf bin core/runtime/rtbin/bin core/registry/toolsbin/bin netlab/cni/cnibin/bin

help:
	@sed -n 's/^\([a-z/]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22
