"""WebSocket server: pushes the head's load to every client; counts connections in SQLite."""

import asyncio
import json
import logging
import os
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

from dotenv import load_dotenv
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

load_dotenv()

HERE = Path(__file__).parent
PORT = int(os.environ.get("WS_PORT", "5011"))
PUSH_SECONDS = float(os.environ.get("PUSH_SECONDS", "2"))

(HERE / "logs").mkdir(exist_ok=True)
(HERE / "data").mkdir(exist_ok=True)
logging.basicConfig(
    filename=HERE / "logs" / "websocket.log",
    level=logging.INFO,
    format="%(asctime)s %(levelname)s %(message)s",
)
log = logging.getLogger("websocket_5011")
database = sqlite3.connect(HERE / "data" / "connections.db")
database.execute("create table if not exists connection (began text not null)")
database.commit()

clients = set()


def now():
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


SINCE = now()


def load():
    """One measurement of this head: load, processors, used part of the memory."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    memory = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    used = 1 - memory["MemAvailable"] / memory["MemTotal"]
    return {
        "type": "load",
        "time": now(),
        "load1": round(os.getloadavg()[0], 2),
        "cpus": os.cpu_count(),
        "memory_used": round(used, 3),
        "clients": len(clients),
    }


async def handle(socket):
    if socket.request.path != "/ws":
        await socket.close(1008, "only /ws is served")
        return
    with database:
        database.execute("insert into connection values (?)", (now(),))
    (count,) = database.execute("select count(*) from connection").fetchone()
    clients.add(socket)
    try:
        hello = {"type": "hello", "server": "websocket_5011", "since": SINCE, "connections": count}
        await socket.send(json.dumps(hello))
        await socket.send(json.dumps(load()))
        async for text in socket:
            if '"ping"' in text:
                await socket.send(json.dumps({"type": "pong", "time": now()}))
    except ConnectionClosed:
        pass
    finally:
        clients.discard(socket)


async def push():
    while True:
        await asyncio.sleep(PUSH_SECONDS)
        if clients:
            message = json.dumps(load())
            await asyncio.gather(*(c.send(message) for c in clients), return_exceptions=True)


async def main():
    async with serve(handle, "127.0.0.1", PORT):
        log.info("listening on %s", PORT)
        await push()


if __name__ == "__main__":
    asyncio.run(main())
