"""Single sign-on portal: who is signed in, and which services there are."""

import os
import secrets
import time

import jwt
from dotenv import load_dotenv
from flask import Flask, jsonify, request
from flask_cors import CORS

from services import SERVICES
from sessions import open_sessions

load_dotenv()

HOURS = int(os.environ.get("SESSION_HOURS", "8"))
KEY = os.environ.get("JWT_SECRET_KEY") or secrets.token_hex(32)
COOKIE = "meridian_session"

app = Flask(__name__)
CORS(app, supports_credentials=True)
sessions = open_sessions(os.environ.get("REDIS_URL"))


def current_session():
    """Return the session that the request's cookie names, or None."""
    token = request.cookies.get(COOKIE)
    if not token:
        return None
    try:
        claims = jwt.decode(token, KEY, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        return None
    return sessions.load(claims["sid"])


@app.get("/health")
def health():
    return jsonify(
        status="ok", service="auth_portal_4430", version="1.0.0", sessions=sessions.name
    )


@app.get("/auth/services")
def services():
    return jsonify(services=SERVICES)


@app.get("/auth/session")
def session():
    found = current_session()
    if not found:
        return jsonify(authenticated=False, user=None, roles=[], expires=None)
    return jsonify(
        authenticated=True, user=found["user"], roles=found["roles"], expires=found["expires"]
    )


@app.post("/auth/login")
def login():
    user = str((request.get_json(silent=True) or {}).get("user", "")).strip()
    if not user.isidentifier() or len(user) > 32:
        return jsonify(error="A user name has letters, digits and _ only, 32 at most."), 400
    seconds = HOURS * 3600
    key = secrets.token_urlsafe(24)
    found = {"user": user, "roles": ["user"], "expires": int(time.time()) + seconds}
    sessions.save(key, found, seconds)
    token = jwt.encode({"sid": key, "exp": found["expires"]}, KEY, algorithm="HS256")
    answer = jsonify(authenticated=True, **found)
    answer.set_cookie(COOKIE, token, max_age=seconds, httponly=True, samesite="Lax")
    return answer


@app.post("/auth/logout")
def logout():
    token = request.cookies.get(COOKIE)
    if token:
        try:
            sessions.drop(jwt.decode(token, KEY, algorithms=["HS256"])["sid"])
        except jwt.InvalidTokenError:
            pass
    answer = jsonify(authenticated=False)
    answer.delete_cookie(COOKIE)
    return answer
