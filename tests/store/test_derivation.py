from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.derivation import Derivation, changes
from store.errors import InputError

DERIVATION = Derivation(
    name="hello",
    builder="pex",
    platform="x86_64-linux",
    inputs={"python": "/s/p", "base": "/s/b"},
    arguments={"app": "app:app", "extra": ["gunicorn", 1, None, True]},
    source="ab" * 32,
    runtime=("python",),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_the_text_is_canonical() -> None:
    shuffled = replace(
        DERIVATION,
        inputs=dict(reversed(list(DERIVATION.inputs.items()))),
        arguments=dict(reversed(list(DERIVATION.arguments.items()))),
    )
    assert shuffled.to_json() == DERIVATION.to_json()
    assert shuffled.digest == DERIVATION.digest
    assert DERIVATION.to_json().isascii()
    assert " " not in DERIVATION.to_json()


def test_the_digest_is_the_one_agreed_on() -> None:
    """A change here rebuilds everything everywhere: it must be meant."""
    plain = Derivation(name="hello", builder="pex", platform="x86_64-linux")
    text = (
        '{"arguments":{},"builder":"pex","fixed":null,"format":1,"inputs":{},"name":"hello",'
        '"platform":"x86_64-linux","runtime":[],"script":null,"source":null,"version":1}'
    )
    assert plain.to_json() == text
    assert plain.digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "other"}, ("name",)),
        ({"builder": "shiv"}, ("builder",)),
        ({"platform": "aarch64-linux"}, ("platform",)),
        ({"source": None}, ("source",)),
        ({"version": 2}, ("version",)),
        ({"script": "cd" * 32}, ("script",)),
        ({"fixed": "sha256-x"}, ("fixed",)),
        ({"runtime": ()}, ("runtime",)),
        (
            {"inputs": {"python": "/s/q", "node": "/s/n"}},
            ("input base", "input node", "input python"),
        ),
        ({"arguments": {"app": "app:app", "extra": []}}, ("argument extra",)),
    ],
)
def test_every_field_enters_and_is_named(change: dict[str, object], named: tuple[str, ...]) -> None:
    changed = replace(DERIVATION, **change)  # type: ignore[arg-type]
    assert changed.digest != DERIVATION.digest
    assert changes(DERIVATION, changed) == named


def test_nothing_changed_is_nothing_named() -> None:
    assert changes(Derivation.from_json(DERIVATION.to_json()), DERIVATION) == ()


@given(st.dictionaries(st.text(), json_values))
def test_json_round_trip(arguments: dict[str, object]) -> None:
    derivation = replace(DERIVATION, arguments=arguments)
    again = Derivation.from_json(derivation.to_json())
    assert again == derivation
    assert changes(again, derivation) == ()


@pytest.mark.parametrize("value", [float("nan"), b"bytes", {1, 2}, object()])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        replace(DERIVATION, arguments={"a": value}).to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"format": 99}),
        json.dumps({"format": 1}),
        json.dumps(json.loads(DERIVATION.to_json()) | {"more": 1}),
    ],
)
def test_what_is_no_derivation_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Derivation.from_json(text)
