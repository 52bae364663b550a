"""What can go wrong on a head, in words an operator can act on.

Exit codes: 5 says that the head went back by itself, 4 that it is neither well on the new
generation nor on the old one, 6 that nothing was touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.errors import Error, InputError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class HeadError(Error):
    """A head that cannot do what was asked; it runs what it ran before."""

    slug = "head-refused"
    exit_code = 6


class SystemRefusedError(HeadError):
    """Something that the head's operating system does not do."""

    slug = "system-refused"


class BadReleaseError(InputError):
    """A store path that is no release, or one whose description cannot be used."""

    slug = "bad-release"


class ClosureIncompleteError(IntegrityError):
    """A release of which a part is not in the head's store."""

    slug = "closure-incomplete"


class BadReceiptError(IntegrityError):
    """A file that is no receipt, or tells what no site can hold."""

    slug = "bad-receipt"


class OtherSiteError(InputError):
    """A receipt of another site, or of one whose stores lie elsewhere."""

    slug = "receipt-other-site"


class BaseMissingError(HeadError):
    """A delta that builds on what the store does not have; nothing was written."""

    slug = "base-missing"


class DamagedPathError(IntegrityError):
    """A release of which a part is not what was registered."""

    slug = "store-damaged"


class HeadLockedError(HeadError):
    """Another operator changes this head just now."""

    slug = "head-locked"


class PortTakenError(HeadError):
    """A port that the release needs belongs to a process that is not ours."""

    slug = "port-taken"


class GlibcTooOldError(HeadError):
    """A release whose programs the head's C library cannot run."""

    slug = "glibc-too-old"


class NoGenerationError(HeadError):
    """A generation that the head does not have."""

    slug = "no-generation"


class NotGoodError(HeadError):
    """A generation that was tried before and was not healthy."""

    slug = "generation-failed"


class StateError(HeadError):
    """A state folder that cannot be made or filled."""

    slug = "state-unusable"


class SecretMissingError(HeadError):
    """A secret that is needed and not there, or that the head had and has no more."""

    slug = "secret-missing"


class SecretUnreadableError(HeadError):
    """A secret that is encrypted to other keys than those at hand, or damaged."""

    slug = "secret-unreadable"


class BadSecretError(InputError):
    """A name or value that cannot be a secret."""

    slug = "bad-secret"


class CertificateError(HeadError):
    """A certificate and its key that are not a pair, or cannot be made, read or used."""

    slug = "certificate-refused"


class OperatorGoneError(HeadError):
    """A change whose operator went away, or was silent for too long, before agreeing to it."""

    slug = "operator-gone"


class TakenBackError(HeadError):
    """A change that its operator does not want any more."""

    slug = "taken-back"


class BadMessageError(InputError):
    """Words from the operator's side that make no sense here."""

    slug = "bad-message"


class UnknownServiceError(InputError):
    """A name that the current release does not know."""

    slug = "unknown-service"


class ManagerError(HeadError):
    """The service manager does not start, does not answer or does not obey."""

    slug = "manager-failed"


class BadUnitError(HeadError):
    """A unit that systemd finds fault with."""

    slug = "unit-refused"


class WebServerError(HeadError):
    """The web server refuses its configuration."""

    slug = "web-server-refused"


class UnhealthyError(HeadError):
    """A service that does not answer as its release says.

    Attributes:
        service: its name in the release.
        request: the probe, as in `GET http://127.0.0.1:5010/health`.
        log: the last lines that it wrote.
    """

    slug = "unhealthy"
    exit_code = 7

    def __init__(
        self, reason: str, *, service: str, request: str, got: str, log: Sequence[str] = ()
    ) -> None:
        super().__init__(
            reason,
            where=service,
            expected=request,
            got=got,
            hint=f"sealift logs {service}",
        )
        self.service = service
        self.request = request
        self.log = tuple(log)


class DeployFailedError(Error):
    """A release that was tried and taken back.

    Attributes:
        service: the service that failed, where one did.
        request: the probe that failed, where one did.
        log: the last lines of that service.
    """

    slug = "rolled-back"
    exit_code = 5

    def __init__(self, reason: str, *, cause: Error, hint: str) -> None:
        super().__init__(
            reason, where=cause.where, expected=cause.expected, got=cause.got, hint=hint
        )
        self.cause = cause
        self.service = getattr(cause, "service", None)
        self.request = getattr(cause, "request", None)
        self.log: tuple[str, ...] = getattr(cause, "log", ())


class StrandedError(DeployFailedError):
    """The release failed, and the generation before does not run well either."""

    slug = "partial"
    exit_code = 4


class HeadLostError(HeadError):
    """A head that does not answer any more."""

    slug = "head-lost"


class DisagreeError(HeadError):
    """Heads that would not all do the same."""

    slug = "heads-disagree"


class FleetError(Error):
    """A rollout over several heads that did not come to its end.

    Attributes:
        lines: what each head is told to run now, one line for those that agree.
        heads: the same by head, for programs.
        cause: what began it.
    """

    def __init__(
        self,
        reason: str,
        *,
        lines: Sequence[str],
        heads: Mapping[str, str],
        cause: BaseException | None,
        hint: str,
    ) -> None:
        super().__init__(
            reason,
            where=getattr(cause, "where", None),
            expected=getattr(cause, "expected", None),
            got=getattr(cause, "got", None),
            hint=hint,
        )
        self.lines = tuple(lines)
        self.heads = dict(heads)
        self.cause = cause
        self.log: tuple[str, ...] = getattr(cause, "log", ())


class FleetRefusedError(FleetError):
    """Nothing was touched on any head."""

    slug = "heads-refused"
    exit_code = 6


class FleetRevertedError(FleetError):
    """The release was tried, and all heads run again what they ran before."""

    slug = "rolled-back"
    exit_code = 5


class FleetPartialError(FleetError):
    """Heads run different releases, or one runs none well."""

    slug = "partial"
    exit_code = 4
