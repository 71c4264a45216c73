# Sourced by every script of the kit.
kit=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$kit/versions.env"
# Outside the checkout: it costs 15 minutes of two cores, and a fresh clone should not pay it again.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/warmstate/cluster
kubernetes_bin=$cache/kubernetes-$KUBERNETES_VERSION
cni_bin=$cache/cni-$CNI_VERSION
kube_state_metrics_bin=$cache/kube-state-metrics-$KUBE_STATE_METRICS_VERSION
# Only inside the network namespace of a cluster.
node_ip=10.97.0.1
pod_subnet=10.98.0.0/24
pod_gateway=10.98.0.1
api_server=https://127.0.0.1:6443
export PATH=$kubernetes_bin:$kube_state_metrics_bin:$PATH

# What run.sh needs of build.sh.
is_built() { [ -x "$kubernetes_bin/kubelet" ] && [ -x "$cni_bin/bridge" ]; }

fail() {
  echo "cluster: $*" >&2
  exit 1
}
