"""`phase.json`, as a configuration has it in the store, read into `deploy.phases.configuration`.

`parse` is strict: what it lets through can be laid.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING

from deploy.errors import BadReleaseError
from deploy.fields import Fields
from deploy.phases.configuration import (
    ACCOUNT,
    HOST,
    PACKAGE,
    PHASE,
    ROOT,
    SECRET,
    SORT,
    UNIT,
    VERSION,
    Account,
    Configuration,
    Directory,
    File,
    Marker,
    Packages,
    Peer,
    Port,
    To,
    UnitWish,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT = 1
FILE = "phase.json"
ETC = "/etc/"
"""Files are laid here alone: whatever else a phase changes is its module's to do."""
FULL_MODE = 0o7777
LAST_ID = 2**31 - 1


def load(path: Path) -> Configuration:
    """Read the configuration at the store path `path`.

    Raises:
        BadReleaseError: there is none, or it cannot be used.
    """
    try:
        text = (path / FILE).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        hint = "sealift build, then run the phase again"
        reason = "this is no configuration of a phase"
        raise BadReleaseError(reason, where=str(path), hint=hint) from None
    return parse(text, path)


def parse(text: str, path: Path) -> Configuration:
    """Make the configuration described by `text`, which lies at `path`.

    Raises:
        BadReleaseError: it cannot be used.
    """
    where = f"{path}/{FILE}"
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BadReleaseError(f"not JSON: {error}", where=where) from error
    fields = Fields(document, where)
    if fields.integer("format") != FORMAT:
        raise BadReleaseError("made by another version of sealift", where=f"{where}: format")
    found = _configuration(fields, path)
    fields.end()
    _check(found, where)
    return found


def _configuration(fields: Fields, path: Path) -> Configuration:
    return Configuration(
        path=path,
        phase=_matching(PHASE, fields, "phase"),
        number=fields.integer("number", high=99),
        host=_matching(HOST, fields, "host"),
        description=fields.string("description") if fields.has("description") else "",
        hosts=tuple(_peer(each) for each in fields.children("hosts")),
        after=_every(PHASE, fields, "after"),
        irreversible=fields.strings("irreversible", default=()),
        parameters=fields.values("parameters"),
        packages=_packages(fields.optional("packages")),
        users=tuple(_account(each) for each in fields.children("users")),
        directories=tuple(_directory(each) for each in fields.children("directories")),
        files=tuple(_file(each) for each in fields.children("files")),
        units=tuple(_wish(each) for each in fields.children("units")),
        ports=tuple(_port(each) for each in fields.children("ports")),
        secrets=_secrets(fields),
    )


def _peer(fields: Fields) -> Peer:
    peer = Peer(
        _matching(HOST, fields, "name"),
        fields.string("address"),
        fields.integer("priority", high=10_000),
    )
    fields.end()
    try:
        ipaddress.ip_address(peer.address)
    except ValueError:
        reason = f"{peer.name} has no IP address"
        raise BadReleaseError(reason, where=fields.where, got=repr(peer.address)) from None
    return peer


def _packages(fields: Fields | None) -> Packages | None:
    if fields is None:
        return None
    packages = Packages(fields.path("set"), fields.string_map("names"))
    fields.end()
    for name, version in packages.names.items():
        if not PACKAGE.fullmatch(name) or not VERSION.fullmatch(version):
            got = f"{name}={version}"
            raise BadReleaseError("this is no Debian package", where=fields.where, got=got)
    return packages


def _account(fields: Fields) -> Account:
    name = _matching(ACCOUNT, fields, "name")
    uid = fields.integer("uid", low=1, high=LAST_ID)
    account = Account(
        name=name,
        uid=uid,
        gid=fields.integer("gid", low=1, high=LAST_ID) if fields.has("gid") else uid,
        group=_matching(ACCOUNT, fields, "group") if fields.has("group") else name,
        home=str(fields.path("home")) if fields.has("home") else "/nonexistent",
        shell=str(fields.path("shell")) if fields.has("shell") else "/usr/sbin/nologin",
        groups=_every(ACCOUNT, fields, "groups"),
    )
    fields.end()
    return account


def _directory(fields: Fields) -> Directory:
    directory = Directory(fields.path("path"), *_owned(fields, "0755"))
    fields.end()
    return directory


def _file(fields: Fields) -> File:
    markers = fields.strings("markers", default=())
    owner, group, mode = _owned(fields, "0644")
    file = File(
        path=fields.path("path"),
        source=fields.string("source") if fields.has("source") else None,
        secret=_matching(SECRET, fields, "secret") if fields.has("secret") else None,
        markers=tuple(_marker(each, fields.where) for each in markers),
        owner=owner,
        group=group,
        mode=mode,
        units=_every(UNIT, fields, "units"),
        reload=fields.boolean("reload", default=False),
    )
    fields.end()
    _check_file(file, fields.where)
    return file


def _check_file(file: File, where: str) -> None:
    if (file.source is None) == (file.secret is None):
        raise BadReleaseError("a file is a text or a secret, and not both", where=where)
    if file.source not in (None, f"{ROOT}{file.path}"):
        reason, wanted = "a file's text lies elsewhere", f"{ROOT}{file.path}"
        raise BadReleaseError(reason, where=where, expected=wanted, got=file.source)
    if not str(file.path).startswith(ETC):
        reason = "files are laid below /etc alone"
        raise BadReleaseError(reason, where=where, got=str(file.path))


def _wish(fields: Fields) -> UnitWish:
    wish = UnitWish(_matching(UNIT, fields, "name"), fields.boolean("enabled", default=True))
    fields.end()
    return wish


def _port(fields: Fields) -> Port:
    protocol = fields.string("proto", default="tcp", among=("tcp", "udp", "vrrp"))
    first, last = (0, 0) if protocol == "vrrp" else _range(fields)
    port = Port(
        first,
        last,
        protocol,
        To(fields.string("to", default="peers", among=[each.value for each in To])),
        _matching(UNIT, fields, "unit") if fields.has("unit") else None,
    )
    fields.has("port")
    fields.end()
    return port


def _range(fields: Fields) -> tuple[int, int]:
    value = fields.value("port")
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", str(value))
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= 2**16 - 1:
        reason = "this is neither a port nor a range of them"
        raise BadReleaseError(reason, where=fields.where, got=repr(value)[:80])
    return first, last


def _secrets(fields: Fields) -> Mapping[str, str]:
    found = fields.string_map("secrets")
    for name, sort in found.items():
        if not SECRET.fullmatch(name) or not SORT.fullmatch(sort):
            got = f"{name!r}: {sort!r}"
            raise BadReleaseError("this is no secret", where=fields.where, got=got)
    return found


def _marker(text: str, where: str) -> Marker:
    found = Marker.parse(text)
    if found is None:
        raise BadReleaseError("this is no marker of a secret", where=where, got=repr(text)[:80])
    return found


def _owned(fields: Fields, mode: str) -> tuple[str, str, int]:
    owner = _matching(ACCOUNT, fields, "owner") if fields.has("owner") else "root"
    group = _matching(ACCOUNT, fields, "group") if fields.has("group") else owner
    text = fields.string("mode", default=mode)
    if not re.fullmatch(r"0?[0-7]{3,4}", text) or int(text, 8) > FULL_MODE:
        raise BadReleaseError("this is no mode of a file", where=fields.where, got=repr(text))
    return owner, group, int(text, 8)


def _matching(pattern: re.Pattern[str], fields: Fields, key: str) -> str:
    return _fit(pattern, fields.string(key), f"{fields.where}: {key}")


def _every(pattern: re.Pattern[str], fields: Fields, key: str) -> tuple[str, ...]:
    where = f"{fields.where}: {key}"
    return tuple(_fit(pattern, each, where) for each in fields.strings(key, default=()))


def _fit(pattern: re.Pattern[str], text: str, where: str) -> str:
    if not pattern.fullmatch(text):
        raise BadReleaseError("this cannot be used here", where=where, got=repr(text)[:80])
    return text


def _check(found: Configuration, where: str) -> None:
    """Refuse what does not hold together."""
    if found.host not in [each.name for each in found.hosts]:
        raise BadReleaseError("the host is none of the phase", where=where, got=found.host)
    for what, names in (
        ("host", [each.name for each in found.hosts]),
        ("file", [str(each.path) for each in found.files]),
        ("unit", [each.name for each in found.units]),
        ("user", [each.name for each in found.users]),
    ):
        twice = sorted({each for each in names if names.count(each) > 1})
        if twice:
            raise BadReleaseError(f"the same {what} twice", where=where, got=", ".join(twice))
    wanted = {name for file in found.files for name in file.secrets}
    unknown = sorted(wanted - set(found.secrets))
    if unknown:
        got = ", ".join(unknown)
        raise BadReleaseError("a file wants secrets that are not declared", where=where, got=got)
