#!/usr/bin/env bash
# Ends the cluster that up.sh made; images stay.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
kind delete cluster --name steelyard --kubeconfig "$root/out/kind/kubeconfig"
rm -rf "$root/out/kind"
