#!/usr/bin/env bash
# run.sh DIRECTORY: a whole Kubernetes of one node in namespaces of its own. Says `ready` once pods can be made, holds the
# cluster until its standard input ends, and takes everything away again, the directory too.
#
# Root, containerd and runc (Debian's), and the binaries of build.sh. Several can run side by side: nothing of a cluster
# lies outside the directory, its namespaces and a cgroup of its own. Nothing of it can be reached from the machine;
# `inside.sh DIRECTORY COMMAND…` runs a command in it.
set -euo pipefail
. "$(dirname "$0")/env.sh"
READY_SECONDS_MAX=180

[ $# -eq 1 ] || fail "which directory?"
[ "$(id -u)" -eq 0 ] || fail "needs root, for namespaces, mounts and containers"
for program in containerd ctr runc openssl ip nsenter unshare setpriv; do
  command -v "$program" > /dev/null || fail "needs $program (Debian: containerd runc openssl iproute2 util-linux)"
done
is_built || fail "is not built in $cache: run test/cluster/kit/build.sh"
unshare --mount --net --pid --fork --cgroup --uts --ipc true || fail "may not make namespaces here"

# Who started it says by the end of this input that it is over, also while the cluster still starts. (A background job has
# no standard input but by another descriptor.)
exec 3<&0
cat <&3 > /dev/null &
holder=$!

mkdir -p "$1"
directory=$(cd "$1" && pwd)
[ -z "$(ls "$directory")" ] || fail "$directory is not empty"
cgroups=()
outer=

down() {
  trap - EXIT
  kill "$holder" 2> /dev/null || true
  # The first process of the PID namespace: everything in it dies with it, and its mounts with the last.
  if [ -s "$directory/init.pid" ]; then kill -KILL "$(< "$directory/init.pid")" 2> /dev/null || true; fi
  if [ -n "$outer" ]; then
    [ -s "$directory/init.pid" ] || kill -KILL "$outer" 2> /dev/null || true
    wait "$outer" 2> /dev/null || true
  fi
  for cgroup in "${cgroups[@]}"; do
    for _ in $(seq 50); do
      find "$cgroup" -depth -type d -exec rmdir {} + 2> /dev/null || true
      if [ -d "$cgroup" ]; then sleep 0.1; else break; fi
    done
  done
  rm -rf "$directory"
}
trap down EXIT
trap 'exit 1' INT TERM HUP

mkdir "$directory"/{log,cni,pods,kubelet,var,var/upper,var/work}
bash "$kit/pki.sh" "$directory"
mkdir "$directory/pause"
cp "$kubernetes_bin/pause" "$directory/pause/"
ENTRYPOINT='["/pause"]' bash "$kit/image.sh" "$directory/pause" cluster.local/pause:1 "$directory/pause.tar"

# Version 2 is read by containerd 1.6 to 2.
cat > "$directory/containerd.toml" << C
version = 2
root = "$directory/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "cluster.local/pause:1"
  disable_apparmor = true
  # Where root has no CAP_SYS_RESOURCE, as in many virtual machines.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cni_bin"
    conf_dir = "$directory/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
C
cat > "$directory/cni/10-bridge.conflist" << C
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isDefaultGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pod_subnet", "gateway": "$pod_gateway"}]]}}]}
C
: > "$directory/resolv.conf"
# Limits that have to do with the machine are off: it is shared, and other than the cluster's pods is none of its business.
cat > "$directory/kubelet.yaml" << C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $directory/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $directory/pki/kubelet-server.crt
tlsPrivateKeyFile: $directory/pki/kubelet-server.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
resolvConf: $directory/resolv.conf
podLogsDir: $directory/pods
volumePluginDir: $directory/plugins
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
# How much a volume holds is counted every one to two minutes, where this is not said; every ten seconds it is compared with its limit.
volumeStatsAggPeriod: 5s
C

# cgroups of its own below the caller's: they are the cluster's "/", and the machine's tree stays as it is.
name=warmstate-cluster-$$
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
  # Only the root of the tree may hold processes and hand controllers down at once.
  echo '+cpuset +cpu +io +memory +pids' > /sys/fs/cgroup/cgroup.subtree_control || fail "may not hand the controllers of cgroup v2 down"
  cgroups=("/sys/fs/cgroup/$name")
  mkdir "${cgroups[0]}"
else
  mkdir "$directory/hierarchies"
  while IFS=: read -r _ controllers path; do
    # The tree of version 2 has no controllers where version 1 has them.
    [ -n "$controllers" ] || continue
    hierarchy=${controllers#name=}
    cgroup=/sys/fs/cgroup/$hierarchy${path%/}/$name
    mkdir "$cgroup" "$directory/hierarchies/$hierarchy"
    cgroups+=("$cgroup")
    # A new cpuset is empty, and takes no process.
    if [ "$hierarchy" = cpuset ]; then for each in cpus mems; do cat "$cgroup/../cpuset.$each" > "$cgroup/cpuset.$each"; done; fi
  done < /proc/self/cgroup
fi

# The first process enters the cgroups by itself, and calls them its root then: what started it must not stay in them, for
# version 2 hands no controllers down from where processes are.
printf '%s\n' "${cgroups[@]}" > "$directory/cgroups"
enter='while read -r cgroup; do echo 0 > "$cgroup/cgroup.procs"; done < "$1/cgroups"; exec unshare --cgroup bash "$0" "$1"'
setsid setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --uts --ipc --mount-proc \
  bash -c "$enter" "$kit/init.sh" "$directory" > "$directory/log/init.log" 2>&1 < /dev/null &
outer=$!

lost() {
  tail -n 5 "$directory"/log/*.log >&2
  fail "$1"
}
child_of_outer() { [ "$(cat "/proc/$outer/comm")" = unshare ] && cat "/proc/$outer/task/$outer/children"; }
# Node and default service account: without that the API server refuses every pod.
is_ready() {
  [ "$("$kit/inside.sh" "$directory" kubectl get node node -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ] &&
    "$kit/inside.sh" "$directory" kubectl get serviceaccount default
}
init=
until [ -n "$init" ]; do
  kill -0 "$outer" 2> /dev/null || lost "did not start"
  kill -0 "$holder" 2> /dev/null || exit 1
  init=$(child_of_outer 2> /dev/null || true)
  sleep 0.1
done
echo "${init% }" > "$directory/init.pid"
until is_ready > /dev/null 2>&1; do
  kill -0 "$outer" 2> /dev/null || lost "ended while it started"
  kill -0 "$holder" 2> /dev/null || exit 1
  [ "$SECONDS" -lt "$READY_SECONDS_MAX" ] || lost "was not ready after $READY_SECONDS_MAX seconds"
  sleep 0.3
done
echo ready

wait -n "$holder" "$outer" || true
kill -0 "$outer" 2> /dev/null || lost "ended by itself"
