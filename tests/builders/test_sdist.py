"""Building sdists in the sandbox: what comes of honest ones, and how others are refused."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from builders import sdist, wheel
from builders.archive import ArchiveError
from builders.check import DifferenceError
from builders.fetch import MismatchError
from builders.sdist import SdistBuildError
from builders.sdist_archive import SdistError
from builders.sdist_faults import MissingRequirementError, NetworkError, OutsideError
from store.errors import InputError
from store.local import LocalStore
from tests.builders.debs import HARDLINK, SYMLINK, Entry
from tests.builders.registry import serving
from tests.builders.sdists import Yard, make_sdist
from tests.builders.wheels import Site, make_wheel, publish, real, reasons
from tests.builders.workbench import works

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builders.python_pins import Sdist
    from builders.realise import Result
    from store.errors import Error

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(not works(), reason="bubblewrap does not work here"),
]


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    root = tmp_path_factory.mktemp("yard").resolve()
    with serving() as registry, LocalStore.open(root / "store") as store:
        yield Yard(Site(root / "site", registry), store)


def refusal(result: Result, kind: type[Error]) -> Error:
    assert not result.ok
    error = result.failures[0].error
    assert isinstance(error, kind), reasons(result)
    return error


def wheel_of(yard: Yard, pinned: Sdist) -> Path:
    folder = real(yard.store, yard.build(pinned, target=pinned.step), pinned.step)
    (file,) = folder.iterdir()
    return file


def content_of(yard: Yard, pinned: Sdist) -> str:
    """Read the one module of the unpacked wheel."""
    key = wheel.key(pinned, yard.recipe)
    return (real(yard.store, yard.build(pinned), key) / "small/__init__.py").read_text()


def test_its_own_backend_builds_it_and_all_who_lock_it_share_it(yard: Yard) -> None:
    body = "    print('here is', os.getcwd(), sys.executable)\n    return write(folder)"
    pinned = yard.pin(make_sdist(body=body))
    assert content_of(yard, pinned) == "x = 1\n"
    assert not yard.build(pinned).built
    assert wheel_of(yard, pinned).name == "small-1.0-py3-none-any.whl"


def test_a_build_sees_what_is_locked_for_it_and_nothing_else(yard: Yard) -> None:
    body = """\
    import helper
    import importlib.util as util
    found = [name for name in ("pytest", "packaging", "yaml", "builders") if util.find_spec(name)]
    seen = [name for name in ("PYTHONPATH", "VIRTUAL_ENV", "PIP_INDEX_URL") if name in os.environ]
    import subprocess
    child = subprocess.run([sys.executable, "-c", "import helper; print(helper.x, hash('a'))"],
                           capture_output=True, text=True, check=True).stdout.split()
    return write(folder, content=repr([helper.x, found, seen, child[0], child[1] == str(hash("a")),
                                       os.listdir("/usr/lib/python3") if
                                       os.path.isdir("/usr/lib/python3") else None]))
"""
    helper = publish(yard.site.registry, make_wheel("helper", files={"helper.py": "x = 5\n"}))
    pinned = yard.pin(make_sdist(body=body, requires=["helper"]), build=(helper["helper"],))
    assert content_of(yard, pinned) == "[5, [], [], '5', True, None]"


def test_what_does_not_matter_in_a_wheel_is_made_equal(yard: Yard) -> None:
    body = """\
    name = write(folder)
    path = os.path.join(folder, name)
    with zipfile.ZipFile(path) as archive:
        members = [(i.filename, archive.read(i)) for i in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for place, data in sorted(members, key=lambda pair: os.urandom(4)):
            info = zipfile.ZipInfo(place, time.gmtime()[:6])
            info.external_attr = (0o100600 | os.urandom(1)[0] & 0o44) << 16
            archive.writestr(info, data)
    return name
"""
    pinned = yard.pin(make_sdist(body=body))
    file = wheel_of(yard, pinned)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert names[-1] == "small-1.0.dist-info/RECORD"
    assert yard.build(pinned, target=pinned.step, check=True).ok


def test_a_source_without_pyproject_is_built_by_setuptools_as_it_always_was(yard: Yard) -> None:
    legacy = {
        "setuptools/__init__.py": "",
        "setuptools/build_meta.py": (
            "class __legacy__:\n"
            "    @staticmethod\n"
            "    def build_wheel(folder, *_):\n"
            "        import sys\n"
            "        sys.path.insert(0, '.')\n"
            "        import made\n"
            "        return made.build_wheel(folder)\n"
        ),
    }
    named = publish(yard.site.registry, make_wheel("setuptools", files=legacy))
    content = make_sdist(files={"pyproject.toml": "[tool.none]\n"})
    pinned = yard.pin(content, build=(named["setuptools"],))
    assert wheel_of(yard, pinned).name == "small-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    "line",
    [
        "import urllib.request; urllib.request.urlopen('http://example.org/x.tar.gz')",
        "import socket; socket.create_connection(('93.184.215.14', 80), 5)",
        "import socket; socket.getaddrinfo('pypi.org', 443)",
    ],
)
def test_a_build_that_reaches_for_the_network_is_named(yard: Yard, line: str) -> None:
    pinned = yard.pin(make_sdist(body=f"    {line}\n    return write(folder)"))
    error = refusal(yard.build(pinned), NetworkError)
    assert error.reason.startswith("sdist:small-1.0")
    assert "reaches for the network" in error.reason
    assert "build_packages" in (error.hint or "")


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("open('/usr/evil', 'w')", "/usr/evil"),
        ("open(sys.prefix + '/evil', 'w')", "build-env/evil"),
        ("os.mkdir('/evil')", "/evil"),
        ("open('/homeless/evil', 'w')", "/homeless/evil"),
        ("open('../../evil', 'w')", "/build/evil"),
        ("os.mkdir('/build/out')", "/build/out"),
        ("open('/build/script/sdist.py', 'a').write('#')", "/build/script/sdist.py"),
        ("open('/build/script/json.py', 'w')", "/build/script/json.py"),
    ],
)
def test_a_build_that_writes_outside_is_named_with_the_place(
    yard: Yard, line: str, place: str
) -> None:
    pinned = yard.pin(make_sdist(body=f"    {line}\n    return write(folder)"))
    error = refusal(yard.build(pinned), OutsideError)
    assert "writes outside its folder" in error.reason
    assert place in error.reason


def test_no_link_that_a_build_lays_is_written_through(yard: Yard, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    body = f"""\
    for name in ("/build/script/sdist.py", "/build/arguments.json"):
        os.unlink(name)
        os.symlink({str(victim)!r}, name)
    return write(folder)
"""
    error = refusal(yard.build(yard.pin(make_sdist(body=body))), OutsideError)
    assert "/build/arguments.json" in (error.got or "")
    assert victim.read_text() == "mine"


def test_a_link_in_place_of_the_wheels_folder_is_refused(yard: Yard) -> None:
    body = "    os.rmdir(folder)\n    os.symlink('/usr', folder)\n    return 'x.whl'"
    refusal(yard.build(yard.pin(make_sdist(body=body))), OutsideError)


def test_a_time_in_the_output_is_found_by_check_and_the_file_named(yard: Yard) -> None:
    body = "    return write(folder, content=f'built = {time.time_ns()}')"
    pinned = yard.pin(make_sdist(body=body))
    assert yard.build(pinned, target=pinned.step).ok
    error = refusal(yard.build(pinned, target=pinned.step, check=True), DifferenceError)
    assert error.where == "small-1.0-py3-none-any.whl: differs in 'small/__init__.py'"


@pytest.mark.parametrize(
    ("body", "told", "got"),
    [
        ("    return 'small-1.0-py3-none-any.whl'", "made no wheel", None),
        (
            "    write(folder, tag='py2-none-any')\n    return write(folder)",
            "made 2 wheels",
            "small-1.0-py2-none-any.whl, small-1.0-py3-none-any.whl",
        ),
        ("    return write(folder, name='evil')", "another package", "evil-1.0-py3-none-any.whl"),
        (
            "    return write(folder, version='1.1')",
            "another package",
            "small-1.1-py3-none-any.whl",
        ),
        ("    open(folder + '/x.whl', 'w')\n    return 'x.whl'", "Invalid wheel filename", None),
    ],
)
def test_one_wheel_of_the_right_package_must_come_of_it(
    yard: Yard, body: str, told: str, got: str | None
) -> None:
    error = refusal(yard.build(yard.pin(make_sdist(body=body))), SdistBuildError)
    assert told in error.reason
    assert error.got == got
    # What is wrong is the build, and not an input of ours.
    assert (error.slug, error.exit_code) == ("bad-wheel-built", 1)


def test_a_wheel_that_is_another_inside_is_refused(yard: Yard) -> None:
    body = """\
    os.rename(folder + "/" + write(folder, name="evil"), folder + "/small-1.0-py3-none-any.whl")
    return "small-1.0-py3-none-any.whl"
"""
    error = refusal(yard.build(yard.pin(make_sdist(body=body))), SdistBuildError)
    assert "does not belong to small 1.0" in error.reason


@pytest.mark.parametrize(
    "line",
    [
        "os.mkfifo(place)",
        "os.symlink('/etc/passwd', place)",
        "os.mkdir(place)",
        "import socket; socket.socket(socket.AF_UNIX).bind(place)",
    ],
)
def test_what_is_no_file_in_place_of_the_wheel_is_refused(yard: Yard, line: str) -> None:
    body = f"    place = folder + '/small-1.0-py3-none-any.whl'\n    {line}\n    return 'x'\n"
    error = refusal(yard.build(yard.pin(make_sdist(body=body))), SdistBuildError)
    assert "something else in place of 'small-1.0-py3-none-any.whl'" in error.reason


@pytest.mark.parametrize(
    ("member", "told"),
    [
        ("../evil.py", "'../evil.py' leaves the wheel"),
        ("/evil.py", "'/evil.py' is not a relative path"),
        ("a\x1b[2J.py", "holds a control character"),
    ],
)
def test_a_wheel_with_a_hostile_member_is_called_bad(yard: Yard, member: str, told: str) -> None:
    body = f"""\
    name = write(folder)
    with zipfile.ZipFile(os.path.join(folder, name), "a") as archive:
        archive.writestr({member!r}, "x")
    return name
"""
    error = refusal(yard.build(yard.pin(make_sdist(body=body))), SdistBuildError)
    assert "its build made a bad wheel: " in error.reason
    assert told in error.reason


def test_a_wheel_that_is_no_archive_is_called_bad(yard: Yard) -> None:
    name = "small-1.0-py3-none-any.whl"
    body = f"    open(folder + '/{name}', 'w').write('x')\n    return '{name}'\n"
    error = refusal(yard.build(yard.pin(make_sdist(body=body))), SdistBuildError)
    assert "bad wheel: File is not a zip file" in error.reason


@pytest.mark.parametrize(
    ("asks", "told"),
    [
        (["cython>=3"], "asks for cython>=3, which the lock does not have"),
        (["helper>=2"], "asks for helper>=2, which the lock does not have"),
    ],
)
def test_what_a_backend_asks_for_and_nothing_locks_is_named(
    yard: Yard, asks: list[str], told: str
) -> None:
    helper = publish(yard.site.registry, make_wheel("helper"))["helper"]
    pinned = yard.pin(make_sdist(asks=asks), build=(helper,))
    error = refusal(yard.build(pinned), MissingRequirementError)
    assert told in error.reason
    assert "build_requirements" in (error.hint or "")


def test_what_a_backend_asks_for_and_is_locked_is_no_matter(yard: Yard) -> None:
    helper = publish(yard.site.registry, make_wheel("helper"))["helper"]
    asks = ["helper>=1", "absent; python_version < '3'", "Helper"]
    assert yard.build(yard.pin(make_sdist(asks=asks), build=(helper,))).ok


def test_a_recipes_own_line_wins_over_what_the_backend_asks_for(yard: Yard) -> None:
    helper = publish(yard.site.registry, make_wheel("helper"))["helper"]
    pinned = yard.pin(make_sdist(asks=["helper>=2"]), build=(helper,), requires=("helper<2",))
    assert yard.build(pinned).ok


def test_a_build_that_imports_what_nothing_locks_is_named(yard: Yard) -> None:
    pinned = yard.pin(make_sdist(body="    import numpy\n    return write(folder)"))
    error = refusal(yard.build(pinned), MissingRequirementError)
    assert "'numpy'" in error.reason


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (Entry("small-1.0/../../evil", b"x"), "climbs"),
        (Entry("/evil", b"x"), "absolute"),
        (Entry("small-1.0/null", kind=b"3"), "device"),
        (Entry("small-1.0/pipe", kind=b"6"), "pipe"),
        (Entry("small-1.0/out", kind=SYMLINK, target="../../../evil"), "outside"),
        (Entry("small-1.0/out", kind=SYMLINK, target="/etc/passwd"), "a link to"),
        (Entry("small-1.0/hard", kind=HARDLINK, target="../evil"), "climbs"),
    ],
)
def test_a_hostile_archive_is_refused_with_its_member(yard: Yard, more: Entry, told: str) -> None:
    pinned = yard.pin(make_sdist(more=[more]))
    error = refusal(yard.build(pinned), ArchiveError)
    assert "small-1.0.tar.gz" in error.reason
    assert told in error.reason


def test_a_second_folder_beside_its_own_is_refused(yard: Yard) -> None:
    pinned = yard.pin(make_sdist(more=[Entry("evil/x", b"x")]))
    error = refusal(yard.build(pinned), SdistError)
    assert error.got == "evil, small-1.0"


def test_setuid_bits_do_not_outlive_the_archive(yard: Yard) -> None:
    body = "    mode = os.stat('tool').st_mode\n    return write(folder, content=oct(mode))"
    pinned = yard.pin(make_sdist(body=body, more=[Entry("small-1.0/tool", b"x", mode=0o6755)]))
    assert content_of(yard, pinned) == "0o100755"


def test_an_sdist_that_is_not_what_the_lock_pins_is_not_built(yard: Yard) -> None:
    pinned = yard.pin(make_sdist(body="    return write(folder, content='pinned')"))
    path = pinned.url.removeprefix(yard.site.registry.url)
    yard.site.registry.files[path] = make_sdist()
    error = refusal(yard.build(pinned), MismatchError)
    assert "small-1.0.tar.gz" in error.reason


def test_a_backend_that_leads_out_of_the_source_is_refused(yard: Yard) -> None:
    project = '[build-system]\nrequires = []\nbuild-backend = "made"\nbackend-path = ["../.."]\n'
    result = yard.build(yard.pin(make_sdist(files={"pyproject.toml": project})))
    assert "leads out of the source" in reasons(result)


def test_a_backend_that_does_not_lie_where_it_says_is_refused(yard: Yard) -> None:
    project = '[build-system]\nrequires = []\nbuild-backend = "json"\nbackend-path = ["."]\n'
    result = yard.build(yard.pin(make_sdist(files={"pyproject.toml": project})))
    assert "does not lie in `backend-path`" in reasons(result)


@pytest.mark.parametrize("answer", ["{}", "[1]", "not json", "x" * (2 << 20)])
def test_an_answer_that_makes_no_sense_is_refused(yard: Yard, answer: str) -> None:
    hook = (
        "\ndef get_requires_for_build_wheel(config_settings=None):\n"
        "    import atexit, json\n"
        f"    text = {answer[:20]!r} if {len(answer)} < 100 else 'x' * {len(answer)}\n"
        "    atexit.register(lambda: open('/build/made/requires.json', 'w').write(text))\n"
        "    return []\n"
    )
    result = yard.build(yard.pin(make_sdist(body="    return write(folder)\n" + hook)))
    assert "does not say what it asks for" in reasons(result)


def test_a_pipe_in_place_of_an_answer_does_not_hold_up_the_build(yard: Yard) -> None:
    hook = (
        "\ndef get_requires_for_build_wheel(config_settings=None):\n"
        "    import atexit\n"
        "    place = '/build/made/requires.json'\n"
        "    atexit.register(lambda: (os.unlink(place), os.mkfifo(place)))\n"
        "    return []\n"
    )
    result = yard.build(yard.pin(make_sdist(body="    return write(folder)\n" + hook)))
    assert "does not say what it asks for" in reasons(result)


def test_tools_of_another_kind_are_named(yard: Yard) -> None:
    wrong = replace(yard.recipe, inputs={**yard.recipe.inputs, "wheel-tools": "tools"})
    with pytest.raises(InputError, match="input 'wheel-tools' is 'tools', a recipe of kind tool"):
        sdist.plan(wrong, [yard.pin(make_sdist())], yard.site.project)


def test_bytes_that_are_no_archive_are_refused(yard: Yard) -> None:
    refusal(yard.build(yard.pin(b"PK" + make_sdist())), ArchiveError)


def test_a_wheel_of_a_built_wheel_is_readable(yard: Yard) -> None:
    file = wheel_of(yard, yard.pin(make_sdist()))
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        assert archive.testzip() is None
