"""What a build can see, change and reach: nothing that was not declared."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders import sandbox
from builders.build import BuildError
from builders.sandbox import EPOCH, Room, SandboxError, SandboxMode, bubblewrap, probe
from builders.step import Step
from store.local import LocalStore
from tests.builders.workbench import BASE, Bench, shell, source_tree, text, works

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builders.build import Build

needs_bubblewrap = pytest.mark.skipif(not works(), reason="bubblewrap cannot work here")
pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("sandbox").resolve()
    with LocalStore.open(folder / "store") as store:
        yield Bench(store)


@pytest.fixture
def fresh_probe() -> Iterator[None]:
    probe.cache_clear()
    yield
    probe.cache_clear()


def says(bench: Bench, command: str, key: str = "step", **fields: object) -> str:
    """Run a command in the sandbox and give what it wrote to its output."""
    steps = fields.pop("steps", [])
    assert isinstance(steps, list)
    step = shell(key, f"{{ {command}; }} > out 2>&1", **fields)
    return bench.read(bench.build([*steps, step]), key)


@needs_bubblewrap
class TestInside:
    def test_environment_is_fixed_and_nothing_of_ours(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
        lines = dict(line.split("=", 1) for line in says(bench, "env", "env").splitlines())
        assert {name for name in lines if not name.startswith("in_")} - {
            "_",
            "SHLVL",
            "OLDPWD",
        } == {
            *sandbox.ENVIRONMENT,
            "PWD",
        }
        assert lines["HOME"] == "/homeless"
        assert lines["SOURCE_DATE_EPOCH"] == str(EPOCH)
        assert lines["PWD"] == "/build"

    def test_who_and_where(self, bench: Bench) -> None:
        said = says(bench, "id -u; id -g; id -un; umask; stat -c %a .; cat /etc/hosts", "who")
        assert said.splitlines()[:4] == ["1000", "100", "builder", "0022"]
        assert "localhost" in said

    def test_root_holds_nothing_else(self, bench: Bench) -> None:
        root = {"bin", "build", "dev", "etc", "homeless", "lib", "lib64", "proc", "tmp", "usr"}
        top = bench.store.store_dir.parts[1]
        assert set(says(bench, "ls -A /", "root").split()) - {top} == root - {top}
        assert not says(bench, "ls -A /homeless", "home")

    def test_only_declared_inputs_are_there(self, bench: Bench) -> None:
        hidden, seen = text("hidden", "hidden"), text("seen", "seen")
        bench.build([hidden])
        said = says(
            bench, 'ls "${in_seen%/*}"', "inputs", steps=[seen], inputs={"seen": "seen"}
        ).split()
        assert sorted(name.partition("-")[2] for name in said) == ["base", "seen"]

    def test_what_an_input_refers_to_is_there_too(self, bench: Bench) -> None:
        inner = shell("inner", "echo inner > out")
        outer = shell("outer", 'echo "$in_inner" > out', inputs={"inner": "inner"})
        command = 'cat "$(cat "$in_outer")"'
        said = says(bench, command, "chain", steps=[inner, outer], inputs={"outer": "outer"})
        assert said == "inner\n"

    @pytest.mark.parametrize(
        "victim", ["/usr/bin/sh", "/etc/passwd", "$in_base/usr/bin/sh", "/file", "/homeless/file"]
    )
    def test_nothing_but_build_and_tmp_can_be_written(self, bench: Bench, victim: str) -> None:
        key = "write" + "".join(c for c in victim if c.isalnum())
        said = says(bench, f'(echo x >> "{victim}") || (rm -f "{victim}") || echo refused', key)
        assert "refused" in said or "Read-only" in said
        assert said.count("Read-only") + said.count("nonexistent") + said.count("ermission") >= 1
        assert says(bench, "echo x > /tmp/x; echo y > y; cat /tmp/x y", "writable") == "x\ny\n"

    def test_host_files_are_not_there(self, bench: Bench, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")
        places = [tmp_path / "secret", Path.home(), Path("/etc/shadow"), Path(__file__)]
        command = "; ".join(f'ls -d "{place}" || echo gone' for place in places)
        said = says(bench, command, "host")
        assert said.count("gone\n") == len(places)

    def test_no_network_but_loopback(self, bench: Bench) -> None:
        said = says(bench, "cat /proc/net/dev", "network")
        assert [line.split(":")[0].strip() for line in said.splitlines() if ":" in line] == ["lo"]
        assert len(says(bench, "cat /proc/net/route", "routes").splitlines()) <= 1

    def test_other_processes_are_not_there(self, bench: Bench) -> None:
        said = says(bench, "for p in /proc/[0-9]*; do echo ${p#/proc/}; done", "processes")
        assert max(int(word) for word in said.split()) < 20

    def test_no_terminal_and_no_input(self, bench: Bench) -> None:
        said = says(bench, "(echo x > /dev/tty) || echo none; cat", "terminal")
        assert said.endswith("none\n")

    def test_output_goes_to_the_log(self, bench: Bench) -> None:
        bench.build([shell("talk", "echo to stdout; echo to stderr >&2; echo x > out")])
        log = (bench.store.var_dir / "log" / "newest" / "talk").read_text()
        assert "to stdout\nto stderr\n" in log

    def test_source_is_laid_writable_and_normalised(self, bench: Bench, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "tool").write_text("x")
        (tmp_path / "folder" / "tool").chmod(0o700)
        (tmp_path / "plain").write_text("x")
        (tmp_path / "plain").chmod(0o600)
        (tmp_path / "link").symlink_to("plain")
        said = says(
            bench,
            "cd source; stat -c '%n %a %Y' folder folder/tool plain; ls -l link; echo x >> plain",
            "source",
            source=source_tree(tmp_path),
        )
        assert said.splitlines()[:3] == [
            f"folder 755 {EPOCH}",
            f"folder/tool 755 {EPOCH}",
            f"plain 644 {EPOCH}",
        ]
        assert "link -> plain" in said
        assert (tmp_path / "plain").read_text() == "x"


def with_builder(bench: Bench, build: Callable[[Build], None], mode: SandboxMode) -> Bench:
    """Make a bench with one more builder, for a step of its own."""
    return Bench(bench.store, {**bench.builders, "own": build}, mode)


def own_step(key: str, *inputs: str, script: str | None = None) -> Step:
    """Plan the step of that builder."""
    roles = {name: name for name in ("base", *inputs)}
    return Step(key, key, key, "own", inputs=roles, script=script)


@pytest.mark.parametrize(
    "mode", [pytest.param(SandboxMode.BUBBLEWRAP, marks=needs_bubblewrap), SandboxMode.OFF]
)
class TestBuild:
    """What `Build` offers a builder, in the sandbox and without one."""

    def test_binds_scratch_environment_and_folder(self, bench: Bench, mode: SandboxMode) -> None:
        def build(build: Build) -> None:
            place = build.work / "source" / "modules"
            place.parent.mkdir()
            build.run(
                ["/bin/sh", "-euc", "echo x > modules/cache/x; echo $WORD > ../out"],
                binds={build.inputs["modules"]: build.inside(place)},
                scratch=[place / "cache"],
                env={"WORD": "word"},
                cwd=place.parent,
            )

        modules = shell("modules", "mkdir -p out/cache")
        tried = with_builder(bench, build, mode)
        result = tried.build([modules, own_step("own", "modules")])
        assert tried.read(result, "own") == "word\n"
        assert not list((bench.store.real(result.outputs["modules"]) / "cache").iterdir())

    def test_a_mount_cannot_be_changed(self, bench: Bench, mode: SandboxMode) -> None:
        def build(build: Build) -> None:
            place = build.inside(build.work / "module")
            build.run(
                ["/bin/sh", "-c", f"(echo changed >> {place}) 2> /dev/null; echo x > out"],
                binds={build.inputs["module"]: place},
            )

        tried = with_builder(bench, build, mode)
        result = tried.build([text("module", "unchanged"), own_step("mount", "module")])
        assert tried.read(result, "module") == "unchanged"

    def test_script_comes_with_what_it_imports(self, bench: Bench, mode: SandboxMode) -> None:
        def build(build: Build) -> None:
            build.run_script({"out": build.inside(build.out), "name": "é"})

        python = Step("python", "python", "python", "python")
        tried = with_builder(bench, build, mode)
        result = tried.build([python, own_step("script", "python", script="pex.py")])
        assert '"name": "é"' in tried.read(result, "script")
        log = (bench.store.var_dir / "log" / "newest" / "script").read_text()
        for module in ("pex.py", "service.py", "imports.py"):
            assert module in log

    def test_a_failure_shows_the_end_of_the_log(self, bench: Bench, mode: SandboxMode) -> None:
        def build(build: Build) -> None:
            build.run(["/bin/sh", "-c", "for i in 1 2 3; do echo line $i; done; exit 7"])

        own = own_step(f"fails-{mode.value}")
        tried = with_builder(bench, build, mode)
        [failure] = tried.build([own]).failures
        assert isinstance(failure.error, BuildError)
        assert failure.error.slug == "build-failed"
        assert failure.error.reason == f"{own.key}: sh ended with exit code 7"
        assert failure.error.lines[-3:] == ("line 1", "line 2", "line 3")
        assert Path(str(failure.error.where)).read_text().endswith("line 3\n")
        assert failure.error.hint == f"sealift log {own.key}"

    def test_a_command_that_is_not_there(self, bench: Bench, mode: SandboxMode) -> None:
        def build(build: Build) -> None:
            build.run(["/no/such/command"])

        own = own_step(f"absent-{mode.value}")
        [failure] = with_builder(bench, build, mode).build([own]).failures
        assert failure.error.slug == "build-failed"


@needs_bubblewrap
def test_a_child_that_outlives_its_command_is_gone(bench: Bench) -> None:
    marker = f"31{os.getpid()}"
    bench.build([shell("orphan", f"sleep {marker} & echo x > out")])
    running = [_words(Path(entry)) for entry in Path("/proc").glob("[0-9]*/cmdline")]
    assert [words for words in running if marker in words] == []


def _words(file: Path) -> list[str]:
    with suppress(OSError):
        return file.read_bytes().decode(errors="replace").split("\0")
    return []


def test_argument_vector_is_pure_and_ordered() -> None:
    room = Room(
        work=Path("/w"),
        etc=Path("/e"),
        temporary=Path("/t"),
        paths=[Path("/s/b"), Path("/s/a")],
        binds={Path("/real"): "/build/there"},
        scratch=["/build/there/cache"],
        cwd="/build/source",
    )
    words = bubblewrap(room, ["tool", "argument"])
    assert words[-3:] == ["--", "tool", "argument"]
    joined = " ".join(words)
    for one, two in (
        ("--ro-bind /s/a /s/a", "--ro-bind /s/b /s/b"),
        ("--bind /w /build", "--ro-bind /real /build/there"),
        ("--ro-bind /real /build/there", "--tmpfs /build/there/cache"),
        ("--tmpfs /build/there/cache", "--remount-ro / --chdir /build/source"),
    ):
        assert joined.index(one) < joined.index(two)
    assert "--unshare-all" in words
    assert "--die-with-parent" in words
    assert "/usr" not in words


@pytest.mark.usefixtures("fresh_probe")
class TestProbe:
    def test_not_installed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SandboxError) as caught:
            probe()
        assert "not installed" in caught.value.reason
        assert "apt-get install bubblewrap" in str(caught.value.hint)
        assert "--sandbox=off" in str(caught.value.hint)

    def test_forbidden(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        tool = tmp_path / "bwrap"
        complaint = "bwrap: setting up uid map: Permission denied"
        tool.write_text(f"#!/bin/sh\necho '{complaint}' >&2\nexit 1")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SandboxError) as caught:
            probe()
        assert caught.value.got == complaint
        assert "--sandbox=off" in str(caught.value.hint)

    def test_a_cause_that_the_kernel_states_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        tool = tmp_path / "bwrap"
        tool.write_text("#!/bin/sh\nexit 1")
        tool.chmod(0o755)
        knob = tmp_path / "knob"
        knob.write_text("0\n")
        monkeypatch.setenv("PATH", str(tmp_path))
        obstacles = ((str(knob), "0", "the kernel forbids it", "sysctl knob=1"),)
        monkeypatch.setattr(sandbox, "_OBSTACLES", obstacles)
        with pytest.raises(SandboxError) as caught:
            probe()
        assert caught.value.reason == "the kernel forbids it"
        assert caught.value.where == str(knob)
        assert str(caught.value.hint).startswith("sysctl knob=1; ")

    def test_nothing_is_fetched_or_built_without_one(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SandboxError):
            bench.build([BASE, shell("never", "echo x > out")])
        assert all(event.kind.value in {"planned", "cached"} for event in bench.events)
