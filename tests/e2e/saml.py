"""A visitor without a browser, who signs in and may change what passes through on the way."""

from __future__ import annotations

import base64
import html
import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELD = re.compile(r"<input\s[^>]*?\bname=['\"](\w+)['\"][^>]*?\bvalue=['\"]([^'\"]*)['\"]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, without following it anywhere."""

    status: int
    location: str
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Visitor:
    """Somebody with cookies of their own."""

    url: str
    cookies: http.cookiejar.CookieJar = field(default_factory=http.cookiejar.CookieJar)

    def ask(
        self,
        url: str,
        form: dict[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Answer:
        """Get an address, or post a form to it."""
        keep = urllib.request.HTTPCookieProcessor(self.cookies)
        opener = urllib.request.build_opener(_Stay, keep, urllib.request.ProxyHandler({}))
        data = None if form is None else urllib.parse.urlencode(form).encode()
        target = urllib.parse.urljoin(self.url, url)
        asked = urllib.request.Request(target, data, dict(headers or {}), method=method)
        try:
            with opener.open(asked, timeout=20) as said:
                return _answer(said.status, said)
        except urllib.error.HTTPError as fault:
            return _answer(fault.code, fault)

    def begin(self, onward: str = "/dashboard/") -> str:
        """Ask the portal to sign in; give the address that it sends to."""
        answer = self.ask(f"/auth/saml/login?{urllib.parse.urlencode({'next': onward})}")
        assert answer.status == 302, answer
        return answer.location

    def choose(self, address: str, user: str = "mira", *, idp: str | None = None) -> dict[str, str]:
        """Choose an account; give the form that leads back. `idp` is one elsewhere."""
        if idp is not None:
            address = urllib.parse.urljoin(idp, f"/saml/sso?{urllib.parse.urlsplit(address).query}")
        page = self.ask(address)
        asked = fields(page.text)["_authnRequest"]
        where = urllib.parse.urljoin(urllib.parse.urljoin(self.url, address), "../signin")
        form = {"userName": user, "displayName": user, "email": user, "groups": "users"}
        answer = self.ask(where, {**form, "_authnRequest": asked})
        form = fields(answer.text)
        assert "SAMLResponse" in form, answer
        return form

    def give(self, form: dict[str, str]) -> Answer:
        """Bring the identity provider's answer to the portal."""
        return self.ask("/auth/saml/acs", form)

    def session(self) -> Any:
        """What the portal knows of this visitor."""
        return json.loads(self.ask("/auth/session").text)

    def sign_in(self, user: str = "mira") -> Answer:
        """Go all the way."""
        return self.give(self.choose(self.begin(), user))


def _answer(status: int, said: Any) -> Answer:
    headers = {name.lower(): value for name, value in said.headers.items()}
    return Answer(status, headers.get("location", ""), said.read().decode(), headers)


def request(acs: str | None, *, issuer: str = "urn:meridian:portal", name: str = "_asked") -> str:
    """Give the address of the provider with a request that anybody can write."""
    where = "" if acs is None else f" AssertionConsumerServiceURL={quoteattr(acs)}"
    xml = (
        f'<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" '
        f'xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID={quoteattr(name)} Version="2.0"'
        f"{where}><saml:Issuer>{escape(issuer)}</saml:Issuer></samlp:AuthnRequest>"
    )
    return asking(xml.encode())


def asking(content: bytes) -> str:
    """Give the address of the provider with anything in place of a request."""
    said = urllib.parse.urlencode({"SAMLRequest": base64.b64encode(content).decode()})
    return f"/idp/saml/sso?{said}"


def fields(page: str) -> dict[str, str]:
    """Read the fields of a page's form."""
    return {name: html.unescape(value) for name, value in FIELD.findall(page)}


def opened(form: dict[str, str]) -> str:
    """Give the XML of an answer."""
    return base64.b64decode(form["SAMLResponse"]).decode()


def closed(form: dict[str, str], xml: str) -> dict[str, str]:
    """Give the answer with other XML in it."""
    return {**form, "SAMLResponse": base64.b64encode(xml.encode()).decode()}
