"""Sets of host names: what is taken, and all that ClusterShell would take and we do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.node_sets import expand, fold, is_host_name
from store.errors import InputError

GROUPS = {"heads": "head1,head2,head3", "all": "head1,head2,head3,node01"}
NAMES = st.from_regex(r"[a-z]{1,4}[0-9]{0,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("head1", ["head1"]),
        ("head[1-3]", ["head1", "head2", "head3"]),
        ("head[08-10]", ["head08", "head09", "head10"]),
        ("head2, head1", ["head1", "head2"]),
        ("head1,head1", ["head1"]),
        ("@heads", ["head1", "head2", "head3"]),
        ("@heads!head2", ["head1", "head3"]),
        ("@all&@heads", ["head1", "head2", "head3"]),
        ("@heads^head1", ["head2", "head3"]),
        ("n[1-2]-[3-4].x", ["n1-3.x", "n1-4.x", "n2-3.x", "n2-4.x"]),
        ("n[1-9/4]", ["n1", "n5", "n9"]),
    ],
)
def test_what_is_taken(text: str, names: list[str]) -> None:
    assert sorted(expand(text, GROUPS)) == sorted(names)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no host is named"),
        ("  ", "no host is named"),
        ("@heads!@heads", "no host is in the set"),
        ("head1&head2", "no host is in the set"),
        ("@nobody", "there is no group @nobody"),
        ("head1,@nobody", "there is no group @nobody"),
        ("@", "there is no group @"),
        ("@@", "there is no group @"),
        ("head[1-2]]", "no set of hosts"),
        ("@*", "no set of hosts"),
        ("*", "no set of hosts"),
        ("head?", "no set of hosts"),
        ("head[1-3", "no set of hosts"),
        ("head[3-1]", "a range begins with its smaller number"),
        ("head[1-9/0]", "a range is two numbers"),
        ("head[-5-5]", "a range is two numbers"),
        ("head[a-c]", "a range is two numbers"),
        ("head[]", "a range is two numbers"),
        ("head[@heads]", "a range is two numbers"),
        ("../x", "no host name"),
        ("/etc", "no host name"),
        ("-oProxyCommand=x", "no set of hosts"),
        ("-x", "no host name"),
        (".x", "no host name"),
        ("a_b", "no host name"),
        ("$(id)", "no set of hosts"),
        ("`id`", "no set of hosts"),
        ("a;b", "no set of hosts"),
        ("a\nb", "no set of hosts"),
        ("a|b", "no set of hosts"),
        ("head1@heads", "no host name"),
        ("@heads:x", "no set of hosts"),
        ("@{heads}", "no set of hosts"),
        ("hëad", "no set of hosts"),
        ("head\N{FULLWIDTH DIGIT ONE}", "no set of hosts"),
        ("x" * 64, "no host name"),
        ("a," * 40_000, "no set of hosts"),
        ("head[1-99999999]", "more than 10000 names"),
        ("head[1-999]-[1-999]", "more than 10000 names"),
        ("head[1-9999],node[1-9999]", "more than 10000 names"),
        ("head[1-99999999999999999999]", "no set of hosts"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        expand(text, GROUPS)


def test_a_set_that_is_refused_is_not_repeated_at_length() -> None:
    with pytest.raises(InputError) as caught:
        expand("a;" * 1000)
    assert len(str(caught.value.where)) < 100


def test_nothing_is_asked_of_a_configuration_that_is_not_ours(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ClusterShell's own resolver runs commands that its configuration names."""
    monkeypatch.setenv("CLUSTERSHELL_CFGDIR", str(tmp_path))
    with pytest.raises(InputError, match="there is no group @heads"):
        expand("@heads")


@pytest.mark.parametrize("name", ["head1", "a", "A-1.b", "x" * 63])
def test_host_names(name: str) -> None:
    assert is_host_name(name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "a\n", "x" * 64, "ä"])
def test_what_is_no_host_name(name: str) -> None:
    assert not is_host_name(name)


def test_names_fold() -> None:
    assert fold(["head3", "head1", "head2"]) == "head[1-3]"
    assert fold(["node01", "node02", "x"]) == "node[01-02],x"


@given(st.lists(NAMES, min_size=1, max_size=20, unique=True))
def test_what_folds_expands_to_the_same(names: list[str]) -> None:
    assert sorted(expand(fold(names))) == sorted(names)


@given(st.text(max_size=40))
def test_any_text_is_names_or_an_error(text: str) -> None:
    try:
        names = expand(text, GROUPS)
    except InputError:
        return
    assert names
    assert all(is_host_name(name) for name in names)
