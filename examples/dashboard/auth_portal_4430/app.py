"""Single sign-on portal: sign-in through the site's identity provider, sessions, services."""

import os
import secrets
import time

import jwt
from dotenv import load_dotenv
from flask import Flask, Response, jsonify, redirect, request
from flask_cors import CORS
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from pages import POLICY, not_signed_in
from saml import Provider, Refused, local_path
from services import SERVICES
from sessions import open_sessions

load_dotenv()

HOURS = int(os.environ.get("SESSION_HOURS", "8"))
KEY = os.environ.get("JWT_SECRET_KEY") or secrets.token_hex(32)
COOKIE = "meridian_session"
PENDING = "meridian_sign_in"
SAML = "/auth/saml/"
PATIENCE = 600
"""Seconds that a visitor may take at the identity provider."""

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 512 * 1024
# The web server says which scheme and address it was asked by.
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1)
CORS(app, origins=os.environ.get("PORTAL_ORIGINS", "").split(), supports_credentials=True)
sessions = open_sessions(os.environ.get("REDIS_URL"))
provider = Provider(os.environ)


def sealed(purpose, seconds, **claims):
    """Return a token that only this portal makes, good for one purpose."""
    return jwt.encode({**claims, "aud": purpose, "exp": time.time() + seconds}, KEY, algorithm="HS256")


def opened(name, purpose):
    """Return the claims of the token in a cookie, or nothing."""
    try:
        return jwt.decode(request.cookies.get(name, ""), KEY, algorithms=["HS256"], audience=purpose)
    except jwt.InvalidTokenError:
        return {}


def current_session():
    """Return the session that the request's cookie names, or None."""
    claims = opened(COOKIE, "session")
    return sessions.load(claims["sid"]) if claims else None


def set_cookie(answer, name, token, seconds, *, path="/", across=False):
    """Set a cookie that scripts cannot read.

    What another site's form must bring back (`across`) has to be `None`, which browsers take over
    TLS alone; without TLS the identity provider has to be this site's own.
    """
    site = "None" if across and request.is_secure else "Lax"
    safe = {"httponly": True, "secure": request.is_secure, "samesite": site}
    answer.set_cookie(name, token, max_age=seconds, path=path, **safe)


@app.get("/health")
def health():
    return jsonify(
        status="ok",
        service="auth_portal_4430",
        version="1.1.0",
        sessions=sessions.name,
        sign_in="saml" if provider.ready else "not configured",
    )


@app.get("/auth/services")
def services():
    return jsonify(services=SERVICES)


@app.get("/auth/session")
def session():
    found = current_session()
    if not found:
        return jsonify(authenticated=False, user=None, name=None, roles=[], expires=None)
    return jsonify(authenticated=True, **found)


@app.get("/auth/saml/metadata")
def metadata():
    return Response(provider.metadata(request), mimetype="application/samlmetadata+xml")


@app.get("/auth/saml/login")
def login():
    """Send the visitor to the identity provider, and remember in a cookie what was asked there."""
    onward = local_path(request.args.get("next", "/"))
    url, asked = provider.request(request, onward)
    answer = redirect(url)
    token = sealed("sign-in", PATIENCE, asked=asked, next=onward)
    set_cookie(answer, PENDING, token, PATIENCE, path=SAML, across=True)
    return answer


@app.post("/auth/saml/acs")
def assertion():
    """Take the identity provider's answer to what this very browser asked, once."""
    pending = opened(PENDING, "sign-in")
    if not pending:
        raise Refused("no sign-in was begun in this browser, or it took too long")
    person = provider.accept(request, pending["asked"])
    if not sessions.once(f"assertion:{person.assertion}", person.seconds):
        raise Refused("the assertion was used before")
    answer = redirect(pending["next"], code=303)
    answer.delete_cookie(PENDING, path=SAML)
    begin_session(answer, person)
    return answer


def begin_session(answer, person):
    """Begin a session under a new name, and end the one that the browser may have had."""
    drop_session()
    seconds, key = HOURS * 3600, secrets.token_urlsafe(24)
    found = {"user": person.user, "name": person.name, "roles": person.roles}
    sessions.save(key, {**found, "expires": int(time.time()) + seconds}, seconds)
    set_cookie(answer, COOKIE, sealed("session", seconds, sid=key), seconds)


def drop_session():
    claims = opened(COOKIE, "session")
    if claims:
        sessions.drop(claims["sid"])


@app.post("/auth/logout")
def logout():
    drop_session()
    answer = jsonify(authenticated=False)
    answer.delete_cookie(COOKIE)
    return answer


@app.errorhandler(Refused)
def refused(fault):
    """Say little to whoever sent it, and why to the log."""
    app.logger.warning("sign-in refused: %s", fault)
    return not_signed_in(fault.public), fault.status


@app.errorhandler(BadRequest)
@app.errorhandler(RequestEntityTooLarge)
def not_taken(fault):
    return not_signed_in(fault.description), fault.code


@app.after_request
def guarded(answer):
    """Let nothing be framed, guessed at or loaded from elsewhere."""
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer
