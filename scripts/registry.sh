#!/usr/bin/env bash
# A registry on loopback that stands in for docker.io where that cannot be reached: start|stop DATA_DIR.
# containerd finds it by a hosts.toml of the cluster's own, so pulls are real and nothing else is changed.
set -euo pipefail
verb=$1
data=$2
folder=$data/registry
address=127.0.0.1:5000

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
is_ours() { [ -e "$folder/pid" ] && [ "$(cat "/proc/$(cat "$folder/pid")/comm" 2>/dev/null)" = docker-registry ]; }

case $verb in
    start)
        if ! is_ours; then
            as_root mkdir -p "$folder/data" "$data/containerd/certs.d/docker.io"
            as_root tee "$folder/config.yml" >/dev/null <<YML
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: $folder/data}
http: {addr: "$address"}
YML
            as_root tee "$data/containerd/certs.d/docker.io/hosts.toml" >/dev/null <<TOML
server = "https://registry-1.docker.io"

[host."http://$address"]
  capabilities = ["pull", "resolve"]
TOML
            as_root sh -c "setsid docker-registry serve '$folder/config.yml' >>'$folder/log' 2>&1 </dev/null & echo \$! >'$folder/pid'"
        fi
        curl --silent --fail --retry 50 --retry-delay 1 --retry-connrefused --max-time 30 "http://$address/v2/" >/dev/null
        ;;
    stop)
        if is_ours; then
            as_root kill "$(cat "$folder/pid")"
        fi
        as_root rm -f "$folder/pid"
        ;;
esac
