#!/bin/sh -eu
# The programs of a Kubernetes, from the Go module proxy into the directory $1: what is there already stays. Some 20 minutes on two cores.
# $2: "suites" for Kubernetes' own tests too.
into=$1 suites=${2:-}
kubernetes=1.37.2 etcd=3.7.3 containerd=2.4.2 plugins=1.10.0 tools=1.37.0 runc=1.5.3
mkdir -p "$into/modules"
into=$(realpath "$into")
export GOFLAGS="${GOFLAGS:-} -trimpath -mod=mod -p=2"

# `go install` takes no module that replaces others, so a module of our own does: with the versions that the real one asks for, each
# module of its own tree replaced by the release of the same number. $1: the module, $2: its version, $3: the release of its tree.
module() {
    directory=$into/modules/$(basename "$(dirname "$1")")-$(basename "$1")
    mkdir -p "$directory"
    cd "$directory"
    [ -f go.mod ] && return
    original=$(go mod download -json "$1@$2" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    cp "$original/go.sum" .
    { echo 'module needs'
      sed -n '/^go /p; /^godebug /p; /^exclude/,/^)/p; /^require (/,/^)/p; /^require [^(]/p' "$original/go.mod"
      echo "require $1 $2"
      sed -n "s|^\(replace\)\?[[:space:]]*\([^ ]*\) => \..*|replace \2 => \2 $3|p" "$original/go.mod"; } >new.mod
    chmod u+w new.mod go.sum
    mv new.mod go.mod
}

# $1: the program's name, $2: its package, $3: flags of the linker, $4: of the compiler
build() {
    # shellcheck disable=SC2086 # several flags
    [ -x "$into/$1" ] || { echo "build $1" && nice -n 10 go build ${4:-} -ldflags "-s -w ${3:-}" -o "$into/$1" "$2"; }
}

module k8s.io/kubernetes "v$kubernetes" "v0.${kubernetes#1.}"
version="-X k8s.io/component-base/version.gitVersion=v$kubernetes -X k8s.io/component-base/version.gitMajor=1 \
-X k8s.io/component-base/version.gitMinor=$(echo $kubernetes | cut -d. -f2)"
for name in kubelet kube-apiserver kubectl kube-scheduler kube-controller-manager; do
    build $name k8s.io/kubernetes/cmd/$name "$version"
done

# What answers probes in the Pods of the tests, from the same tree. Static by the linker alone: of what is compiled for the others it takes all.
build agnhost k8s.io/kubernetes/test/images/agnhost "-linkmode external -extldflags -static"

module go.etcd.io/etcd/server/v3 "v$etcd" "v$etcd"
build etcd go.etcd.io/etcd/server/v3

module github.com/containerd/containerd/v2 "v$containerd" "v$containerd"
for name in containerd containerd-shim-runc-v2 ctr; do
    build $name github.com/containerd/containerd/v2/cmd/$name '' '-tags no_btrfs'
done

module github.com/containernetworking/plugins "v$plugins" "v$plugins"
for name in main/bridge main/loopback ipam/host-local meta/portmap; do
    build "cni/${name#*/}" github.com/containernetworking/plugins/plugins/$name
done

module sigs.k8s.io/cri-tools "v$tools" "v$tools"
build crictl sigs.k8s.io/cri-tools/cmd/crictl

# The one to compare with, with Debian's libseccomp-dev.
module github.com/opencontainers/runc "v$runc" "v$runc"
build runc github.com/opencontainers/runc "-X main.version=$runc" '-tags seccomp'

[ "$suites" ] || exit 0
# $1: the program, $2: the package whose tests it runs
tests() {
    [ -x "$into/$1" ] || { echo "build $1" && nice -n 10 go test -c -ldflags "-s -w" -o "$into/$1" "$2"; }
}

module k8s.io/kubernetes "v$kubernetes" "v0.${kubernetes#1.}"
tests e2e_node.test k8s.io/kubernetes/test/e2e_node
build ginkgo github.com/onsi/ginkgo/v2/ginkgo
build nnp k8s.io/kubernetes/test/images/nonewprivs

module sigs.k8s.io/cri-tools "v$tools" "v$tools"
tests critest sigs.k8s.io/cri-tools/cmd/critest

# Unpacked and not installed, which would start it.
[ -d "$into/nginx" ] || { cd "$into" && apt-get -q download nginx && dpkg -x nginx_*.deb nginx && rm nginx_*.deb; }
