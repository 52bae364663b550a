"""The example platform as a user has it: a site folder, and sealift run as a command in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SEALIFT = Path(sys.executable).with_name("sealift")
BACKENDS = (
    "MoonlightSunshine_8004",
    "auth_portal_4430",
    "backend_5010",
    "kooCAEAutoBackend_5001",
    "kooCAEWebServer_5000",
    "saml_idp_7000",
    "websocket_5011",
)
FRONTENDS = {
    "frontend_3010": "/dashboard/",
    "auth_portal_4431": "/",
    "vnc_service_8002": "/vnc/",
    "moonlight_frontend_8003": "/moonlight/",
    "kooCAEWeb_5173": "/cae/",
    "app_5174": "/app/",
}
OFFSET = 10_000


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Platform:
    """A site in a folder of its own, with its own copy of the sources and its own ports."""

    root: Path
    offset: int

    @classmethod
    def make(cls, root: Path, *, offset: int = OFFSET) -> Platform:
        shutil.copytree(REPOSITORY / "examples" / "dashboard", root / "sources")
        (root / "sealift.yaml").write_text(
            "store_dir: site/store\n"
            "state_dir: site/state\n"
            f"recipes: {REPOSITORY / 'recipes'}\n"
            "sources: sources\n"
            "hosts:\n"
            f"  local: {{port: {8080 + offset}, port_offset: {offset}}}\n"
        )
        return cls(root, offset)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{8080 + self.offset}"

    def source(self, name: str) -> Path:
        return self.root / "sources" / name

    def try_sealift(self, *words: str, timeout: float = 900) -> Done:
        done = subprocess.run(
            [SEALIFT, *words],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def sealift(self, *words: str) -> Done:
        done = self.try_sealift(*words)
        assert done.code == 0, f"sealift {' '.join(words)}: {done.code}\n{done.out}\n{done.err}"
        return done

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def get_json(self, path: str) -> Any:
        status, _, body = self.get(path)
        assert status == 200, f"{path} answered {status}: {body[:300]!r}"
        return json.loads(body)

    def post_json(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def services(self) -> dict[str, dict[str, Any]]:
        """What `status` says of each service."""
        rows = self.try_sealift("status", "--json").json["services"]
        return {row["name"]: row for row in rows}
