#!/bin/sh
# systemd.sh FOLDER VENV PACKAGE PYTHON
# Like machine.sh, but PID 1 is systemd and the units are there instead of the crontab. It starts nothing of this machine's
# own: nothing is enabled, what would touch the kernel or the network is masked, and /sys and /proc/sys are read-only.
# hlctl is below /opt with a Python of the system's, for the sandbox of the units hides homes and /tmp. To be started by
# `unshare --mount --pid --ipc --uts --cgroup --fork` in a cgroup of its own, the only one it may change.
set -eu
folder=$1 venv=$2 package=$3 python=$4
units=$(dirname "$0")/../../systemd

mount -t tmpfs -o mode=755 tmpfs "$folder" || exit 77
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/root" || exit 77
root=$folder/root
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || exit 77
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for device in null zero full random urandom tty; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t tmpfs -o mode=755 tmpfs "$root/run"

rm -rf "$root"/opt/hlctl "$root"/etc/hlctl "$root"/var/lib/hlctl "$root"/var/log/journal "$root"/etc/systemd/system/*.wants
: >"$root/etc/fstab"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"          # without one systemd enables whatever it finds
for unit in systemd-sysctl.service systemd-networkd.service systemd-resolved.service systemd-timesyncd.service \
  systemd-modules-load.service systemd-binfmt.service systemd-random-seed.service systemd-udevd.service \
  systemd-remount-fs.service systemd-pstore.service systemd-logind.service tmp.mount dev-hugepages.mount dev-mqueue.mount \
  sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
cp -r "$units/." "$root/etc/systemd/system/"

mkdir -p "$root/opt/campaign/packages" "$root/opt/campaign/source" "$root/etc/hlctl"
set -- "$venv"/lib/python3.*/site-packages packages "$package" source
while [ $# -gt 0 ]; do
  mount --bind "$1" "$root/opt/campaign/$2"
  mount -o remount,bind,ro "$root/opt/campaign/$2"
  shift 2
done
chroot "$root" "$python" -m venv --without-pip /opt/hlctl
for site in "$root"/opt/hlctl/lib/python3.*/site-packages; do
  printf '/opt/campaign/packages\n/opt/campaign/source\n' >"$site/hlctl.pth"
done
sed '1s|.*|#!/opt/hlctl/bin/python|' "$venv/bin/hlctl" >"$root/opt/hlctl/bin/hlctl"
chmod 755 "$root/opt/hlctl/bin/hlctl"
grep -q ^hlctl: "$root/etc/passwd" ||
  chroot "$root" useradd --system --home-dir /var/lib/hlctl --shell /usr/sbin/nologin hlctl
chroot "$root" install -m 600 -o hlctl -g hlctl /dev/null /etc/hlctl/hlctl.env
chroot "$root" install -d -m 700 -o hlctl -g hlctl /var/lib/hlctl

cd "$root"
mkdir -p mnt/old
pivot_root . mnt/old                                   # the kernel gives no user namespaces in a chroot
umount -l mnt/old
mount --make-rshared /                                 # in a container systemd expects it so: its credentials need it
echo ready
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_boot,-syslog env -i container=hlctl-campaign \
  /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no >/dev/null 2>&1
