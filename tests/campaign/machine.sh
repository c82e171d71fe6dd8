#!/bin/sh
# machine.sh FOLDER VENV PATH...
# PID 1 of a machine as docs/installation.md leaves it: this machine's files under a layer in memory that takes every
# write, a user hlctl, /opt/hlctl (the environment VENV), nothing for cron to do yet, and a sendmail that keeps mails in
# /var/mails. Prints "ready", and ends with 77 where it may not mount what that takes.
# To be started by `unshare --mount --pid --ipc --fork`; FOLDER is where it mounts, every PATH a folder that user needs.
set -eu
folder=$1 venv=$2
shift 2

mount -t tmpfs -o mode=755 tmpfs "$folder" || exit 77
cd "$folder"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root || exit 77
mount --rbind /dev root/dev
mount -t tmpfs -o mode=1777 tmpfs root/dev/shm
mount -t proc proc root/proc
mount -t tmpfs -o mode=755 tmpfs root/run

# Folders on other disks are not in the layer; and those above may be closed to other users, as /root is.
for path; do
  if [ ! -e "root$path" ]; then
    mkdir -p "root$path"
    mount --bind "$path" "root$path"
    mount -o remount,bind,ro "root$path"              # or the next path's chmod could reach a real folder
    path=$(dirname "$path")
  fi
  while [ "$path" != / ]; do
    [ -n "$(find "root$path" -maxdepth 0 -perm -o=x)" ] || chmod o+rx "root$path"
    path=$(dirname "$path")
  done
done

rm -rf root/opt/hlctl root/etc/hlctl root/var/lib/hlctl root/etc/crontab root/etc/cron.d root/var/spool/cron/crontabs/*
mkdir -m 755 root/etc/cron.d root/etc/hlctl
mkdir -m 1777 root/var/mails
ln -s "$venv" root/opt/hlctl
grep -q ^hlctl: root/etc/passwd || chroot root useradd --system --home-dir /var/lib/hlctl --shell /usr/sbin/nologin hlctl
chroot root install -m 600 -o hlctl -g hlctl /dev/null /etc/hlctl/hlctl.env
chroot root install -d -m 700 -o hlctl -g hlctl /var/lib/hlctl
cat >root/usr/sbin/sendmail <<'END'
#!/bin/sh
cat >"$(mktemp /var/mails/XXXXXX)"
END
chmod 755 root/usr/sbin/sendmail

# PID 1 buries every orphan, which a waiting shell does. It ends with its input, and everything here with it.
exec chroot root sh -c 'exec 3<&0; echo ready; cat <&3 & wait'
