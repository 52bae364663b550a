"""What packages of a set need of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.install import depends

if TYPE_CHECKING:
    from pathlib import Path

INDEX = """\
Package: server
Version: 1:7.0-1
Depends: tools (= 1:7.0-1), libssl3 (>= 3.0.0), mail | smtp, python3:any
Pre-Depends: init-tools (>= 1)
Description: a server

Package: tools
Version: 1:7.0-1
Depends: libc6

Package: libssl3
Version: 3.0.11

Package: postfix
Version: 3.7
Provides: smtp (= 1), mta

Package: init-tools
Version: 1.65

Package: alone
Version: 1
Depends: server
"""


def test_all_that_may_be_needed_is_found(tmp_path: Path) -> None:
    (tmp_path / "Packages").write_text(INDEX)
    known = depends.offers(tmp_path)
    assert known["server"].version == "1:7.0-1"
    found = depends.closure(["server", "not-in-the-set"], known)
    assert found == {"server", "tools", "libssl3", "postfix", "init-tools"}


def test_a_folder_without_an_index_offers_nothing(tmp_path: Path) -> None:
    assert depends.offers(tmp_path) == {}
