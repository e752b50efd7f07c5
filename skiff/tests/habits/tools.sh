# What pages use beside kubectl. There is no kubelet here: who needs a pod to be ready says so himself.

# ready LABEL: as the kubelet would report of pods that run.
ready() {
    for pod in $(kubectl get pods -l "$1" -o name); do
        kubectl get "$pod" -o json |
            jq '.status = {phase: "Running", conditions: [{type: "Ready", status: "True", lastTransitionTime: "2020-01-01T00:00:00Z"}]}' |
            kubectl replace --raw "/api/v1/namespaces/$NAMESPACE/pods/${pod#pod/}/status" -f - >/dev/null
    done
}

# stamps: times, versions and random names as they cannot be foretold.
stamps() {
    sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?Z/TIME/g; s/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UID/g; s/(resourceVersion: )"[0-9]+"/\1"VERSION"/'
}

# heard COUNT: prints so many lines of what comes on descriptor 4.
heard() {
    for _ in $(seq "$1"); do
        read -r line <&4
        echo "$line"
    done
}

# logged PATTERN: until a kubectl with `-v=6 2>log` has said so.
logged() {
    until grep -q "$1" log 2>/dev/null; do :; done
}
