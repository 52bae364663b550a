"""The portal as a SAML service provider: what it asks, and which answers it believes.

python3-saml checks signatures, times and form. Where it lets something pass because it is missing
(destination, audience, recipient, the request that was answered), `exact` insists.
"""

import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.constants import OneLogin_Saml2_Constants as Saml
from onelogin.saml2.errors import OneLogin_Saml2_Error
from onelogin.saml2.settings import OneLogin_Saml2_Settings
from onelogin.saml2.utils import OneLogin_Saml2_Utils
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

ACS = "/auth/saml/acs"
SECURITY = {
    "wantAssertionsSigned": True,
    "wantNameId": True,
    "requestedAuthnContext": False,
    "rejectDeprecatedAlgorithm": True,
    # A head is reached by its bare name, too.
    "allowSingleLabelDomains": True,
    "signatureAlgorithm": Saml.RSA_SHA256,
    "digestAlgorithm": Saml.SHA256,
}


class Refused(Exception):
    """A sign-in that does not take place; `public` is what its visitor may read."""

    status = 403
    public = "The answer of the identity provider was not accepted."


class NotConfigured(Refused):
    """A portal that knows no identity provider."""

    status = 503
    public = "No identity provider is connected."


class BadAddress(Refused):
    """A request by a name that no site has."""

    status = 400
    public = "This site has no such name."


@dataclass(frozen=True)
class Person:
    """Who signed in, by which assertion, and for how many seconds that would be believed."""

    user: str
    name: str
    roles: list
    assertion: str
    seconds: int


class Provider:
    """The identity provider that the environment names.

    SAML_IDP_CERT is its certificate in PEM; SAML_IDP_SSO the address of its sign-in, relative to the
    portal's own or in full.
    """

    def __init__(self, environment):
        self.certificate = environment.get("SAML_IDP_CERT", "")
        self.issuer = environment.get("SAML_IDP_ENTITY", "urn:meridian:idp")
        self.sign_in = environment.get("SAML_IDP_SSO", "/idp/saml/sso")
        self.audience = environment.get("SAML_SP_ENTITY", "urn:meridian:portal")

    @property
    def ready(self):
        return bool(self.certificate)

    def metadata(self, request):
        return self._settings(request).get_sp_metadata()

    def request(self, request, onward):
        """Return the address that the visitor is sent to, and the request's own name."""
        auth = self._auth(request)
        return auth.login(return_to=onward), auth.get_last_request_id()

    def accept(self, request, asked):
        """Return who the answer says has signed in.

        Raises:
            Refused: it is not believed.
        """
        auth = self._auth(request)
        try:
            auth.process_response(request_id=asked)
        except Exception as fault:  # whatever a stranger's XML brings about
            raise Refused(f"{type(fault).__name__}: {fault}") from fault
        if auth.get_errors() or not auth.is_authenticated():
            raise Refused(auth.get_last_error_reason() or "not authenticated")
        exact(auth.get_last_response_xml(), asked, urljoin(request.url_root, ACS), self.audience)
        return _person(auth)

    def _auth(self, request):
        said = {
            "https": "on" if request.is_secure else "off",
            "http_host": request.host,
            "script_name": request.path,
            "get_data": {},
            "post_data": request.form.to_dict(),
        }
        return OneLogin_Saml2_Auth(said, self._settings(request))

    def _settings(self, request):
        """Describe both sides, as they are reached by this request."""
        if not self.ready:
            raise NotConfigured("SAML_IDP_CERT is not set")
        here = request.url_root
        try:
            return OneLogin_Saml2_Settings(
                {
                    "strict": True,
                    "security": SECURITY,
                    "sp": {
                        "entityId": self.audience,
                        "assertionConsumerService": {"url": urljoin(here, ACS), "binding": Saml.BINDING_HTTP_POST},
                        "NameIDFormat": Saml.NAMEID_UNSPECIFIED,
                    },
                    "idp": {
                        "entityId": self.issuer,
                        "singleSignOnService": {
                            "url": urljoin(here, self.sign_in),
                            "binding": Saml.BINDING_HTTP_REDIRECT,
                        },
                        "x509cert": self.certificate,
                    },
                }
            )
        except OneLogin_Saml2_Error as fault:
            # The portal's own address comes from the request, all else from the environment.
            if "sp_acs_url_invalid" in str(fault):
                raise BadAddress(str(fault)) from fault
            raise NotConfigured(str(fault)) from fault


def exact(text, asked, here, audience):
    """Insist on what the answer must say, in full and not as a beginning.

    Raises:
        Refused: it answers something else, or was meant for somebody else.
    """
    document = OneLogin_Saml2_XML.to_etree(text)
    if len(_all(document, "//saml:Assertion")) != 1:
        raise Refused("there is not exactly one assertion")
    (assertion,) = _all(document, "/samlp:Response/saml:Assertion") or [None]
    if assertion is None or not _all(assertion, "./ds:Signature"):
        raise Refused("the assertion itself is not signed")
    audiences = {node.text for node in _all(assertion, ".//saml:AudienceRestriction/saml:Audience")}
    bearers = _all(assertion, "./saml:Subject/saml:SubjectConfirmation/saml:SubjectConfirmationData")
    told = {
        "destination": (document.get("Destination"), here),
        "request": (document.get("InResponseTo"), asked),
        "audience": (audience in audiences and audience, audience),
        "recipient": ([node.get("Recipient") for node in bearers], [here]),
        "confirmed request": ([node.get("InResponseTo") for node in bearers], [asked]),
        "end": ([bool(node.get("NotOnOrAfter")) for node in bearers], [True]),
    }
    for what, (said, wanted) in told.items():
        if said != wanted:
            raise Refused(f"{what}: {said!r} instead of {wanted!r}")


def local_path(text):
    """Return a path of this site, whatever was asked for: nobody is sent elsewhere."""
    parts = urlsplit(text)
    fine = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if fine and not parts.scheme and not parts.netloc else "/"


def _person(auth):
    attributes = auth.get_attributes()
    end = auth.get_last_assertion_not_on_or_after() or 0
    return Person(
        user=auth.get_nameid(),
        name=(attributes.get("displayName") or [auth.get_nameid()])[0],
        roles=attributes.get("groups") or ["users"],
        assertion=auth.get_last_assertion_id(),
        # Clocks may differ by as much as the library lets pass.
        seconds=max(int(end - time.time()), 0) + Saml.ALLOWED_CLOCK_DRIFT,
    )


def _all(node, path):
    return OneLogin_Saml2_XML.query(node, path)
