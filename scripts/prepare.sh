#!/usr/bin/env bash
# Installs what is missing from Debian's packages, for the purposes given: run, build, test; with "toolchain" also
# Rust, by rustup's own installer. What is there, from wherever, is left alone.
set -euo pipefail

# What is looked for (a command, or a file when it has a slash), and the package that has it.
run='
containerd containerd
runc runc
iptables iptables
conntrack conntrack
nft nftables
ip iproute2
mount mount
curl curl
kubectl kubernetes-client
'
build='
cc build-essential
protoc protobuf-compiler
/usr/include/google/protobuf/any.proto libprotobuf-dev
git git
curl curl
'
test='
etcd etcd-server
docker-registry docker-registry
skopeo skopeo
/usr/bin/busybox busybox-static
nginx nginx-light
openssl openssl
jq jq
nsenter util-linux
ps procps
hostname hostname
/usr/lib/cni/bridge containernetworking-plugins
faketime faketime
mkfs.ext4 e2fsprogs
'

missing=()
for purpose in "$@"; do
    case $purpose in run | build | test) ;; *) continue ;; esac
    while read -r wanted package; do
        [ -n "$wanted" ] || continue
        case $wanted in
            */*) [ -e "$wanted" ] && continue ;;
            *) PATH=$PATH:/usr/sbin:/sbin command -v "$wanted" >/dev/null && continue ;;
        esac
        missing+=("$package")
    done <<<"${!purpose}"
done

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
# Somebody else, such as unattended upgrades, may be at it.
apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "Missing, and there is no apt-get to install it: ${missing[*]} (names of Debian packages)" >&2
        exit 1
    fi
    echo "Installing: ${missing[*]}"
    # Debian starts a service with its package: an nginx on port 80 and an etcd on 2379 nobody asked for.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
        trap 'as_root rm -f $policy' EXIT
    fi
    apt update
    apt install -y --no-install-recommends "${missing[@]}" >/dev/null
fi

# The oldest client to serve is Debian's: unpacked beside whatever kubectl there is, as tests look for it.
if [[ " $* " == *" test "* ]] && command -v apt-get >/dev/null && ! compgen -c kubectl.1. >/dev/null; then
    folder=$(mktemp -d)
    unpack() { (cd "$folder" && apt-get download -qq kubernetes-client && dpkg -x ./*.deb .); }
    # What is known of packages may be old, or nothing.
    if unpack || { apt update && unpack; }; then
        minor=$("$folder/usr/bin/kubectl" version --client --short | sed -n 's/.*v1\.\([0-9]*\)\..*/\1/p')
        as_root install "$folder/usr/bin/kubectl" "/usr/local/bin/kubectl.1.$minor"
    else
        echo "Debian's kubectl (package kubernetes-client) cannot be downloaded: the oldest client that is served is not tested." >&2
    fi
    rm -rf "$folder"
fi

[[ " $* " == *" build "* ]] || exit 0
export PATH=$PATH:$HOME/.cargo/bin
installer="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
if ! command -v rustup >/dev/null && ! cargo --version >/dev/null 2>&1; then
    if [[ " $* " != *" toolchain "* ]]; then
        echo "There is no Rust toolchain; Debian's is too old. Get it by rustup's own installer:" >&2
        echo "  $installer" >&2
        exit 1
    fi
    echo "Installing the Rust toolchain by rustup's own installer"
    sh -c "$installer"
fi
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
have=$(cd "$(dirname "$0")/.." && cargo --version | cut -d' ' -f2)
if [ "$(printf '%s\n' "$needed" "$have" | sort -V | head -1)" != "$needed" ]; then
    echo "cargo is $have, and Rust $needed is needed. Get it by rustup's own installer:" >&2
    echo "  $installer" >&2
    exit 1
fi
