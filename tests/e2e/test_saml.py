"""Sign-in through the identity provider: the round trip, and everything that must not sign in.

The answers that are tried are real ones, of the platform's own provider, or of the same package
started with another key or other settings; what is forged is forged by hand.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.deploy.synthetic import free_ports
from tests.e2e.browser import ready
from tests.e2e.saml import Answer, Visitor, asking, closed, fields, opened, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium.webdriver import Chrome

    from tests.e2e.platform import Platform

pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]
ASSERTION = re.compile(r"<saml:Assertion .*?</saml:Assertion>", re.DOTALL)
SIGNATURE = re.compile(r"<Signature .*?</Signature>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Package:
    """The package that the platform's provider is, and what it runs with."""

    node: str
    folder: Path
    certificate: str
    key: str
    audience: str = "urn:meridian:portal"
    issuer: str = "urn:meridian:idp"
    words: tuple[str, ...] = ()

    @contextmanager
    def running(self, **settings: str) -> Iterator[str]:
        """Start it as it is, and change its settings as its own page does; give its address."""
        (port,) = free_ports(1)
        address = f"http://127.0.0.1:{port}/"
        fixed = ("--host", "127.0.0.1", "--port", str(port), "--acsUrl", "http://127.0.0.1:9/acs")
        pair = ("--cert", self.certificate, "--key", self.key)
        names = ("--audience", self.audience, "--issuer", self.issuer)
        run = self.folder / "node_modules/saml-idp/bin/run.js"
        process = subprocess.Popen(
            [self.node, run, *fixed, *pair, *names, *self.words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait(address)
            if settings:
                assert Visitor(address).ask("/settings", settings).status == 302
            yield address
        finally:
            process.kill()
            process.wait()


def wait(address: str) -> None:
    for _ in range(100):
        try:
            if Visitor(address).ask("/metadata").status == 200:
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the provider does not begin")


@pytest.fixture(scope="module")
def package(running: Platform) -> Package:
    folder = Path(running.sealift("path-info", "saml_idp_7000").out.strip())
    service = json.loads((folder / "sealift.json").read_text())["service"]
    secrets = folder.parents[1] / "var/head/secrets"
    node: str = service["command"][0]
    return Package(node, folder, str(secrets / "SAML_IDP_CERT"), str(secrets / "SAML_IDP_KEY"))


@pytest.fixture
def visitor(running: Platform) -> Visitor:
    return Visitor(running.url)


def refused(visitor: Visitor, answer: Answer) -> None:
    """Nobody is signed in, and the visitor is told so in words."""
    assert 400 <= answer.status < 500, answer
    assert "You are not signed in" in answer.text
    assert visitor.session()["authenticated"] is False


def test_a_sign_in_and_its_end(visitor: Visitor) -> None:
    answer = visitor.sign_in()
    assert (answer.status, answer.location) == (303, "/dashboard/")
    session = visitor.session()
    assert (session["user"], session["name"]) == ("mira", "Mira Castellan")
    assert session["roles"] == ["users", "engineers"]
    visitor.ask("/auth/logout", {})
    assert visitor.session()["authenticated"] is False


def test_a_second_sign_in_has_a_new_session_and_ends_the_first(visitor: Visitor) -> None:
    visitor.sign_in("mira")
    first = replace(visitor, cookies=cookies_of(visitor))
    visitor.sign_in("jonas")
    assert visitor.session()["user"] == "jonas"
    assert first.session()["authenticated"] is False


def cookies_of(visitor: Visitor) -> Any:
    copy = Visitor(visitor.url).cookies
    for cookie in visitor.cookies:
        copy.set_cookie(cookie)
    return copy


def test_cookies_are_for_this_site_and_not_for_scripts(visitor: Visitor) -> None:
    visitor.begin()
    visitor.sign_in()
    own = [cookie for cookie in visitor.cookies if cookie.name.startswith("meridian")]
    assert [cookie.name for cookie in own] == ["meridian_session"]
    for cookie in own:
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "Lax"


def test_a_name_alone_signs_nobody_in(visitor: Visitor) -> None:
    assert visitor.ask("/auth/login", {"user": "mira"}).status in (404, 405)


def test_the_portal_describes_itself(visitor: Visitor) -> None:
    said = visitor.ask("/auth/saml/metadata").text
    assert 'WantAssertionsSigned="true"' in said
    assert f"{visitor.url}/auth/saml/acs" in said


@pytest.mark.parametrize(
    "onward",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "\t//evil",
    ],
)
def test_nobody_is_sent_to_another_site(visitor: Visitor, onward: str) -> None:
    form = visitor.choose(visitor.begin(onward))
    assert visitor.give({**form, "RelayState": onward}).location == "/"


def genuine(xml: str) -> tuple[str, str]:
    """Give the signed assertion, and the answer without its own signature and without it."""
    (assertion,) = ASSERTION.findall(xml)
    return assertion, SIGNATURE.sub("", xml.replace(assertion, "@"), count=1)


def evil(xml: str) -> str:
    """Give an assertion like the genuine one, unsigned, for somebody else."""
    assertion = SIGNATURE.sub("", genuine(xml)[0])
    return re.sub(r' ID="[^"]*"', ' ID="_evil"', assertion).replace(">mira<", ">yuna<")


def wrapped_in_object(xml: str) -> str:
    assertion, rest = genuine(xml)
    (signature,) = SIGNATURE.findall(assertion)
    held = SIGNATURE.sub("", assertion)
    holding = signature.replace("</Signature>", f"<Object>{held}</Object></Signature>")
    issuer = "</saml:Issuer>"
    return rest.replace("@", evil(xml).replace(issuer, issuer + holding, 1))


def whole_answer_in_object(xml: str) -> str:
    _, rest = genuine(xml)
    signature = SIGNATURE.findall(xml)[0]
    held = SIGNATURE.sub("", xml, count=1)
    holding = signature.replace("</Signature>", f"<Object>{held}</Object></Signature>")
    forged = re.sub(r' ID="[^"]*"', ' ID="_outer"', rest, count=1).replace("@", evil(xml))
    return forged.replace("</saml:Issuer>", "</saml:Issuer>" + holding, 1)


def in_extensions(xml: str) -> str:
    assertion, rest = genuine(xml)
    held = f"<samlp:Extensions>{assertion}</samlp:Extensions>"
    return rest.replace("@", evil(xml)).replace("<samlp:Status>", f"{held}<samlp:Status>", 1)


FORGERIES: dict[str, Callable[[str], str]] = {
    "no signature at all": lambda xml: SIGNATURE.sub("", xml),
    "the assertion's signature taken out": lambda xml: xml.replace(SIGNATURE.findall(xml)[1], ""),
    "another user": lambda xml: xml.replace(">mira<", ">yuna<"),
    "another group": lambda xml: xml.replace(">engineers<", ">operators<"),
    "another user in an answer that is itself unsigned": lambda xml: SIGNATURE.sub(
        "", xml, count=1
    ).replace(">mira<", ">yuna<"),
    "a later end": lambda xml: re.sub(r'NotOnOrAfter="\d{4}', 'NotOnOrAfter="2099', xml),
    "another signature value": lambda xml: xml.replace("<SignatureValue>", "<SignatureValue>AAAA"),
    "another destination": lambda xml: SIGNATURE.sub("", xml, count=1).replace(
        "/auth/saml/acs", "/auth/saml/acs.evil", 1
    ),
    "no destination": lambda xml: re.sub(
        r' Destination="[^"]*"', "", SIGNATURE.sub("", xml, count=1), count=1
    ),
    "no request that it answers": lambda xml: re.sub(
        r' InResponseTo="[^"]*"', "", SIGNATURE.sub("", xml, count=1), count=1
    ),
    "wrapped: a forged assertion before": lambda xml: genuine(xml)[1].replace(
        "@", evil(xml) + genuine(xml)[0]
    ),
    "wrapped: a forged assertion after": lambda xml: genuine(xml)[1].replace(
        "@", genuine(xml)[0] + evil(xml)
    ),
    "wrapped: the genuine one in the signature of a forged one": wrapped_in_object,
    "wrapped: the whole answer in the signature of a forged one": whole_answer_in_object,
    "wrapped: the genuine one among the extensions": in_extensions,
    "an entity": lambda xml: (
        f'<!DOCTYPE r [<!ENTITY who "yuna">]>{xml.replace(">mira<", ">&who;<")}'
    ),
    "no XML": lambda _: "mira",
    "nothing": lambda _: "",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_is_forged_signs_nobody_in(visitor: Visitor, name: str) -> None:
    form = visitor.choose(visitor.begin())
    forged = FORGERIES[name](opened(form))
    assert forged != opened(form)
    refused(visitor, visitor.give(closed(form, forged)))
    # The same browser, the same request, the answer as it was: it was the forgery.
    assert visitor.give(form).status == 303


def test_a_comment_does_not_cut_a_name(visitor: Visitor) -> None:
    form = visitor.choose(visitor.begin())
    answer = visitor.give(closed(form, opened(form).replace(">mira<", ">mi<!-- -->ra<")))
    assert answer.status == 403 or visitor.session()["user"] == "mira"


@pytest.mark.parametrize("form", [{}, {"SAMLResponse": "%%%"}, {"SAMLResponse": "A" * 600_000}])
def test_what_is_no_answer_is_no_bug(visitor: Visitor, form: dict[str, str]) -> None:
    visitor.begin()
    assert 400 <= visitor.give(form).status < 500
    assert visitor.session()["authenticated"] is False


def test_the_package_itself_would_be_believed(visitor: Visitor, package: Package) -> None:
    """The control of what follows: with the head's key and the right settings, it is."""
    with package.running() as address:
        form = visitor.choose(visitor.begin(), "yuna", idp=address)
    assert visitor.give(form).status == 303


OTHERS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "for another portal": ({"audience": "urn:other:portal"}, {}),
    "of another provider": ({"issuer": "urn:other:idp"}, {}),
    "sent elsewhere": ({"words": ("--disableRequestAcsUrl",)}, {}),
    "too late": ({}, {"lifetimeInSeconds": "1"}),
    "signed outside alone": ({}, {"signAssertion": "false"}),
    "not signed": ({}, {"signAssertion": "false", "signResponse": "false"}),
    "signed with SHA-1": ({}, {"signatureAlgorithm": "rsa-sha1", "digestAlgorithm": "sha1"}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_right_key_is_not_enough(visitor: Visitor, package: Package, name: str) -> None:
    changes, settings = OTHERS[name]
    with replace(package, **changes).running(**settings) as address:
        form = visitor.choose(visitor.begin(), idp=address)
    if "lifetimeInSeconds" in settings:
        time.sleep(1.5)
    refused(visitor, visitor.give(form))


def test_another_key_is_no_key(visitor: Visitor, package: Package, tmp_path: Path) -> None:
    other = replace(package, certificate=str(tmp_path / "cert"), key=str(tmp_path / "key"))
    make_pair(package, other, tmp_path / "conf")
    with other.running() as address:
        form = visitor.choose(visitor.begin(), idp=address)
    refused(visitor, visitor.give(form))


def make_pair(package: Package, other: Package, config: Path) -> None:
    profile = package.folder.parents[1] / "var/profiles/system"
    tool = json.loads((profile / "release.json").read_text())["tools"]["openssl"]["executable"]
    config.write_text("[req]\ndistinguished_name = dn\n[dn]\n")
    words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-days", "1"]
    files = ["-config", str(config), "-out", other.certificate, "-keyout", other.key]
    subprocess.run([tool, "req", *words, *files], check=True, capture_output=True)


def test_an_answer_is_good_once(visitor: Visitor) -> None:
    form = visitor.choose(visitor.begin())
    held = replace(visitor, cookies=cookies_of(visitor))
    assert visitor.give(form).status == 303
    refused(held, held.give(form))


def test_an_answer_is_good_once_also_at_the_same_time(visitor: Visitor) -> None:
    form = visitor.choose(visitor.begin())
    said: list[int] = []
    several = [replace(visitor, cookies=cookies_of(visitor)) for _ in range(6)]
    threads = [
        threading.Thread(target=lambda each=each: said.append(each.give(form).status))
        for each in several
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [303, 403, 403, 403, 403, 403]


def test_an_answer_is_for_the_browser_that_asked(visitor: Visitor, running: Platform) -> None:
    form = visitor.choose(visitor.begin())
    victim = Visitor(running.url)
    refused(victim, victim.give(form))
    victim.begin()
    refused(victim, victim.give(form))


def test_an_answer_that_nobody_asked_for(visitor: Visitor, package: Package) -> None:
    acs = f"{visitor.url}/auth/saml/acs"
    with package.running(acsUrl=acs, recipient=acs, destination=acs) as address:
        answer = Visitor(address).ask("/signin", {"userName": "mira"})
    visitor.begin()
    refused(visitor, visitor.give({"SAMLResponse": fields(answer.text)["SAMLResponse"]}))


def test_a_session_is_no_request_and_a_request_no_session(visitor: Visitor) -> None:
    visitor.sign_in()
    (session,) = (cookie for cookie in visitor.cookies if cookie.name == "meridian_session")
    session.name, session.path = "meridian_sign_in", "/auth/saml/"
    swapped = Visitor(visitor.url)
    swapped.cookies.set_cookie(session)
    refused(swapped, swapped.give({"SAMLResponse": ""}))
    swapped.begin()
    (pending,) = (cookie for cookie in swapped.cookies if cookie.name == "meridian_sign_in")
    pending.name, pending.path = "meridian_session", "/"
    other = Visitor(visitor.url)
    other.cookies.set_cookie(pending)
    assert other.session()["authenticated"] is False


def test_the_provider_shows_what_a_sign_in_needs_and_no_more(visitor: Visitor) -> None:
    assert visitor.ask("/idp/saml/sso").status == 200
    head = visitor.ask("/idp/metadata", method="HEAD")
    assert (head.status, head.text) == (200, "")
    for path in ("/idp/settings", "/idp/", "/idp/css/main.css", "/idp/signout", "/idp/saml/slo"):
        answer = visitor.ask(path)
        assert (answer.status, "<h1>" in answer.text) == (404, True), path
    for path in ("/idp/settings", "/idp/metadata"):
        assert visitor.ask(path, {"issuer": "urn:evil"}).status == 404


def not_answered(answer: Answer) -> None:
    """The provider signs nothing, and says so on a page."""
    assert answer.status == 400, answer
    assert "That did not work" in answer.text
    assert not {"SAMLResponse", "_authnRequest"} & fields(answer.text).keys()


def ticket(visitor: Visitor, address: str) -> str:
    page = visitor.ask(address)
    assert page.status == 200, page
    return fields(page.text)["_authnRequest"]


ELSEWHERE = [
    "javascript:alert(document.domain)//",
    "javascript://{host}/auth/saml/acs",
    "data:text/html,x",
    "https://evil.example/auth/saml/acs",
    "//evil.example/auth/saml/acs",
    "http://{host}@evil.example/auth/saml/acs",
    "http://evil@{host}/auth/saml/acs",
    "http://{host}.evil.example/auth/saml/acs",
    "https://{host}/auth/saml/acs",
    "http://{host}/auth/saml/acs?x",
    "http://{host}/auth/saml/acs/../login",
    "http://{host}/cae/",
    "/auth/saml/acs",
]


@pytest.mark.parametrize("where", ELSEWHERE)
def test_the_provider_answers_to_the_portal_alone(visitor: Visitor, where: str) -> None:
    acs = where.format(host=visitor.url.partition("//")[2])
    not_answered(visitor.ask(request(acs)))
    # The page of before took what was asked from whoever posted it.
    made_up = json.dumps({"id": "_x", "issuer": "urn:meridian:portal", "acsUrl": acs})
    posted = base64.b64encode(made_up.encode()).decode()
    not_answered(visitor.ask("/idp/signin", {"_authnRequest": posted, "userName": "mira"}))


def test_the_provider_answers_the_portal_by_the_name_that_the_browser_uses(
    visitor: Visitor,
) -> None:
    port = visitor.url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"LOCALHOST:{port}", "portal.example.org"):
        acs = f"http://{host.lower()}/auth/saml/acs"
        assert ticket(replace(visitor), request(None))
        for asked in (request(acs), request(None)):
            page = visitor.ask(asked, headers={"Host": host})
            form = {"_authnRequest": fields(page.text)["_authnRequest"], "userName": "mira"}
            answer = visitor.ask("/idp/signin", form, headers={"Host": host})
            assert f'action="{acs}"' in answer.text
            assert f'Recipient="{acs}"' in opened(fields(answer.text))


@pytest.mark.parametrize("issuer", ["", "urn:other:portal", "urn:meridian:portal:x"])
def test_the_provider_knows_one_portal(visitor: Visitor, issuer: str) -> None:
    not_answered(visitor.ask(request(f"{visitor.url}/auth/saml/acs", issuer=issuer)))


@pytest.mark.parametrize("name", ["", "1", '"/><x', "a" * 200])
def test_a_request_has_a_name(visitor: Visitor, name: str) -> None:
    not_answered(visitor.ask(request(None, name=name)))


BOMB = zlib.compressobj(9, wbits=-15)
NO_REQUESTS = {
    "no XML": b"mira",
    "half a tag": b"<samlp:AuthnRequest",
    "an entity": b'<!DOCTYPE r [<!ENTITY e "x">]><r>&e;</r>',
    "much in little": BOMB.compress(b"<" + b"a" * 5_000_000) + BOMB.flush(),
    "compressed noise": bytes(range(256)),
}


@pytest.mark.parametrize("name", NO_REQUESTS)
def test_what_is_no_request_is_no_bug(visitor: Visitor, name: str) -> None:
    not_answered(visitor.ask(asking(NO_REQUESTS[name])))
    assert visitor.ask("/idp/metadata").status == 200


@pytest.mark.parametrize("posted", ["", "e30=", "bnVsbA==", ".", "a.b", "%%%", "{}", "a.b.c"])
def test_a_choice_follows_a_request_that_the_provider_saw(visitor: Visitor, posted: str) -> None:
    not_answered(visitor.ask("/idp/signin", {"_authnRequest": posted, "userName": "mira"}))
    not_answered(visitor.ask("/idp/signin", {"userName": "mira"}))


def test_what_was_asked_cannot_be_changed_on_the_way(visitor: Visitor) -> None:
    text, sign, seal = ticket(visitor, request(None)).partition(".")
    asked = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    changed = json.dumps({**asked, "acsUrl": "javascript:alert(1)"}).encode()
    forged = base64.urlsafe_b64encode(changed).decode().rstrip("=")
    for body in (forged + sign + seal, text + sign + seal[:-2], text + sign, text):
        not_answered(visitor.ask("/idp/signin", {"_authnRequest": body, "userName": "mira"}))
    form = {"_authnRequest": text + sign + seal, "userName": "mira"}
    assert "SAMLResponse" in fields(visitor.ask("/idp/signin", form).text)


def test_the_provider_remembers_no_strangers(visitor: Visitor) -> None:
    visitor.ask("/idp/saml/sso")
    visitor.choose(visitor.begin())
    assert {cookie.name for cookie in visitor.cookies} == {"meridian_sign_in"}


def test_pages_are_not_framed_and_load_nothing(visitor: Visitor) -> None:
    asked = ticket(visitor, visitor.begin())
    form = {"_authnRequest": asked, "userName": "mira"}
    pages = [
        visitor.ask("/idp/saml/sso"),
        visitor.ask("/idp/nothing"),
        visitor.ask("/idp/signin", {}),
        visitor.ask("/idp/signin", form),
        visitor.ask("/auth/saml/acs", {}),
    ]
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "form-action" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "x-powered-by" not in page.headers
        assert 'name="viewport"' in page.text
    scripts = re.findall(r"<script[^>]*>", pages[3].text)
    nonce = re.findall(r"script-src 'nonce-([^']+)'", pages[3].headers["content-security-policy"])
    assert scripts == [f'<script nonce="{nonce[0]}">']
    portal = visitor.ask("/").headers
    assert portal["x-frame-options"] == "SAMEORIGIN"
    assert portal["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["foo_bar", "-", "a..b", "x" * 300])
def test_a_name_that_no_site_has_is_the_visitor_s_fault(visitor: Visitor, host: str) -> None:
    for path in ("/auth/saml/login", "/auth/saml/metadata"):
        assert visitor.ask(path, headers={"Host": host}).status == 400


@pytest.mark.parametrize("size", [524_289, 3_000_000, 20_000_000])
def test_an_answer_that_is_too_large(visitor: Visitor, size: int) -> None:
    assert posted(visitor, "/auth/saml/acs", size) == 413


def test_a_choice_that_is_too_large(visitor: Visitor) -> None:
    assert posted(visitor, "/idp/signin", 150_000) == 413


def posted(visitor: Visitor, path: str, size: int) -> int:
    """Give the answer to a large form, as it is told before all of it was read."""
    host, _, port = visitor.url.partition("//")[2].partition(":")
    line = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {size}\r\n"
    kind = "Content-Type: application/x-www-form-urlencoded\r\n\r\nSAMLResponse="
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall((line + kind).encode())
        return int(connection.recv(64).split()[1])


def test_a_proxy_with_tls_in_front_is_believed(visitor: Visitor) -> None:
    behind = {"Host": "portal.example.org", "X-Forwarded-Proto": "https"}
    answer = visitor.ask("/auth/saml/login", headers=behind)
    assert answer.location.startswith("https://portal.example.org/idp/saml/sso?")
    assert "secure" in answer.headers["set-cookie"].lower()
    page = visitor.ask(answer.location.partition("portal.example.org")[2], headers=behind)
    form = {"_authnRequest": fields(page.text)["_authnRequest"], "userName": "mira"}
    answered = visitor.ask("/idp/signin", form, headers=behind)
    assert 'action="https://portal.example.org/auth/saml/acs"' in answered.text
    for other in ("http", "HTTPS2", "javascript"):
        said = visitor.ask("/auth/saml/login", headers={**behind, "X-Forwarded-Proto": other})
        assert said.location.startswith("http://portal.example.org/")


def test_the_provider_knows_its_own_accounts_alone(visitor: Visitor) -> None:
    asked = ticket(visitor, visitor.begin())
    for form in ({"userName": "root"}, {"email": "mira@meridian.example"}, {}):
        not_answered(visitor.ask("/idp/signin", {**form, "_authnRequest": asked}))


def test_a_group_that_is_posted_is_not_believed(visitor: Visitor) -> None:
    address = visitor.begin()
    form = visitor.choose(address, "jonas")
    assert ">operators<" not in opened(form)
    assert ">Jonas Achterberg<" in opened(form)


def test_the_key_is_nowhere_but_among_the_secrets(running: Platform, package: Package) -> None:
    Visitor(running.url).sign_in()
    body = Path(package.key).read_text().splitlines()[5]
    store, var = package.folder.parent, package.folder.parents[1] / "var"
    found = subprocess.run(
        ["grep", "-rlF", body, var, running.root / "sources", package.folder, *logs(running)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    assert {Path(file).name for file in found} == {"SAML_IDP_KEY"}
    assert not [file for file in found if file.startswith(str(store))]
    for file in found:
        assert Path(file).stat().st_mode & 0o077 == 0
    row = running.services()["saml_idp_7000"]
    for part in ("cmdline", "environ"):
        assert body.encode() not in Path(f"/proc/{row['pid']}/{part}").read_bytes()
    portal = running.services()["auth_portal_4430"]
    environ = Path(f"/proc/{portal['pid']}/environ").read_text()
    folder = Path(re.findall(r"CREDENTIALS_DIRECTORY=([^\0]+)", environ)[0])
    own = {"JWT_SECRET_KEY", "REDIS_PASSWORD", "SAML_IDP_CERT"}
    assert {file.name for file in folder.iterdir()} == own


def logs(platform: Platform) -> list[Path]:
    """Where services write what they log, besides the head's own logs."""
    folders = [path for path in platform.root.rglob("logs") if path.is_dir()]
    return [path for path in folders if "store" not in path.parts]


def test_the_provider_runs_on_the_store_s_own_node(running: Platform, package: Package) -> None:
    pid = running.services()["saml_idp_7000"]["pid"]
    assert Path(f"/proc/{pid}/exe").resolve() == Path(package.node).resolve()
    assert Path(package.node).is_relative_to(package.folder.parent)


@pytest.mark.browser
def test_the_round_trip_in_a_browser(running: Platform, browser: Chrome) -> None:
    def find(selector: str) -> Any:
        WebDriverWait(browser, 20).until(lambda b: b.find_elements(By.CSS_SELECTOR, selector))
        return browser.find_element(By.CSS_SELECTOR, selector)

    ready(browser, running.url + "/")
    find("#sign-in").click()
    find('[data-page="accounts"] button[value="mira"]').click()
    leave = find("#sign-out")
    assert browser.current_url == running.url + "/"
    account = browser.find_element(By.ID, "account").text
    assert "Mira Castellan" in account
    assert "engineers" in account
    ready(browser, running.url + "/dashboard/")
    script = "return fetch('/auth/session').then((answer) => answer.json())"
    assert browser.execute_script(script)["user"] == "mira"
    ready(browser, running.url + "/")
    leave = find("#sign-out")
    leave.click()
    find("#sign-in")
    assert browser.execute_script(script)["authenticated"] is False
    severe = [row for row in browser.get_log("browser") if row["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
    assert severe == []
