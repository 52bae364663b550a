"""A Debian that lies in a folder: apt, dpkg, systemd and accounts, as far as phases use them.

All that it knows is on disk, so that a process that is killed leaves what a machine would: each
program does its work file by file. A maintainer script starts what `policy-rc.d` does not forbid,
and writes through whatever link it finds.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import durable
from deploy.command import Answer
from deploy.install.machine import ENVIRONMENT, QUICK, Group, User

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STATUS = "var/lib/dpkg/status"
EXTENDED = "var/lib/apt/extended_states"
DIVERSIONS = "var/lib/dpkg/diversions"
UNITS = "lib/systemd/system"
SYSTEM = "etc/systemd/system"
WANTS = "multi-user.target.wants"
RUNNING = "run/systemd.json"
POLICY = "usr/sbin/policy-rc.d"
SHIELDED = "SHIELDED"
"""Tells a program that what it writes into the store is lost."""
BOOT = "sealift-phases.service"
FIRST = ("install", "remove", "autoremove")


@dataclass(frozen=True)
class Debian:
    """The system below `root`; `store` is where sets of packages lie, as `INDEX` files."""

    root: Path
    store: Path

    @classmethod
    def make(cls, root: Path, store: Path) -> Debian:
        for folder in ("etc", SYSTEM, UNITS, "usr/sbin", "var/lib/dpkg", "var/lib/apt", "run"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for file in (STATUS, EXTENDED, DIVERSIONS):
            (root / file).touch()
        (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\nadm:x:4:\n")
        return cls(root, store)

    def __call__(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002
        timeout: float = QUICK,
        env: Mapping[str, str] = ENVIRONMENT,
        log: Path | None = None,
    ) -> Answer:
        del timeout
        words = list(argv)
        if words[0] == "unshare":
            env = {**env, SHIELDED: "1"}
            words = words[words.index(str(self.store)) + 2 :]
        known = {
            "apt-get": self._apt,
            "apt-mark": self._mark,
            "dpkg": self._configure,
            "dpkg-divert": self._divert,
            "systemctl": self._systemctl,
            "groupadd": self._groupadd,
            "useradd": self._useradd,
            "gpasswd": self._gpasswd,
            "cat": lambda *_: Answer(0, input, ""),
        }
        if words[0] not in known:
            return Answer(127, b"", f"cannot start {words[0]}")
        done = known[words[0]](words[1:], env)
        if log is not None:
            log.write_bytes(done.stdout)
        return done

    def user(self, key: str | int) -> User | None:
        for row in self._rows("etc/passwd"):
            if key in (row[0], int(row[2])):
                return User(row[0], int(row[2]), int(row[3]))
        return None

    def group(self, key: str | int) -> Group | None:
        for row in self._rows("etc/group"):
            if key in (row[0], int(row[2])):
                return Group(row[0], int(row[2]), frozenset(filter(None, row[3].split(","))))
        return None

    def package(self, name: str) -> str:
        """Return the version of a package, with its state unless that is `installed`."""
        facts = self.status().get(name, {})
        state = facts.get("Status", "").split()[-1:] or ["absent"]
        plain = state[0] == "installed"
        return facts["Version"] if plain else f"{facts.get('Version', '')} {state[0]}".strip()

    def start(self, unit: str) -> None:
        """Let a unit run, anew."""
        self._run(unit, {"active": "active", "invocation": secrets.token_hex(16)})

    def active(self) -> set[str]:
        return {name for name, facts in self._running().items() if facts["active"] == "active"}

    def enabled(self) -> set[str]:
        found = {each.name for each in (self.root / SYSTEM).glob("*.wants/*")}
        return found - self.masked() - {BOOT}

    def masked(self) -> set[str]:
        return {each.name for each in (self.root / SYSTEM).iterdir() if _is_mask(each)}

    def power_cut(self, memory: Path, noted: Path) -> None:
        """Forget what is in memory, then start what starts with the machine.

        What packages wrote while it was noted that they are installed was not synced yet.
        """
        marker = memory / "installing"
        if marker.exists() and noted.exists():
            since = marker.stat().st_mtime_ns
            for facts in self.status().values():
                for path in re.findall(r"^ (/\S+) ", facts.get("Conffiles", ""), re.MULTILINE):
                    place = Path(self.diversions().get(path, str(self.root / path[1:])))
                    if place.is_file() and place.lstat().st_mtime_ns >= since:
                        place.write_text("")
        (self.root / RUNNING).unlink(missing_ok=True)
        for each in (memory,):
            _empty(each)
        for unit in sorted(self.enabled()):
            self.start(unit)

    def status(self) -> dict[str, dict[str, str]]:
        return _stanzas(self.root / STATUS)

    def diversions(self) -> dict[str, str]:
        lines = (self.root / DIVERSIONS).read_text().splitlines()
        return dict(zip(lines[::3], lines[1::3], strict=True))

    # apt and dpkg

    def _apt(self, words: list[str], env: Mapping[str, str]) -> Answer:
        if "update" in words:
            return Answer(0, b"", "")
        verb = next(each for each in words if each in FIRST)
        names = words[words.index("--") + 1 :] if "--" in words else []
        known = self._index(env)
        if verb == "install":
            return self._install(names, known, words, env)
        gone = sorted(self._unneeded()) if verb == "autoremove" else self._with_users(names)
        lines = [f"Remv {name} [{self.status()[name]['Version']}]" for name in gone]
        if "--simulate" not in words:
            for name in gone:
                self._remove(name)
        return Answer(0, "\n".join(lines).encode(), "")

    def _install(
        self, names: list[str], known: Mapping[str, Any], words: list[str], env: Mapping[str, str]
    ) -> Answer:
        status = self.status()
        chosen: dict[str, Any] = {}
        for word in names:
            name, _, version = word.partition("=")
            candidate = known.get(name, {}).get("version")
            if candidate is None or version not in ("", candidate):
                return Answer(100, b"", f"E: Version '{version}' for '{name}' was not found")
            chosen |= self._with_needs(name, known, status)
        lines, removed = [], []
        for name, facts in chosen.items():
            old = status.get(name, {})
            there = old.get("Status", "").endswith("installed")
            if there and old["Version"] == facts["version"] and "--reinstall" not in words:
                continue
            if there and _number(old["Version"]) > _number(facts["version"]):
                said = "E: Packages were downgraded and -y was used without --allow-downgrades."
                return Answer(100, b"", said)
            removed += [each for each in facts.get("conflicts", ()) if each in status]
            text = f" [{old['Version']}]" if there else ""
            lines.append(f"Inst {name}{text} ({facts['version']} store [amd64])")
        if removed:
            text = f"The following packages will be REMOVED:\n  {' '.join(removed)}\n"
            return Answer(
                100, text.encode(), "E: Packages need to be removed but remove is disabled."
            )
        if "--simulate" not in words:
            for line in lines:
                name = line.split()[1]
                asked = any(each.split("=")[0] == name for each in names)
                restore = "Dpkg::Options::=--force-confmiss" in words
                self._unpack(name, known[name], env, manual=asked, restore=restore)
        return Answer(0, "\n".join(lines).encode(), "")

    def _with_needs(
        self, name: str, known: Mapping[str, Any], status: Mapping[str, Any]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for each in known[name].get("depends", ()):
            if each in known:
                found |= self._with_needs(each, known, status)
        return {**found, name: known[name]}

    def _unpack(
        self,
        name: str,
        facts: Mapping[str, Any],
        env: Mapping[str, str],
        *,
        manual: bool,
        restore: bool,
    ) -> None:
        was = self.package(name) not in ("absent", "") and "-" not in self.package(name)
        before = self.status().get(name, {}).get("Conffiles", "") if was else ""
        self._set(name, facts, "half-installed")
        for unit in facts.get("units", ()):
            (self.root / UNITS / unit).write_text("[Install]\nWantedBy=multi-user.target\n")
        for path, text in facts.get("conffiles", {}).items():
            place = Path(self.diversions().get(path, str(self.root / path[1:])))
            if not place.exists() and (path not in before or restore):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
        self._set(name, facts, "half-configured")
        self._postinst(name, {**facts, "was": was}, env)
        self._automatic(name, auto=not manual)

    def _postinst(self, name: str, facts: Mapping[str, Any], env: Mapping[str, str]) -> None:
        for path in facts.get("owns", ()):
            # As `chown` and `>` do, be there a link or not.
            place = self.root / path[1:]
            lost = SHIELDED in env and place.resolve().is_relative_to(self.store)
            if place.exists() and not lost:
                place.write_text(place.read_text() + "touched by a script\n")
        for unit in facts.get("units", ()):
            if not facts["was"]:
                link = self.root / SYSTEM / WANTS / unit
                link.parent.mkdir(exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(f"/{UNITS}/{unit}")
            if not (self.root / POLICY).exists() and unit not in self.masked():
                self.start(unit)
        self._set(name, facts, "installed")

    def _configure(self, words: list[str], env: Mapping[str, str]) -> Answer:
        if words[0] == "--compare-versions":
            one, _, other = words[1:]
            return Answer(0 if _number(one) < _number(other) else 1, b"", "")
        known = self._index(env)
        for name, facts in self.status().items():
            if facts["Status"].endswith("half-configured"):
                self._postinst(name, {**known.get(name, {}), "was": False}, env)
        del words
        return Answer(0, b"", "")

    def _remove(self, name: str) -> None:
        facts = self.status()[name]
        for unit in json.loads(facts.get("Units", "[]")):
            (self.root / UNITS / unit).unlink(missing_ok=True)
        self._write_status(name, {**facts, "Status": "deinstall ok config-files"})

    def _with_users(self, names: list[str]) -> list[str]:
        """Return packages with all that need them."""
        there = {n: f for n, f in self.status().items() if f["Status"].endswith(" installed")}
        gone = [name for name in names if name in there]
        for name in gone:
            for user, facts in there.items():
                if user not in gone and name in json.loads(facts.get("Needs", "[]")):
                    gone.append(user)
        return gone

    def _unneeded(self) -> set[str]:
        status = {n: f for n, f in self.status().items() if f["Status"].endswith(" installed")}
        auto = {n for n, f in _stanzas(self.root / EXTENDED).items() if f["Auto-Installed"] == "1"}
        needed, left = set(), [name for name in status if name not in auto]
        while left:
            name = left.pop()
            if name in status and name not in needed:
                needed.add(name)
                left += [n for n, f in status.items() if name in json.loads(f.get("Like", "[]"))]
                left += json.loads(status[name].get("Needs", "[]"))
        return set(status) - needed

    def _mark(self, words: list[str], _env: Mapping[str, str]) -> Answer:
        for name in words[words.index("--") + 1 :]:
            self._automatic(name, auto=words[0] == "auto")
        return Answer(0, b"", "")

    def _automatic(self, name: str, *, auto: bool) -> None:
        known = _stanzas(self.root / EXTENDED)
        known[name] = {"Package": name, "Auto-Installed": "1" if auto else "0"}
        _write(self.root / EXTENDED, known)

    def _set(self, name: str, facts: Mapping[str, Any], state: str) -> None:
        before = self.status().get(name, {})
        want = "hold" if before.get("Status", "").startswith("hold") else "install"
        stanza = {
            "Package": name,
            "Status": f"{want} ok {state}",
            "Version": facts.get("version", before.get("Version", "")),
            "Needs": json.dumps(facts.get("depends", [])),
            "Conffiles": "".join(
                f"\n {path} {md5(text.encode(), usedforsecurity=False).hexdigest()}"
                for path, text in facts.get("conffiles", {}).items()
            ),
            "Like": json.dumps(facts.get("like", [])),
            "Units": json.dumps(facts.get("units", [])),
        }
        self._write_status(name, stanza)

    def _write_status(self, name: str, stanza: Mapping[str, str]) -> None:
        _write(self.root / STATUS, self.status() | {name: dict(stanza)})

    def _index(self, env: Mapping[str, str]) -> dict[str, Any]:
        conf = Path(env["APT_CONFIG"]).read_text()
        match = re.search(r'sourcelist "([^"]+)"', conf)
        assert match is not None
        sets = re.findall(r"file:(\S+) \./", Path(match[1]).read_text())
        found: dict[str, Any] = {}
        for each in sets:
            found |= json.loads((Path(each) / "index.json").read_text())
        return found

    def _divert(self, words: list[str], _env: Mapping[str, str]) -> Answer:
        kept, path = words[words.index("--divert") + 1], words[-1]
        known = self.diversions()
        if "--add" in words:
            assert Path(kept).parent.is_dir()
            known[path] = kept
        else:
            known.pop(path, None)
        text = "".join(f"{path}\n{kept}\n:\n" for path, kept in known.items())
        durable.write(self.root / DIVERSIONS, text.encode())
        return Answer(0, b"", "")

    # systemd

    def _systemctl(self, words: list[str], _env: Mapping[str, str]) -> Answer:
        verb, names = words[0], words[words.index("--") + 1 :] if "--" in words else words[1:]
        match verb:
            case "show":
                return Answer(0, "\n\n".join(map(self._shown, names)).encode(), "")
            case "daemon-reload":
                (self.root / "run/reloads").write_text("x")
                return Answer(0, b"", "")
        for name in names:
            if self._file(name) is None:
                return Answer(1, b"", f"Unit {name} not found.")
            self._obey(verb, name)
        return Answer(0, b"", "")

    def _obey(self, verb: str, name: str) -> None:
        link = self.root / SYSTEM / WANTS / name
        linked = (self.root / SYSTEM / name).is_symlink()
        match verb:
            case "start" | "restart":
                self.start(name)
            case "stop":
                self._run(name, {"active": "inactive", "invocation": ""})
            case "enable":
                assert not linked, "Refusing to operate on linked unit file"
                link.parent.mkdir(exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(f"/{UNITS}/{name}")
            case "disable":
                assert not linked, "disable removes the link of a linked unit"
                link.unlink(missing_ok=True)

    def _shown(self, name: str) -> str:
        file, own = self._file(name), self.root / SYSTEM / name
        running = self._running().get(name, {"active": "inactive", "invocation": ""})
        state = "enabled" if name in self.enabled() else "disabled"
        state = "linked" if own.is_symlink() else state
        load = "loaded" if file else "not-found"
        if _is_mask(own):
            load, state = "masked", "masked"
        facts = {
            "Id": name,
            "Names": name,
            "LoadState": load,
            "ActiveState": running["active"],
            "SubState": "running" if running["active"] == "active" else "dead",
            "UnitFileState": state if file else "",
            "InvocationID": running["invocation"],
        }
        return "\n".join(f"{key}={value}" for key, value in facts.items())

    def _file(self, name: str) -> Path | None:
        for folder in (SYSTEM, UNITS):
            place = self.root / folder / name
            if place.is_symlink() or place.is_file():
                return place
        return None

    def _running(self) -> dict[str, dict[str, str]]:
        file = self.root / RUNNING
        found: dict[str, dict[str, str]] = json.loads(file.read_text()) if file.exists() else {}
        return found

    def _run(self, unit: str, facts: Mapping[str, str]) -> None:
        text = json.dumps(self._running() | {unit: dict(facts)})
        durable.write(self.root / RUNNING, text.encode())

    # accounts

    def _rows(self, file: str) -> list[list[str]]:
        return [line.split(":") for line in (self.root / file).read_text().splitlines()]

    def _groupadd(self, words: list[str], _env: Mapping[str, str]) -> Answer:
        rows = [*self._rows("etc/group"), [words[-1], "x", words[1], ""]]
        return self._keep_rows("etc/group", rows)

    def _useradd(self, words: list[str], _env: Mapping[str, str]) -> Answer:
        said = dict(each[2:].split("=", 1) for each in words if "=" in each)
        row = [words[-1], "x", said["uid"], said["gid"], "", said["home-dir"], said["shell"]]
        return self._keep_rows("etc/passwd", [*self._rows("etc/passwd"), row])

    def _gpasswd(self, words: list[str], _env: Mapping[str, str]) -> Answer:
        user, group = words[1:]
        rows = self._rows("etc/group")
        for row in rows:
            if row[0] == group:
                row[3] = ",".join(filter(None, [*row[3].split(","), user]))
        return self._keep_rows("etc/group", rows)

    def _keep_rows(self, file: str, rows: list[list[str]]) -> Answer:
        text = "".join(":".join(row) + "\n" for row in rows)
        durable.write(self.root / file, text.encode())
        return Answer(0, b"", "")


def _stanzas(file: Path) -> dict[str, dict[str, str]]:
    found = {}
    for stanza in filter(None, file.read_text().split("\n\n")):
        facts = dict(re.findall(r"^(\S+): (.*(?:\n .*)*)$", stanza.strip(), re.MULTILINE))
        found[facts["Package"]] = facts
    return found


def _write(file: Path, stanzas: Mapping[str, Mapping[str, str]]) -> None:
    text = "\n".join(
        "".join(f"{key}: {value}\n" for key, value in facts.items()) for facts in stanzas.values()
    )
    durable.write(file, text.encode())


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version))


def _is_mask(place: Path) -> bool:
    return place.is_symlink() and str(place.readlink()) == "/dev/null"


def _empty(folder: Path) -> None:
    import shutil  # noqa: PLC0415

    shutil.rmtree(folder, ignore_errors=True)
