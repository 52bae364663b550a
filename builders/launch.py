"""How a service starts: the launcher's plan, and what `sealift.json` says of the service.

Values only; laying them into a tree is for the scripts of the kinds. `{path}` in a word stands
for the artefact's own store path, which cannot be known inside of it.
"""

from __future__ import annotations

import posixpath
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from builders.recipe import EMPTY
from builders.recipe_service import NAMED_SECRET
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.project import Project
    from builders.recipe import Health, Recipe, Route, Service

OWN_PATH = "{path}"
GUNICORN = "gunicorn.app.wsgiapp:run"
BIND = "127.0.0.1:{port}"
FLAGS = ("-I", "-B", "-u")
"""Nothing of the caller's Python settings, no bytecode written, each printed line at once."""
_PYTHON = ("python", "python3")
_ALONE = ("--preload", "--pid", "/tmp/gunicorn.pid", "--error-logfile", "-")  # noqa: S108
"""A unit's /tmp is its own."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a service runs: a function of the environment, a module or a file of its own.

    Attributes:
        kind: `function` (`module:name`), `module` or `script`.
        target: by its kind.
        start: the module, or the file of the source, where the service's own code starts.
        words: what follows on the command line.
        config: gunicorn's configuration, a file of the source.
        bind: what follows `words` where the host chooses the address.
    """

    kind: str
    target: str
    start: str
    words: tuple[str, ...]
    config: str | None = None
    bind: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the source that may be where it starts."""
        module = self.start.replace(".", "/")
        own = (f"{module}.py", f"{module}/__main__.py")
        starts = (self.start,) if self.kind == "script" else own
        return (*starts, *([self.config] if self.config else []))


def entry_of(recipe: Recipe) -> Entry:
    """Say what a recipe's service runs.

    Raises:
        InputError: it has no service, or its command is no Python program.
    """
    service = recipe.service
    if service is None:
        raise InputError(f"{recipe.name} has no `service`", where=str(recipe.file))
    if service.app is not None:
        return _gunicorn(service)
    program, *rest = service.command
    if program not in _PYTHON or not rest:
        raise InputError(
            f"{recipe.name}: command {' '.join(service.command)!r} is not understood",
            where=str(recipe.file),
            expected="python FILE …, or python -m MODULE …",
        )
    if rest[0] == "-m" and len(rest) > 1:
        return Entry("module", rest[1], rest[1], tuple(rest[2:]))
    script = posixpath.normpath(rest[0])
    if script.startswith(("-", "/", "../")):
        raise InputError(
            f"{recipe.name}: {rest[0]!r} is no file of the source", where=str(recipe.file)
        )
    return Entry("script", script, script, tuple(rest[1:]))


def _gunicorn(service: Service) -> Entry:
    app = service.app or ""
    config = ("--config", service.config) if service.config else ()
    words = (app, *config, "--worker-tmp-dir", "/dev/shm")  # noqa: S108
    start = app.partition(":")[0]
    return Entry("function", GUNICORN, start, words, service.config, ("--bind", BIND))


def launch(recipe: Recipe, entry: Entry) -> dict[str, Any]:
    """Return what the launcher reads."""
    said = {"entry": [entry.kind, entry.target], "secrets": list(variables(recipe))}
    names = filled(recipe)
    return {**said, "filled": list(names)} if names else said


def filled(recipe: Recipe) -> tuple[str, ...]:
    """Return the variables in which secrets stand, which are filled in when the service starts."""
    env = recipe.service.env if recipe.service else EMPTY
    return tuple(sorted(name for name, value in env.items() if NAMED_SECRET.search(value)))


def variables(recipe: Recipe) -> tuple[str, ...]:
    """Return the secrets that become environment variables: all but the keys of certificates.

    A variable is handed on to every child process; a key stays a file.
    """
    if recipe.service is None:
        return ()
    keys = {pair.key for pair in recipe.service.certificates}
    return tuple(name for name in recipe.service.secrets if name not in keys)


def direct(
    recipe: Recipe, project: Project, words: tuple[str, ...], env: Mapping[str, str] = EMPTY
) -> dict[str, Any]:
    """Return what `builders/scripts/direct.py` reads; what depends on the code is added there."""
    service = recipe.service
    return {
        "name": recipe.name,
        "port": service.port if service else 0,
        "home": str(project.settings.state_dir / recipe.name),
        "state": list(service.state) if service else [],
        "env": dict(sorted({**env, **(service.env if service else {})}.items())),
        "words": list(words),
    }


def about(recipe: Recipe, command: tuple[str, ...]) -> dict[str, Any]:
    """Return what `sealift.json` says."""
    service = recipe.service
    if service is None:
        return {"format": 1, "name": recipe.name}
    return {
        "format": 1,
        "name": recipe.name,
        "service": {
            "port": service.port,
            "cwd": OWN_PATH,
            "command": list(command),
            "health": _health(service.health),
            "state": list(service.state),
            "env": dict(sorted(service.env.items())),
            "secrets": list(service.secrets),
            **_certificates(service),
            "routes": [_route(route) for route in service.routes],
            "unit": _unit(service),
        },
    }


def _unit(service: Service) -> dict[str, Any]:
    """Say how systemd runs it; other service managers do without.

    gunicorn loads the application before it says that it is ready, so that one which cannot be
    loaded is never taken for one that runs. What each instance must have for itself is taken out of
    the common state: the pid file, for which a second instance would refuse to start.
    """
    socket = service.app is not None if service.socket is None else service.socket
    said: dict[str, Any] = {"socket": socket, "concurrent": socket and service.concurrent}
    if service.app is not None:
        said |= {"notify": True, "words": list(_ALONE)}
    return said | ({"limits": dict(sorted(service.limits.items()))} if service.limits else {})


def _certificates(service: Service) -> dict[str, Any]:
    if not service.certificates:
        return {}
    pairs = [asdict(each) for each in service.certificates]
    said = [{key: value for key, value in pair.items() if value} for pair in pairs]
    return {"certificates": said}


def _health(health: Health) -> dict[str, Any]:
    return {"probe": health.probe.value, "path": health.path, "timeout": health.timeout}


def _route(route: Route) -> dict[str, Any]:
    return {
        "path": route.path,
        "strip": route.strip,
        "upgrade": route.upgrade,
        "timeout": route.timeout,
        "body_limit": route.body_limit,
    }


def state_links(recipe: Recipe, project: Project) -> dict[str, str]:
    """Return each state path and the place outside the store that it leads to."""
    root = project.settings.state_dir / recipe.name
    paths = [path.rstrip("/") for path in recipe.service.state] if recipe.service else []
    return {path: str(root / path) for path in paths}
