#!/usr/bin/env bash
# The swaps that need nothing but Debian's packages. $1 is the folder of the built programs.
set -euo pipefail
programs=$1
scratch=$(mktemp --directory)
trap 'rm -rf "$scratch"' EXIT

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo --preserve-env "$@"; fi; }
swap() { as_root "$programs/skiff-drill" swap "$@"; }

# Debian's kubectl, the oldest that is to be served, beside a newer one that may be installed.
kubectl=$(command -v kubectl.1.20 || command -v kubectl)
if ! "$kubectl" version --client 2>/dev/null | grep -q 'v1\.20\.'; then
    (cd "$scratch" && apt-get download -qq kubernetes-client && dpkg --extract kubernetes-client_*.deb debian)
    kubectl=$scratch/debian/usr/bin/kubectl
fi
swap --swap cni=/usr/lib/cni --swap "kubectl=$kubectl"

# Programs of upstream's names, each started by its command line: ours stand in for them. And plugins of both sides, which
# call each other: the bridge has the other's plugin give out addresses.
mkdir "$scratch/parts"
for part in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    ln -s "$programs/skiff" "$scratch/parts/$part"
done
chmod 755 "$scratch"
swap --all-from "$scratch/parts" --ours kube-scheduler \
    --swap host-local=/usr/lib/cni/host-local --swap portmap=/usr/lib/cni/portmap

# And one that cannot come up is told apart from one that fails.
status=0
swap --swap kube-scheduler=/bin/false >"$scratch/log" || status=$?
if [ $status != 3 ] || ! grep -q "DID NOT COME UP: .*kube-scheduler" "$scratch/log"; then
    cat "$scratch/log"
    echo "a scheduler that ends at once should be exit status 3, and is $status"
    exit 1
fi
echo "A part that does not come up is told: exit status 3."
