#!/usr/bin/env bash
# init.sh DIRECTORY: the first process in the namespaces of a cluster, started by run.sh. Starts its parts, and ends when
# one of them does, and with it all the others.
set -u
. "$(dirname "$0")/env.sh"
directory=$1
log() { echo "$(date +%T.%3N) $*"; }

# Mounts are seen by the containers, and not by the machine.
mount --make-rslave / && mount --make-rshared /
mount -t sysfs sysfs /sys
if [ -d "$directory/hierarchies" ]; then
  mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
  for path in "$directory"/hierarchies/*; do
    hierarchy=${path##*/}
    mkdir "/sys/fs/cgroup/$hierarchy"
    mount -t cgroup -o "$hierarchy" cgroup "/sys/fs/cgroup/$hierarchy" 2> /dev/null ||
      mount -t cgroup -o "none,name=$hierarchy" cgroup "/sys/fs/cgroup/$hierarchy" || log "no cgroup $hierarchy"
  done
else
  mount -t cgroup2 cgroup /sys/fs/cgroup
  # Who hands controllers down holds no processes.
  mkdir /sys/fs/cgroup/parts
  echo $$ > /sys/fs/cgroup/parts/cgroup.procs
  echo '+cpuset +cpu +io +memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
fi
# What its parts write beside their own directories stays in the cluster.
mount -t tmpfs -o mode=755 tmpfs /run
mount -t overlay -o "lowerdir=/var,upperdir=$directory/var/upper,workdir=$directory/var/work" overlay /var
# The kubelet insists on writing settings of the whole machine: it gets files instead.
mkdir /run/sysctl
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  name=${setting%%=*}
  echo "${setting#*=}" > "/run/sysctl/${name//\//.}"
  mount --bind "/run/sysctl/${name//\//.}" "/proc/sys/$name" || log "cannot cover $name"
done
hostname node
ip link set lo up
ip link add node0 type bridge && ip addr add "$node_ip/24" dev node0 && ip link set node0 up
echo 1 > /proc/sys/net/ipv4/ip_forward

declare -A parts
part() { # COMMAND…
  "$@" > "$directory/log/$1.log" 2>&1 &
  parts[$!]=$1
  log "started $1"
}
etcd_at=http://127.0.0.1:2379
peers_at=http://127.0.0.1:2380
part containerd --config "$directory/containerd.toml"
part etcd --name node --data-dir "$directory/etcd" --listen-client-urls $etcd_at --advertise-client-urls $etcd_at \
  --listen-peer-urls $peers_at --initial-advertise-peer-urls $peers_at --initial-cluster node=$peers_at \
  --unsafe-no-fsync --log-level warn
# The kubelet is called by address: there is no DNS for the name of the node.
part kube-apiserver --etcd-servers $etcd_at --secure-port "${api_server##*:}" --advertise-address "$node_ip" \
  --endpoint-reconciler-type none --service-cluster-ip-range 10.96.0.0/24 --allow-privileged --profiling=false \
  --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
  --client-ca-file "$directory/pki/ca.crt" \
  --tls-cert-file "$directory/pki/apiserver.crt" --tls-private-key-file "$directory/pki/apiserver.key" \
  --kubelet-client-certificate "$directory/pki/apiserver-to-kubelet.crt" \
  --kubelet-client-key "$directory/pki/apiserver-to-kubelet.key" \
  --kubelet-certificate-authority "$directory/pki/ca.crt" --kubelet-preferred-address-types InternalIP \
  --service-account-issuer https://kubernetes.default.svc \
  --service-account-signing-key-file "$directory/pki/service-accounts.key" \
  --service-account-key-file "$directory/pki/service-accounts.pub"
until kubectl --kubeconfig "$directory/admin.kubeconfig" get --raw /readyz > /dev/null 2>&1; do sleep 0.3; done
log "the API server is ready"
part kube-controller-manager --kubeconfig "$directory/controller-manager.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false \
  --service-account-private-key-file "$directory/pki/service-accounts.key" --root-ca-file "$directory/pki/ca.crt" \
  --use-service-account-credentials
part kube-scheduler --kubeconfig "$directory/scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false
ctr -n k8s.io images import "$directory/pause.tar" || log "cannot import pause"
part kubelet --config "$directory/kubelet.yaml" --kubeconfig "$directory/kubelet.kubeconfig" \
  --root-dir "$directory/kubelet" --hostname-override node --node-ip "$node_ip"

wait -n -p ended "${!parts[@]}"
log "${parts[$ended]} ended with $?"
