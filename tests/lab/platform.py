"""Sites whose heads are those of a lab: the small platform, made for faults, and the whole one.

The small one has two gunicorn services, a frontend, the web server and the agent; it is built in
seconds, and one of its lines is changed as quickly. A site's folder is the test's own. Its store
is kept from run to run, as interpreters and wheels are the same each time; a lock keeps two runs
from one store.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.platform import REPOSITORY, SEALIFT, Done

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.head import LabHead
    from tests.lab.lab import Lab

SMALL = Path(__file__).with_name("small")
EXAMPLE = REPOSITORY / "examples" / "dashboard"
CODE = ("store", "builders", "deploy", "sealift", "pyproject.toml", "README.md", "LICENSE")
"""What sealift is made of. A site has a copy, so that nobody edits it during a test."""
FOREIGN = ("backends", "frontends")
"""Recipes of the example platform that the small one does without."""
OF_CLUSTERS = ("packages", "phases")
"""Recipes of what makes heads a cluster."""
PATIENCE = 900.0
"""Seconds that a command may take."""
HEADS = "head[1-3]"
STORES = Path("/opt/sealift-lab")
"""Where heads look for a store too, and services with users of their own may go."""
ENDING = 60.0
"""Seconds in which an instance that was relieved ends; it answers first what it was asked."""
STATE = "/var/lib/sealift"
"""As sites have it; nothing is written there on this machine, only on heads."""


@dataclass(frozen=True, slots=True)
class Site:
    """A folder with settings, recipes, sources and secrets, whose store lies elsewhere."""

    root: Path
    store_dir: Path

    @classmethod
    def small(cls, root: Path, store_dir: Path) -> Site:
        """Lay out the site of the small platform."""
        site = cls.cluster(root, store_dir)
        for name in OF_CLUSTERS:
            shutil.rmtree(site.recipes / name, ignore_errors=True)
        return site

    @classmethod
    def cluster(cls, root: Path, store_dir: Path) -> Site:
        """Lay out the site of the small platform on heads that are to be a cluster."""
        site = cls._make(root, store_dir, SMALL / "sources")
        for name in FOREIGN:
            shutil.rmtree(site.recipes / name)
        shutil.copytree(SMALL / "recipes", site.recipes, dirs_exist_ok=True)
        return site

    @classmethod
    def whole(cls, root: Path, store_dir: Path) -> Site:
        """Lay out the site of the example platform."""
        return cls._make(root, store_dir, EXAMPLE)

    def borrow(self, *names: str) -> None:
        """Take services and frontends of the example platform besides."""
        for name in names:
            (recipe,) = (REPOSITORY / "recipes").glob(f"*/{name}.yaml")
            shutil.copy(recipe, self.recipes / recipe.parent.name)
            shutil.copytree(EXAMPLE / name, self.source(name))

    @classmethod
    def _make(cls, root: Path, store_dir: Path, sources: Path) -> Site:
        root.mkdir(parents=True)
        site = cls(root, store_dir)
        shutil.copytree(REPOSITORY / "recipes", site.recipes)
        shutil.copytree(sources, site.sources)
        for name in CODE:
            if (REPOSITORY / name).is_dir():
                shutil.copytree(REPOSITORY / name, root / name, ignore=_CACHES)
            else:
                shutil.copy(REPOSITORY / name, root / name)
        site.settle({})
        return site

    @property
    def recipes(self) -> Path:
        """The site's own copy of the recipes."""
        return self.root / "recipes"

    @property
    def sources(self) -> Path:
        """The site's own copy of the services' sources."""
        return self.root / "sources"

    def settle(self, hosts: Mapping[str, Mapping[str, object]], **more: object) -> None:
        """Write the settings; JSON is YAML."""
        said = {
            "store_dir": str(self.store_dir),
            "state_dir": STATE,
            **({"hosts": hosts} if hosts else {}),
            **more,
        }
        (self.root / "sealift.yaml").write_text(json.dumps(said, indent=1))

    def join(self, lab: Lab, **more: object) -> None:
        """Make the heads of a lab those of the site, reached as root by its key."""
        ssh = {"kind": "ssh", "user": "root", "key": str(lab.key)}
        hosts = {head.name: {**ssh, "address": head.address} for head in lab.heads}
        self.settle(hosts, known_hosts=str(lab.known_hosts), **more)

    def source(self, name: str) -> Path:
        """Name the folder of one service's or frontend's source."""
        return self.sources / name

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a file of the sources.

        Raises:
            AssertionError: it does not say what is to be changed.
        """
        path = self.sources / file
        text = path.read_text()
        assert old in text, f"{file} does not say {old!r}"
        path.write_text(text.replace(old, new))

    @property
    def _environment(self) -> dict[str, str]:
        """Run the site's own copy of the program, which is the one that its heads get.

        With its bytecode kept, as what is installed has it.
        """
        usual = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
        return {**usual, "PYTHONPATH": str(self.root)}

    def begin(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Start a command in a session of its own, to be killed with all that it started."""
        return subprocess.Popen(
            [SEALIFT, *words],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=self._environment,
            **more,
        )

    def try_sealift(self, *words: str, given: str = "", timeout: float = PATIENCE) -> Done:
        """Run a command to its end, however it ends."""
        done = subprocess.run(
            [SEALIFT, *words],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            input=given,
            env=self._environment,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def sealift(self, *words: str, given: str = "") -> Done:
        """Run a command that must do what it is told."""
        done = self.try_sealift(*words, given=given)
        assert done.code == 0, f"sealift {' '.join(words)}: {done.code}\n{done.out}\n{done.err}"
        return done

    def build(self) -> str:
        """Build all that the release needs; give its store path, whatever others build there."""
        done = self.sealift("build", "release", "--json")
        return str(json.loads(done.out.splitlines()[-1])["outputs"]["release"])

    def prepare(self, lab: Lab, **more: object) -> None:
        """Join a lab's heads and make the secrets that the newest release needs."""
        self.join(lab, **more)
        self.sealift("secret", "generate", "--all")

    def deploy(self, *words: str, heads: str = HEADS) -> Done:
        """Deploy what was built."""
        return self.sealift("deploy", "--host", heads, "--yes", *words)


_CACHES = shutil.ignore_patterns("__pycache__")


def agent(site: Site) -> str:
    """Name the program by which a head is asked, as it lies on the head."""
    return str(site.store_dir.parent / "var" / "profiles" / "system" / "bin" / "sealift")


def ask(head: LabHead, path: str, *, timeout: float = 5.0) -> tuple[int, bytes]:
    """Get a page from a head's web server, over TLS with a certificate of its own making."""
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
    )
    try:
        with opener.open(f"https://{head.address}{path}", timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, fault.read()


def record(head: LabHead, path: str) -> dict[str, Any]:
    """Get what a service answers in JSON; not one that was relieved, which answers until it ended.

    Raises:
        AssertionError: it answered something else than 200, or what was relieved does not end.
    """
    await_alone(head)
    status, body = ask(head, path)
    assert status == 200, f"{head.name}{path} answered {status}: {body[:200]!r}"
    said = json.loads(body)
    assert isinstance(said, dict)
    return said


def await_alone(head: LabHead) -> None:
    """Wait until no service of a head has two instances."""
    until = time.monotonic() + ENDING
    while True:
        words = ("list-units", "--plain", "--no-legend", "sealift-*@*.service")
        listed = head.run("systemctl", *words)
        names = re.findall(r"^(sealift-[^@]+)@", listed.stdout.decode(), re.MULTILINE)
        if len(names) == len(set(names)):
            return
        assert time.monotonic() < until, f"{head.name}: {names}"
        time.sleep(0.1)


@contextmanager
def kept_store(name: str) -> Iterator[Path]:
    """Hold a store that is kept from run to run; wait for whoever holds it."""
    folder = STORES / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / "store"
