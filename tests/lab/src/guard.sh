# Ends and removes everything of a lab's real nodes on this machine: processes, control groups, the link, their folder.
# $1: `now`, or `after` to wait until the lab has ended, which closes standard input however it ends.
# $2: the lab's number; $3: its nodes' folder.
set -u
group=holdfast-lab-$2
link=hflab$2
if [ "$1" = after ]; then cat >/dev/null; fi

# A container's processes and its shim are below the lab's group in the unified hierarchy.
for root in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    if [ -e "$root/$group/cgroup.kill" ]; then echo 1 >"$root/$group/cgroup.kill"; fi
done
tries=0
while [ "$tries" -lt 100 ]; do
    left=$(ls -d /sys/fs/cgroup/"$group" /sys/fs/cgroup/*/"$group" 2>/dev/null)
    if [ -z "$left" ]; then break; fi
    # A group with a dying process cannot be removed yet: the next round finds it empty.
    find $left -depth -type d -exec rmdir {} + 2>/dev/null
    tries=$((tries + 1))
    sleep 0.05
done
# The namespaces and their end of the link go with their last process; the kernel may not be done with that yet.
ip link delete "$link" 2>/dev/null
if [ -n "$3" ]; then rm -rf --one-file-system "$3"; fi
if [ -n "$left" ]; then echo "still there: $left" >&2; exit 1; fi
