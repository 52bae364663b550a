"""Streaming sessions on GPU hosts. They live in Redis when it answers, else in a file."""

import fcntl
import json
import os
import time
import uuid
from pathlib import Path

import redis
from dotenv import load_dotenv
from flask import Flask, jsonify, request
from flask_cors import CORS

load_dotenv()

HERE = Path(__file__).parent
HOSTS = {h["name"]: h for h in json.loads((HERE / "hosts.json").read_text())}
KEEP_SECONDS = 8 * 3600


class RedisBox:
    """Sessions as one Redis hash, shared by every head."""

    name = "redis"

    def __init__(self, url):
        self.client = redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)
        self.client.ping()

    def add(self, session):
        self.client.hset("moonlight:sessions", session["id"], json.dumps(session))

    def all(self):
        return [json.loads(text) for text in self.client.hvals("moonlight:sessions")]


class FileBox:
    """Sessions as lines of a file, shared by the workers of this head."""

    name = "file"
    path = HERE / "data" / "sessions.jsonl"

    def add(self, session):
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a") as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            out.write(json.dumps(session) + "\n")

    def all(self):
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def open_box():
    try:
        return RedisBox(os.environ["REDIS_URL"])
    except (KeyError, redis.RedisError):
        return FileBox()


app = Flask(__name__)
CORS(app)
box = open_box()


def sessions():
    """Sessions that have not run out, newest first."""
    oldest = time.time() - KEEP_SECONDS
    return sorted((s for s in box.all() if s["began"] > oldest), key=lambda s: -s["began"])


@app.get("/health")
def health():
    return jsonify(
        status="ok", service="MoonlightSunshine_8004", version="1.0.0", sessions=box.name
    )


@app.get("/hosts")
def hosts():
    used = [s["host"] for s in sessions()]
    return jsonify(hosts=[{**h, "used": used.count(name)} for name, h in HOSTS.items()])


@app.get("/sessions")
def list_sessions():
    return jsonify(sessions=sessions(), stored_in=box.name)


@app.post("/sessions")
def start():
    host = (request.get_json(silent=True) or {}).get("host")
    if host not in HOSTS:
        return jsonify(error=f"There is no host of that name; there are {', '.join(HOSTS)}."), 400
    if [s["host"] for s in sessions()].count(host) >= HOSTS[host]["slots"]:
        return jsonify(error=f"All slots of {host} are taken."), 409
    session = {"id": uuid.uuid4().hex[:8], "host": host, "began": time.time(), "state": "ready"}
    box.add(session)
    return jsonify(session), 201
