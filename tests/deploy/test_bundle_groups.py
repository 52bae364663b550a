"""How files are divided into groups, for files of any size in any order."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deploy.bundle.format import GROUP
from deploy.bundle.groups import Difference, Piece, Together, plan
from store.manifest import File

SIZES = st.lists(
    st.one_of(
        st.integers(1, 100_000),
        st.integers(GROUP - 2, GROUP + 2),
        st.integers(1, 4 * GROUP),
    ),
    max_size=60,
)


def files(sizes: list[int]) -> list[File]:
    return [File(b"", size, f"{at:064x}", executable=False) for at, size in enumerate(sizes)]


@given(SIZES)
def test_every_byte_is_in_one_group_in_order(sizes: list[int]) -> None:
    wanted = files(sizes)
    found: list[tuple[File, int, int]] = []
    for each in plan(wanted, {}):
        assert 0 < each.raw <= GROUP
        if isinstance(each, Together):
            found += [(file, 0, file.size) for file in each.files]
        elif isinstance(each, Piece):
            assert each.file.size > GROUP
            found.append((each.file, each.offset, each.raw))
    whole: dict[File, int] = {}
    for file, offset, size in found:
        assert offset == whole.get(file, 0)
        whole[file] = offset + size
    assert list(whole) == wanted
    assert all(file.size == size for file, size in whole.items())


@given(st.lists(st.integers(1, GROUP), max_size=60))
def test_groups_are_not_needlessly_many(sizes: list[int]) -> None:
    groups = [each for each in plan(files(sizes), {}) if isinstance(each, Together)]
    assert [file.size for each in groups for file in each.files] == sizes
    assert all(one.raw + two.files[0].size > GROUP for one, two in pairwise(groups))


def test_what_differs_comes_last() -> None:
    one, two, three = files([5, 6, 7])
    found = list(plan([one], {two.sha256: (two, three)}))
    assert found == [Together((one,)), Difference(two, three)]
    assert found[1].raw == two.size
