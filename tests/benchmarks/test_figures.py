"""What the benchmarks are made of: the large lock, pip's rounds, the verdict of a figure."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from benchmarks.complete import resolved_lock
from benchmarks.figure import attempted, compared
from benchmarks.pins import Pin, rounds
from benchmarks.place import size
from benchmarks.site import LARGE, LARGE_SOURCE
from builders.npm_lock import check_manifest, parse
from builders.npm_platform import Platform, installed
from builders.python_pins import Wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.figure import Figure


def test_the_large_lock_has_900_packages_and_no_address() -> None:
    text = (LARGE_SOURCE / "package-lock.json").read_text()
    lock = parse(text, where=LARGE, renew="")
    check_manifest(lock, (LARGE_SOURCE / "package.json").read_text(), where=LARGE, renew="")
    packages = installed(lock, Platform(node="20.20.2", npm="11.19.1")).values()
    assert 890 <= len({package.integrity for package in packages}) <= 910
    assert "://registry" not in text
    assert '"resolved"' not in text


def test_npm_is_given_the_addresses() -> None:
    packages = json.loads(resolved_lock("https://registry.example"))["packages"]
    react = packages["node_modules/react"]
    assert react["resolved"] == f"https://registry.example/react/-/react-{react['version']}.tgz"
    types = packages["node_modules/@types/react"]["resolved"]
    assert types.startswith("https://registry.example/@types/react/-/react-")
    assert all("resolved" in entry for location, entry in packages.items() if location)


def pin(name: str, version: str, python: str = "3.11", tags: str = "py3-none-any") -> Pin:
    url = f"https://files.pythonhosted.org/packages/{name}-{version}-{tags}.whl"
    return Pin(Wheel(name, version, url, "0" * 64, 1), python)


def test_pip_takes_one_version_and_one_python_at_a_time() -> None:
    pins = [
        pin("a", "1", tags="cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"),
        pin("b", "1"),
        pin("b", "2"),
        pin("b", "2", "3.13"),
    ]
    dealt = rounds(pins)
    assert [(each.python, each.pins) for each in dealt] == [
        ("3.11", (pins[0], pins[1])),
        ("3.11", (pins[2],)),
        ("3.13", (pins[3],)),
    ]
    assert dealt[0].platforms == ["any", "manylinux2014_x86_64", "manylinux_2_17_x86_64"]
    assert pins[0].line() == f"a==1 --hash=sha256:{'0' * 64}"
    assert pins[0].line(by_address=True).startswith("a @ https://files.pythonhosted.org/")


@pytest.mark.parametrize(("ours", "bar", "met"), [(7, 0.7, True), (8, 0.7, False), (8, None, None)])
def test_a_figure_is_met_missed_or_only_told(
    ours: float, bar: float | None, *, met: bool | None
) -> None:
    figure = compared("x", bar=bar, peer="y", ours=ours, peers=10, runs=1)
    assert figure.met is met


def test_what_cannot_be_measured_says_so_and_misses_its_bar() -> None:
    def measure() -> Iterator[Figure]:
        yield compared("one", bar=None, peer="y", ours=1, peers=1, runs=1)
        raise FileNotFoundError(2, "No such file or directory", "npm")

    one, two = attempted("both", 0.7, measure)
    assert one.name == "one"
    assert two.ratio is None
    assert two.met is False
    assert "'npm'" in two.note


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/file").write_bytes(bytes(10_000))
    os.link(tmp_path / "one/file", tmp_path / "two/file")
    (tmp_path / "two/link").symlink_to("file")
    both = size([tmp_path / "one", tmp_path / "two"])
    assert both.apparent == 10_000 + len("file")
    apart = size([tmp_path / "one"]) + size([tmp_path / "two"])
    assert apart.apparent == 20_000 + len("file")
    assert apart.allocated > both.allocated > 10_000
