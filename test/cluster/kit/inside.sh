#!/usr/bin/env bash
# inside.sh DIRECTORY COMMAND…: runs a command in the cluster that run.sh holds there. kubectl knows where to go.
set -euo pipefail
. "$(dirname "$0")/env.sh"
directory=$1
shift
export KUBECONFIG=$directory/admin.kubeconfig
# Not its PID namespace: nsenter would have to fork, and a signal would end nsenter but not the command.
exec nsenter -t "$(< "$directory/init.pid")" -m -n -C -u --wdns="$PWD" "$@"
