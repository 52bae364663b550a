"""Laying a phase and taking it back: what comes, what is kept, and what is refused."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from deploy.audit import Audit
from deploy.errors import HeadError
from deploy.install import boot, commands, dpkg, lay, memory, policy, records, stale, words
from deploy.install.listening import Listening
from deploy.phases.state import LAID, RELOAD, RESTART, VERIFIED
from store.errors import Error
from tests.deploy.install.bench import CONFFILE, ME, NEWER, REDIS, Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from deploy.phases.configuration import Configuration

UNIT = "redis-server.service"
PASSWORD = "/etc/redis/password.conf"


def with_secret(head: Bench, revision: str = "1", **facts: Any) -> Configuration:
    file = {
        "path": PASSWORD,
        "markers": ["REDIS:word"],
        "owner": ME,
        "mode": "0640",
        "units": [UNIT],
    }
    return head.configuration(
        revision=revision,
        files=[file],
        texts={PASSWORD: "requirepass @secret:REDIS:word@\n", CONFFILE: f"revision {revision}\n"},
        secrets={"REDIS": "password"},
        **facts,
    )


def test_a_phase_is_laid_and_then_does_not_differ(head: Bench) -> None:
    wanted, secrets = with_secret(head), head.seal(REDIS="open-sesame")
    before = head.look(wanted, **secrets)
    assert before.differs
    assert not before.laid
    assert before.packages == {"redis-server": "absent → 7.0"}
    assert {each.path: each.what for each in before.files} == {
        CONFFILE: "missing",
        PASSWORD: "missing",
    }
    done = lay.lay(head.work(**secrets), wanted)
    assert done.names == ("redis-server", "redis-tools")
    assert head.etc(CONFFILE).read_text() == "revision 1\n"
    assert head.etc(PASSWORD).read_text() == "requirepass open-sesame\n"
    after = head.look(wanted, **secrets)
    assert not after.differs
    assert after.refusals == ()
    assert after.laid
    assert after.recorded is not None
    assert (after.recorded.state, after.recorded.path) == (LAID, str(wanted.path))
    assert after.recorded.installed == ("redis-server", "redis-tools")


def test_what_packages_bring_neither_runs_nor_starts_until_it_is_enabled(head: Bench) -> None:
    wanted = head.configuration()
    lay.lay(head.work(), wanted)
    assert head.debian.active() == set()
    assert head.debian.enabled() == set()
    assert head.debian.masked() == set()
    assert not head.etc(policy.FILE).exists()
    lay.enable(head.work(), "redis")
    assert head.debian.enabled() == {UNIT}
    assert head.look(wanted).units[UNIT].enabled
    # Laid again, it stays so.
    lay.lay(head.work(), wanted)
    assert head.debian.enabled() == {UNIT}


def test_a_policy_that_was_there_is_there_afterwards(head: Bench) -> None:
    head.write(policy.FILE, "#!/bin/sh\nexit 104\n", 0o755)
    lay.lay(head.work(), head.configuration())
    assert head.etc(policy.FILE).read_text() == "#!/bin/sh\nexit 104\n"
    assert head.debian.active() == set()


def test_what_was_in_etc_is_kept_and_comes_back(head: Bench) -> None:
    head.write(CONFFILE, "by hand\n", 0o600)
    head.etc("/etc/other").symlink_to("/somewhere")
    before = head.tree()
    texts = {CONFFILE: "ours\n", "/etc/other": "ours\n", "/etc/n/e/w": ""}
    wanted = head.configuration(texts=texts, packages=None)
    found = {each.path: (each.what, each.diff) for each in head.look(wanted).files}
    assert found[CONFFILE] == ("foreign", "")
    assert found["/etc/other"][0] == "foreign"
    lay.lay(head.work(), wanted)
    kept = head.machine.aside("redis")
    assert (kept / "etc/redis/redis.conf").read_text() == "by hand\n"
    assert (kept / "etc/redis/redis.conf").stat().st_mode & 0o777 == 0o600
    assert str((kept / "etc/other").readlink()) == "/somewhere"
    assert lay.unlay(head.work(), "redis") == ()
    assert head.tree() == before
    assert not head.etc("/etc/n").exists()
    assert head.debian.diversions() == {}


def test_a_file_that_was_laid_over_ours_is_kept_beside_the_first(head: Bench) -> None:
    head.write(CONFFILE, "the first\n")
    wanted = head.configuration(packages=None)
    lay.lay(head.work(), wanted)
    head.etc(CONFFILE).unlink()
    head.write(CONFFILE, "the second\n")
    (found,) = head.look(wanted).files
    assert (found.what, found.aside) == (
        "foreign",
        str(head.machine.aside("redis") / "etc/redis/redis.conf.1"),
    )
    assert "-the second" in found.diff
    lay.lay(head.work(), wanted)
    kept = head.machine.aside("redis") / "etc/redis"
    assert (kept / "redis.conf").read_text() == "the first\n"
    assert (kept / "redis.conf.1").read_text() == "the second\n"
    assert lay.unlay(head.work(), "redis") == (str(kept / "redis.conf.1"),)
    assert head.etc(CONFFILE).read_text() == "the first\n"


def test_nothing_is_given_back_over_what_came_later(head: Bench) -> None:
    head.write(CONFFILE, "the first\n")
    lay.lay(head.work(), head.configuration(packages=None))
    head.etc(CONFFILE).unlink()
    head.write(CONFFILE, "somebody's\n")
    kept = lay.unlay(head.work(), "redis")
    assert head.etc(CONFFILE).read_text() == "somebody's\n"
    assert [os.path.basename(each) for each in kept] == ["redis.conf"]  # noqa: PTH119


def test_packages_never_write_through_our_links(head: Bench) -> None:
    extra = "/etc/redis/extra.conf"
    first = head.configuration(texts={CONFFILE: "ours\n", extra: "ours\n"})
    lay.lay(head.work(), first)
    server = {**NEWER["redis-server"], "conffiles": {CONFFILE: "x", extra: "Debian's now\n"}}
    index = {**NEWER, "redis-server": server}
    texts = {CONFFILE: "ours\n", extra: "ours\n"}
    newer = head.configuration(revision="2", packages=index, texts=texts)
    moved = "7.0 → 7.1"
    assert head.look(newer).packages == {"redis-server": moved, "redis-tools": moved}
    lay.lay(head.work(), newer)
    assert head.debian.package("redis-server") == "7.1"
    # What packages bring goes to where it is diverted.
    assert (head.machine.aside("redis") / extra[1:]).read_text() == "Debian's now\n"
    assert head.etc(extra).read_text() == "ours\n"
    # Nor do their scripts change through a link what they take for their own.
    assert (first.path / f"root{CONFFILE}").read_text() == "ours\n"
    lay.unlay(head.work(), "redis")
    assert head.etc(extra).read_text() == "Debian's now\n"


def test_a_change_makes_what_runs_stale_until_it_is_restarted(head: Bench) -> None:
    first, second = (head.configuration(revision=each) for each in "12")
    lay.lay(head.work(), first)
    head.debian.start(UNIT)
    assert head.look(second).units[UNIT].stale == ""
    lay.lay(head.work(), second)
    assert head.look(second).units[UNIT].stale == RESTART
    # It does not go away by being laid again, nor by a second look.
    lay.lay(head.work(), second)
    assert head.look(second).units[UNIT].stale == RESTART
    head.debian.start(UNIT)
    assert head.look(second).units[UNIT].stale == ""


def test_another_version_of_a_package_makes_its_units_stale(head: Bench) -> None:
    lay.lay(head.work(), head.configuration())
    head.debian.start(UNIT)
    texts = {CONFFILE: "revision 1\n"}
    lay.lay(head.work(), head.configuration(revision="2", packages=NEWER, texts=texts))
    assert head.debian.package("redis-tools") == "7.1"
    assert head.look(head.configuration(revision="2", packages=NEWER)).units[UNIT].stale == RESTART


def test_what_packages_need_is_upgraded_too_and_stays_what_it_was(head: Bench) -> None:
    lay.lay(head.work(), head.configuration())
    head.debian.start(UNIT)
    texts = {CONFFILE: "revision 1\n"}
    newer = {**REDIS, "redis-tools": {"version": "7.1"}}
    wanted = head.configuration(revision="2", packages=newer, texts=texts)
    assert head.look(wanted).packages == {"redis-tools": "7.0 → 7.1"}
    lay.lay(head.work(), wanted)
    assert head.debian.package("redis-tools") == "7.1"
    assert "redis-tools" in dpkg.automatic(head.machine)
    found = head.look(wanted)
    assert not found.packages
    assert found.units[UNIT].stale == RESTART


def test_what_packages_need_is_not_made_older(head: Bench) -> None:
    newer = {**REDIS, "redis-tools": {"version": "7.1"}}
    lay.lay(head.work(), head.configuration(packages=newer))
    wanted = head.configuration(revision="2")
    assert not head.look(wanted).packages
    lay.lay(head.work(), wanted)
    assert head.debian.package("redis-tools") == "7.1"


def test_a_library_makes_all_stale_that_need_it(head: Bench) -> None:
    library = {"libshared": {"version": "1"}}
    other = {"other": {"version": "1", "depends": ["libshared"]}, **library}
    tools = {**REDIS["redis-server"], "depends": ["redis-tools", "libshared"]}
    with_it = {**REDIS, "redis-server": tools, **library}
    lay.lay(head.work(), head.configuration(packages=with_it))
    head.debian.start(UNIT)
    unit = [{"name": "other.service", "enabled": True}]
    facts: dict[str, Any] = {"names": ("other",), "texts": {}, "units": unit}
    newer = {**other, "libshared": {"version": "2"}}
    lay.lay(head.work(), head.configuration("other", "o2", packages=newer, **facts))
    assert head.look(head.configuration(packages=with_it)).units[UNIT].stale == RESTART


def test_what_can_be_read_again_is_not_stale_once_it_was(head: Bench) -> None:
    reads = [{"path": CONFFILE, "units": [UNIT], "reload": True}]
    first, second = (head.configuration(revision=each, files=reads) for each in "12")
    lay.lay(head.work(), first)
    head.debian.start(UNIT)
    lay.lay(head.work(), second)
    assert head.look(second).units[UNIT].stale == RELOAD
    order = words.Run(("systemctl", "reload", UNIT), "", 10.0, ())
    commands.run(head.machine, order, {})
    assert head.look(second).units[UNIT].stale == ""


def test_a_restart_that_is_due_outweighs_a_reload(head: Bench) -> None:
    stale.note(head.machine, UNIT, "a", RESTART)
    stale.note(head.machine, UNIT, "a", RELOAD)
    assert stale.look(head.machine, UNIT, "a") == RESTART
    stale.note(head.machine, UNIT, "b", RELOAD)
    assert stale.look(head.machine, UNIT, "b") == RELOAD
    assert stale.look(head.machine, UNIT, "a") == ""


def test_a_new_secret_is_a_change_and_is_seen_nowhere(head: Bench) -> None:
    wanted, old, new = with_secret(head), head.seal(REDIS="old-word"), head.seal(REDIS="new-word")
    lay.lay(head.work(**old), wanted)
    head.debian.start(UNIT)
    state = head.look(wanted, **new)
    assert [(each.path, each.what) for each in state.files] == [(PASSWORD, "changed")]
    assert "word" not in state.files[0].diff
    lay.lay(head.work(**new), wanted)
    assert head.etc(PASSWORD).read_text() == "requirepass new-word\n"
    assert head.look(wanted, **new).units[UNIT].stale == RESTART
    for each in (head.root / "var").rglob("*"):
        assert each.is_symlink() or not each.is_file() or b"-word" not in each.read_bytes()


def test_a_power_cut_lays_the_same_open_again(head: Bench) -> None:
    wanted, secrets = with_secret(head), head.seal(REDIS="open-sesame")
    lay.lay(head.work(**secrets), wanted)
    lay.verified(head.work(), "redis")
    head.power_cut()
    assert not head.etc(PASSWORD).exists()
    boot.boot(head.machine)
    assert head.etc(PASSWORD).read_text() == "requirepass open-sesame\n"
    state = head.look(wanted, **secrets)
    assert not state.differs
    assert state.recorded is not None
    assert state.recorded.state == VERIFIED


def test_a_head_that_was_just_started_has_nothing_in_memory(head: Bench) -> None:
    unit = "/etc/systemd/system/x.service"
    lay.lay(head.work(), head.configuration())
    head.power_cut()
    wanted = head.configuration(revision="2", texts={unit: "[Service]\n"})
    lay.lay(head.work(), wanted)
    assert head.etc(unit).read_text() == "[Service]\n"
    head.power_cut()
    lay.unlay(head.work(), "redis")
    assert not head.etc(unit).is_symlink()


def test_one_phase_that_cannot_be_opened_does_not_keep_the_others(head: Bench) -> None:
    secrets = head.seal(REDIS="open-sesame", OTHER="x")
    lay.lay(head.work(**secrets), with_secret(head))
    other = {"path": "/etc/a", "secret": "OTHER", "mode": "0600"}
    broken = head.configuration(
        "a", packages=None, files=[other], texts={}, units=[], secrets={"OTHER": "password"}
    )
    lay.lay(head.work(**secrets), broken)
    (head.machine.sealed / "OTHER.age").unlink()
    head.power_cut()
    with pytest.raises(Error, match="has not got the secret OTHER"):
        boot.boot(head.machine)
    assert head.etc(PASSWORD).read_text() == "requirepass open-sesame\n"


def test_what_is_half_taken_back_does_not_keep_the_others_from_starting(head: Bench) -> None:
    secrets = head.seal(REDIS="open-sesame", OTHER="x")
    lay.lay(head.work(**secrets), with_secret(head))
    other = {"path": "/etc/a", "secret": "OTHER", "mode": "0600"}
    leaving = head.configuration(
        "a", packages=None, files=[other], texts={}, units=[], secrets={"OTHER": "password"}
    )
    lay.lay(head.work(**secrets), leaving)
    records.remove(head.machine, "a")
    (head.machine.sealed / "OTHER.age").unlink()
    head.power_cut()
    boot.boot(head.machine)
    assert head.etc(PASSWORD).read_text() == "requirepass open-sesame\n"


def test_what_cannot_be_swept_at_a_start_is_in_the_log_and_keeps_nothing(
    head: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise HeadError("dpkg does not end")

    secrets = head.seal(REDIS="open-sesame")
    lay.lay(head.work(**secrets), with_secret(head))
    head.power_cut()
    monkeypatch.setattr(dpkg, "settle", fail)
    boot.boot(head.machine)
    assert head.etc(PASSWORD).read_text() == "requirepass open-sesame\n"
    (entry,) = Audit(head.machine.layout.audit).entries()
    assert (entry.who, entry.action, entry.result) == (boot.WHO, boot.SWEEP, HeadError.slug)
    assert "dpkg does not end" in entry.detail


def test_a_file_that_is_not_wanted_any_more_goes(head: Bench) -> None:
    head.write("/etc/x.conf", "before us\n")
    lay.lay(head.work(), head.configuration(texts={"/etc/x.conf": "1", "/etc/y/conf": "2"}))
    second = head.configuration(revision="2", texts={CONFFILE: "3"})
    found = {(each.path, each.what) for each in head.look(second).files}
    assert {("/etc/x.conf", "gone"), ("/etc/y/conf", "gone")} <= found
    lay.lay(head.work(), second)
    assert head.etc("/etc/x.conf").read_text() == "before us\n"
    assert not head.etc("/etc/y").exists()
    assert set(head.debian.diversions()) == {CONFFILE}
    assert not head.look(second).differs


def test_packages_of_later_phases_come_along_and_stay_with_them(head: Bench) -> None:
    index = {**REDIS, "munge": {"version": "1", "units": ["munge.service"]}}
    first = head.configuration(packages=index)
    later = head.configuration(
        "slurm",
        packages=index,
        names=("munge",),
        texts={"/etc/munge": "x"},
        units=[{"name": "munge.service", "enabled": True}],
    )
    lay.lay(head.work(), first, [later])
    assert head.debian.package("munge") == "1"
    assert head.debian.enabled() == set()
    assert not head.look(later).laid
    assert head.look(later).packages == {}
    lay.unlay(head.work(), "redis")
    assert head.debian.package("redis-tools") == "7.0 config-files"
    assert head.debian.package("munge") == "1"
    lay.unlay(head.work(), "slurm")
    assert head.debian.package("munge") == "1 config-files"


def test_only_what_phases_brought_is_removed(head: Bench) -> None:
    own = head.packages("own", REDIS)
    foreign = head.configuration("other", names=("redis-tools",), texts={}, units=[])
    assert foreign.packages is not None
    lay.lay(head.work(), foreign)
    records.note(head.machine, records.PACKAGES, {})
    lay.lay(head.work(), head.configuration())
    assert own.is_dir()
    assert head.look(head.configuration()).recorded is not None
    lay.unlay(head.work(), "redis")
    assert head.debian.package("redis-server") == "7.0 config-files"
    assert head.debian.package("redis-tools") == "7.0"


def test_what_is_like_a_package_of_the_system_goes_too(head: Bench) -> None:
    head.debian._set("mawk", {"version": "1"}, "installed")
    gawk = {"gawk": {"version": "5", "like": ["mawk"]}}
    server = {**REDIS["redis-server"], "depends": ["redis-tools", "gawk"]}
    index = {**REDIS, "redis-server": server, **gawk}
    lay.lay(head.work(), head.configuration(packages=index))
    lay.unlay(head.work(), "redis")
    assert head.debian.package("gawk") == "5 config-files"
    assert head.debian.package("mawk") == "1"


def test_a_unit_that_was_enabled_before_is_so_afterwards(head: Bench) -> None:
    lay.lay(head.work(), head.configuration("before", texts={}, units=[]))
    link = head.etc("/etc/systemd/system/multi-user.target.wants") / UNIT
    assert link.is_symlink()
    records.note(head.machine, records.PACKAGES, {})
    head.debian.start(UNIT)
    lay.lay(head.work(), head.configuration())
    assert not link.is_symlink()
    lay.unlay(head.work(), "redis")
    assert link.is_symlink()
    assert head.debian.active() == {UNIT}


def test_units_of_our_own_are_enabled_by_links_that_no_systemctl_touches(head: Bench) -> None:
    text = "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n"
    path = "/etc/systemd/system/sealift-mount.service"
    units = [{"name": "sealift-mount.service", "enabled": True}]
    wanted = head.configuration(packages=None, texts={path: text}, units=units)
    lay.lay(head.work(), wanted)
    assert head.etc(path).read_text() == text
    assert "sealift-mount.service" not in head.debian.enabled()
    lay.enable(head.work(), "redis")
    assert "sealift-mount.service" in head.debian.enabled()
    assert head.etc(path).read_text() == text
    assert (head.debian.root / "run/reloads").exists()
    lay.unlay(head.work(), "redis")
    assert [name for name in head.tree() if "systemd" in name] == []


def test_users_are_made_before_packages_and_join_after(head: Bench) -> None:
    users = [{"name": "slurm", "uid": 64001, "home": "/var/lib/slurm", "groups": ["adm"]}]
    folders = [{"path": "/var/spool/x", "owner": ME, "mode": "0750"}]
    wanted = head.configuration(users=users, directories=folders)
    state = head.look(wanted)
    assert len(state.users) == 3
    assert state.directories == (f"/var/spool/x: absent → {ME}:{ME} 0750",)
    lay.lay(head.work(), wanted)
    user, group = head.debian.user("slurm"), head.debian.group("adm")
    assert user is not None
    assert group is not None
    assert (user.uid, user.gid, group.members) == (64001, 64001, frozenset({"slurm"}))
    assert head.etc("/var/spool/x").stat().st_mode & 0o777 == 0o750
    head.etc("/var/spool/x").chmod(0o777)
    assert head.look(wanted).directories == (f"/var/spool/x: {ME}:{ME} 0777 → {ME}:{ME} 0750",)


def taken_uid(head: Bench) -> Configuration:
    with (head.debian.root / "etc/passwd").open("a") as file:
        file.write("backup:x:64001:34::/:/bin/sh\n")
    return head.configuration(users=[{"name": "slurm", "uid": 64001}])


def other_uid(head: Bench) -> Configuration:
    with (head.debian.root / "etc/passwd").open("a") as file:
        file.write("slurm:x:107:64001::/:/bin/sh\n")
    return head.configuration(users=[{"name": "slurm", "uid": 64001}])


def conflict(head: Bench) -> Configuration:
    index = {"valkey": {"version": "8"}}
    lay.lay(
        head.work(), head.configuration("v", packages=index, names=("valkey",), units=[], texts={})
    )
    redis = {**REDIS["redis-server"], "conflicts": ["valkey"]}
    return head.configuration(packages={**REDIS, "redis-server": redis})


def downgrade(head: Bench) -> Configuration:
    lay.lay(head.work(), head.configuration("v", packages=NEWER, units=[], texts={}))
    return head.configuration()


def folder_in_the_way(head: Bench) -> Configuration:
    head.etc(CONFFILE).mkdir(parents=True)
    return head.configuration()


def file_in_the_way(head: Bench) -> Configuration:
    head.write("/etc/redis", "a file\n")
    return head.configuration()


def folder_of_ours_in_the_way(head: Bench) -> Configuration:
    head.write("/var/spool", "a file\n")
    return head.configuration(directories=[{"path": "/var/spool"}])


def another_phase(head: Bench) -> Configuration:
    lay.lay(head.work(), head.configuration("v", packages=None, units=[]))
    return head.configuration()


def diverted(head: Bench) -> Configuration:
    (head.debian.root / "var/lib/dpkg/diversions").write_text(f"{CONFFILE}\n/etc/elsewhere\n:\n")
    return head.configuration()


def no_secret(head: Bench) -> Configuration:
    return with_secret(head)


REFUSED: dict[Callable[[Bench], Configuration], str] = {
    taken_uid: "uid-taken",
    other_uid: "uid-taken",
    conflict: "package-conflict",
    downgrade: "package-conflict",
    folder_in_the_way: "path-in-use",
    file_in_the_way: "path-in-use",
    folder_of_ours_in_the_way: "path-in-use",
    another_phase: "file-of-two-phases",
    diverted: "path-diverted",
    no_secret: "secret-missing",
}


@pytest.mark.parametrize("prepare", REFUSED, ids=lambda each: each.__name__)
def test_what_is_in_the_way_is_found_before_anything_changes(
    head: Bench, prepare: Callable[[Bench], Configuration]
) -> None:
    wanted = prepare(head)
    before = head.tree()
    state = head.look(wanted)
    assert [each.slug for each in state.refusals] == [REFUSED[prepare]]
    with pytest.raises(Error) as refused:
        lay.lay(head.work(), wanted)
    assert (refused.value.slug, refused.value.exit_code) == (REFUSED[prepare], 6)
    assert head.tree() == before
    assert "redis-server" not in head.debian.status() or prepare is downgrade


@pytest.mark.parametrize("value", ["two words", "quo'te", 'quo"te', "#", "line\n", "\x07"])
def test_a_secret_that_is_no_word_is_refused(head: Bench, value: str) -> None:
    state = head.look(with_secret(head), **head.seal(REDIS=value))
    assert [each.slug for each in state.refusals] == ["bad-secret"]
    assert all(value not in each.reason for each in state.refusals if len(value) > 1)


def test_a_port_that_another_program_has_is_refused(head: Bench) -> None:
    ports = [{"port": 6379, "unit": UNIT}, {"port": "7000-7002"}]
    wanted = head.configuration(ports=ports)
    object.__setattr__(
        head.machine,
        "listening",
        lambda *_: {6379: Listening("redis (pid 7)", UNIT), 7001: Listening("x", "nginx.service")},
    )
    state = head.look(wanted)
    assert [each.slug for each in state.refusals] == ["port-taken"]
    assert state.listening == {6379: f"{UNIT}: redis (pid 7)", 7001: "nginx.service: x"}


def test_the_ports_of_each_protocol_are_looked_at(head: Bench) -> None:
    ports = [{"port": 123, "proto": "udp"}, {"port": 6379}]
    asked: list[tuple[Collection[int], Collection[int]]] = []

    def listening(tcp: Collection[int], udp: Collection[int]) -> dict[int, Listening]:
        asked.append((tcp, udp))
        return {123: Listening("ntpd", "ntpsec.service")}

    object.__setattr__(head.machine, "listening", listening)
    state = head.look(head.configuration(ports=ports))
    assert asked == [([6379], [123])]
    assert [each.slug for each in state.refusals] == ["port-taken"]


def test_secrets_never_come_to_lie_on_a_disk(head: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "file_system", lambda _: "ext4")
    with pytest.raises(HeadError, match="on a disk"):
        lay.lay(head.work(**head.seal(REDIS="open-sesame")), with_secret(head))
    assert not head.etc(PASSWORD).exists()
    laid = [each.read_bytes() for each in head.memory.rglob("*") if each.is_file()]
    assert not any(b"open-sesame" in each for each in laid)


def test_dpkg_that_was_cut_off_is_put_right_first(head: Bench) -> None:
    wanted = head.configuration()
    lay.lay(head.work(), wanted)
    for state in ("half-configured", "half-installed"):
        facts = head.debian.status()["redis-server"]
        head.debian._write_status("redis-server", {**facts, "Status": f"install ok {state}"})
        assert head.look(wanted).packages == {"redis-server": f"7.0 ({state}) → 7.0"}
        lay.lay(head.work(), wanted)
        assert head.debian.package("redis-server") == "7.0"
        assert head.debian.active() == set()


def test_what_is_in_the_journal_of_dpkg_alone_counts(head: Bench) -> None:
    wanted = head.configuration()
    lay.lay(head.work(), wanted)
    updates = head.debian.root / "var/lib/dpkg/updates"
    updates.mkdir()
    stanza = "Package: redis-server\nStatus: install ok {}\nVersion: 7.0\nConffiles:\n {} {}\n"
    (updates / "0000").write_text(stanza.format("unpacked", "/etc/a", "newconffile"))
    (updates / "0001").write_text(stanza.format("half-configured", "/etc/b", "0" * 32))
    (updates / "tmp.i").write_text("Package: other\nStatus: install ok unpacked\n")
    known = dpkg.packages(head.machine)
    assert str(known["redis-server"]) == "7.0 (half-configured)"
    assert "other" not in known
    assert dpkg.interrupted(head.machine, known) == ("redis-server", "dpkg's journal")
    assert dpkg.conffiles(head.machine, ["redis-server"]) == {"/etc/b": "0" * 32}


def test_a_package_that_stays_broken_stops_it(head: Bench) -> None:
    wanted = head.configuration()
    broken = {"Package": "other", "Status": "install ok half-installed", "Version": "1"}
    head.debian._write_status("other", broken)
    with pytest.raises(Error, match="dpkg was cut off"):
        lay.lay(head.work(), wanted)


def test_of_several_secrets_that_are_missing_all_are_made_at_once(head: Bench) -> None:
    wanted = head.configuration(secrets={"A": "password", "B": "password"})
    (found,) = head.look(wanted).refusals
    assert "A, B" in found.reason
    assert found.hint == "sealift secret generate --all"
    (found,) = head.look(wanted, **head.seal(A="x")).refusals
    assert found.hint == "sealift secret generate B, or sealift secret set B"


def test_taking_it_back_tells_what_it_stops(head: Bench) -> None:
    lay.lay(head.work(), head.configuration())
    head.debian.start(UNIT)
    told: list[str] = []
    lay.unlay(replace(head.work(), tell=told.append), "redis")
    assert told == [f"stop {UNIT}"]


def test_nothing_is_enabled_or_verified_that_is_not_laid(head: Bench) -> None:
    for do in (lay.enable, lay.verified):
        with pytest.raises(HeadError, match="is not laid"):
            do(head.work(), "redis")
    assert lay.unlay(head.work(), "redis") == ()


def test_the_last_phase_takes_the_boot_unit_along(head: Bench) -> None:
    unit = head.etc("/etc/systemd/system/sealift-phases.service")
    lay.lay(head.work(), head.configuration())
    assert f"ExecStart={head.machine.agent_link}/bin/sealift agent phases-boot" in unit.read_text()
    assert head.machine.agent_link.readlink() == head.machine.agent
    lay.unlay(head.work(), "redis")
    assert not unit.exists()
    assert not head.machine.agent_link.is_symlink()
    assert records.phases(head.machine) == ()


def test_apt_of_somebody_else_is_waited_for_and_named(head: Bench) -> None:
    lock = head.debian.root / "var/lib/dpkg/lock-frontend"
    (ready, told), (end, ending) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        with lock.open("w") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            os.write(told, b"x")
            os.read(end, 1)
        os._exit(0)
    os.read(ready, 1)
    with pytest.raises(HeadError, match="another program installs packages"):
        dpkg.settle(head.machine, 0.0)
    os.write(ending, b"x")
    os.waitpid(pid, 0)
    dpkg.settle(head.machine, 0.0)
    for each in (ready, told, end, ending):
        os.close(each)
