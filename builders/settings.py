"""A site's settings: where store, state, recipes and sources are, which mirrors, which heads.

They stand in `sealift.yaml`, found by walking up from the working directory. Loading YAML costs
as much as all else of a build with nothing changed, so what the file says is kept beside the
store, under the digest of the file's bytes; reading it is for `builders.settings_file`.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.recipe import SourceSpec

FILE_NAME = "sealift.yaml"
FILE_VARIABLE = "SEALIFT_CONFIG"
PRIVATE = ".sealift"
"""Folder beside the settings file, where store and state are by default."""
PARALLEL = 16
"""Hosts that are spoken to at once, where the settings do not say."""
CONNECT_TIMEOUT = 10
"""Seconds in which a host must answer, where the settings do not say."""
CLUSTER = "cluster"
"""What a cluster is called where neither it nor the site has a name."""
KEEP = 5
"""Generations that `sealift gc` leaves, where the settings do not say."""

_FORMAT = 3
_PATHS = (
    "store_dir",
    "state_dir",
    "recipes",
    "locks",
    "sources",
    "keyring",
    "known_hosts",
    "ssh_config",
)


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Where the public registries, or a site's mirrors of them, are reached; no slash at the end.

    `pypi_files` replaces the start of the URLs of files that a lock names.
    """

    pypi_index: str = "https://pypi.org/simple"
    pypi_files: str = "https://files.pythonhosted.org"
    npm: str = "https://registry.npmjs.org"
    nodejs: str = "https://nodejs.org/dist"
    debian: str = "http://deb.debian.org/debian"
    debian_security: str = "http://deb.debian.org/debian-security"


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What one key of `hosts` says; None where it says nothing. A name may be a set: `head[1-3]`.

    What it means, and for which hosts, is for `deploy.inventory`.
    """

    name: str
    kind: str | None = None
    port: int | None = None
    port_offset: int | None = None
    address: str | None = None
    user: str | None = None
    key: str | None = None
    gateway: str | None = None
    roles: tuple[str, ...] | None = None
    priority: int | None = None
    sudo: str | None = None


@dataclass(frozen=True, slots=True)
class SigningSettings:
    """Which key this machine signs with, and the files that say whose signatures count here.

    `identity` is what its signatures stand for. `signers` and `revoked` are in the formats of
    ssh-keygen(1), and both must be there. `threshold` are the different signers that a release
    must have. `receipts` says by site who may sign what it sends; of a site that is not there it is
    whoever may sign receipts.
    """

    key: Path = Path("keys/signing")
    identity: str | None = None
    signers: Path = Path("allowed_signers")
    revoked: Path = Path("revoked_keys")
    threshold: int = 1
    receipts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Substituter:
    """A shared cache that builds ask before they build, and whose word counts there.

    Each of `public_keys` is spelled `name:<base 64>`, as Nix does.
    """

    url: str
    public_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What is said of the cluster: a set of hosts, None for all; and IP addresses of some.

    `phases` are kept nodes (`builders.kept_node`) by the name of the phase.
    """

    name: str
    hosts: str | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)
    phases: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `sealift.yaml` says, with defaults filled in and paths absolute.

    `sandbox` is `on` or `off`. `groups` are sets of hosts, `roles` the services that hosts of a
    role have. `known_hosts` holds the keys of hosts; `parallel` are as many at once as are
    spoken to; `connect_timeout` is in seconds; `keep` is how many generations stay. `recovery` are
    public keys that secrets are sealed to besides those of heads. `site` is the name under which
    bundles are made for it. `substituters` are asked in their order. Without `cluster` there are
    no phases.
    """

    file: Path
    root: Path
    store_dir: Path
    state_dir: Path
    recipes_dir: Path
    locks_dir: Path
    sources_dir: Path
    keyring: Path
    mirrors: Mirrors
    sandbox: str
    hosts: Mapping[str, HostSettings]
    groups: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known_hosts: Path = Path("known_hosts")
    parallel: int = PARALLEL
    connect_timeout: int = CONNECT_TIMEOUT
    keep: int = KEEP
    recovery: tuple[str, ...] = ()
    ssh_config: Path | None = None
    site: str | None = None
    signing: SigningSettings = field(default_factory=SigningSettings)
    substituters: tuple[Substituter, ...] = ()
    cluster: ClusterSettings | None = None

    def source_base(self, spec: SourceSpec) -> Path:
        """Return the folder that a source's path starts at."""
        return self.recipes_dir.parent if spec.beside else self.sources_dir


def load_settings(
    start: Path | None = None,
    *,
    file: Path | None = None,
    overrides: Mapping[str, str] = MappingProxyType({}),
) -> Settings:
    """Load the settings that hold in a folder, or those of a file.

    `start` is the working directory by default; the environment's `SEALIFT_CONFIG` names a file
    too. `overrides` are keys of the file with other values; paths in it start at the working
    directory.

    Raises:
        InputError: there is no such file.
        RecipeError: something in it is wrong; says what and where.
    """
    found = _find(start or Path.cwd(), file)
    said = _said(found)
    root = Path(os.path.realpath(found.parent))
    paths = {key: str(root / said[key]) for key in _PATHS if key in said}
    paths |= {key: str(Path.cwd() / overrides[key]) for key in _PATHS if key in overrides}
    return _settings(found, root, paths, said | dict(overrides))


def _find(start: Path, file: Path | None) -> Path:
    named = file or (Path(os.environ[FILE_VARIABLE]) if os.environ.get(FILE_VARIABLE) else None)
    if named is not None:
        if not named.is_file():
            hint = None if file else f"{FILE_VARIABLE} names it in the environment"
            raise InputError("the settings file does not exist", where=str(named), hint=hint)
        return named.absolute()
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise InputError(
        f"there is no {FILE_NAME} here or in a folder above",
        where=str(start),
        hint=f"go to the folder that has it, or name it: --config FILE, or {FILE_VARIABLE}=FILE",
    )


def _said(file: Path) -> dict[str, Any]:
    """Return what the file says, checked; from where it is kept if the bytes are the same."""
    try:
        content = file.read_bytes()
    except OSError as fault:
        reason = f"settings cannot be read: {fault.strerror}"
        raise InputError(reason, where=str(file)) from fault
    digest = hashlib.sha256(content).hexdigest()
    kept = file.parent / PRIVATE / "settings.json"
    known = _kept(kept)
    if known.get("format") == _FORMAT and known.get("digest") == digest:
        return dict(known["said"])
    # Loaded here because YAML is slow to load and seldom needed.
    from builders.settings_file import read  # noqa: PLC0415

    said = read(content, file)
    _keep(kept, {"format": _FORMAT, "digest": digest, "said": said})
    return said


def _kept(kept: Path) -> dict[str, Any]:
    try:
        known = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _keep(kept: Path, record: dict[str, Any]) -> None:
    """Keep what the file says, if there is a folder for it; failing costs only time."""
    if not kept.parent.is_dir():
        return
    fresh = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        fresh.write_text(json.dumps(record, sort_keys=True))
        fresh.replace(kept)
    except OSError:
        fresh.unlink(missing_ok=True)


def _settings(
    file: Path, root: Path, paths: Mapping[str, str], said: Mapping[str, Any]
) -> Settings:
    def path(key: str, default: str) -> Path:
        return Path(os.path.normpath(paths.get(key) or root / default))

    recipes = path("recipes", "recipes")
    hosts = said.get("hosts") or {"local": {}}
    return Settings(
        file=file,
        root=root,
        store_dir=path("store_dir", f"{PRIVATE}/store"),
        state_dir=path("state_dir", f"{PRIVATE}/state"),
        recipes_dir=recipes,
        locks_dir=path("locks", str(recipes / "locks")),
        sources_dir=path("sources", "sources"),
        keyring=path("keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
        mirrors=Mirrors(**said.get("mirrors", {})),
        sandbox=said.get("sandbox", "on"),
        hosts=MappingProxyType({name: _host(name, of) for name, of in hosts.items()}),
        groups=MappingProxyType(dict(said.get("groups", {}))),
        roles=MappingProxyType({name: tuple(of) for name, of in said.get("roles", {}).items()}),
        known_hosts=path("known_hosts", "known_hosts"),
        parallel=said.get("parallel", PARALLEL),
        keep=said.get("keep", KEEP),
        connect_timeout=said.get("connect_timeout", CONNECT_TIMEOUT),
        recovery=tuple(said.get("recovery", ())),
        ssh_config=path("ssh_config", "") if "ssh_config" in paths else None,
        site=said.get("site"),
        signing=_signing(root, said.get("signing", {})),
        substituters=tuple(
            Substituter(each["url"], tuple(each["public_keys"]))
            for each in said.get("substituters", ())
        ),
        cluster=_cluster(said),
    )


def _cluster(said: Mapping[str, Any]) -> ClusterSettings | None:
    if "cluster" not in said:
        return None
    of = said["cluster"]
    return ClusterSettings(
        name=of.get("name") or said.get("site") or CLUSTER,
        hosts=of.get("hosts"),
        addresses=MappingProxyType(dict(of.get("addresses", {}))),
        phases=MappingProxyType(dict(of.get("phases", {}))),
    )


def _signing(root: Path, of: Mapping[str, Any]) -> SigningSettings:
    """Make paths absolute; they start at the settings file."""
    default = SigningSettings()

    def path(key: str, otherwise: Path) -> Path:
        return Path(os.path.normpath(root / Path(of.get(key, otherwise)).expanduser()))

    return SigningSettings(
        key=path("key", default.key),
        identity=of.get("identity"),
        signers=path("signers", default.signers),
        revoked=path("revoked", default.revoked),
        threshold=of.get("threshold", default.threshold),
        receipts=MappingProxyType(dict(of.get("receipts", {}))),
    )


def _host(name: str, of: Mapping[str, Any]) -> HostSettings:
    roles = {"roles": tuple(of["roles"])} if "roles" in of else {}
    return HostSettings(name, **{**of, **roles})
