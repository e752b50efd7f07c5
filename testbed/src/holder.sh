# Holds the namespaces of one test and removes what they leave, whatever becomes of the test.
#
# $1 is the bed's folder; its last part names the cgroups. Standard input is a pipe from the test: its end is the end of
# the test, also after a panic or a SIGKILL, which no destructor sees. So this shell must outlive every signal but that.
trap '' HUP INT TERM
bed=$1
name=${bed##*/}

sh -eu "$bed/enter.sh" "$bed" </dev/null 2>"$bed/setup.log" &
unshare=$!
# What the test reads ends with those who have something to say.
exec >/dev/null
cat

kill -9 $(cat "/proc/$unshare/task/$unshare/children") 2>/dev/null
wait "$unshare" 2>/dev/null
find /sys/fs/cgroup -depth -type d -path "*/$name*" -exec rmdir {} \; 2>/dev/null
rm -rf "$bed"
