# Makes a fresh mount and network namespace look like a machine that nothing has touched yet. $1 is the bed's folder.
bed=$1
hostname "${bed##*/}"

# What programs write below these folders lands in the bed; what the machine has there stays readable.
for folder in etc var opt; do
    mkdir -p "/$folder" "$bed/$folder/upper" "$bed/$folder/work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$bed/$folder/upper,workdir=$bed/$folder/work" "/$folder"
done
# An overlay cannot be the upper side of another: these hold images and volumes, so they are plain folders.
for folder in var/lib/containerd var/lib/kubelet var/lib/skiff var/lib/cni var/log/pods var/log/containers; do
    mkdir -p "/$folder" "$bed/plain/$folder"
    mount --bind "$bed/plain/$folder" "/$folder"
done
rm -rf /etc/cni
mount -t tmpfs tmpfs /run

# /sys shows the devices of the network namespace it was mounted in, and as root of the cgroups the bed's own cgroup in
# each hierarchy: nothing below can see, or collide with, the machine's. holder.sh removes them.
name=${bed##*/}
mkdir -p "$bed/cgroup"
mount --rbind /sys/fs/cgroup "$bed/cgroup"
mount -t sysfs sysfs /sys
own_cgroup() { # $1: a mounted hierarchy, $2: where to show the bed's part of it
    mkdir -p "$1/$name" "$2"
    # A new cpuset of version 1 is empty, and what is in it could not run.
    for file in cpuset.cpus cpuset.mems; do
        [ ! -e "$1/$name/$file" ] || [ -s "$1/cgroup.controllers" ] || cat "$1/$file" >"$1/$name/$file"
    done
    mount --bind "$1/$name" "$2"
}
if [ -e "$bed/cgroup/cgroup.controllers" ]; then
    sed 's/[^ ]*/+&/g' "$bed/cgroup/cgroup.controllers" >"$bed/cgroup/cgroup.subtree_control"
    own_cgroup "$bed/cgroup" /sys/fs/cgroup
else
    mount -t tmpfs tmpfs /sys/fs/cgroup
    for hierarchy in "$bed/cgroup"/*/; do
        hierarchy=${hierarchy%/}
        own_cgroup "$hierarchy" "/sys/fs/cgroup/${hierarchy##*/}"
    done
fi
umount -l "$bed/cgroup"

# One device with a default route, so that the machine has an address; the far end leads nowhere.
ip link set lo up
ip link add eth0 type veth peer name uplink
ip address add 192.168.77.2/24 dev eth0
ip link set eth0 up
ip link set uplink up
ip route add default via 192.168.77.1

touch "$bed/ready"
# A shell that waits takes in orphans; nothing else may be the first process and leave zombies.
sleep infinity &
wait
