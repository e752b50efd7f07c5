#!/usr/bin/env bash
# From nothing to a web server in a cluster: installs, builds, starts, and runs the flow of the README.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${DATA_DIR:-/var/lib/skiff}
target=${CARGO_TARGET_DIR:-target}
export PATH=$PATH:$HOME/.cargo/bin:/usr/sbin

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '\n$ %s\n' "$*"; "$@"; }

say "1. What is missing"
scripts/prepare.sh run build toolchain
say "2. Build (some minutes the first time)"
cargo build --release --bins

say "3. A cluster"
as_root "$target/release/skiff" up --data-dir "$data"
kubeconfig=$(mktemp)
trap 'rm -f "$kubeconfig"' EXIT
as_root "$target/release/skiff" kubeconfig --data-dir "$data" >"$kubeconfig"
export KUBECONFIG=$kubeconfig

if ! curl --silent --max-time 5 --output /dev/null https://registry-1.docker.io/v2/; then
    say "docker.io cannot be reached: an nginx image is made from Debian's nginx and served by a registry of this machine"
    scripts/prepare.sh test
    scripts/registry.sh start "$data"
    archive=$(mktemp)
    "$target/release/make-test-image" nginx docker.io/library/nginx:latest "$archive"
    skopeo --insecure-policy copy --quiet --dest-tls-verify=false "oci-archive:$archive" docker://127.0.0.1:5000/library/nginx:latest
    rm -f "$archive"
fi
# A second run starts from the same place as the first.
kubectl delete deployment,service web --ignore-not-found --wait >/dev/null

say "4. A web server in it"
show kubectl get nodes -o wide
show kubectl create deployment web --image=nginx
show kubectl scale deployment web --replicas=3
show kubectl expose deployment web --port=80
show kubectl rollout status deployment web --timeout=180s
show kubectl get pods -o wide
address=$(kubectl get service web -o jsonpath='{.spec.clusterIP}')
show curl --silent --show-error --fail --retry 20 --retry-connrefused --retry-delay 1 --max-time 20 "http://$address"
echo
echo "30 more requests, and how many each pod answered:"
for _ in $(seq 30); do curl --silent --fail --max-time 10 --output /dev/null "http://$address"; done
for pod in $(kubectl get pods -l app=web -o name); do
    echo "  $pod: $(kubectl logs "$pod" | grep -c '"GET / ')"
done

sudo=$([ "$(id -u)" = 0 ] || echo "sudo ")
say "The cluster stays up."
echo "Use it:    ${sudo}KUBECONFIG=$data/admin.kubeconfig kubectl get pods --all-namespaces"
echo "Stop it:   make down     (keeps its data)"
echo "Remove it: make reset    (every trace)"
