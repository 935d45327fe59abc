#!/usr/bin/env bash
# A local cluster with the operator, Prometheus, emulated model servers and a trace that is replayed.
#
#   KIND_NODE_IMAGE   kind's node image; default: what this version of kind names
#   BASE_IMAGE        a local image with Python and venv. Where it is given nothing is pulled:
#                     packages come out of build/wheels (`make wheels`), and Prometheus is made of the
#                     program that `make cluster` builds
#   PROMETHEUS_IMAGE  an image of Prometheus, instead of either
#   PYTHON            an interpreter that has the project's development packages
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cluster=steelyard
python=${PYTHON:-$root/.venv/bin/python}
export KUBECONFIG=$root/out/kind/kubeconfig

step() { printf '\n[%4ds] %s\n' "$SECONDS" "$*"; }

# Waits for a Deployment, and tells what its pods say where it does not come up.
wait_for() {
  kubectl rollout status --namespace "$1" "deployment/$2" --timeout="$3" && return
  kubectl get pods --namespace "$1" --output wide
  kubectl logs --namespace "$1" "deployment/$2" --all-pods --prefix --tail=20
  exit 1
} >&2

for program in docker kind kubectl; do
  command -v "$program" > /dev/null || { echo "$program is not on PATH: install it, then run this again" >&2; exit 1; }
done
mkdir -p "$(dirname "$KUBECONFIG")"

step "images"
built=()
if [ -n "${BASE_IMAGE:-}" ]; then
  # BuildKit asks a registry even for an image that is here.
  export DOCKER_BUILDKIT=0
  built+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
  if [ -d "$root/build/wheels" ]; then built+=(--build-arg PIP_NO_INDEX=1); fi
fi
docker build --quiet "${built[@]}" --tag steelyard:kind "$root"
docker build --quiet "${built[@]}" --tag steelyard-emulator:kind --file "$root/simulations/emulator/Dockerfile" "$root"
if [ -n "${BASE_IMAGE:-}" ] && [ -z "${PROMETHEUS_IMAGE:-}" ]; then
  programs=$(PYTHONPATH=$root/tests "$python" -c '
import sys
from controlplane.programs import find_programs
print(find_programs(lambda line: print(line, file=sys.stderr)).folder)')
  context=$root/out/kind/prometheus
  mkdir -p "$context"
  cp "$programs/prometheus" "$here/prometheus/Dockerfile" "$context/"
  docker build --quiet --build-arg "BASE_IMAGE=$BASE_IMAGE" --tag steelyard-prometheus:kind "$context"
else
  image=${PROMETHEUS_IMAGE:-prom/prometheus:v3.5.0}
  docker image inspect "$image" > /dev/null 2>&1 || docker pull "$image"
  docker tag "$image" steelyard-prometheus:kind
fi

if kind get clusters 2> /dev/null | grep -qx "$cluster"; then
  step "cluster: already there"
  again=yes
  kind export kubeconfig --name "$cluster" --kubeconfig "$KUBECONFIG"
else
  step "cluster"
  kind create cluster --name "$cluster" --config "$here/cluster.yaml" --kubeconfig "$KUBECONFIG" \
    --wait 180s ${KIND_NODE_IMAGE:+--image "$KIND_NODE_IMAGE"}
fi
# Nothing of ours runs beside the control plane.
workers=$(kind get nodes --name "$cluster" | grep worker | paste -sd, -)
kind load docker-image --name "$cluster" --nodes "$workers" steelyard:kind steelyard-emulator:kind steelyard-prometheus:kind

step "eight GPUs a worker"
for node in $(kubectl get nodes -l nvidia.com/gpu.product -o name); do
  # The kubelet keeps what it does not manage itself, and takes allocatable from capacity.
  kubectl patch "$node" --subresource=status --type=json \
    --patch '[{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "8"}]'
done

step "Prometheus and the operator"
kubectl apply --server-side -k "$here/prometheus"
kubectl apply --server-side -k "$here/operator"
if [ -n "${again:-}" ]; then
  # The tag is the same, so nothing else tells the pods of new images.
  kubectl rollout restart --namespace steelyard-system deployment/steelyard
fi
kubectl wait --for=condition=Established crd/modeldeployments.steelyard.dev --timeout=60s
wait_for monitoring prometheus 180s
wait_for steelyard-system steelyard 300s

step "model servers, and the trace"
kubectl kustomize --load-restrictor LoadRestrictionsNone "$here/serving" | kubectl apply --server-side -f -
if [ -n "${again:-}" ]; then
  kubectl rollout restart --namespace serving deployment/emulator
fi
wait_for serving emulator 300s

step "done: the trace begins within a minute"
cat <<TEXT
  export KUBECONFIG=$KUBECONFIG
  kubectl get md -n serving --watch
  kubectl describe md -n serving llama-chat
  make kind-down
TEXT
