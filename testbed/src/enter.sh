# Becomes the first process of the bed: joins cgroups of the bed's own, makes their namespace, then all other namespaces.
#
# $1 is the bed's folder, $2 the stage. A cgroup namespace shows as root the cgroups that its maker was in, so it is made
# after joining; and the bed's own cgroup must be empty again, or version 2 would not let it have children.
bed=$1
name=${bed##*/}
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    hierarchies=/sys/fs/cgroup
else
    hierarchies=$(ls -d /sys/fs/cgroup/*/)
fi

case ${2-join} in
    join)
        # The first thing that the test reads: it stays this process's through all that follows.
        echo $$
        for hierarchy in $hierarchies; do
            mkdir -p "$hierarchy/$name"
            # A new cpuset of version 1 is empty, and would let nothing run.
            for file in cpuset.cpus cpuset.mems; do
                [ -e "$hierarchy/cgroup.controllers" ] || [ ! -e "$hierarchy/$file" ] ||
                    cat "$hierarchy/$file" >"$hierarchy/$name/$file"
            done
            if [ "$hierarchy" = /sys/fs/cgroup ]; then
                sed 's/[^ ]*/+&/g' "$hierarchy/cgroup.controllers" >"$hierarchy/cgroup.subtree_control"
            fi
            echo $$ >"$hierarchy/$name/cgroup.procs"
        done
        exec unshare --cgroup sh -eu "$bed/enter.sh" "$bed" leave
        ;;
    leave)
        for hierarchy in $hierarchies; do
            mkdir -p "$hierarchy/$name/holder"
            for file in cpuset.cpus cpuset.mems; do
                [ -e "$hierarchy/cgroup.controllers" ] || [ ! -e "$hierarchy/$file" ] ||
                    cat "$hierarchy/$file" >"$hierarchy/$name/holder/$file"
            done
            echo $$ >"$hierarchy/$name/holder/cgroup.procs"
        done
        # Killing the first process of the process namespace ends all others with it: runtimes, shims, containers.
        exec unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc --propagation private \
            sh -eu "$bed/setup.sh" "$bed"
        ;;
esac
