"""A tiny service with a temper, run by the tests' own interpreter without any import but socket.

argv: port, name, version, temper. It answers every request with a line that tells who it is.
"""

# ruff: noqa: T201, S110, BLE001, PLC0415, PTH123, PTH208, SIM105

import os
import socket
import sys
import time


def main() -> None:
    port, name, version, temper = int(sys.argv[1]), *sys.argv[2:5]
    print(f"{name} {version} begins", flush=True)
    if temper == "exits":
        print(f"{name}: cannot import the database driver", flush=True)
        sys.exit(3)
    if temper == "ignores-term":
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if temper == "child":
        child()
    if temper == "writes":
        write(sys.argv[5:])
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bind(listener, port, patient=temper == "prefork")
    listener.listen(64)
    if temper == "prefork" and os.fork() != 0:
        os.wait()
    serve(listener, f"{name} {version} {os.getpid()} {credentials()}", temper)


def child() -> None:
    if os.fork() == 0:
        while True:
            time.sleep(1)


def bind(listener: socket.socket, port: int, *, patient: bool) -> None:
    while True:
        try:
            return listener.bind(("127.0.0.1", port))
        except OSError:
            if not patient:
                raise
            time.sleep(0.05)


def write(files: list[str]) -> None:
    for file in files:
        with open(file, "a") as place:
            place.write("a visit\n")


def credentials() -> str:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        return "none"
    return ",".join(f"{n}={open(f'{folder}/{n}').read()}" for n in sorted(os.listdir(folder)))


def serve(listener: socket.socket, said: str, temper: str) -> None:
    count = 0
    while True:
        peer, _ = listener.accept()
        count += 1
        try:
            answer(peer, said, temper)
        except Exception:
            pass
        if temper == "flash" and count == 4:
            time.sleep(0.15)
            print("flash: killed by its own bug", flush=True)
            os._exit(9)


def answer(peer: socket.socket, said: str, temper: str) -> None:
    request = peer.recv(4096).decode()
    if temper == "mute":
        time.sleep(3600)
    if temper == "websocket":
        peer.sendall(handshake(request))
    else:
        status = "500 Internal Server Error" if temper == "error" else "200 OK"
        body = said.encode()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        peer.sendall(head.encode() + body)
    peer.close()


def handshake(request: str) -> bytes:
    import base64
    import hashlib

    key = next(line for line in request.split("\r\n") if line.startswith("Sec-WebSocket-Key:"))
    text = key.partition(": ")[2] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()  # noqa: S324
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


main()
