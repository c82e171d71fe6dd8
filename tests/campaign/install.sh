#!/usr/bin/env bash
# Follows docs/installation.md on a clean Debian: every `sh` block as it stands, by root, under a booted systemd.
#   tests/campaign/install.sh [bookworm|trixie]
# The machine is made by debootstrap in memory, in namespaces and a cgroup of its own, and nothing of it is left. What an
# operator may set is set: addresses of the simulated exchange. Debian's mirror and the way to pip's index are this machine's.
# It takes two to four minutes. Exit code: 0 if all was as the page promises, 1 if not, 77 where this machine cannot have
# another inside.
set -euo pipefail

suite=${1:-bookworm}
top=$(cd "$(dirname "$0")/../.." && pwd)
cannot() { echo "cannot run here: $*"; exit 77; }

# As the first process of a new machine, in namespaces of its own: the root folder becomes /, and systemd takes over.
boot() {
  cd "$1"
  mount --bind . . && cd "$1"
  mount -t proc proc proc
  mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
  mount -t sysfs -o ro sysfs sys
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  mount -t tmpfs -o mode=755 tmpfs dev
  mount -t tmpfs -o mode=755 tmpfs run
  mkdir dev/pts dev/shm
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
  mount -t tmpfs -o mode=1777 tmpfs dev/shm
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd
  for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
  done
  pivot_root . mnt                                     # the units' sandbox needs user namespaces, and a chroot gets none
  umount -l /mnt
  mount --make-rshared /                               # systemd expects it so
  exec setpriv --bounding-set=-sys_time,-sys_module,-sys_boot,-syslog env -i container=hlctl-campaign \
    /lib/systemd/systemd --system --log-target=journal --show-status=no >/dev/null 2>&1
}
if [ "$suite" = --boot ]; then boot "$2"; fi

[ "$(id -u)" = 0 ] || cannot "needs root"
PATH=$PATH:/usr/sbin:/sbin
for program in debootstrap unshare nsenter setpriv pivot_root apt-get; do
  command -v "$program" >/dev/null || cannot "$program is not installed"
done
if [ -z "${HLCTL_CAMPAIGN_INSIDE:-}" ]; then            # mounts of its own, which end with it
  unshare --mount true 2>/dev/null || cannot "this root may not mount"
  HLCTL_CAMPAIGN_INSIDE=1 exec unshare --mount "$0" "$suite"
fi
unset HLCTL_CAMPAIGN_INSIDE
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 -E '/debian/?$') ||
  cannot "apt has no mirror of Debian"
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[ -n "$cgroups" ] || cannot "there are no cgroups of version 2"

work=$(mktemp -d "${TMPDIR:-/tmp}/hlctl-install-XXXXXX")
cgroup=$cgroups/${work##*/}
machine=
finish() {
  [ -z "$machine" ] || kill -9 "$machine" 2>/dev/null || true   # it is the first process there: all others end with it
  for _ in $(seq 300); do                               # the kernel takes a moment to see that they are gone
    [ -d "$cgroup" ] || break
    find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
  done
  umount -l "$work" && rmdir "$work"
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
mount -t tmpfs -o mode=755,size=6g tmpfs "$work"
root=$work/root
say() { printf '%s %s\n' "$(date -u +%T)" "$*"; }
fail() {
  if [ -n "$machine" ]; then inside journalctl --no-pager --output=cat --unit='hlctl-*' | tail -30; fi
  say "broken: $*"
  exit 1
}

say "a clean Debian ($suite)"                            # with what every one that boots has
debootstrap --variant=minbase --include=systemd-sysv,dbus,cron "$suite" "$root" "$mirror" >"$work/debootstrap.log" 2>&1 ||
  cannot "debootstrap: $(tail -1 "$work/debootstrap.log")"
followed=$SECONDS

# The clone, and the way to pip's index: its settings, from files and from the environment, and whom it trusts.
git clone -q "$top" "$root/root/hlctl"
for file in /etc/pip.conf "${HOME:-/root}/.config/pip/pip.conf" "${HOME:-/root}/.pip/pip.conf"; do
  [ ! -f "$file" ] || install -D -m 600 "$file" "$root/${file/#${HOME:-\/root}\///root/}"
done
environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive)
while read -r name; do environment+=("$name=${!name}"); done < <(compgen -e | grep -E '^(PIP_.*|https?_proxy|no_proxy)$' || true)
if [ -f "${PIP_CERT:-}" ]; then
  cp "$PIP_CERT" "$root/root/authorities.pem"
  environment+=(PIP_CERT=/root/authorities.pem)
fi

mkdir "$cgroup" 2>/dev/null || cannot "this root may not make a cgroup"
# shellcheck disable=SC2016 - the inner shell's own words
sh -c 'echo $$ >"$0" && exec "$@"' "$cgroup/cgroup.procs" \
  unshare --mount --pid --ipc --uts --cgroup --fork --kill-child "$0" --boot "$root" 2>"$work/boot.log" &
until init=$(cat "/proc/$!/task/$!/children" 2>/dev/null) && [ -n "$init" ]; do
  kill -0 $! 2>/dev/null || cannot "$(cat "$work/boot.log")"
  sleep 0.1
done
disown                                                  # the shell need not tell how it ends
machine=${init% }
inside() { nsenter --target "$machine" --mount --pid --ipc --uts --cgroup --root --wd env -i "${environment[@]}" "$@"; }
soon() {                                                # soon SECONDS COMMAND...: until it succeeds
  local end=$((SECONDS + $1))
  until "${@:2}" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "in vain for $1 s: ${*:2}"
    sleep 0.5
  done
}
is_up() { [[ $(inside systemctl is-system-running 2>/dev/null) =~ ^(running|degraded)$ ]]; }
soon 60 is_up
say "booted: systemd $(inside systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')"

# Every `sh` block of the page, in a file: SECTION.NUMBER, by the headings.
mkdir "$root/root/blocks"
awk -v folder="$root/root/blocks" '
  /^## / { section = substr($0, 4); number = 0 }
  /^```$/ { file = "" }
  file { print >file }
  /^```sh$/ { file = folder "/" section "." ++number }
' "$top/docs/installation.md"
new_session() { echo 077 >"$root/root/umask"; }          # the strictest that an operator may have
follow() {                                              # follow SECTION [NUMBER...]: run these blocks, or all of it
  local section=$1 number blocks=()
  shift
  [ $# -gt 0 ] || set -- $(cd "$root/root/blocks" && printf '%s\n' "$section".* | sed 's/.*\.//' | sort -n)
  for number; do
    say "$section ($number)"
    # shellcheck disable=SC2016 - the inner shell's own words
    inside sh -ec 'umask "$(cat /root/umask)"; cd /root/hlctl; . "$0"; umask >/root/umask' "/root/blocks/$section.$number" \
      </dev/null >"$work/block.log" 2>&1 ||
      { tail -20 "$work/block.log"; fail "block $number of \"$section\""; }
    blocks+=("$section.$number")
  done
  printf '%s\n' "${blocks[@]}" >>"$work/followed"
}

# The simulated exchange that comes with hlctl, and the file of settings as an operator would write it.
simulate() {
  mkfifo "$work/exchange"
  inside /opt/hlctl/bin/python -m hlctl.sim --wallets 400 </dev/null >"$work/exchange" 2>"$work/exchange.log" &
  disown
  read -r url <"$work/exchange"
  printf '%s\n' "HLCTL_API_URL=$url" "HLCTL_LEADERBOARD_URL=$url/Mainnet/leaderboard" >"$root/etc/hlctl/hlctl.env"
}

new_session
follow "The program, a user, and one file of settings"
simulate
follow "With systemd"
sed -i "s#https://ntfy.sh/your-topic#$url/#" "$root/etc/hlctl/notify.curl"
soon 180 inside hlctl status --check
installed=$((SECONDS - followed))
follow "Looking at it" 1
cat "$work/block.log"
grep -q '^ok       schedule ' "$work/block.log" || fail "doctor does not see the timers"
follow "Looking at it" 2

say "the units, by systemd's own judgement"
# shellcheck disable=SC2016 - the inner shell's own words
inside sh -ec '
  cd /etc/systemd/system
  systemd-analyze verify --recursive-errors=yes hlctl-*.service hlctl-*.timer
  for unit in hlctl-*.service; do systemd-analyze security --offline=true --threshold=15 "$unit" | tail -1; done
  for timer in hlctl-*.timer; do [ "${timer%.timer}" = hlctl-prune ] || systemctl is-active -q "$timer"; done
  # verify may have come too early: a record of two minutes has nothing final yet
  if systemctl is-failed -q hlctl-postgres.service hlctl-snapshot.service hlctl-refresh-universe.service; then exit 1; fi
' || fail "the units"

follow "An archive before days are dropped"
echo HLCTL_RETENTION_DAYS=30 >>"$root/etc/hlctl/hlctl.env"
inside systemctl start hlctl-prune.service || fail "an export and a prune after it"
inside test -d /var/lib/hlctl/archive || fail "the sandbox kept the export from its folder"
sed -i /^HLCTL_RETENTION_DAYS=/d "$root/etc/hlctl/hlctl.env"

# A new version is the old one with another number.
sed -i 's/^__version__ = "\(.*\)"$/__version__ = "\1.post1"/' "$root/root/hlctl/hlctl/__init__.py"
new_session
follow "Upgrading"
inside hlctl --version | grep -F .post1 || fail "the version after the upgrade is $(inside hlctl --version)"
soon 60 inside hlctl status --check
follow "Removing it" 1

say "the same with cron"
follow "With cron"
# Each line is run as cron does: by its user, with no environment but what the file and cron itself give. What it prints is
# mailed, and on good days that is nothing; only an audit of a record two minutes old has to say that it is too young.
# shellcheck disable=SC2016 - the inner shell's own words
inside sh -ec '
  settings=$(grep -E "^[A-Z_]+=" /etc/cron.d/hlctl)
  cd /var/lib/hlctl
  grep -E "^[0-9*]" /etc/cron.d/hlctl | while read -r _ _ _ _ _ user command; do
    setpriv --reuid="$user" --regid="$user" --init-groups env -i LOGNAME="$user" HOME=/var/lib/hlctl $settings \
      /bin/sh -c "$command" </dev/null 2>&1 || echo "exit $?: $command"
  done
' >"$work/cron.log"
mailed=$(sed '/^hlctl verify: the range has no final minute yet/{N;/\nexit 2:/d}' "$work/cron.log")
[ -z "$mailed" ] || fail "cron would mail: $mailed"
inside hlctl status --check || fail "$(inside hlctl status --verbose)"
follow "Removing it" 2 3
left=$(inside find / -xdev -name '*hlctl*' -not -path '/root/*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/run/*' -not -path '/tmp/*')
[ -z "$left" ] || fail "left behind: $left"
ls "$root/root/blocks" | sort | diff - <(sort -u "$work/followed") || fail "blocks of the page that nobody has run"

# shellcheck disable=SC1091 - that machine's
say "kept: $(. "$root/etc/os-release" && echo "$PRETTY_NAME"), $(inside systemctl --version | head -1), $(inside python3 -V):" \
  "first good minute after $installed s, all of it $SECONDS s"
