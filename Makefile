# `make help` lists the targets, by the comments that begin with ##.

# --- building ---------------------------------------------------------------------------------------------------

PYTHON ?= /usr/bin/python3
VENV   := .venv
BUILD  := $(VENV)/bin/python csrc/build.py
# The architecture to build for, where that is another one than this machine's.
CROSS  := $(filter-out $(if $(ARCH),$(shell dpkg --print-architecture)),$(ARCH))
MADE   := build/$(if $(CROSS),$(CROSS)/)pyrun

# A folder that `make sources` has filled: nothing is asked for over the network then.
SOURCES ?=
ifneq ($(SOURCES),)
export SOURCES PIP_NO_INDEX := 1
export PIP_FIND_LINKS := $(abspath $(SOURCES))
endif

.PHONY: all help ext build man venv sources dist wheel deb clean

all: build

## this list
help:
	@awk '/^## / { text = substr($$0, 4); next } \
	    /^[a-z0-9-]+:/ && text { printf "make %-16s %s\n", substr($$1, 1, index($$1, ":") - 1), text } { text = "" }' $(MAKEFILE_LIST)

## Python's packages that the build takes, in .venv, at the versions of csrc/requirements.txt
venv: needs
	@csrc/venv.sh $(PYTHON) $(VENV) csrc/requirements.txt

## what the build takes of Python's packages, to build/sources, for `make SOURCES=FOLDER` where there is no network
sources: venv
	$(VENV)/bin/python -m pip download --quiet --dest build/sources -r csrc/requirements.txt
	$(VENV)/bin/python -m pip download --quiet --dest build/sources --no-deps --no-binary cffi -r csrc/requirements.txt

## build/pyrun, the whole runtime in one executable (what `make` alone does); ARCH=arm64, on another machine: build/arm64/pyrun
build: venv
	$(BUILD) binary

## the extension modules beside the sources, for `.venv/bin/python -m pyrun` from the checkout
ext: venv
	$(BUILD) ext

## manual pages, the shells' completions and examples for engines, in build/man, build/completions and build/engines
man: venv
	$(VENV)/bin/python csrc/documents.py

# This and the packages are made for another machine by ARCH too.
## dist/pyrun-VERSION-linux-ARCH.tar.gz, its list of components (SBOM), and their checksums
dist: build man
	$(VENV)/bin/python csrc/package.py tarball

## dist/pyrun-VERSION-py3-none-….whl, which pip installs with any Python: the executable and its manual pages
wheel: build man
	$(VENV)/bin/python csrc/package.py wheel

## dist/pyrun_VERSION_ARCH.deb, Debian's package
deb: build man
	@csrc/needs.sh $(DEB_PACKAGES)
	$(VENV)/bin/python csrc/package.py sbom
	rm -rf build/deb
	mkdir -p build/deb dist
	cp -r csrc/debian README.md SECURITY.md CHANGELOG.md $(MADE).cdx.json build/engines build/deb
	cd build/deb && dpkg-architecture $(addprefix -a,$(CROSS)) -f -c 'debian/rules binary'

## remove what was built; .venv stays
clean:
	rm -rf build dist pyrun/_build_info.py pyrun/cli/_argv_table.py pyrun/plan/_ops.py pyrun/config/_checks.py pyrun/_native.pyi pyrun/*.so *.egg-info
	rm -rf bundles/*/rootfs

# --- running, testing, installing -------------------------------------------------------------------------------

PREFIX  ?= /usr/local
DESTDIR ?=

# Debian packages; csrc/needs.sh installs those that are missing.
CROSS_amd64   := gcc-x86-64-linux-gnu qemu-user
CROSS_arm64   := gcc-aarch64-linux-gnu qemu-user
PACKAGES      := gcc libc6-dev musl-tools libseccomp-dev libffi-dev libzstd-dev python3-dev python3-venv busybox-static $(CROSS_$(CROSS))
DEB_PACKAGES  := debhelper lintian
TEST_PACKAGES := bash-completion criu debootstrap elfutils fish git iproute2 iptables man-db mandoc procps uidmap util-linux strace runc zsh zstd \
                 golang-github-opencontainers-specs-dev $(DEB_PACKAGES)

# The engines of tests/e2e, and what is no Debian package: the kubelet's client and containerd 2 are built where there is Go.
E2E_PACKAGES := containerd containernetworking-plugins curl debootstrap dnsmasq-base docker-compose docker.io iptables \
                netavark podman slirp4netns catatonit fuse-overlayfs uidmap
CRICTL       := build/e2e/crictl
CONTAINERD2  := build/e2e/containerd2

# The machine of tests/vm. Its root file system is the host's, so what runs in it is installed here.
VM_PACKAGES := apparmor dbus dbus-user-session kmod libpam-systemd qemu-system-arm qemu-system-x86 systemd uidmap

# libFuzzer, for tests/fuzz.
FUZZ_PACKAGES := clang libclang-rt-dev

.PHONY: run demo test faults security test-vm debian lint format coverage-check fuzz sanitize soak bench conformance install uninstall needs test-needs e2e e2e-needs vm-needs

## install the Debian packages that the build takes, where they are missing
needs:
	@csrc/needs.sh $(PACKAGES)

## install what the tests take
test-needs: venv
	@csrc/needs.sh $(TEST_PACKAGES)
	@csrc/venv.sh $(PYTHON) $(VENV) tests/requirements-lint.txt tests/requirements.txt

SECONDS_EACH ?= 60
## tests/security, each race for SECONDS_EACH, with a count of swaps and creates, as root
security: export SECONDS_EACH := $(SECONDS_EACH)
security: test-needs ext build
	$(VENV)/bin/python -m pytest -q -rP --show-capture=stdout tests/security

POINTS ?=
## faults: each command killed or failing at each of its system calls, as root (an hour); POINTS="--stride 7 create exec" for some
faults: test-needs ext build
	PYTHONPATH=tests:. $(VENV)/bin/python tests/faults/sweep.py $(POINTS)

## build, and run the bundle `hello`: a container that shows that it is one
run: build
	bundles/rootfs.sh hello
	build/pyrun run bundles/hello

## record the terminal session that README.md shows: bundles/demo.svg
demo: build
	bundles/rootfs.sh hello shell
	$(VENV)/bin/python bundles/demo.py

TESTS ?= tests
## all tests, as root; TESTS="tests/unit -k plan" runs some of them
test: test-needs ext build
	$(VENV)/bin/python -m pytest $(TESTS)

SUITE ?= trixie
## what a user of another Debian does, in a fresh root of it: SUITE=sid CHECK="make run"
debian: export CHECK ?= make run && make test DEB_PACKAGES= TESTS="tests/unit tests/runtime -m 'not once'"
debian: test-needs
	tests/debian.sh $(SUITE) "$$CHECK"

WORLDS ?=
## the tests with each kind of cgroups, here and in a virtual machine, and as an ordinary user; WORLDS="v2 systemd" runs some
test-vm: vm-needs test-needs ext build
	$(VENV)/bin/python tests/vm/worlds.py $(WORLDS)

## install what the virtual machine of test-vm takes
vm-needs:
	@csrc/needs.sh $(VM_PACKAGES) || echo "without qemu the worlds of the virtual machine are not run"

## real engines on the runtime; `make test` runs them too where they are installed
e2e: e2e-needs test-needs build
	$(VENV)/bin/python -m pytest tests/e2e

## install the engines
e2e-needs:
	@csrc/needs.sh $(E2E_PACKAGES)
	@command -v crictl >/dev/null || ! command -v go >/dev/null || $(MAKE) --no-print-directory $(CRICTL) \
	    || echo "no crictl: the tests that need it are skipped"
	@[ -x $(CONTAINERD2)/ctr ] || ! command -v go >/dev/null || $(MAKE) --no-print-directory $(CONTAINERD2)/ctr \
	    || echo "no containerd 2: the tests of it are skipped"

$(CONTAINERD2)/ctr:
	for name in containerd containerd-shim-runc-v2 ctr; do \
	    GOBIN=$(CURDIR)/$(CONTAINERD2) go install -tags no_btrfs github.com/containerd/containerd/v2/cmd/$$name@v2.4.2 || exit; done

# `go install` takes no module that replaces others, so a module of our own requires it.
$(CRICTL):
	mkdir -p build/e2e/module
	cd build/e2e/module && { [ -f go.mod ] || go mod init crictl; } && go get sigs.k8s.io/cri-tools@v1.37.0 && \
	    go get sigs.k8s.io/cri-tools/cmd/crictl && go build -o ../crictl sigs.k8s.io/cri-tools/cmd/crictl

# By hand, as they take some minutes: docker's newest daemon, and BuildKit's. The latter's go.mod excludes modules, which `go install`
# does not take either.
build/e2e/moby/dockerd:
	for name in dockerd docker-proxy; do \
	    GOBIN=$(CURDIR)/build/e2e/moby go install github.com/moby/moby/v2/cmd/$$name@v2.0.0-beta.24 || exit; done

build/e2e/buildkitd:
	mkdir -p build/e2e/buildkit
	cd build/e2e/buildkit && { [ -f go.mod ] || go mod init buildkit; } && \
	    go get $(foreach name,buildkitd buildctl,github.com/moby/buildkit/cmd/$(name)@v0.34.2) && \
	    go build -o .. $(foreach name,buildkitd buildctl,github.com/moby/buildkit/cmd/$(name))

.PHONY: kubernetes kubernetes-costs kubernetes-needs kubernetes-suites
KUBERNETES := build/kubernetes
STEPS ?=
## a real Kubernetes of one node, built where there is Go: its steps with pyrun and with runc, as root; STEPS="-k probe" for some
kubernetes: kubernetes-needs test-needs build
	$(VENV)/bin/python -m pytest tests/kubernetes -o python_files='step_*.py' $(STEPS)

PODS ?= 50
## what a runtime costs on a node of Kubernetes: RUNTIMES="pyrun runc crun" PODS=50
kubernetes-costs: kubernetes-needs test-needs build
	PYTHONPATH=tests:. $(VENV)/bin/python tests/kubernetes/costs.py $(PODS)

SUITES ?=
## Kubernetes' own tests of a node and of the CRI, by hand, an hour each: RUNTIMES="pyrun runc crun" SUITES=node FOCUS="Security Context"
kubernetes-suites: kubernetes-needs test-needs build
	@csrc/needs.sh bash curl gcc hostname netcat-openbsd procps util-linux
	tests/kubernetes/build.sh $(KUBERNETES) suites
	PYTHONPATH=tests:. $(VENV)/bin/python tests/kubernetes/suites.py $(SUITES)

## build what the cluster takes from Go's modules: some 20 minutes and 2 GB of Go's caches at the first time
kubernetes-needs:
	@csrc/needs.sh curl iproute2 iptables libseccomp-dev openssl pkg-config procps
	tests/kubernetes/build.sh $(KUBERNETES)

FIELDS ?=
## see that the tests of specs/coverage.md fail when their field is ignored, as root; FIELDS="hostname linux.resources.*" for some
coverage-check: test-needs ext
	PYTHONPATH=tests:. $(VENV)/bin/python tests/coverage_check.py $(FIELDS)

SECONDS ?= 60
TARGETS ?=
## any input gets a right answer or one clear error: by libFuzzer and atheris; SECONDS=3600 for each of TARGETS="config plan"
fuzz: test-needs ext
	@csrc/needs.sh $(FUZZ_PACKAGES)
	@csrc/venv.sh $(PYTHON) $(VENV) tests/fuzz/requirements.txt
	PYTHONPATH=tests:. $(VENV)/bin/python -m fuzz.long $(SECONDS) $(TARGETS)

# What is undefined in C is a trap, which ends init. The address sanitizer takes a C library that is loaded, and init is static and runs from
# a memfd; tests/fuzz has it for the parts of init that read.
UNDEFINED := -fsanitize=undefined -fsanitize-undefined-trap-on-error
INIT_TESTS := tests/unit/test_init_verify.py $(addprefix tests/runtime/test_,$(addsuffix .py,covered_proc cwd devices exec fds idmapped_mounts \
              init_start labels mount_options mounts namespaces process propagation protection root_mount seccomp_run small_limits terminal userns))
## the tests of what init does, with an init that ends at what is undefined in C
sanitize: test-needs ext
	INIT_CFLAGS="$(UNDEFINED)" $(BUILD) ext && INIT_CFLAGS="$(UNDEFINED)" $(BUILD) binary
	$(VENV)/bin/python -m pytest $(INIT_TESTS); result=$$?; $(BUILD) ext && $(BUILD) binary && exit $$result

SOAK ?= alive=1000 cycles=10000 creators=20 seconds=600 probed=100 probing=3600 every=5 engine=100
## load: many containers at once and one after the other, with random kills; SOAK="cycles=100000 seconds=60" changes how much
soak: export SOAK := $(SOAK)
soak: e2e-needs test-needs build
	$(VENV)/bin/python -m pytest tests/soak tests/e2e/test_soak.py

## the linters alone, which take no root, no Debian packages and no compiler
lint: _linters
	$(BUILD) types
	$(VENV)/bin/python tests/lint.py

## mend what the linters can mend by themselves
format: _linters
	$(VENV)/bin/python tests/lint.py --fix

# The project's packages are there for mypy: it reads the types of click.
_linters:
	@csrc/venv.sh $(PYTHON) $(VENV) csrc/requirements.txt tests/requirements-lint.txt

## measure times and memory beside runc and crun, as far as they are on PATH; RUNS=50 RUNTIMES="build/pyrun runc crun"
bench: build
	@csrc/venv.sh $(PYTHON) $(VENV) tests/bench/requirements.txt
	$(VENV)/bin/python tests/bench/bench.py
	$(VENV)/bin/python tests/bench/report.py

## the OCI's conformance suite (needs Go); RUNTIME=runc PROGRAMS="start kill"
conformance: test-needs build
	PYTHONPATH=tests $(VENV)/bin/python tests/conformance/suite.py

SHARE   = $(DESTDIR)$(PREFIX)/share
BASHDIR = $(SHARE)/bash-completion/completions
ZSHDIR  = $(SHARE)/zsh/site-functions
FISHDIR = $(SHARE)/fish/vendor_completions.d

## the executable, manual pages and completions to $(DESTDIR)$(PREFIX)/bin and share; PREFIX is /usr/local where it is not given
install: build man
	@$(MAKE) --no-print-directory _install

_install:
	install -D -m 755 $(MADE) $(DESTDIR)$(PREFIX)/bin/pyrun
	install -d $(SHARE)/man/man8
	install -m 644 build/man/*.8 $(SHARE)/man/man8
	install -D -m 644 build/completions/pyrun $(BASHDIR)/pyrun
	install -D -m 644 build/completions/_pyrun $(ZSHDIR)/_pyrun
	install -D -m 644 build/completions/pyrun.fish $(FISHDIR)/pyrun.fish

## remove them from there
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/pyrun $(SHARE)/man/man8/pyrun.8 $(SHARE)/man/man8/pyrun-*.8
	rm -f $(BASHDIR)/pyrun $(ZSHDIR)/_pyrun $(FISHDIR)/pyrun.fish
