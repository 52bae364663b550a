"""Secrets in texts: where they are written in, and where they are taken out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import BadMessageError, BadSecretError
from deploy.install import markers

SECRETS = {"A": b"one\n", "B.b-2": b"\x00\xff@secret:A@"}


def test_each_form() -> None:
    text = b"<@secret:A@> <@secret:B.b-2@> <@secret:A:mysql@>"
    filled = markers.fill(text, SECRETS, where="x")
    # What stands in a secret is no marker.
    start = b"<one\n> <\x00\xff@secret:A@> <*"
    assert filled.startswith(start)
    assert markers.fill(b"@secret:P:word@", {"P": b"pass"}, where="x") == b"pass"


def test_the_hash_is_that_of_the_server() -> None:
    # SELECT PASSWORD('password') of MariaDB.
    assert markers.mysql(b"password") == b"*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"


@pytest.mark.parametrize(
    "text", [b"@secret:C@", b"@secret:A:md5@", b"@secret:/etc@", b"@secret:-@"]
)
def test_a_marker_of_nothing_is_refused(text: bytes) -> None:
    with pytest.raises(BadMessageError, match="no secret that is at hand"):
        markers.fill(text, SECRETS, where="x")


@pytest.mark.parametrize("value", [b"a b", b"a\n", b"'", b'"', b"`", b"#", b"\\", b"\x00", b"\x7f"])
def test_what_is_no_word(value: bytes) -> None:
    with pytest.raises(BadSecretError):
        markers.fill(b"@secret:A:word@", {"A": value}, where="x")


@given(st.binary(min_size=3), st.binary(), st.binary())
def test_no_value_is_left_in_what_is_told(value: bytes, before: bytes, after: bytes) -> None:
    values = {"A": value}
    said = before + value + after + markers.mysql(value)
    hidden = markers.hide(said, values)
    assert markers.mysql(value) not in hidden
    assert value not in hidden or value in b"***" + after + b"***" or b"*" in value
