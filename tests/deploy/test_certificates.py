"""Certificates of a head, made by a real openssl: whole or not at all, kept, looked over."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy import certificates, credentials
from deploy.errors import BadReleaseError, CertificateError, SecretMissingError
from deploy.events import Event, What, ignore
from deploy.layout import Layout
from deploy.release import Certificate, Health, Probe, Release, Service, Tool

if TYPE_CHECKING:
    from collections.abc import Sequence

PAIR = Certificate("CERT", "KEY", "The site's own")
ALONE = Certificate("CERT")


@pytest.fixture(scope="module")
def openssl() -> Path:
    found = shutil.which("openssl")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is missing")
        pytest.skip("openssl is missing: apt-get install openssl")
    return Path(found)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "var", tmp_path / "state")
    for folder in (made.secrets_dir, made.known_dir, made.credentials_dir):
        folder.mkdir(parents=True)
    return made


def service(name: str, *pairs: Certificate) -> Service:
    secrets = tuple(part for pair in pairs for part in (pair.certificate, pair.key) if part)
    health = Health(Probe.TCP, "/", 1.0)
    place = Path("/store") / name
    return Service(name, place, 1, place, ("/bin/x",), health, (), {}, secrets, (), pairs)


def release(openssl: Path | None, *services: Service) -> Release:
    tools = {} if openssl is None else {"openssl": Tool(openssl.parent, openssl)}
    named = {each.name: each for each in services}
    return Release(Path("/store/release"), named, {}, None, tools)


def provide(layout: Layout, openssl: Path, *pairs: Certificate) -> list[Event]:
    events: list[Event] = []
    certificates.provide(layout, release(openssl, service("idp", *pairs)), events.append)
    return events


def ask(openssl: Path, *words: str | Path) -> str:
    done = subprocess.run([openssl, *words], capture_output=True, text=True, check=True)
    return done.stdout


def bring(openssl: Path, layout: Layout, *, days: int = 400, more: Sequence[str] = ()) -> None:
    """Put a pair there as a site would."""
    files = ("-out", layout.secrets_dir / "CERT", "-keyout", layout.secrets_dir / "KEY")
    words = ("-x509", "-newkey", "rsa:2048", "-subj", "/CN=site", "-days", str(days), "-nodes")
    ask(openssl, "req", *words, *files, *more)


def contents(layout: Layout) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(layout.secrets_dir.iterdir())}


def test_a_pair_is_made_once_and_told(layout: Layout, openssl: Path) -> None:
    (event,) = provide(layout, openssl, PAIR)
    assert (event.what, event.name) == (What.GENERATED, "CERT and KEY")
    made = contents(layout)
    assert set(made) == {"CERT", "KEY"}
    assert b"PRIVATE KEY" in made["KEY"]
    assert b"PRIVATE" not in made["CERT"]
    assert {file.stat().st_mode & 0o777 for file in layout.secrets_dir.iterdir()} == {0o600}
    assert provide(layout, openssl, PAIR) == []
    assert contents(layout) == made


def test_the_certificate_says_whose_it_is_and_lasts_ten_years(
    layout: Layout, openssl: Path
) -> None:
    provide(layout, openssl, Certificate("CERT", "KEY", "A/B=C + é\\D, CN=x"))
    file = layout.secrets_dir / "CERT"
    said = ask(openssl, "x509", "-in", file, "-noout", "-subject", "-nameopt", "utf8,sep_multiline")
    assert said.splitlines()[1].strip() == "CN=A/B=C + é\\D, CN=x"
    text = ask(openssl, "x509", "-in", file, "-noout", "-text")
    assert "(3072 bit)" in text
    assert "CA:FALSE" in text
    assert "sha256WithRSAEncryption" in text
    years = 9 * 365 * 86_400
    assert "not expire" in ask(openssl, "x509", "-in", file, "-noout", "-checkend", str(years))


def test_openssl_is_told_no_key_and_reads_no_configuration_of_the_machine(
    layout: Layout, openssl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENSSL_CONF", str(tmp_path / "broken.cnf"))
    (tmp_path / "broken.cnf").write_text("[req]\ndistinguished_name = nowhere\n")
    heard = tmp_path / "heard"
    tool = tmp_path / "openssl"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {heard}\nenv >> {heard}\nexec {openssl} "$@"\n')
    tool.chmod(0o755)
    provide(layout, tool, PAIR)
    provide(layout, tool, PAIR)
    said = heard.read_text()
    body = (layout.secrets_dir / "KEY").read_text().splitlines()[1:-1]
    assert len(body) > 20
    assert not [line for line in body if line in said]
    assert "broken" not in said
    assert "-nodes" in said


def test_what_a_site_brings_is_kept(layout: Layout, openssl: Path) -> None:
    bring(openssl, layout)
    before = contents(layout)
    assert provide(layout, openssl, PAIR) == []
    assert contents(layout) == before


@pytest.mark.parametrize(("there", "missing"), [("CERT", "KEY"), ("KEY", "CERT")])
def test_half_a_pair_is_refused(layout: Layout, openssl: Path, there: str, missing: str) -> None:
    bring(openssl, layout)
    (layout.secrets_dir / missing).unlink()
    with pytest.raises(CertificateError, match=f"only {there} is there") as caught:
        provide(layout, openssl, PAIR)
    assert caught.value.where == str(layout.secrets_dir / missing)
    assert "rm -f" in str(caught.value.hint)
    assert set(contents(layout)) == {there}


def test_two_that_do_not_belong_together_are_refused(layout: Layout, openssl: Path) -> None:
    bring(openssl, layout)
    certificate = (layout.secrets_dir / "CERT").read_bytes()
    bring(openssl, layout)
    (layout.secrets_dir / "CERT").write_bytes(certificate)
    with pytest.raises(CertificateError, match="are not a pair"):
        provide(layout, openssl, PAIR)


@pytest.mark.parametrize("name", ["CERT", "KEY"])
def test_what_is_no_pem_is_refused_and_not_shown(layout: Layout, openssl: Path, name: str) -> None:
    bring(openssl, layout)
    (layout.secrets_dir / name).write_text("hunter2\n")
    with pytest.raises(CertificateError, match=f"{name} cannot be read") as caught:
        provide(layout, openssl, PAIR)
    assert "hunter2" not in str(caught.value.got)


def test_a_key_with_a_passphrase_is_refused_without_asking(layout: Layout, openssl: Path) -> None:
    bring(openssl, layout)
    key, sealed = layout.secrets_dir / "KEY", layout.secrets_dir / "sealed"
    ask(openssl, "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", sealed)
    sealed.replace(key)
    with pytest.raises(CertificateError, match="without a passphrase"):
        provide(layout, openssl, PAIR)


@pytest.mark.parametrize("which", [PAIR, ALONE])
def test_a_certificate_in_der_is_refused(layout: Layout, openssl: Path, which: Certificate) -> None:
    """openssl reads it of itself; what is handed to services is the file as it is."""
    bring(openssl, layout)
    file, der = layout.secrets_dir / "CERT", layout.secrets_dir / "der"
    ask(openssl, "x509", "-in", file, "-outform", "DER", "-out", der)
    der.replace(file)
    with pytest.raises(CertificateError, match="CERT cannot be read") as caught:
        provide(layout, openssl, which)
    assert "PEM" in str(caught.value.expected)


def test_a_key_in_der_is_refused(layout: Layout, openssl: Path) -> None:
    bring(openssl, layout)
    file, der = layout.secrets_dir / "KEY", layout.secrets_dir / "der"
    ask(openssl, "pkey", "-in", file, "-outform", "DER", "-out", der)
    der.replace(file)
    with pytest.raises(CertificateError, match="KEY cannot be read"):
        provide(layout, openssl, PAIR)


MORE = ("key before", "key after", "two certificates", "text", "trusted")


@pytest.mark.parametrize("which", [PAIR, ALONE])
@pytest.mark.parametrize("more", MORE)
def test_a_certificate_is_alone_in_its_file(
    layout: Layout, openssl: Path, more: str, which: Certificate
) -> None:
    """Whoever is given the certificate alone must not be given a key with it."""
    bring(openssl, layout)
    file, key = layout.secrets_dir / "CERT", (layout.secrets_dir / "KEY").read_text()
    text = file.read_text()
    file.write_text(
        {
            "key before": key + text,
            "key after": text + key,
            "two certificates": text + text,
            "text": "Certificate:\n" + text,
            "trusted": text.replace(" CERTIFICATE", " TRUSTED CERTIFICATE"),
        }[more]
    )
    if which is ALONE:
        (layout.secrets_dir / "KEY").unlink()
    with pytest.raises(CertificateError, match="there is more in its file") as caught:
        provide(layout, openssl, which)
    assert key.splitlines()[1] not in str(caught.value)
    assert "openssl x509 -in FILE" in str(caught.value.hint)


def test_line_ends_of_another_system_are_fine(layout: Layout, openssl: Path) -> None:
    bring(openssl, layout)
    file = layout.secrets_dir / "CERT"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert provide(layout, openssl, PAIR) == []


@pytest.mark.parametrize(("name", "what"), [("CERT", "certificate"), ("KEY", "key")])
def test_one_that_is_empty_is_called_so(
    layout: Layout, openssl: Path, name: str, what: str
) -> None:
    bring(openssl, layout)
    (layout.secrets_dir / name).write_text("\n")
    with pytest.raises(CertificateError, match=f"the {what} {name} is empty"):
        provide(layout, openssl, PAIR)


@pytest.mark.parametrize(
    ("key", "got"),
    [
        (("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"), "id-ecPublicKey"),
        (("ed25519",), "ED25519"),
        (("rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"), "rsassaPss"),
        (("rsa:1024",), "1024 bits"),
    ],
)
def test_a_pair_signs_by_rsa(layout: Layout, openssl: Path, key: tuple[str, ...], got: str) -> None:
    bring(openssl, layout, more=("-newkey", *key))
    with pytest.raises(CertificateError, match="has no RSA key of at least 2048 bits") as caught:
        provide(layout, openssl, PAIR)
    assert caught.value.got == got
    # Of somebody else's certificate it is not known what it is for.
    (layout.secrets_dir / "KEY").unlink()
    assert provide(layout, openssl, ALONE) == []


def test_one_that_soon_runs_out_is_told_and_goes_on(layout: Layout, openssl: Path) -> None:
    bring(openssl, layout, days=20)
    (event,) = provide(layout, openssl, PAIR)
    assert (event.what, event.name) == (What.EXPIRES, "CERT")
    assert str(layout.secrets_dir / "CERT") in event.detail


def test_one_that_has_run_out_is_told_as_past(layout: Layout, openssl: Path) -> None:
    bring(openssl, layout)
    expire(openssl, layout)
    (event,) = provide(layout, openssl, PAIR)
    assert (event.what, event.name) == (What.EXPIRED, "CERT")
    assert event.what.value == "certificate expired"
    assert event.detail.startswith("2020-01-02;")


def test_who_looks_is_told_of_those_that_run_out(layout: Layout, openssl: Path) -> None:
    both = release(openssl, service("idp", PAIR), service("portal", ALONE))
    assert certificates.expiring(layout, both) == ()
    bring(openssl, layout)
    assert certificates.expiring(layout, both) == ()
    bring(openssl, layout, days=20)
    (soon,) = certificates.expiring(layout, both)
    assert (soon.name, soon.past) == ("CERT", False)
    expire(openssl, layout)
    (past,) = certificates.expiring(layout, both)
    assert (f"{past.end:%Y-%m-%d}", past.past) == ("2020-01-02", True)
    # What cannot be read is no reason not to show the rest.
    (layout.secrets_dir / "CERT").write_text("no certificate")
    assert certificates.expiring(layout, both) == ()


def expire(openssl: Path, layout: Layout) -> None:
    """Certify the site's key for one day of the past."""
    config, database = layout.known_dir / "ca.cnf", layout.known_dir / "index.txt"
    asked, made = layout.known_dir / "asked", layout.known_dir / "made"
    made.mkdir()
    database.touch()
    config.write_text(
        f"[ca]\ndefault_ca=it\n[it]\ndatabase={database}\nnew_certs_dir={made}\n"
        "default_md=sha256\npolicy=any\nrand_serial=yes\n[any]\ncommonName=supplied\n"
    )
    key, file = layout.secrets_dir / "KEY", layout.secrets_dir / "CERT"
    ask(openssl, "req", "-new", "-key", key, "-subj", "/CN=site", "-out", asked)
    times = ("-startdate", "20200101000000Z", "-enddate", "20200102000000Z")
    words = ("-selfsign", "-batch", "-notext", *times, "-keyfile", key)
    ask(openssl, "ca", "-config", config, *words, "-in", asked, "-out", file)


def test_one_that_the_head_had_is_asked_for(layout: Layout, openssl: Path) -> None:
    provide(layout, openssl, PAIR)
    credentials.provide(layout, [service("idp", PAIR)], ignore)
    for name in ("CERT", "KEY"):
        (layout.secrets_dir / name).unlink()
    with pytest.raises(SecretMissingError, match="CERT and KEY, which this head had") as caught:
        provide(layout, openssl, PAIR)
    assert contents(layout).keys() == {".key"}
    # The hint is what the operator then does.
    subprocess.run(["sh", "-c", str(caught.value.hint).partition("made: ")[2]], check=True)
    assert [event.what for event in provide(layout, openssl, PAIR)] == [What.GENERATED]


def test_a_certificate_alone_is_brought_by_somebody(layout: Layout, openssl: Path) -> None:
    with pytest.raises(SecretMissingError, match="this release does not make it"):
        provide(layout, openssl, ALONE)
    assert contents(layout) == {}
    bring(openssl, layout)
    (layout.secrets_dir / "KEY").unlink()
    assert provide(layout, openssl, ALONE) == []


def test_one_service_makes_it_and_the_other_reads_the_certificate_alone(
    layout: Layout, openssl: Path
) -> None:
    both = [service("a-portal", ALONE), service("idp", PAIR)]
    events: list[Event] = []
    certificates.provide(layout, release(openssl, *both), events.append)
    assert [event.what for event in events] == [What.GENERATED]
    folders = credentials.provide(layout, both, ignore)
    assert {file.name for file in folders["a-portal"].iterdir()} == {"CERT"}
    assert {file.name for file in folders["idp"].iterdir()} == {"CERT", "KEY"}


def test_without_certificates_nobody_needs_openssl(layout: Layout) -> None:
    certificates.provide(layout, release(None, service("plain")), ignore)
    with pytest.raises(BadReleaseError, match="has no openssl, which CERT asks for"):
        certificates.provide(layout, release(None, service("idp", PAIR)), ignore)


def test_an_openssl_that_fails_leaves_nothing(layout: Layout, tmp_path: Path) -> None:
    tool = tmp_path / "openssl"
    tool.write_text("#!/bin/sh\necho half > ${15}\necho no entropy >&2\nexit 3\n")
    tool.chmod(0o755)
    with pytest.raises(CertificateError, match="cannot make the certificate CERT") as caught:
        provide(layout, tool, PAIR)
    assert caught.value.got == "no entropy"
    assert contents(layout) == {}


class CutError(Exception):
    """The power goes."""


STEPS = ("rename", "link", "second link", "rmtree")


@pytest.mark.parametrize("step", STEPS)
def test_a_cut_never_leaves_half_a_pair(
    layout: Layout, openssl: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before the step; what ran out of the way of the cut is not tidied up either."""
    left = [2 if step == "second link" else 1]

    def cut(whole: Any) -> Any:
        def run(*words: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise CutError
            return whole(*words, **more)

        return run

    with monkeypatch.context() as patch:
        if step == "rename":
            patch.setattr(Path, "rename", cut(Path.rename))
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        elif step == "rmtree":
            patch.setattr(shutil, "rmtree", cut(shutil.rmtree))
        else:
            patch.setattr(os, "link", cut(os.link))
        with pytest.raises(CutError):
            provide(layout, openssl, PAIR)
    provide(layout, openssl, PAIR)
    assert contents(layout).keys() == {"CERT", "KEY"}


def test_a_pair_that_was_cut_off_is_finished_and_not_made_anew(
    layout: Layout, openssl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # It stops where the pair is complete and not yet in its place.
        patch.setattr(certificates, "_finish", lambda _: None)
        with pytest.raises(CertificateError):
            provide(layout, openssl, PAIR)
    (pending,) = (f for f in layout.secrets_dir.iterdir() if f.name.startswith(".pair-"))
    key = (pending / "KEY").read_bytes()
    assert provide(layout, openssl, PAIR) == []
    assert contents(layout)["KEY"] == key
