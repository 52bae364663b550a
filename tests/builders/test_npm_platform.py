"""Which packages a platform installs: npm's rules, and what goes with one that does not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders.npm_platform import Platform, PlatformError, installed
from tests.builders.npm_packages import PIN, PLATFORM, read


def kept(
    root: dict[str, Any] | None = None, platform: Platform = PLATFORM, **entries: Any
) -> set[str]:
    packages = {
        f"node_modules/{name.replace('__', '/')}": {"version": "1.0.0", "integrity": PIN, **entry}
        for name, entry in entries.items()
    }
    text = json.dumps({"lockfileVersion": 3, "packages": {"": root or {}, **packages}})
    return {name.removeprefix("node_modules/") for name in installed(read(text), platform)}


@pytest.mark.parametrize(
    ("wants", "fits"),
    [
        ({}, True),
        ({"os": ["linux"]}, True),
        ({"os": "linux"}, True),
        ({"os": ["darwin", "linux"]}, True),
        ({"os": ["darwin"]}, False),
        ({"os": ["!win32"]}, True),
        ({"os": ["!linux"]}, False),
        ({"os": ["any"]}, True),
        ({"cpu": ["x64"]}, True),
        ({"cpu": ["arm64"]}, False),
        ({"libc": ["glibc"]}, True),
        ({"libc": ["musl"]}, False),
        ({"os": ["linux"], "cpu": ["x64"], "libc": ["musl"]}, False),
        ({"engines": {"node": ">=18"}}, True),
        ({"engines": {"node": ">=22"}}, False),
        ({"engines": {"npm": ">=12"}}, False),
        ({"engines": {"yarn": ">=9"}}, True),
        ({"engines": ["node >= 99"]}, True),
        ({"engines": {"node": ""}}, True),
        ({"engines": {"node": "nonsense"}}, False),
    ],
)
def test_an_optional_package_must_fit(wants: dict[str, Any], *, fits: bool) -> None:
    root = {"optionalDependencies": {"a": "1"}}
    assert kept(root, a={"optional": True, **wants}) == ({"a"} if fits else set())


def test_what_is_not_optional_must_run_here() -> None:
    with pytest.raises(
        PlatformError, match="'node_modules/a' does not run on linux-x64-glibc"
    ) as caught:
        kept({"dependencies": {"a": "1"}}, a={"os": ["win32"], "cpu": ["!x64"]})
    assert caught.value.got == "os ['win32'], cpu ['!x64']"


def test_engines_do_not_bind_what_is_not_optional() -> None:
    assert kept({"dependencies": {"a": "1"}}, a={"engines": {"node": ">=99"}}) == {"a"}


def test_what_only_a_skipped_package_needs_goes_with_it() -> None:
    assert kept(
        {"dependencies": {"bundler": "1", "shared": "1"}},
        bundler={"optionalDependencies": {"wasm": "1", "native": "1"}},
        wasm={"optional": True, "cpu": ["wasm32"], "dependencies": {"runtime": "1", "shared": "1"}},
        native={"optional": True, "os": ["linux"]},
        runtime={"optional": True, "dependencies": {"util": "1"}},
        util={"optional": True, "dependencies": {"runtime": "1"}},
        shared={},
    ) == {"bundler", "native", "shared"}


def test_what_needs_a_skipped_package_goes_with_it() -> None:
    """The optional edge is far above: all between it and the unfit package is skipped."""
    assert kept(
        {"dependencies": {"app": "1"}},
        app={"optionalDependencies": {"feature": "1"}},
        feature={"optional": True, "dependencies": {"middle": "1", "extra": "1"}},
        middle={"optional": True, "dependencies": {"leaf": "1"}},
        leaf={"optional": True, "os": ["aix"]},
        extra={"optional": True},
    ) == {"app"}


def test_what_two_skipped_packages_share_goes_with_the_second() -> None:
    assert (
        kept(
            {"optionalDependencies": {"a": "1", "b": "1"}},
            a={"optional": True, "os": ["aix"], "dependencies": {"both": "1"}},
            b={"optional": True, "os": ["aix"], "dependencies": {"both": "1"}},
            both={"optional": True},
        )
        == set()
    )


def test_nested_packages_are_found_as_node_finds_them() -> None:
    assert kept(
        {"dependencies": {"a": "1"}},
        a={"optionalDependencies": {"b": "1"}},
        a__node_modules__b={"optional": True, "os": ["aix"], "dependencies": {"c": "1"}},
        b={"optional": True},
        a__node_modules__c={"optional": True},
        c={"optional": True},
    ) == {"a", "b", "c"}


def test_an_optional_peer_does_not_hold_a_package() -> None:
    assert kept(
        {"dependencies": {"a": "1"}, "optionalDependencies": {"native": "1"}},
        a={
            "peerDependencies": {"native": "1"},
            "peerDependenciesMeta": {"native": {"optional": True}},
        },
        native={"optional": True, "os": ["aix"]},
    ) == {"a"}
