# --- building ---------------------------------------------------------------------------------------------------

PYTHON ?= /usr/bin/python3
VENV   := .venv
BUILD  := $(VENV)/bin/python csrc/build.py

.PHONY: all ext build venv dist clean

all: build

# Python's packages, at the versions of csrc/requirements.txt.
venv: $(VENV)/.installed
$(VENV)/.installed: csrc/requirements.txt | needs
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -r csrc/requirements.txt
	touch $@

# pyrun/_native*.so beside the sources: `.venv/bin/python -m pyrun` then runs from the checkout.
ext: venv
	$(BUILD) ext

# build/pyrun: the whole runtime in one executable.
build: venv
	$(BUILD) binary

# dist/pyrun-VERSION-linux-ARCH.tar.gz and its checksum.
dist: build
	$(VENV)/bin/python csrc/package.py

clean:
	rm -rf build dist pyrun/_argv_table.py pyrun/_checks.py pyrun/_build_info.py pyrun/*.so *.egg-info
	rm -rf bundles/*/rootfs

# --- running, testing, installing -------------------------------------------------------------------------------

PREFIX  ?= /usr/local
DESTDIR ?=

# Debian packages. `needs` installs those that are missing; where none is, it does nothing and needs no root.
PACKAGES      := gcc libc6-dev musl-tools libseccomp-dev libffi-dev python3-dev python3-venv busybox-static
TEST_PACKAGES := criu debootstrap iproute2 iptables procps shellcheck uidmap util-linux runc golang-github-opencontainers-specs-dev
APT_GET       := DEBIAN_FRONTEND=noninteractive apt-get -q -y
apt = dpkg -s $(1) >/dev/null 2>&1 || { $(APT_GET) update && $(APT_GET) install --no-install-recommends $(1); }

# The engines of tests/e2e, and what is no Debian package: the kubelet's client and containerd 2 are built where there is Go.
E2E_PACKAGES := containerd containernetworking-plugins curl debootstrap dnsmasq-base docker-compose docker.io iptables \
                netavark podman slirp4netns catatonit fuse-overlayfs uidmap
CRICTL       := build/e2e/crictl
CONTAINERD2  := build/e2e/containerd2

# The machine of tests/vm. Its root file system is the host's, so what runs in it is installed here.
VM_PACKAGES := apparmor dbus dbus-user-session kmod libpam-systemd qemu-system-x86 systemd uidmap

.PHONY: run test test-vm lint format bench conformance install needs test-needs e2e e2e-needs vm-needs

needs:
	@$(call apt,$(PACKAGES))

test-needs: needs
	@$(call apt,$(TEST_PACKAGES))
	@$(MAKE) --no-print-directory $(VENV)/.tested

$(VENV)/.tested: tests/requirements.txt $(VENV)/.installed
	$(VENV)/bin/pip install --quiet -r tests/requirements.txt
	touch $@

# A container that shows that it is one.
run: build
	bundles/rootfs.sh hello
	build/pyrun run bundles/hello

# All tests, as root. TESTS="tests/unit -k plan" runs some of them.
TESTS ?= tests
test: test-needs ext build
	$(VENV)/bin/python -m pytest $(TESTS)

# The same tests with each kind of cgroups, on this host and in a virtual machine, and as an ordinary user; prints a table.
# WORLDS="v2 systemd" runs some of them.
WORLDS ?=
test-vm: vm-needs test-needs ext build
	$(VENV)/bin/python tests/vm/worlds.py $(WORLDS)

vm-needs:
	@$(call apt,$(VM_PACKAGES)) || echo "without qemu the worlds of the virtual machine are not run"

# Real engines on the runtime. `make test` runs them too where they are installed.
e2e: e2e-needs test-needs build
	$(VENV)/bin/python -m pytest tests/e2e

e2e-needs:
	@$(call apt,$(E2E_PACKAGES))
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

lint: test-needs
	$(VENV)/bin/python -m pytest tests/unit/test_lint.py

# What the linters can mend by themselves.
format: test-needs
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/clang-format -i $(wildcard csrc/*.[ch] csrc/*/*.[ch] bundles/*/*.c tests/*/*.c)

# Times and memory beside runc and crun, as far as they are on PATH. RUNS=50 RUNTIMES="build/pyrun runc crun"
bench: build $(VENV)/.bench
	$(VENV)/bin/python tests/bench/bench.py
	$(VENV)/bin/python tests/bench/report.py

# The plotting library is for the chart alone.
$(VENV)/.bench: tests/bench/requirements.txt $(VENV)/.installed
	$(VENV)/bin/pip install --quiet -r tests/bench/requirements.txt
	touch $@

# The OCI's conformance suite (needs Go). RUNTIME=runc PROGRAMS="start kill"
conformance: test-needs build
	PYTHONPATH=tests $(VENV)/bin/python tests/conformance/suite.py

install: build
	install -D -m 755 build/pyrun $(DESTDIR)$(PREFIX)/bin/pyrun
