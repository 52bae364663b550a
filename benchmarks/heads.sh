#!/bin/sh
# What a site writes that has rsync, ssh and systemd: a deploy of a plain tree to several heads.
# Arguments: ssh's settings, the tree, the release's name, the heads.
set -eu
settings=$1 tree=$2 release=$3
shift 3

one() {
    rsync -az --delete -e "ssh -F $settings" --link-dest=/srv/plain/current/ \
        "$tree/" "$1:/srv/plain/releases/$release/"
    ssh -F "$settings" "$1" "
        ln -sfn releases/$release /srv/plain/next && mv -T /srv/plain/next /srv/plain/current &&
        systemctl restart plain.service &&
        until curl -fsS -o /dev/null http://127.0.0.1:15010/api/health 2>/dev/null; do sleep 0.1; done"
}

waiting=
for head in "$@"; do
    one "$head" &
    waiting="$waiting $!"
done
for each in $waiting; do
    wait "$each"
done
