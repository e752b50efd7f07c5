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

# asked COUNT COMMAND…: types what comes on the standard input at a shell that the command opens, prints so many lines of
# its answer, and then types `exit 3`. For containers without `stdinOnce`: of their output containerd 1.6 loses what was
# not passed on when the input ends or the program does.
asked() {
    local count=$1
    shift
    coproc TALK { exec "$@" 2>&1; }
    exec 4<&"${TALK[0]}" 5>&"${TALK[1]}"
    cat >&5
    while ((count > 0)); do
        read -r line <&4
        # A complaint of some kubectls (testbed's pages/story.rs has it) is no answer.
        [[ $line == *"Unknown stream id"* ]] && continue
        echo "$line"
        ((count--))
    done
    echo 'exit 3' >&5
    cat <&4
}

# on_terminal COMMAND: runs it on a terminal. What comes on the standard input is typed there; its end is not.
on_terminal() {
    exec 3< <(cat; exec sleep 60)
    local typist=$!
    script -qec "$1" /dev/null <&3 | tr -d '\r'
    kill $typist
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
