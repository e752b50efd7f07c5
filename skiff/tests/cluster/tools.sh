# What pages of the cluster use beside kubectl.

# start NAME SCRIPT [MORE]: a pod whose container runs the script, once it is ready. MORE is JSON of the container.
start() {
    jq -n --arg name "$1" --arg script "$2" --argjson more "${3:-{\}}" '{
        apiVersion: "v1", kind: "Pod", metadata: {name: $name}, spec: {
            terminationGracePeriodSeconds: 1,
            containers: [{name: "main", image: "busybox", command: ["sh", "-c", $script]} + $more]}}' |
        kubectl create -f - >/dev/null
    kubectl wait "pod/$1" --for=condition=Ready --timeout=50s
}

# typed COMMAND…: runs it with what comes on the standard input, whose end it does not see. For containers without
# `stdinOnce`: with the end of the input containerd 1.6 lets go of the output, too.
typed() {
    exec 3< <(cat; exec sleep 60)
    local typist=$!
    "$@" <&3
    local status=$?
    kill $typist
    return $status
}

# on_terminal COMMAND: the same on a terminal.
on_terminal() {
    typed script -qec "$1" /dev/null | tr -d '\r'
}

# forward ARGUMENTS…: a port-forward beside the commands that follow. $port is its first local port; what else it says
# comes on descriptor 4.
forward() {
    coproc FORWARD { exec kubectl port-forward "$@" 2>&1; }
    forwarder=$FORWARD_PID
    trap 'kill $forwarder 2>/dev/null' EXIT
    exec 4<&"${FORWARD[0]}"
    read -r line <&4
    port=${line#*127.0.0.1:}
    port=${port%% *}
}

# forwarded: ends it, and prints what else it said.
forwarded() {
    kill $forwarder
    cat <&4
}

# answers URL…: what is there, or why there is nothing.
answers() {
    curl --silent --show-error --fail --max-time 20 "$@"
}
