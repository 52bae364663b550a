"""What is tried before anything is touched: a release's units, and its web server's configuration.

Both are tried in a folder of their own in memory: units under the names that they will have, the
configuration with every folder that it names replaced, so that what runs does not notice.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import durable, secrets_head
from deploy.command import run
from deploy.errors import BadUnitError, HeadError, WebServerError
from deploy.programs import PATH

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from deploy.layout import Layout
    from deploy.release import Release
    from deploy.units import Unit

RUN = Path("/run/sealift")
CACHE = "/var/cache/sealift-nginx"
TEST_SECONDS = 30.0
_HASHES = re.compile(rb"/[0-9a-z]{32}-")
_LEVEL = re.compile(r"Overall exposure level for (\S+): ([0-9.]+)")


def verify(release: Release, wanted: Collection[Unit], *, running: Path | None) -> None:
    """Let systemd look over the units whose text is not that of the release `running`.

    Raises:
        BadUnitError: it finds fault with one.
    """
    fresh = [unit for unit in wanted if _is_new(release, unit, running)]
    if not fresh:
        return
    with _folder("units") as folder:
        for file in release.units_dir.glob("sealift*"):
            (folder / file.name).symlink_to(file)
        for unit in wanted:
            (folder / unit.service).symlink_to(release.units_dir / _template(unit))
        argv = ("systemd-analyze", "verify", "--man=no", *(unit.service for unit in fresh))
        env = {"PATH": PATH, "LANG": "C.UTF-8", "SYSTEMD_UNIT_PATH": f"{folder}:"}
        ended = run(argv, env=env, timeout=TEST_SECONDS)
    if ended.status != 0:
        raise BadUnitError(
            "systemd does not take the release's units",
            where=str(release.units_dir),
            got=ended.output.strip(),
        )


def try_web_server(release: Release, layout: Layout, web: Unit) -> None:
    """Let the release's nginx test the release's configuration, beside whatever runs.

    Raises:
        WebServerError: it says what is wrong.
        CertificateError: its certificate and its key do not belong together.
        Error: its certificate cannot be laid open.
    """
    if release.web is None:
        return
    with _folder("nginx") as folder:
        _lay_certificate(release, layout, folder)
        for name in ("probe", "cache", "pid"):
            (folder / name).mkdir()
        conf = folder / "nginx.conf"
        conf.write_text(_elsewhere(release, web, folder), "utf-8")
        argv = (str(release.web.executable), "-t", "-q", "-p", f"{layout.var_dir}/")
        ended = run((*argv, "-c", str(conf)), env={"PATH": PATH}, timeout=TEST_SECONDS)
    if ended.status != 0:
        raise WebServerError(
            "nginx does not take the release's configuration",
            where=str(release.nginx_conf),
            got=ended.output.strip(),
        )


def exposure(release: Release, wanted: Collection[Unit]) -> dict[str, float]:
    """Return by service how exposed systemd finds each unit, from 0 (not at all) to 10.

    Empty where this systemd cannot tell without running it.
    """
    if not wanted:
        return {}
    with _folder("security") as folder:
        for unit in wanted:
            (folder / unit.service).symlink_to(release.units_dir / _template(unit))
        files = [str(folder / unit.service) for unit in wanted]
        argv = ("systemd-analyze", "security", "--offline=yes", "--no-pager", *files)
        ended = run(argv, env={"PATH": PATH, "LANG": "C.UTF-8"}, timeout=TEST_SECONDS)
    levels = {name: float(level) for name, level in _LEVEL.findall(ended.output)}
    return {each.name: levels[each.service] for each in wanted if each.service in levels}


def record(
    layout: Layout, number: int, release: Release, wanted: Mapping[str, Unit]
) -> dict[str, float]:
    """Note beside a generation how exposed its units are; what was found of a text stays found."""
    known = _known(layout)
    texts = {name: _text(release, unit) for name, unit in wanted.items()}
    levels = exposure(release, [unit for n, unit in wanted.items() if texts[n] not in known])
    known |= {texts[name]: level for name, level in levels.items()}
    found = {name: known[text] for name, text in texts.items() if text in known}
    document = {"exposure": found, "texts": {texts[n]: level for n, level in found.items()}}
    file = layout.unit_record(number)
    file.parent.mkdir(exist_ok=True)
    durable.write(file, json.dumps(document, sort_keys=True).encode() + b"\n")
    return found


def _known(layout: Layout) -> dict[str, float]:
    """Return by digest of the text what was found for earlier generations."""
    found: dict[str, float] = {}
    for file in layout.unit_record(0).parent.glob("*.json"):
        try:
            found |= json.loads(file.read_text("utf-8"))["texts"]
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _is_new(release: Release, unit: Unit, running: Path | None) -> bool:
    if running is None:
        return True
    names = (_template(unit), unit.socket, f"sealift-{unit.name}-probe@.socket")
    return any(
        _plain(release.units_dir / name) != _plain(running / "systemd" / name)
        for name in names[: 3 if unit.socket else 1]
        if name is not None
    )


def _plain(file: Path) -> bytes:
    """Return a unit's text without what makes no other unit of it: hashes, and who comes next."""
    lines = [line for line in _bytes(file).splitlines() if not line.startswith(b"Service=")]
    return _HASHES.sub(b"/", b"\n".join(lines))


def _text(release: Release, unit: Unit) -> str:
    """Return a digest of what a unit's text says, wherever its programs lie."""
    return hashlib.sha256(_plain(release.units_dir / _template(unit))).hexdigest()[:32]


def _template(unit: Unit) -> str:
    return f"sealift-{unit.name}@.service"


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _lay_certificate(release: Release, layout: Layout, folder: Path) -> None:
    """Lay the web server's own secrets, and nobody else's, where the test will look."""
    alone = replace(release, services={}, frontends={})
    secrets_head.lay(layout, alone, place=folder / "credentials")
    secrets_head.check_web(folder / "credentials", release)


def _elsewhere(release: Release, web: Unit, folder: Path) -> str:
    """Return the configuration with every folder of what runs replaced by one of the test's."""
    text = release.nginx_conf.read_text("utf-8")
    own = f"{RUN}-nginx/{web.instance}/"
    for place, other in (
        (own, f"{folder}/pid/"),
        (f"{RUN}/credentials/", f"{folder}/credentials/"),
        (f"{RUN}/probe/", f"{folder}/probe/"),
        (CACHE, f"{folder}/cache"),
        ("include site.conf;", f"include {release.site_conf};"),
    ):
        text = text.replace(place, other)
    return text


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """Make a folder in memory that only root sees; it goes when the block ends."""
    place = RUN / "rehearsal" / name
    shutil.rmtree(place, ignore_errors=True)
    try:
        RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        place.mkdir(mode=0o700)
    except OSError as error:
        reason = f"a folder to try things in cannot be made: {error.strerror}"
        raise HeadError(reason, where=str(place)) from error
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
