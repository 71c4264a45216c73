#!/usr/bin/env bash
# build.sh [kubernetes] [cni] [kube-state-metrics]      (default: kubernetes and cni, which a cluster is made of)
#
# Compiles what lies in the cache not yet, from the Go module proxy alone: no registry of images, no release page. A
# target is a directory NAME-VERSION that appears when it is complete. Go >= 1.26, and gcc for the pause container.
# From nothing `kubernetes` costs 15 minutes of two cores; where Go's own cache has the packages, a minute.
set -euo pipefail
. "$(dirname "$0")/env.sh"
export GOFLAGS='-mod=mod -buildvcs=false -trimpath' CGO_ENABLED=0

# build DIRECTORY FUNCTION: runs the function in a directory of its own, with $out for what it makes.
build() {
  [ ! -d "$1" ] || return 0
  echo "cluster: building ${1##*/}"
  work=$(mktemp -d "$1.XXXXXX")
  out=$work/out
  mkdir "$out" "$work/module"
  cd "$work/module"
  "$2"
  # Somebody else may have been quicker.
  mv -T "$out" "$1" 2> /dev/null || [ -d "$1" ]
  cd "$cache"
  rm -rf "$work"
}
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

# Kubernetes replaces modules by its own ./staging/…, which `go install …@version` refuses. So: its go.mod, with the
# replacements led to the published twins v0.X, as the go.mod of a module that has the commands as dependencies.
kubernetes() {
  local downloaded version
  downloaded=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES_VERSION")
  awk -v twin="v0.${KUBERNETES_VERSION#1.}" '
    /^module /          { print "module cluster"; next }
    /=> \.\/staging\//  { sub(/=> .*/, "=> " $1 " " twin) }
                        { print }' "$(field GoMod "$downloaded")" > go.mod
  printf '\nrequire k8s.io/kubernetes v%s\n' "$KUBERNETES_VERSION" >> go.mod
  printf 'package cluster\n' > doc.go
  # Without these the API server takes itself for v0.0.0, and kubectl warns of the distance.
  version=$(printf ' -X %s.gitVersion=v'"$KUBERNETES_VERSION" k8s.io/component-base/version k8s.io/client-go/pkg/version)
  go build -ldflags "-s -w$version" -o "$out/" \
    k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kubectl}
  # etcd of the version in that go.mod: most of its packages are compiled already.
  go build -ldflags '-s -w' -o "$out/etcd" go.etcd.io/etcd/server/v3
  gcc -Os -static -DVERSION="$KUBERNETES_VERSION" -o "$out/pause" "$(field Dir "$downloaded")/build/pause/linux/pause.c"
}

cni() {
  install github.com/containernetworking/plugins/plugins/main/{bridge,loopback}@v"$CNI_VERSION"
  install github.com/containernetworking/plugins/plugins/ipam/host-local@v"$CNI_VERSION"
}

# Not by `go install`, which wants the list of all versions as well, and not every proxy hands that out.
kube-state-metrics() {
  printf 'module cluster\n\ngo 1.26\n\nrequire k8s.io/kube-state-metrics/v2 v%s\n' "$KUBE_STATE_METRICS_VERSION" > go.mod
  go build -ldflags '-s -w' -o "$out/" k8s.io/kube-state-metrics/v2
}

install() { GOFLAGS='-buildvcs=false -trimpath' GOBIN=$out go install -ldflags '-s -w' "$@"; }

# field NAME JSON, of what `go mod download -json` says.
field() { awk -F'"' -v name="$1" '$2 == name { print $4 }' <<< "$2"; }

command -v go > /dev/null || fail "needs Go 1.26 or newer to be built"
command -v gcc > /dev/null || fail "needs gcc to be built"
mkdir -p "$cache"
for target in "${@:-kubernetes cni}"; do
  for each in $target; do
    case $each in
      kubernetes) build "$kubernetes_bin" kubernetes ;;
      cni) build "$cni_bin" cni ;;
      kube-state-metrics) build "$kube_state_metrics_bin" kube-state-metrics ;;
      *) fail "cannot build $each" ;;
    esac
  done
done
