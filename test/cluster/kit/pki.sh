#!/usr/bin/env bash
# pki.sh DIRECTORY: a certificate authority for one cluster, and who is known by it. For each user NAME a NAME.kubeconfig
# lies in the directory.
set -euo pipefail
. "$(dirname "$0")/env.sh"
directory=$1
mkdir -p "$directory/pki"
cd "$directory/pki"

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

# certificate NAME SUBJECT USAGE [SUBJECT-ALTERNATIVE-NAMES]
certificate() {
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" |
    openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out "$1.crt" -extfile <(
      printf 'keyUsage=digitalSignature\nextendedKeyUsage=%s\n%s' "$3" "${4:+subjectAltName=$4}"
    ) 2> /dev/null
}

# user NAME SUBJECT
user() {
  certificate "$1" "$2" clientAuth
  cat > "$directory/$1.kubeconfig" << K
apiVersion: v1
kind: Config
current-context: warmstate
contexts: [{name: warmstate, context: {cluster: warmstate, user: $1}}]
clusters: [{name: warmstate, cluster: {server: "$api_server", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
K
}

key ca
openssl req -x509 -new -key ca.key -subj /CN=warmstate-tests -days 2 -out ca.crt
key service-accounts
openssl ec -in service-accounts.key -pubout -out service-accounts.pub 2> /dev/null
certificate apiserver /CN=kube-apiserver serverAuth "DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:$node_ip"
certificate apiserver-to-kubelet /O=system:masters/CN=kube-apiserver clientAuth
certificate kubelet-server /O=system:nodes/CN=system:node:node serverAuth "DNS:node,IP:$node_ip"
user admin /O=system:masters/CN=admin
user controller-manager /CN=system:kube-controller-manager
user scheduler /CN=system:kube-scheduler
user kubelet /O=system:nodes/CN=system:node:node
