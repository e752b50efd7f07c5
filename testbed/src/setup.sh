# Makes a fresh mount and network namespace look like a machine that nothing has touched yet. $1 is the bed's folder.
bed=$1
hostname "${bed##*/}"

# What programs write below these folders lands in the bed; what the machine has there stays readable.
for folder in etc var opt; do
    mkdir -p "/$folder" "$bed/$folder/upper" "$bed/$folder/work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$bed/$folder/upper,workdir=$bed/$folder/work" "/$folder"
done
# An overlay cannot be the upper side of another: these, which hold images and volumes, lie on a disk of the bed's own. So
# a kubelet's thresholds, which are shares of a disk, do not depend on how full the machine's disk is.
truncate -s 16G "$bed/plain.ext4"
mkfs.ext4 -q -m 0 -J size=16 "$bed/plain.ext4"
mkdir -p "$bed/plain"
mount -o loop "$bed/plain.ext4" "$bed/plain"
for folder in var/lib/containerd var/lib/kubelet var/lib/skiff var/lib/cni var/log/pods var/log/containers; do
    mkdir -p "/$folder" "$bed/plain/$folder"
    mount --bind "$bed/plain/$folder" "/$folder"
done
rm -rf /etc/cni
mount -t tmpfs tmpfs /run

# /sys shows the devices of the network namespace it was mounted in. The cgroups below it are mounted anew, so that the
# bed's own are their root: nothing in here can see, or collide with, the machine's.
mounts=$(awk '$2 ~ "^/sys/fs/cgroup" && $3 ~ "^cgroup" { print $3, $2, $4 }' /proc/self/mounts)
umount -R /sys/fs/cgroup
mount -t sysfs sysfs /sys
case $mounts in
    "cgroup2 /sys/fs/cgroup "*) ;;
    *) mount -t tmpfs tmpfs /sys/fs/cgroup ;;
esac
echo "$mounts" | while read -r type folder options; do
    # What is left of the options are the controllers, or the name, by which the kernel finds the hierarchy.
    options=$(echo ",$options," | sed 's/,rw,/,/; s/,ro,/,/; s/,nosuid,/,/; s/,nodev,/,/; s/,noexec,/,/; s/,relatime,/,/; s/,nsdelegate,/,/; s/,memory_recursiveprot,/,/; s/^,*//; s/,*$//')
    mkdir -p "$folder"
    mount -t "$type" ${options:+-o "$options"} cgroup "$folder"
done

# One device with a default route, so that the machine has an address; the far end leads nowhere until somebody puts it
# into a link (neighbours.rs).
address=$(cat "$bed/address")
ip link set lo up
ip link add eth0 type veth peer name uplink
ip address add "$address/24" dev eth0
ip link set eth0 up
ip link set uplink up
ip route add default via 192.168.77.1
printf '127.0.0.1 localhost\n%s %s\n' "$address" "${bed##*/}" >/etc/hosts

echo ready
# A shell that waits takes in orphans; nothing else may be the first process and leave zombies.
sleep infinity >/dev/null &
wait
