"""Where sessions live: in Redis when it can be reached, else in a SQLite file beside the code."""

import json
import sqlite3
import time
from pathlib import Path

import redis

DATABASE = Path(__file__).parent / "database" / "sessions.db"


class RedisSessions:
    """Sessions in Redis; they expire by themselves."""

    name = "redis"

    def __init__(self, url):
        self.client = redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)
        self.client.ping()

    def save(self, key, session, seconds):
        self.client.setex(f"session:{key}", seconds, json.dumps(session))

    def load(self, key):
        text = self.client.get(f"session:{key}")
        return json.loads(text) if text else None

    def drop(self, key):
        self.client.delete(f"session:{key}")

    def once(self, key, seconds):
        """Tell whether this is the first time that `key` is named."""
        return bool(self.client.set(f"once:{key}", 1, nx=True, ex=seconds))


class SqliteSessions:
    """Sessions in SQLite; expired rows are swept when one is saved."""

    name = "sqlite"

    def __init__(self, path=DATABASE):
        path.parent.mkdir(exist_ok=True)
        self.path = path
        with self._connect() as db:
            db.execute("create table if not exists session (key text primary key, body text, ends real)")
            db.execute("create table if not exists once (key text primary key, ends real)")

    def _connect(self):
        return sqlite3.connect(self.path, timeout=5)

    def save(self, key, session, seconds):
        now = time.time()
        with self._connect() as db:
            db.execute("delete from session where ends < ?", (now,))
            db.execute(
                "insert or replace into session values (?, ?, ?)",
                (key, json.dumps(session), now + seconds),
            )

    def load(self, key):
        with self._connect() as db:
            row = db.execute(
                "select body from session where key = ? and ends > ?", (key, time.time())
            ).fetchone()
        return json.loads(row[0]) if row else None

    def drop(self, key):
        with self._connect() as db:
            db.execute("delete from session where key = ?", (key,))

    def once(self, key, seconds):
        """Tell whether this is the first time that `key` is named."""
        now = time.time()
        with self._connect() as db:
            db.execute("delete from once where ends < ?", (now,))
            added = db.execute("insert or ignore into once values (?, ?)", (key, now + seconds))
        return added.rowcount == 1


def open_sessions(url):
    """Return the Redis store if one answers at `url`, else the SQLite one."""
    if url:
        try:
            return RedisSessions(url)
        except redis.RedisError:
            pass
    return SqliteSessions()
