"""What is run on a machine that is watched: scripts of sh, and what they hide.

They are text; `deploy.watching` runs them and says when. Each is for any POSIX shell, as root.
"""

from __future__ import annotations

from deploy.cutting import TABLE

RUN = "/run/sealift-proof"
"""A tmpfs of the watch's own, by whose source all that it mounted is known."""
HIDDEN_FOLDERS = (
    "/etc/apt",
    "/var/cache/apt",
    "/var/lib/apt/lists",
    *(f"~/{name}" for name in (".cache/pip", ".cache/uv", ".config/pip", ".config/uv", ".npm")),
    "~/.pip",
    "~/.cache/node-gyp",
)
HIDDEN_FILES = (
    *("/etc/pip.conf", "/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"),
    *("~/.npmrc", "~/.pydistutils.cfg"),
)
"""What pip, npm, uv and apt are set by and keep; `~` is the home of who looks, root mostly."""
LOOSE = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose"
"""Whether the kernel guesses who began a connection whose beginning it did not see."""

FIND = """\
for each; do
  if [ -x "$each" ] && "$each" --version > /dev/null 2>&1; then
    echo "$each"
    exit 0
  fi
done
PATH=$PATH:/usr/sbin:/sbin command -v nft
"""
# The file comes with connection tracking, which may come with the rules: done before and after.
STRICT = f"""\
if [ -e {LOOSE} ]; then
  [ -e {RUN}/loose ] || cat {LOOSE} > {RUN}/loose
  echo 0 2> /dev/null > {LOOSE} || :
fi
"""
# Arguments: the token, folders, --, files. The rules are laid after it, so that a machine that is
# watched is one whose caches are hidden.
BEGIN = f"""\
set -eu
token=$1
shift
mkdir -p {RUN}
mount -t tmpfs -o mode=700,size=1m sealift-proof {RUN}
mkdir {RUN}/empty
: > {RUN}/nothing
: > "{RUN}/$token"
with={RUN}/empty is=-d
for each; do
  case $each in
    --) with={RUN}/nothing is=-f; continue ;;
    '~'*) each=${{HOME:-/root}}${{each#?}} ;;
  esac
  if [ "$is" "$each" ]; then
    mount --bind "$with" "$each"
    echo "$each"
  fi
done
{STRICT}"""
# Whether connections of unknown beginning are taken as they come; then the sockets.
SOCKETS = f"""\
{STRICT}\
cat {LOOSE} 2> /dev/null || echo unknown
cat /proc/sys/net/ipv4/ip_local_port_range
cd /proc/net
for each in tcp tcp6 udp udp6; do
  [ ! -e $each ] || cat $each
done
"""
# All but loopback, and but what joins guests to a bridge: what they send off the machine leaves it
# by another interface.
INTERFACES = """\
while IFS=' :' read -r name rest; do
  case $name in
    lo | Inter-* | face) continue ;;
  esac
  at=/sys/class/net/$name
  if [ ! -e "$at/brport" ] || [ -e "$at/device" ]; then
    echo "$name"
  fi
done < /proc/net/dev
"""
NUMBERS = "cat /proc/net/snmp; cat /proc/net/snmp6 2> /dev/null; exit 0\n"
END = f"""\
"$1" delete table netdev {TABLE} 2> /dev/null
"$1" delete table inet {TABLE} 2> /dev/null
[ ! -s {RUN}/loose ] || cat {RUN}/loose 2> /dev/null > {LOOSE}
mounted=$(cat /proc/mounts)
printf '%s\\n' "$mounted" | while read -r source target rest; do
  [ "$source" != sealift-proof ] || umount "$target" || umount -l "$target"
done
rmdir {RUN} 2> /dev/null
exit 0
"""
# Left on the machine when the rules are armed. It goes without a word when its watch has ended.
CLEANER = f"""\
while [ -e "{RUN}/$2" ] && "$1" get element inet {TABLE} armed '{{ ipv4 }}'; do
  sleep 5
done
[ -e "{RUN}/$2" ] || exit 0
"""
LEAVE = """\
cleaner=$3
setsid sh -c "$cleaner" sealift-proof "$1" "$2" > /dev/null 2>&1 < /dev/null &
"""
# The one word that bash can send to elsewhere without any other program. What comes of it is
# nobody's business but the count's.
TRY = """bash -c 'exec 3<> "/dev/udp/$0/9"; echo >&3' "$1" 2> /dev/null; exit 0\n"""
# Whether there is an address of IPv6 on any interface but loopback.
IPV6 = """\
[ -e /proc/net/if_inet6 ] || exit 1
while read -r address index length scope flags name; do
  [ "$name" = lo ] || exit 0
done < /proc/net/if_inet6
exit 1
"""
