"""What a PEX takes from the wheels' own paths."""

from pathlib import Path

from builders.scripts.pex_base import share


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_bytecode_that_a_wheel_was_published_with_gives_way(tmp_path: Path) -> None:
    ours = lay(tmp_path / "ours", {"a.py": "1", "b.py": "ours", "__pycache__/a.pyc": "published"})
    theirs = lay(tmp_path / "theirs", {"a.py": "1", "b.py": "other", "__pycache__/a.pyc": "made"})
    assert not share(ours, theirs)
    assert (ours / "a.py").readlink() == theirs / "a.py"
    assert not (ours / "b.py").is_symlink()
    assert (ours / "__pycache__" / "a.pyc").read_text() == "made"


def test_a_folder_whose_bytecode_alone_differs_is_shared_whole(tmp_path: Path) -> None:
    package = {"pkg/a.py": "1"}
    ours = lay(tmp_path / "ours", {**package, "pkg/__pycache__/a.pyc": "published"})
    theirs = lay(tmp_path / "theirs", {**package, "pkg/__pycache__/a.pyc": "made"})
    assert share(ours, theirs)
    assert (ours / "pkg").readlink() == theirs / "pkg"
