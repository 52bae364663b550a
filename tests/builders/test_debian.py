"""Debian's order of versions, and its indexes, read and refused."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.debian import BadIndexError, Version, parse_packages, parse_release

ASCENDING = (
    "0~~",
    "0~",
    "0~rc1",
    "0",
    "1.0~beta1~svn1245",
    "1.0~beta1",
    "1.0",
    "1.0-1~bpo12+1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1+b10",
    "1.0a-1",
    "1.0+dfsg-1",
    "1.0.1-1",
    "1.2",
    "1.10",
    "2.36-9+deb12u9",
    "2.36-9+deb12u10",
    "1:0.1",
    "1:1.2.13.dfsg-1",
    "2:0",
)


def test_versions_are_ordered_as_debian_says() -> None:
    for earlier, later in pairwise(ASCENDING):
        assert Version(earlier) < Version(later), (earlier, later)
        assert not Version(later) < Version(earlier)


@pytest.mark.parametrize(("left", "right"), [("1.0", "1.0-0"), ("0:1", "1"), ("1.", "1.0")])
def test_versions_that_mean_the_same_are_equal(left: str, right: str) -> None:
    assert Version(left) == Version(right)
    assert hash(Version(left)) == hash(Version(right))


WORDS = st.text("0123.+~abZ", max_size=6)
VERSIONS = st.builds(
    lambda epoch, first, upstream, revision: f"{epoch}{first}{upstream}{revision}",
    st.sampled_from(["", "0:", "1:"]),
    st.sampled_from("019"),
    WORDS,
    st.one_of(st.just(""), st.builds("-{}".format, st.text("01.+~ab", min_size=1, max_size=4))),
)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg, Debian's own")
@given(left=VERSIONS, right=VERSIONS)
def test_dpkg_agrees(left: str, right: str) -> None:
    ours = "lt" if Version(left) < Version(right) else "ge"
    done = subprocess.run(["dpkg", "--compare-versions", left, ours, right], check=False)
    assert done.returncode == 0, (left, ours, right)


RELEASE = f"""Origin: Debian
Codename: bookworm
Date: Sat, 11 Jul 2026 10:16:37 UTC
Valid-Until: Sat, 18 Jul 2026 10:16:37 UTC
Acquire-By-Hash: yes
MD5Sum:
 f230d61720e789abf5df55d6026230c6 50060337 main/binary-amd64/Packages
SHA256:
 {"5" * 64} 50060337 main/binary-amd64/Packages
"""


def test_a_release_is_read() -> None:
    release = parse_release(RELEASE, where="here")
    assert release.codename == "bookworm"
    assert release.date.isoformat() == "2026-07-11T10:16:37+00:00"
    assert release.valid_until is not None
    assert release.valid_until > release.date
    assert release.by_hash
    assert release.indexes == {"main/binary-amd64/Packages": ("5" * 64, 50060337)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Codename", "Nickname"),
        ("Date: Sat, 11 Jul 2026", "Date: some day"),
        ("SHA256", "SHA1"),
        (" 50060337 main/binary-amd64/Packages\n", " many main/binary-amd64/Packages\n"),
        (" 50060337 main", " 50060337 main and more"),
    ],
)
def test_a_release_without_sense_is_refused(old: str, new: str) -> None:
    with pytest.raises(BadIndexError) as caught:
        parse_release(RELEASE.replace(old, new), where="here")
    assert caught.value.where == "here"


STANZA = f"""Package: zlib1g
Architecture: amd64
Version: 1:1.2.13.dfsg-1
Depends: libc6 (>= 2.14), libssl3:any | libssl1
Description: compression library
 Package: not-this
Filename: pool/main/z/zlib/zlib1g_1.2.13.dfsg-1_amd64.deb
Size: 86684
SHA256: {"a" * 64}
"""


def test_wanted_stanzas_are_read() -> None:
    text = STANZA.replace("zlib1g\n", "zlib1g-dev\n") + "\n" + STANZA + "\n"
    (stanza,) = parse_packages(text, {"zlib1g", "not-this"}, where="here")
    assert (stanza.name, str(stanza.version), stanza.size) == ("zlib1g", "1:1.2.13.dfsg-1", 86684)
    assert stanza.filename.endswith("_amd64.deb")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Version", "Versions"),
        ("pool/main", "../../main"),
        ("pool/main", "/pool/main"),
        ("aaaa", "AAAA"),
        ("86684", "many"),
        ("1:1.2.13", "one:1.2.13"),
        ("Architecture", "Architectures"),
    ],
)
def test_a_wanted_stanza_without_sense_is_refused(old: str, new: str) -> None:
    with pytest.raises(BadIndexError, match="zlib1g"):
        list(parse_packages(STANZA.replace(old, new, 1), {"zlib1g"}, where="here"))
