"""A real old sdist: xmlsec, which no index has as a wheel for Linux, built without a network."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.loader import load_recipes
from builders.lock import lock
from builders.lock_files import debs_file, lock_file
from builders.plan import plan
from builders.project import Project
from builders.python_lock import parse
from builders.realise import realise
from builders.settings import load_settings
from store.local import LocalStore
from tests.builders.wheels import reasons
from tests.builders.workbench import works

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.network,
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif(not works(), reason="bubblewrap does not work here"),
]

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
RECIPE = """\
kind: env
requirements: [xmlsec==1.3.13, lxml==4.9.4]
sdists: [lxml]
build_packages: [libxml2-dev, libxmlsec1-dev, libxslt1-dev]
glibc: "2.36"
"""
SIGN = """\
import lxml.etree, xmlsec
root = lxml.etree.fromstring('<a xmlns="urn:x"><b>c</b></a>')
node = xmlsec.template.create(root, xmlsec.Transform.EXCL_C14N, xmlsec.Transform.HMAC_SHA256)
root.append(node)
reference = xmlsec.template.add_reference(node, xmlsec.Transform.SHA256, uri="")
xmlsec.template.add_transform(reference, xmlsec.Transform.ENVELOPED)
key = xmlsec.Key.from_binary_data(xmlsec.KeyData.HMAC, b"secret")
for act in ("sign", "verify"):
    context = xmlsec.SignatureContext()
    context.key = key
    getattr(context, act)(node)
root[0].text = "d"
context = xmlsec.SignatureContext()
context.key = key
try:
    context.verify(node)
except xmlsec.Error:
    print(xmlsec.__version__, *lxml.etree.LIBXML_VERSION)
maps = open("/proc/self/maps").read()
print(len({line.split()[-1] for line in maps.splitlines() if "libxml2" in line}))
"""


@dataclass
class Place:
    """A site with one environment of packages that are compiled."""

    project: Project
    store: LocalStore

    def path(self, key: str) -> Path:
        result = realise(plan(self.project, lambda _: None, ["asking"]), self.store)
        assert result.ok, reasons(result)
        return self.store.real(result.outputs[key])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("real").resolve()
    for folder in ("toolchains", "locks"):
        shutil.copytree(RECIPES / folder, root / "recipes" / folder)
    (root / "recipes" / "asking.yaml").write_text(RECIPE)
    (root / "sealift.yaml").write_text("{}\n")
    settings = load_settings(root)
    project = Project(settings, load_recipes(settings.recipes_dir))
    for file, text in lock(project.recipes["asking"], None, project).items():
        file.write_text(text or "")
    with LocalStore.open(settings.store_dir) as store:
        yield Place(project, store)


def test_the_lock_pins_sdists_what_builds_them_and_packages(place: Place) -> None:
    recipe, settings = place.project.recipes["asking"], place.project.settings
    found = parse(lock_file(recipe, settings).read_text(), where="here")
    assert [sdist.pin for sdist in found.sdists] == ["lxml==4.9.4", "xmlsec==1.3.13"]
    assert found.sdists[0] in found.sdists[1].build
    assert '"libxmlsec1-dev"' in debs_file(recipe, settings).read_text()


def test_it_signs_and_verifies_where_no_library_is_but_glibc(place: Place) -> None:
    env, base = place.path("asking"), place.path("base")
    assert not list(base.rglob("libxml2*"))
    argv = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--clearenv"]
    argv += ["--ro-bind", str(base / "usr"), "/usr", "--proc", "/proc", "--dev", "/dev"]
    argv += [word for name in ("lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")]
    argv += ["--ro-bind", str(place.store.store_dir), str(place.store.store_dir)]
    argv += ["--", str(env / "bin/python3"), "-I", "-B", "-c", SIGN]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:2] == ["1.3.13 2 9 14", "1"], done.stderr
