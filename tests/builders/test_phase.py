"""What a phase becomes for each host, and that a head reads it as it was meant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from builders import phase, release
from builders.build import BuildError
from builders.fields import RecipeError
from builders.phases import NoClusterError, idle, resolve
from builders.plan import plan
from builders.recipe import Kind, Recipe
from builders.recipe_units import WEB
from builders.step import Step
from deploy.phases.configuration import Account, Form, Marker, Peer, To
from store.local import LocalStore
from tests.builders.phase_site import TINY, Made, PhaseSite, refusal
from tests.builders.workbench import BUILDERS, Bench, text

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = """\
kind: phase
description: All that a phase can bring
number: 4
inputs: {packages: cluster}
packages: [apache2, adduser, mailer]
after: [tiny, base-phase]
irreversible: ["{{ volume }}"]
hosts: members
secrets: {PLAIN: password}
parameters:
  members: {type: hosts, default: "head[2-3]"}
  volume: {type: name, default: shared}
  key: {type: secret, of: bytes, default: THE_KEY}
  port: {type: port, default: 7000}
  uid: {type: integer, default: 64001}
ports:
  - {port: "{{ port }}", to: anyone, unit: apache2.service}
  - {port: 49152-49251}
  - {proto: vrrp}
  - {port: 9, when: "{{ host.index > 1 }}"}
users:
  - {name: slurm, uid: "{{ uid }}", home: /var/lib/slurm}
directories:
  - {path: /var/lib/x, owner: slurm, mode: "0750"}
files:
  - path: /etc/x/secret.conf
    text: "a={{ secret('PLAIN') }} b={{ secret('OTHER', 'mysql') }} c={{ secret('PLAIN') }}"
    group: slurm
    units: [apache2.service]
  - {path: /etc/x/key, secret: "{{ key }}", owner: slurm, mode: "0400"}
  - path: /etc/x/mode.conf
    text: "{{ hosts | map(attribute='address') | join(',') }}"
    reload: true
    units: [apache2.service]
  - {path: /etc/x/first, text: "{{ host.priority }}", when: "{{ host.index == 1 }}"}
units:
  - apache2.service
  - {name: other.timer, enabled: false}
"""


@pytest.fixture
def site(tmp_path: Path) -> PhaseSite:
    made = PhaseSite(tmp_path.resolve())
    made.settings()
    made.recipe("tiny", TINY)
    return made


@pytest.fixture
def whole(site: PhaseSite) -> PhaseSite:
    site.recipe("base-phase", TINY.replace("number: 3", "number: 0").replace("tiny.c", "base.c"))
    site.recipe("whole", EVERYTHING)
    site.packages()
    return site


def refused(site: PhaseSite, name: str = "tiny") -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        site.steps(name)
    return caught.value


def test_each_host_has_its_own(site: PhaseSite) -> None:
    assert set(site.steps()) == {"head1", "head2", "head3"}
    found = site.configuration("head2")
    assert (found.phase, found.number, found.host) == ("tiny", 3, "head2")
    assert found.hosts == tuple(Peer(f"head{n}", f"10.0.0.1{n}", n - 1) for n in (1, 2, 3))
    assert found.text(found.files[0]) == b"hello from head2\n"
    assert found.files[0].plain
    assert found.packages is None
    assert found.parameters == {"word": "hello"}
    assert found.secrets == {}


def test_a_head_reads_all_that_a_phase_can_bring(whole: PhaseSite) -> None:
    found = whole.configuration("head2", "whole")
    assert found.after == ("tiny", "base-phase")
    assert found.irreversible == ("shared",)
    assert [each.name for each in found.hosts] == ["head2", "head3"]
    assert found.packages is not None
    # The base system has adduser, and what is asked for by a virtual name has another.
    assert found.packages.names == {"apache2": "2.4", "postfix": "2.4"}
    assert found.users == (
        Account("slurm", 64001, 64001, "slurm", "/var/lib/slurm", "/usr/sbin/nologin"),
    )
    directory = found.directories[0]
    assert (directory.owner, directory.group, directory.mode) == ("slurm", "slurm", 0o750)
    assert [(port.first, port.last, port.protocol, port.to) for port in found.ports] == [
        (7000, 7000, "tcp", To.ANYONE),
        (49152, 49251, "tcp", To.PEERS),
        (0, 0, "vrrp", To.PEERS),
    ]
    assert [(unit.name, unit.enabled) for unit in found.units] == [
        ("apache2.service", True),
        ("other.timer", False),
    ]
    assert found.secrets == {"PLAIN": "password", "OTHER": "password", "THE_KEY": "bytes"}


def test_files_say_what_they_hold_and_whose_they_are(whole: PhaseSite) -> None:
    found = {str(file.path): file for file in whole.configuration("head2", "whole").files}
    secret, key = found["/etc/x/secret.conf"], found["/etc/x/key"]
    assert secret.markers == (Marker("PLAIN"), Marker("OTHER", Form.MYSQL))
    # A file with a secret is closed unless the recipe opens it.
    assert (secret.owner, secret.group, secret.mode) == ("root", "slurm", 0o600)
    assert (key.secret, key.owner, key.group, key.mode) == ("THE_KEY", "slurm", "slurm", 0o400)
    assert (found["/etc/x/mode.conf"].units, found["/etc/x/mode.conf"].reload) == (
        ("apache2.service",),
        True,
    )
    text = whole.text("/etc/x/secret.conf", "head2", "whole")
    assert text == "a=@secret:PLAIN@ b=@secret:OTHER:mysql@ c=@secret:PLAIN@"


def test_services_wait_at_boot_for_the_secrets_of_their_phase(whole: PhaseSite) -> None:
    place = "/etc/systemd/system/apache2.service.d/10-sealift-secrets.conf"
    assert "Requires=sealift-phases.service\n" in whole.text(place, "head2", "whole")
    found = [str(file.path) for file in whole.configuration("head2", "whole").files]
    assert [path for path in found if "10-sealift-secrets" in path] == [place]
    assert not [path for path in whole.steps()["head1"].arguments["texts"] if "sealift" in path]


def test_when_chooses_among_hosts(whole: PhaseSite) -> None:
    first, second = (whole.configuration(host, "whole") for host in ("head2", "head3"))
    assert "/etc/x/first" in {str(file.path) for file in first.files}
    assert "/etc/x/first" not in {str(file.path) for file in second.files}
    assert [port.first for port in second.ports] == [7000, 49152, 0, 9]


@pytest.mark.parametrize("said", ["{{ false }}", "{{ '' }}", "no", "{{ none }}", "0"])
def test_what_when_says_for_no(site: PhaseSite, said: str) -> None:
    site.recipe("tiny", TINY.replace("    text: |", f'    when: "{said}"\n    text: |'))
    assert site.configuration().files == ()


def test_settings_reach_templates(site: PhaseSite) -> None:
    site.settings("phases: {tiny: {word: bye}}")
    assert site.text("/etc/tiny.conf") == "bye from head1\n"
    site.settings("phases: {tiny: }")
    assert site.text("/etc/tiny.conf") == "hello from head1\n"


def test_parameters_that_do_not_go_together_are_refused_at_one_of_them(site: PhaseSite) -> None:
    row = "{when: \"{{ word == 'no-' ~ host.name }}\", at: word, say: '{{ word }} is not good'}"
    site.recipe("tiny", TINY.replace("files:", f"refusals: [{row}]\nfiles:"))
    assert site.configuration().files
    site.settings("hosts: head[1-3]\nphases: {tiny: {word: no-head2}}")
    error = refused(site)
    assert error.reason == "no-head2 is not good"
    assert error.where == f"{site.folder}/sealift.yaml: cluster.phases.tiny.word"


def test_what_templates_find(site: PhaseSite) -> None:
    site.recipe("other", "kind: phase\nnumber: 1\nparameters: {mount: {type: path, default: /m}}")
    line = (
        "{{ host.name }} {{ host.address }} {{ host.index }} {{ host.priority }}"
        " {{ hosts | length }} {{ cluster.name }} {{ cluster.hosts[0].name }}"
        " {{ addresses['head3'] }} {{ phases.other.mount }} {{ phases.absent is defined }}"
    )
    site.recipe("tiny", TINY.replace("{{ word }} from {{ host.name }}", line))
    hosts = "hosts:\n  head[1-3]: {address: 'x-{name}'}\n  head2: {priority: 5}\n"
    addresses = "{head1: 10.0.0.1, head2: 10.0.0.2, head3: 10.0.0.3}"
    site.settings(f"name: hpc\naddresses: {addresses}", hosts=hosts)
    wanted = "head1 10.0.0.1 2 0 3 hpc head2 10.0.0.3 /m False\n"
    assert site.text("/etc/tiny.conf") == wanted


def test_a_firewall_finds_the_ports_of_all_phases_and_of_the_web_server(whole: PhaseSite) -> None:
    line = (
        "{% for p in ports_open %}{{ p.phase }}:{{ p.proto }}:{{ p.port }}:{{ p.first }}-"
        "{{ p.last }}:{{ p.to }} {% endfor %}"
    )
    whole.recipe("tiny", TINY.replace("{{ word }} from {{ host.name }}", line))
    assert whole.text("/etc/tiny.conf") == "\n"
    found = whole.text("/etc/tiny.conf", "head2")
    assert "whole:tcp:7000:7000-7000:anyone whole:tcp:49152-49251:49152-49251:peers" in found
    assert "whole:vrrp::0-0:peers" in found
    whole.recipe("release", "kind: release\nweb: {http: 8080, https: 8443}")
    web = "web:tcp:8080:8080-8080:anyone web:tcp:8443:8443-8443:anyone \n"
    assert whole.text("/etc/tiny.conf") == web


TEMPLATES = {
    "{{ nothing }}": "'nothing' is undefined",
    "{{ word.nothing }}": "has no attribute 'nothing'",
    "{{ phases.absent.x }}": "has no attribute 'absent'",
    "{% if %}": "is no template",
    "{{ 1 / 0 }}": "cannot be rendered",
    "{{ ''.__class__ }}": "unsafe",
    "{{ range(10000000) }}": "Range too big",
    "{{ hosts.append(1) }}": "unsafe",
    "{{ lipsum() }}": "'lipsum' is undefined",
    "{{ secret('a b') }}": "no name of a secret",
    "{{ secret(none) }}": "no name of a secret",
    "{{ secret('A', 'x') }}": "no form of a secret",
    "@secret:ROOT@": "which only secrets write",
    "{{ '@sec' ~ 'ret:ROOT@' }}{{ secret('A') }}": "which only secrets write",
    "{% set x = secret('A') %}none": "which only secrets write",
}


@pytest.mark.parametrize("said", TEMPLATES)
def test_a_template_that_cannot_be_rendered(site: PhaseSite, said: str) -> None:
    site.recipe("tiny", TINY.replace("{{ word }} from {{ host.name }}", f"one\n      {said}"))
    error = refused(site)
    assert error.slug == "bad-template"
    assert TEMPLATES[said] in error.reason
    assert "/etc/tiny.conf" in error.reason
    assert error.where == f"{site.folder}/recipes/tiny.yaml:8:11"


def test_the_line_in_a_template_is_told(site: PhaseSite) -> None:
    site.recipe("tiny", TINY.replace("{{ word }}", "one\n      {{ nothing }}"))
    assert refused(site).got == "line 2 of the text"


def test_a_secret_stands_in_files_alone(site: PhaseSite) -> None:
    site.recipe("tiny", TINY.replace("[tiny.service]\n", "[\"{{ secret('X') }}\"]\n", 1))
    assert "asks for a secret" in refused(site).reason


ROWS = {
    "ports: [{port: 0}]": "neither a port nor a range",
    "ports: [{port: 9-8}]": "neither a port nor a range",
    "ports: [{port: 65536}]": "neither a port nor a range",
    "ports: [{to: peers}]": "a port without a number",
    "ports: [{port: 1, proto: icmp}]": "'icmp' is not taken",
    "ports: [{port: 1, to: world}]": "'world' is not taken",
    "ports: [{port: 1, unit: x}]": "no name of a unit",
    "users: [{name: Root, uid: 5}]": "no name of a user",
    "users: [{name: x, uid: 0}]": "no number of a user",
    "users: [{name: x, uid: '{{ word }}'}]": "no number of a user",
    "users: [{name: x}]": "'uid' is missing",
    "users: [{name: x, uid: 5}, {name: x, uid: 6}]": "x is there twice",
    "users: [{name: x, uid: 5}, {name: y, uid: 5}]": "y would have the number of x, 5",
    "directories: [{path: var}]": "no path",
    "directories: [{path: /var/../etc}]": "no path",
    "directories: [{path: /var, mode: '9'}]": "no mode",
    "directories: [{path: /a}, {path: /a}]": "/a is there twice",
    "units: [x]": "no name of a unit",
    "units: ['../x.service']": "no name of a unit",
    "units: [x.service, x.service]": "x.service is there twice",
    "files: [{path: /usr/x, text: a}]": "not below /etc",
    "files: [{path: /etc/a//b, text: a}]": "no path",
    "files: [{path: /etc/a, text: a}, {path: /etc/a, text: b}]": "/etc/a is there twice",
    "files: [{path: /etc/a}]": "a text or a secret",
    "files: [{path: /etc/a, text: x, secret: X}]": "a text or a secret",
    "files: [{path: /etc/a, secret: 'x y'}]": "no name of a secret",
    "files: [{path: /etc/a, text: x, mode: rw}]": "no mode",
    "files: [{path: /etc/a, text: }]": "wrong type",
    "files: [{path: /etc/a, text: a, more: b}]": "unknown key 'more'",
    "number: 7": "unused",
    "number: 100": "out of range",
    "after: [absent]": "which does not exist",
    "after: [tiny]": "is none that comes before",
    "hosts: absent": "no parameter that says which hosts",
    "hosts: word": "no parameter that says which hosts",
    "packages: [nano]": "no set that they are of",
    "parameters: {host: word}": "means something else in templates",
    "parameters: {Word: word}": "no name of a parameter",
    "secrets: {X: key}": "no sort of secret",
}


@pytest.mark.parametrize("said", ROWS)
def test_what_makes_no_sense_is_refused_with_its_place(site: PhaseSite, said: str) -> None:
    key = said.partition(":")[0]
    kept = {
        "number": "number: 3\n",
        "parameters": "parameters:\n  word: {type: word, default: hello}\n",
        "units": "units: [tiny.service]\n",
    }.get(key, "")
    text = TINY[: TINY.index("files:")] + "units: [tiny.service]\n"
    site.recipe("tiny", text.replace(kept, "") + f"{said}\n")
    error = refused(site)
    assert ROWS[said] in error.reason
    assert f"{site.folder}/recipes/tiny.yaml:" in str(error.where)


def test_a_package_that_the_set_does_not_hold(whole: PhaseSite) -> None:
    whole.recipe("whole", EVERYTHING.replace("mailer]", "nano]"))
    said = refusal(refused(whole, "whole"))
    assert "wants nano, which the set cluster does not hold" in said
    assert "sealift lock cluster" in said


def test_two_phases_of_one_number(site: PhaseSite) -> None:
    site.recipe("twin", TINY)
    assert refused(site).reason == "tiny and twin are both phase 3"


def test_a_name_that_is_none(site: PhaseSite) -> None:
    site.recipe("Tiny", TINY.replace("number: 3", "number: 4"))
    assert "'Tiny' is no name of a phase" in refused(site).reason


class TestSettings:
    """What a site says of its phases."""

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ("phases: {tiny: {wrod: x}}", "unknown key 'wrod'"),
            ("phases: {tyni: {}}", "there is no phase 'tyni'"),
            ("phases: {tiny: {word: 'a b'}}", "'a b' is no word"),
            ("phases: {tiny: {word: }}", "cannot be nothing"),
        ],
    )
    def test_refused(self, site: PhaseSite, said: str, reason: str) -> None:
        site.settings(said)
        error = refused(site)
        assert reason in error.reason
        assert f"{site.folder}/sealift.yaml" in str(error.where)

    def test_a_near_name_is_told(self, site: PhaseSite) -> None:
        site.settings("phases: {tiny: {wrod: x}}")
        assert refused(site).hint == "did you mean 'word'?"
        site.settings("phases: {tinyy: {}}")
        assert refused(site).hint == "did you mean 'tiny'?"

    def test_without_a_cluster_there_is_no_phase(self, site: PhaseSite) -> None:
        site.settings(None)
        with pytest.raises(NoClusterError, match="phase tiny has no cluster") as caught:
            site.steps()
        assert "cluster: {hosts" in str(caught.value.hint)
        assert resolve(site.project) == {}

    def test_one_that_is_left_out(self, whole: PhaseSite) -> None:
        whole.settings("phases: {tiny: false}")
        with pytest.raises(NoClusterError, match="leaves phase tiny out"):
            whole.steps()
        assert whole.configuration("head2", "whole").after == ("base-phase",)

    def test_a_parameter_without_a_default_must_be_given(self, site: PhaseSite) -> None:
        site.recipe("tiny", TINY.replace(", default: hello", ", help: what is said"))
        error = refused(site)
        assert error.reason == "'word' must be given"
        assert error.expected == "word: what is said"
        assert error.where == f"{site.folder}/sealift.yaml: cluster.phases.tiny"
        site.settings("phases: {tiny: {word: x}}")
        assert site.text("/etc/tiny.conf") == "x from head1\n"


class TestRelease:
    """What of it goes into a release, and what a site without a cluster builds."""

    def release(self, site: PhaseSite) -> Step:
        project = site.project
        inputs = {name: name for name in ("base", "python", "nginx")}
        file = site.folder / "release.yaml"
        top = Recipe("release", Kind.RELEASE, file, inputs=inputs, options={"web": WEB})
        return release.plan_release(top, None, project)[-1]

    def test_phases_and_their_sets_go_in(self, whole: PhaseSite) -> None:
        step = self.release(whole)
        assert step.arguments["phases"] == ["base-phase", "tiny", "whole"]
        assert step.arguments["packages"] == ["cluster"]
        assert step.inputs["phase:tiny"] == "tiny"
        whole.settings("phases: {tiny: false}")
        assert self.release(whole).arguments["phases"] == ["base-phase", "whole"]

    def test_without_a_cluster_nothing_of_them_is_wanted(self, whole: PhaseSite) -> None:
        whole.packages("web")
        whole.settings(None)
        step = self.release(whole)
        assert (step.arguments["phases"], step.arguments["packages"]) == ([], ["web"])
        assert idle(whole.project) == {"base-phase", "cluster", "tiny", "whole"}
        whole.settings("phases: {whole: false}")
        assert idle(whole.project) == {"cluster", "whole"}
        assert set(plan(whole.project, lambda _: None).targets) >= {"tiny", "base-phase", "web"}
        assert "whole" not in plan(whole.project, lambda _: None).targets

    def test_a_set_that_another_phase_wants_stays(self, whole: PhaseSite) -> None:
        whole.recipe("more", EVERYTHING.replace("number: 4", "number: 5"))
        whole.settings("phases: {whole: false}")
        assert idle(whole.project) == {"whole"}


class TestJoined:
    """What the release says of phases that are built."""

    def told(self, site: PhaseSite, tmp_path: Path, *names: str) -> dict[str, Any]:
        inputs = {}
        for name in names:
            paths = {}
            for host, step in site.steps(name).items():
                paths[host] = tmp_path / f"{name}-{host}"
                phase.build(Made(step, paths[host]))  # type: ignore[arg-type]
            inputs[f"phase:{name}"] = tmp_path / f"joined-{name}"
            step = Step(name, name, name, "phase-hosts")
            phase.build_hosts(Made(step, tmp_path / f"joined-{name}", paths))  # type: ignore[arg-type]
        top = Step("release", "release", "release", "release", arguments={"phases": list(names)})
        return release._phases(Made(top, tmp_path / "release", inputs))  # type: ignore[arg-type]

    def test_where_each_host_has_its_part_and_what_the_secrets_are(
        self, whole: PhaseSite, tmp_path: Path
    ) -> None:
        assert self.told(whole, tmp_path, "tiny", "whole") == {
            "tiny": {
                "number": 3,
                "hosts": {f"head{n}": str(tmp_path / f"tiny-head{n}") for n in (1, 2, 3)},
                "secrets": {},
            },
            "whole": {
                "number": 4,
                "hosts": {f"head{n}": str(tmp_path / f"whole-head{n}") for n in (2, 3)},
                "secrets": {"OTHER": "password", "PLAIN": "password", "THE_KEY": "bytes"},
            },
        }

    def test_two_phases_cannot_bring_one_file(self, site: PhaseSite, tmp_path: Path) -> None:
        site.recipe("other", TINY.replace("number: 3", "number: 5"))
        with pytest.raises(BuildError, match=r"tiny and other both bring /etc/tiny.conf on head1"):
            self.told(site, tmp_path, "tiny", "other")


def planned(site: PhaseSite) -> list[Step]:
    project = site.project
    return list(phase.plan(project.recipes["tiny"], None, project))


def test_a_host_whose_text_says_the_same_is_not_built_again(
    site: PhaseSite, tmp_path: Path
) -> None:
    """In a real store; what each host wants refers to the set, and the join to all of them."""
    site.recipe("tiny", f"{TINY}inputs: {{packages: cluster}}\npackages: [apache2]\n")
    site.packages()
    builders = {**BUILDERS, "phase": phase.build, "phase-hosts": phase.build_hosts}
    with LocalStore.open(tmp_path / "store") as store:
        bench = Bench(store, builders)
        held = text("cluster", "the set\n")
        steps = [held, *planned(site)]
        result = bench.build(steps, "tiny")
        assert not result.failures
        links = store.real(result.outputs["tiny"])
        paths = {link.name: link.readlink() for link in links.iterdir()}
        assert set(paths) == {"head1", "head2", "head3"}
        said = json.loads((paths["head1"] / "phase.json").read_text())
        assert said["packages"]["set"] == str(store.real(result.outputs["cluster"]))
        closure = {str(store.real(info.path)) for info in store.closure([result.outputs["tiny"]])}
        assert {str(path) for path in paths.values()} | {said["packages"]["set"]} <= closure
        file = site.folder / "recipes" / "tiny.yaml"
        other = "{{ 'bye' if host.index == 1 else word }} from"
        site.recipe("tiny", file.read_text().replace("{{ word }} from", other))
        again = bench.build([held, *planned(site)], "tiny")
        assert set(again.built) == {"tiny:head1", "tiny"}
