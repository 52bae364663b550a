"""The YAML door: values with places, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import fields
from builders.document import DEEPEST, LARGEST_FILE, MOST_NODES, load, parse
from builders.fields import Node, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = Path("/site/recipes/a.yaml")


def read(text: str) -> Node:
    return parse(text.encode(), FILE)


def refused(text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        read(text)
    return caught.value


@pytest.mark.parametrize(
    ("written", "sort"),
    [
        ("", "null"),
        ("~", "null"),
        ("null", "null"),
        ("true", "bool"),
        ("false", "bool"),
        # Traps of YAML 1.1: all of these are text to whoever writes them.
        ("yes", "str"),
        ("off", "str"),
        ("True", "str"),
        ("012", "str"),
        ("1_000", "str"),
        ("12:30", "str"),
        ("2024-01-02", "str"),
        ("0x10", "str"),
        ("'5010'", "str"),
        ("5010", "int"),
        ("-3", "int"),
        ("0", "int"),
        ("3.10", "float"),
        ("1e3", "float"),
        (".inf", "str"),
        ("3.11.2", "str"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(written: str, sort: str) -> None:
    assert fields.mapping(read(f"key: {written}\n"))["key"].sort == sort


def test_each_value_knows_its_line_and_column() -> None:
    node = read("a:\n  - x\n  - b: 7\n")
    inner = fields.mapping(fields.sequence(fields.mapping(node)["a"])[1])["b"]
    assert inner.where == "/site/recipes/a.yaml:3:8"


def test_files_below_the_working_directory_are_named_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse(b"a: 1", tmp_path / "recipes" / "a.yaml").where == "recipes/a.yaml:1:1"


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert refused("a: [\n").where == "/site/recipes/a.yaml:2:1"


def test_an_alias_stands_for_its_anchor_where_the_anchor_is() -> None:
    values = fields.mapping(read("a: &x [one, two]\nb: *x\n"))
    assert fields.strings(values["b"]) == ("one", "two")
    assert values["b"].line == 1


REFUSED = {
    "empty file": ("", "1:1", "the file is empty"),
    "comment alone": ("# nothing\n", "1:1", "the file is empty"),
    "two documents": ("a: 1\n---\nb: 2\n", "2:1", "a second document"),
    "duplicate key": ("a: 1\nb: 2\na: 3\n", "3:1", "'a' is there twice"),
    "tag": ("a: !!python/object:os.system x\n", "1:4", "a YAML tag"),
    "harmless tag": ("a: !!str 5\n", "1:4", "a YAML tag"),
    "tag on a list": ("a: !mine [1]\n", "1:4", "a YAML tag"),
    "merge key": ("a: &x {b: 1}\nc:\n  <<: *x\n", "3:3", "merge keys"),
    "list as a key": ("? [a]\n: 1\n", "1:3", "a key must be text"),
    "null as a key": ("~: 1\n", "1:1", "a key must be text"),
    "alias in its own anchor": ("a: &x [*x]\n", "1:8", "alias 'x'"),
    "alias of nothing": ("a: *x\n", "1:4", "alias 'x'"),
    "tab": ("a:\n\tb: 1\n", "2:1", "not YAML"),
    "open bracket": ("a: [1, 2\nb: 3\n", "2:2", "not YAML"),
    "open quote": ("a: 'x\n", "2:1", "not YAML"),
    "bad indent": ("a: 1\n  b: 2\n", "2:4", "not YAML"),
    "control character": ("b: 1\na: \x07\n", "2:4", "not UTF-8 text"),
    "too deep": ("[" * 100 + "]" * 100, f"1:{DEEPEST + 2}", "nesting deeper"),
    "far too deep": ("[" * 50_000, "", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    text, place, reason = REFUSED[case]
    error = refused(text)
    assert reason in error.reason
    assert error.slug == "bad-recipe"
    assert (error.where or "").startswith("/site/recipes/a.yaml")
    assert place in (error.where or "")


def test_a_tab_is_answered_with_a_hint() -> None:
    assert "spaces, not tabs" in (refused("a:\n\tb: 1\n").hint or "")


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(RecipeError, match="not UTF-8 text"):
        parse(b"a: \xff\xfe\x00\n", FILE)


def test_a_billion_laughs_are_counted_not_told() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        inner = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{inner}]")
    assert f"more than {MOST_NODES} values" in refused("\n".join(lines)).reason


def test_a_huge_file_is_refused_without_parsing() -> None:
    with pytest.raises(RecipeError, match="too large"):
        parse(b"#" * (LARGEST_FILE + 1), FILE)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"'a\.yaml' cannot be read: No such file"):
        load(tmp_path / "a.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Is a directory"):
        load(tmp_path)


WRONG_TYPES: dict[str, tuple[Callable[[Node], object], str, str, str]] = {
    "list for text": (fields.string, "[a]", "text", "a list"),
    "mapping for text": (fields.string, "{a: b}", "text", "a mapping"),
    "nothing for text": (fields.string, "", "text", "nothing"),
    "number for text": (fields.string, "5010", "text", "the number 5010"),
    "boolean for text": (fields.string, "true", "text", "the boolean true"),
    "text for a list": (fields.sequence, "a", "a list", "the text 'a'"),
    "text for a mapping": (fields.mapping, "a", "a mapping", "the text 'a'"),
    "yes for a boolean": (fields.boolean, "yes", "true or false", "the text 'yes'"),
    "long text": (fields.boolean, "x" * 500, "true or false", f"the text '{'x' * 60}…'"),
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_a_wrong_type_says_what_was_expected_and_what_came(case: str) -> None:
    reader, written, expected, got = WRONG_TYPES[case]
    with pytest.raises(RecipeError) as caught:
        reader(fields.mapping(read(f"key: {written}\n"))["key"])
    error = caught.value
    assert (error.reason, error.expected, error.got) == ("wrong type of 'key'", expected, got)


def test_a_value_knows_what_it_stands_under() -> None:
    top = fields.mapping(read("a: {b: [{c: 1}, 2]}\n"))["a"]
    first, second = fields.mapping(top)["b"].items
    assert [node.key for node in (first, second)] == ["a.b", "a.b"]
    assert fields.mapping(first)["c"].key == "a.b.c"
    assert read("a: b\n").key == ""


def test_of_a_long_key_the_end_is_kept() -> None:
    long = "x" * 100_000
    value = fields.mapping(fields.mapping(read(f"? {long}\n: {{y: 1}}\n"))[long])["y"]
    assert value.key == f"…{'x' * 78}.y"


def test_a_number_for_text_is_answered_with_quotes() -> None:
    with pytest.raises(RecipeError) as caught:
        fields.string(read("5010"))
    assert caught.value.hint == "write it in quotes: '5010'"


@pytest.mark.parametrize("written", ["0", "65536", "-1", "9" * 400, "1.5", "'80'"])
def test_integers_have_bounds(written: str) -> None:
    with pytest.raises(RecipeError) as caught:
        fields.integer(read(written), 1, 65_535)
    assert caught.value.expected == "a whole number from 1 to 65535"


def test_any_scalar_may_stand_for_text_as_it_was_written() -> None:
    assert [fields.text(node) for node in fields.sequence(read("[3.10, true, 012, x]"))] == [
        "3.10",
        "true",
        "012",
        "x",
    ]


@pytest.mark.parametrize("written", ['"a\\nb"', '"a\\0b"', '"\\u2028"', '"   "', "''"])
def test_text_has_no_control_characters_and_is_not_empty(written: str) -> None:
    with pytest.raises(RecipeError):
        fields.string(read(written))


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        fields.mapping(read("kind: pex\nserivce: {}\n"), ("kind", "service", "source"))
    error = caught.value
    assert error.reason == "unknown key 'serivce'"
    assert error.where == "/site/recipes/a.yaml:2:1"
    assert error.hint == "did you mean 'service'?"
    assert error.expected == "one of kind, service, source"


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    assert fields.nearest("zzz", ("kind", "service")) is None


def test_the_same_thing_twice_in_a_list() -> None:
    with pytest.raises(RecipeError, match="'a' is listed twice"):
        fields.strings(read("[a, b, a]"))


words = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).filter(
    lambda text: bool(text.strip())
)


@given(st.lists(words, unique=True))
def test_quoted_text_comes_back_as_it_went(texts: list[str]) -> None:
    quoted = "\n".join("- '" + text.replace("'", "''") + "'" for text in texts) or "[]"
    assert fields.strings(read(quoted)) == tuple(texts)


def outcome(content: bytes) -> str:
    try:
        return parse(content, FILE).where
    except RecipeError as error:
        return error.where or ""


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_an_error_with_a_place(content: bytes) -> None:
    assert outcome(content)


@given(st.text(alphabet="ab:-[]{},&*!|>'\"# \n\t?%@`0~", max_size=60))
def test_any_text_is_a_document_or_an_error_with_a_place(content: str) -> None:
    assert outcome(content.encode())
