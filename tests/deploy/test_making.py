"""Secrets that are made: what a release asks for, and what comes out, as OpenSSL sees it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.errors import CertificateError
from deploy.key_pairs import WEB_DAYS
from deploy.making import Making, Sort, check_reached, make, makings, to_bring, wanted
from deploy.release import Certificate, Health, Probe, Release, Service, Systemd
from store.errors import InputError

PAIR = Certificate("IDP_CERT", "IDP_KEY", "The site's own")
SIGNING = Making(Sort.SIGNING, ("IDP_CERT", "IDP_KEY"), "The site's own")
WEB = Making(Sort.WEB, ("TLS_CERT", "TLS_KEY"))


def service(name: str, *secrets: str, pairs: tuple[Certificate, ...] = ()) -> Service:
    health = Health(Probe.TCP, "/", 1.0)
    place = Path("/store") / name
    return Service(name, place, 1, place, ("/bin/x",), health, (), {}, secrets, (), pairs)


def release(*services: Service, tls: bool = True) -> Release:
    names = ("TLS_CERT", "TLS_KEY") if tls else (None, None)
    systemd = Systemd("sealift-nginx", 80, 443 if tls else None, names[0], names[1], "0" * 32)
    named = {each.name: each for each in services}
    return Release(Path("/store/release"), named, {}, None, systemd=systemd)


PLATFORM = release(
    service("idp", "IDP_CERT", "IDP_KEY", pairs=(PAIR,)),
    service("portal", "JWT", "IDP_CERT", pairs=(Certificate("IDP_CERT"),)),
    service("other", "JWT", "PARTNER", pairs=(Certificate("PARTNER"),)),
)


def test_a_release_tells_what_its_secrets_are() -> None:
    brought, value = Making(Sort.BROUGHT, ("PARTNER",)), Making(Sort.VALUE, ("JWT",))
    assert makings(PLATFORM) == (SIGNING, value, brought, WEB)


def test_without_tls_or_systemd_there_is_no_pair_for_the_web() -> None:
    assert makings(release(service("a", "X"), tls=False)) == (Making(Sort.VALUE, ("X",)),)
    assert makings(replace(release(), systemd=None)) == ()


def test_what_is_missing_is_made_and_what_is_brought_is_not() -> None:
    assert wanted(PLATFORM, (), ("JWT",), replace=False) == (SIGNING, WEB)
    assert wanted(PLATFORM, (), ("JWT", *SIGNING.names, *WEB.names), replace=False) == ()
    assert to_bring(PLATFORM, ()) == ("PARTNER",)
    assert to_bring(PLATFORM, ("PARTNER",)) == ()


def test_half_a_pair_is_not_replaced_behind_anybodys_back() -> None:
    with pytest.raises(InputError, match="only TLS_KEY") as raised:
        wanted(PLATFORM, (), ("TLS_KEY",), replace=False)
    assert "secret set TLS_CERT" in str(raised.value.hint)


def test_what_is_named_is_made_whole_and_once() -> None:
    both = wanted(PLATFORM, ("TLS_KEY", "TLS_CERT", "MINE"), (), replace=False)
    assert both == (WEB, Making(Sort.VALUE, ("MINE",)))
    with pytest.raises(InputError, match="TLS_CERT") as raised:
        wanted(PLATFORM, ("TLS_KEY",), ("TLS_CERT",), replace=False)
    assert "--replace" in str(raised.value.hint)
    assert wanted(PLATFORM, ("TLS_KEY",), ("TLS_CERT",), replace=True) == (WEB,)
    assert wanted(None, ("MINE",), (), replace=False) == (Making(Sort.VALUE, ("MINE",)),)


def test_values_are_random_and_long() -> None:
    values = {make(Making(Sort.VALUE, ("X",)), [])["X"] for _ in range(50)}
    assert len(values) == 50
    assert min(map(len, values)) >= 43
    assert all(value.decode().isprintable() for value in values)


def test_what_must_be_brought_is_not_made() -> None:
    with pytest.raises(CertificateError, match="PARTNER"):
        make(Making(Sort.BROUGHT, ("PARTNER",)), [])


def test_a_web_certificate_needs_a_name() -> None:
    with pytest.raises(CertificateError):
        make(WEB, [])


def openssl(tmp_path: Path, made: dict[str, bytes], *words: str) -> str:
    for name, value in made.items():
        (tmp_path / name).write_bytes(value)
    done = subprocess.run(
        ["openssl", *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_openssl_takes_the_web_pair(tmp_path: Path) -> None:
    made = make(WEB, ["portal.example.org", "head1", "10.78.0.11", "head1", "fd00::1"])
    text = openssl(tmp_path, made, "x509", "-in", "TLS_CERT", "-noout", "-text")
    names = (
        "DNS:portal.example.org, DNS:head1, IP Address:10.78.0.11, IP Address:FD00:0:0:0:0:0:0:1"
    )
    assert names in text
    assert "CN = portal.example.org" in text
    assert "TLS Web Server Authentication" in text
    assert "CA:FALSE" in text
    assert "prime256v1" in text
    mine = openssl(tmp_path, made, "pkey", "-in", "TLS_KEY", "-pubout")
    assert openssl(tmp_path, made, "x509", "-in", "TLS_CERT", "-noout", "-pubkey") == mine
    checked = openssl(tmp_path, made, "verify", "-CAfile", "TLS_CERT", "TLS_CERT")
    assert checked.endswith("OK\n")
    end = str((WEB_DAYS - 2) * 86_400)
    openssl(tmp_path, made, "x509", "-in", "TLS_CERT", "-noout", "-checkend", end)


def test_openssl_takes_the_signing_pair(tmp_path: Path) -> None:
    made = make(replace(SIGNING, subject="Méridian " * 20), [])
    text = openssl(tmp_path, made, "x509", "-in", "IDP_CERT", "-noout", "-text")
    assert "(3072 bit)" in text
    assert "sha256WithRSAEncryption" in text
    mine = openssl(tmp_path, made, "pkey", "-in", "IDP_KEY", "-pubout")
    assert openssl(tmp_path, made, "x509", "-in", "IDP_CERT", "-noout", "-pubkey") == mine


@pytest.mark.parametrize(
    "word", ["portal.example.org", "*.example.org", "head1", "10.0.0.1", "fd00::1", "a_b.x-y.org"]
)
def test_what_a_certificate_can_name(word: str) -> None:
    assert check_reached(word) == word


@pytest.mark.parametrize("word", ["", "bad name", "grün.example", "a\nb", "a,", "x" * 64])
@pytest.mark.parametrize("form", ["{}", "a.{}", "*.{}"])
def test_what_no_certificate_can_name(form: str, word: str) -> None:
    with pytest.raises(InputError, match="no certificate can name"):
        check_reached(form.format(word))


@pytest.mark.parametrize(
    "word", ["a..b", "-a", "a-", "*", "a.*.b", "http://a", "a:443", "10.0.0.300", "ab." * 90 + "c"]
)
def test_what_is_nearly_a_name(word: str) -> None:
    with pytest.raises(InputError, match="no certificate can name"):
        check_reached(word)
