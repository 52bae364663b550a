"""Certificates signed by their own keys, made in memory: of services that sign, and of the web.

What they are for is decided by `deploy.making`. `cryptography` is the library that SSH brings.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

from deploy.certificates import DAYS
from deploy.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

WEB_DAYS = 825
"""The longest that every browser takes of a certificate for TLS."""
RSA_BITS = 3072
PUBLIC_EXPONENT = 65537
LONGEST_SUBJECT = 64
"""Bytes of a common name: 64 characters (RFC 5280, appendix A.1), which the library counts so."""
_SKEW = dt.timedelta(days=1)
"""How much earlier than now a certificate begins: clocks of heads and readers differ."""


def signing_pair(subject: str) -> tuple[bytes, bytes]:
    """Return certificate and key, in PEM, of a service that signs.

    RSA, since that is what those sign with who sign XML.
    """
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 (for few runs)

    key = rsa.generate_private_key(public_exponent=PUBLIC_EXPONENT, key_size=RSA_BITS)
    return _pair(key, subject, days=DAYS, alternatives=[])


def web_pair(names: Sequence[str]) -> tuple[bytes, bytes]:
    """Return certificate and key, in PEM, of a web server with these names and addresses.

    An elliptic curve, with which a handshake costs a tenth of what it does with RSA.

    Raises:
        CertificateError: there is no name.
    """
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 (for few runs)

    if not names:
        raise CertificateError(
            "a certificate for the web needs a name under which it is reached",
            hint="add hosts to sealift.yaml, or: sealift secret generate --also NAME",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    found = [_alternative(name) for name in dict.fromkeys(names)]
    return _pair(key, names[0], days=WEB_DAYS, alternatives=found)


def _alternative(name: str) -> x509.GeneralName:
    from cryptography import x509  # noqa: PLC0415 (for few runs)

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pair(
    key: CertificateIssuerPrivateKeyTypes,
    subject: str,
    *,
    days: int,
    alternatives: Sequence[x509.GeneralName],
) -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415

    builder = _described(key, subject, days)
    if alternatives:
        builder = _for_web(builder, alternatives)
    certificate = builder.sign(key, hashes.SHA256())
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _described(
    key: CertificateIssuerPrivateKeyTypes, subject: str, days: int
) -> x509.CertificateBuilder:
    from cryptography import x509  # noqa: PLC0415 (for few runs)

    short = subject.encode()[:LONGEST_SUBJECT].decode("utf-8", "ignore")
    called = x509.NameAttribute(x509.NameOID.COMMON_NAME, short)
    name = x509.Name([called])
    begin = dt.datetime.now(dt.UTC) - _SKEW
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage() -> x509.KeyUsage:
    from cryptography import x509  # noqa: PLC0415 (for few runs)

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _for_web(
    builder: x509.CertificateBuilder, alternatives: Sequence[x509.GeneralName]
) -> x509.CertificateBuilder:
    from cryptography import x509  # noqa: PLC0415 (for few runs)
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415 (for few runs)

    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return builder.add_extension(
        x509.SubjectAlternativeName(alternatives), critical=False
    ).add_extension(server, critical=False)
