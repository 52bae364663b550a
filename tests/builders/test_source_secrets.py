"""What looks like a secret, and what only talks about one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.secrets_scan import Finding, holds_secret, scan, secret_name

BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"
DASHES = "-" * 5


def pem(kind: str = "PRIVATE KEY", between: str = "\n") -> str:
    return f"{DASHES}BEGIN {kind}{DASHES}{between}{BODY}\n{DASHES}END {kind}{DASHES}\n"


KEYS = {
    "PKCS 8": pem(),
    "RSA": pem("RSA PRIVATE KEY"),
    "EC": pem("EC PRIVATE KEY"),
    "OpenSSH": pem("OPENSSH PRIVATE KEY"),
    "encrypted": pem("ENCRYPTED PRIVATE KEY"),
    "with headers": pem("RSA PRIVATE KEY", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n"),
    "PGP": pem("PGP PRIVATE KEY BLOCK", "\nVersion: GnuPG\n\n"),
    "Windows line ends": pem(between="\r\n"),
    "in a Python string": f'KEY = "{pem(between=chr(92) + "n")}"',
    "in joined Python strings": f'KEY = ("{DASHES}BEGIN PRIVATE KEY{DASHES}\\n"\n       "{BODY}")',
    "in JSON": f'{{"private_key": "{pem(between=chr(92) + "n")}"}}',
    "in YAML": "key: |\n  " + pem(between="\n  "),
    "PuTTY": "PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\n",
    "age": "AGE-SECRET-KEY-1" + "Q" * 58 + "\n",
    "after binary data": "\x00\x01\x02" + pem(),
}


@pytest.mark.parametrize("kind", KEYS)
def test_private_keys(kind: str) -> None:
    content = "one\ntwo\n" + KEYS[kind]
    found = scan("conf/app.py", content.encode())
    assert [finding.what for finding in found] == ["a private key"]
    assert found[0].line in (3, 4)
    assert BODY not in repr(found)


NO_KEYS = {
    "code that looks for one": f'if "{DASHES}BEGIN PRIVATE KEY{DASHES}" in text:\n    raise Leak\n',
    "a pattern": f"{DASHES}BEGIN (RSA )?PRIVATE KEY{DASHES}",
    "a public key": pem("PUBLIC KEY"),
    "a certificate": pem("CERTIFICATE"),
    "documentation": f"It starts with {DASHES}BEGIN PRIVATE KEY{DASHES} and so on.\n",
    "elided": f"{DASHES}BEGIN PRIVATE KEY{DASHES}\n...\n{DASHES}END PRIVATE KEY{DASHES}\n",
}


@pytest.mark.parametrize("kind", NO_KEYS)
def test_what_is_no_private_key(kind: str) -> None:
    assert scan("conf/app.py", NO_KEYS[kind].encode()) == []


ASSIGNMENTS = {
    "DB_PASSWORD=hunter2": "DB_PASSWORD",
    "export DB_PASSWORD=hunter2": "DB_PASSWORD",
    "  DB_PASSWORD = 'hunter2'  # for now": "DB_PASSWORD",
    "db.password=hunter2": "db.password",
    "dbPassword=hunter2": "dbPassword",
    "password: hunter2": "password",
    "SECRET_KEY=hunter2": "SECRET_KEY",
    "JWT_SECRET_KEY=hunter2": "JWT_SECRET_KEY",
    "SECRET_KEY_BASE=hunter2": "SECRET_KEY_BASE",
    "API_KEY=hunter2": "API_KEY",
    "GITHUB_TOKEN=hunter2": "GITHUB_TOKEN",
    "DB_PASS=hunter2": "DB_PASS",
    "REDIS_PASSWORD_1=hunter2": "REDIS_PASSWORD_1",
    "AWS_SECRET_ACCESS_KEY=hunter2": "AWS_SECRET_ACCESS_KEY",
    "DATABASE_URL=mysql://dash:hunter2@db:3306/dash": "DATABASE_URL",
    "REDIS_URL=redis://:hunter2@127.0.0.1/0": "REDIS_URL",
    "//registry.npmjs.org/:_authToken=hunter2": "//registry.npmjs.org/:_authToken",
    "DB_PASSWORD=hunter2\r": "DB_PASSWORD",
}
NO_ASSIGNMENTS = [
    "DB_PASSWORD=",
    "DB_PASSWORD=''",
    'DB_PASSWORD=""  # set on the head',
    "DB_PASSWORD=${DB_PASSWORD}",
    "DB_PASSWORD=$DB_PASSWORD",
    "DB_PASSWORD=<your password>",
    "# DB_PASSWORD=hunter2",
    "DB_PASSWORD",
    "DB_PASSWORD_FILE=/run/credentials/db",
    "TOKEN_TTL=3600",
    "PASSWORD_MIN_LENGTH=12",
    "VITE_API_BASE=/api",
    "PUBLIC_KEY=abc",
    "DATABASE_URL=mysql://dash@db:3306/dash",
    "DATABASE_URL=mysql://dash:${DB_PASSWORD}@db/dash",
    "DATABASE_URL=mysql://dash:{secret:DB_PASSWORD}@db/dash",
    "COMPASS=north",
    "",
]


@pytest.mark.parametrize("line", ASSIGNMENTS)
@pytest.mark.parametrize("name", [".env", "conf/.env.production", "site.env", ".npmrc"])
def test_settings_with_secrets(name: str, line: str) -> None:
    found = scan(name, f"# settings\nMODE=fast\n{line}\n".encode())
    assert found == [Finding(name, 3, f"a value for {ASSIGNMENTS[line]}")]
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("line", NO_ASSIGNMENTS)
def test_settings_without_secrets(line: str) -> None:
    assert scan(".env", f"{line}\n".encode()) == []


def test_code_may_name_its_passwords() -> None:
    assert scan("app.py", b"password = request.form['password']\n") == []


@pytest.mark.parametrize("name", ["password", "jwt_secret_key", "X-Auth-Token", "apiKey2"])
def test_names_of_secrets(name: str) -> None:
    assert secret_name(name)


def test_a_placeholder_of_ours_is_no_value() -> None:
    assert not holds_secret("SESSION_TOKEN", "{state}")


@given(st.binary(max_size=300))
def test_any_bytes_can_be_searched(content: bytes) -> None:
    for name in (".env", "x.py"):
        for finding in scan(name, content):
            assert finding.line >= 1


def test_searching_takes_time_in_step_with_the_size() -> None:
    marker = f"{DASHES}BEGIN PRIVATE KEY{DASHES}".encode()
    assert scan("x", (marker + b" " * 50) * 20_000 + b"a-: " * 50_000) == []
