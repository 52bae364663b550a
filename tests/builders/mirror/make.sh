#!/bin/sh
# Makes the signed indexes of this folder anew, with a key that is thrown away afterwards. Needs gpg.
set -eu
cd "$(dirname "$0")"
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
# Made in the past, so that no clock finds a signature from the future.
gpg() { command gpg --batch --quiet --yes --faked-system-time '20200101T000000!' "$@"; }
for who in archive stranger; do
    gpg --passphrase '' --quick-generate-key "$who <$who@example.org>" ed25519 sign never
done
gpg --export archive >archive.gpg

stanza() { # package version architecture letter-of-the-hash
    printf 'Package: %s\nVersion: %s\nArchitecture: %s\n' "$1" "$2" "$3"
    printf 'Description: a package\n of the tests\nFilename: pool/%s_%s_%s.deb\n' "$1" "$2" "$3"
    printf 'Size: 100\nSHA256: %s\n\n' "$(printf "%064d" 0 | tr 0 "$4")"
}

release() { # suite codename more...
    suite=$1 codename=$2
    shift 2
    printf 'Origin: Tests\nSuite: %s\nCodename: %s\nDate: Sat, 11 Jul 2026 10:16:37 UTC\n' "$suite" "$codename"
    for line in "$@"; do printf '%s\n' "$line"; done
    printf 'SHA256:\n %s %s main/binary-amd64/Packages.xz\n' \
        "$(sha256sum <"$suite.Packages.xz" | cut -d' ' -f1)" "$(stat -c %s "$suite.Packages.xz")"
}

sign() { # key suite [another key]
    gpg --clearsign --local-user "$1" ${3:+--local-user "$3"} --output "$2.InRelease"
}

{
    stanza nginx 1.22.1-9 amd64 a
    stanza nginx 1.99.0-1 arm64 b
    stanza nginx-common 1.22.1-9 all c
    stanza zlib1g 1:1.2.13.dfsg-1 amd64 d
} | xz >bookworm.Packages.xz
stanza zlib1g 1:1.2.13.dfsg-1 amd64 d | xz >bookworm-updates.Packages.xz
stanza nginx 1.22.1-9+deb12u1 amd64 e | xz >bookworm-security.Packages.xz
release bookworm bookworm 'Acquire-By-Hash: yes' | sign archive bookworm
release bookworm-updates bookworm-updates | sign archive bookworm-updates
release bookworm-security bookworm-security 'Valid-Until: Sat, 11 Jul 2099 10:16:37 UTC' |
    sign archive bookworm-security

cp bookworm-updates.Packages.xz expired.Packages.xz
release expired bookworm-updates 'Valid-Until: Sat, 11 Jul 2020 10:16:37 UTC' | sign archive expired
release bookworm-updates bookworm-updates | sign stranger stranger
release bookworm-updates bookworm-updates | sign stranger both archive
release bookworm bookworm-updates | sed '/^ /d; s/^SHA256:$/SHA256: none/' | sign archive senseless
rm expired.Packages.xz
