"""A Compose service's `build` comes in; what an engine is asked to build its image of comes out, as data.

The image has no name before it is there: the app holds UNBUILT, and whoever builds puts the name in its place.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import msgspec

from kato.language.interpolation import Lookup
from kato.language.reading import Part, split_pairs
from kato.language.service_volumes import Surroundings
from kato.model.app import BUILT, App
from kato.model.build import Build

UNBUILT = f"{BUILT}unbuilt"
"""The image of an app that is still to be built."""

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/")
_WORDS = {"target": "target", "network": "network", "shm_size": "shm-size"}
_LISTS = {"cache_from": "cache-from", "tags": "tag"}
_PAIRS = {"labels": "label"}
_SWITCHES = {"no_cache": "no-cache", "pull": "pull"}
_NOT_TAKEN = "is not taken: the engine builds with what `docker build` knows everywhere; leave it out"
_REFUSED = dict.fromkeys(
    (
        "additional_contexts",
        "cache_to",
        "entitlements",
        "isolation",
        "privileged",
        "provenance",
        "sbom",
        "secrets",
        "ssh",
        "ulimits",
    ),
    _NOT_TAKEN,
)


def read_build(service: Part, project: str, around: Surroundings, lookup: Lookup) -> Build:
    """What the service's image is built of. What is wrong is written into the service's findings."""
    raw = service.raw("build")
    build = Part({"context": raw} if isinstance(raw, str) else raw, (*service.path, "build"), service.findings)
    context, dockerfile, inline = (build.text(key) for key in ("context", "dockerfile", "dockerfile_inline"))
    if not context and inline is None:
        build.findings.fault(build.path, "has no context; name the folder to build")
    if dockerfile is not None and inline is not None:
        build.fault("dockerfile", "cannot stand beside dockerfile_inline; keep one")
    flags = [*_flags(build, service, lookup)]
    build.close(_REFUSED)
    place = context or "."
    remote = _REMOTE.match(place) is not None
    place = place if remote else around.resolve(place)
    if dockerfile is not None and not remote:
        dockerfile = str(PurePosixPath(place, dockerfile))
    return Build(project=project, context=place, dockerfile=dockerfile, inline=inline, flags=tuple(flags))


def _flags(build: Part, service: Part, lookup: Lookup) -> Iterator[tuple[str, str]]:
    for key, flag in _WORDS.items():
        if (text := build.text(key)) is not None:
            yield flag, text
    for key, flag in _LISTS.items():
        yield from ((flag, word) for word in build.words(key) or ())
    for name, value in build.pairs("args").items():
        value = lookup(name) if value is None else value
        if value is not None:
            yield "build-arg", f"{name}={value}"
    for key, flag in _PAIRS.items():
        yield from ((flag, f"{name}={value or ''}") for name, value in build.pairs(key).items())
    for host, address in split_pairs(build, "extra_hosts", ":"):
        yield "add-host", f"{host}:{address}"
    for key, flag in _SWITCHES.items():
        if build.flag(key):
            yield flag, "true"
    platforms = build.words("platforms") or ()
    if len(platforms) > 1:
        build.fault("platforms", "an image is built for one platform; keep the one of your machines")
    yield from (("platform", platform) for platform in platforms)
    if image := service.text("image"):
        yield "tag", image


def with_image(app: App, image: str) -> App:
    """The app of a container, with another image."""
    assert app.container is not None and app.container.docker is not None
    docker = msgspec.structs.replace(app.container.docker, image=image)
    return msgspec.structs.replace(app, container=msgspec.structs.replace(app.container, docker=docker))
