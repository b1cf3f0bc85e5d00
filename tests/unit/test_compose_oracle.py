"""docker-compose makes one file of several; to Káto that one and the several mean the same."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kato.language import read
from kato.language.profiles import Choice


class Case(NamedTuple):
    """Texts by name, of which those that are named like numbers are merged in order."""

    files: Mapping[str, str]
    environ: Mapping[str, str] = {}
    profiles: tuple[str, ...] = ()


PAIRS = {
    "maps": ("labels: {a: '1', b: '2'}", "labels: {b: '3', c: '4'}"),
    "map-over-list": ("environment: ['A=1', 'B=2']", "environment: {B: '3'}"),
    "list-over-map": ("environment: {A: '1', B: '2'}", "environment: ['B=3', C]"),
    "commands": ("command: [a, b], entrypoint: [x]", "command: c d, entrypoint: [y]"),
    "ports": ("ports: ['8080:80', '81']", "ports: ['8080:80', '8443:443']"),
    "volumes": ("volumes: ['a:/a', './b:/b', '/c:/c:ro']", "volumes: ['z:/z', './more/../d:/d']"),
    "lists": (
        "dns: 1.1.1.1, cap_add: [A], tmpfs: /x, expose: ['80']",
        "dns: [8.8.8.8], cap_add: [B], tmpfs: [/y], expose: ['81']",
    ),
    "check": ("healthcheck: {test: [CMD, a], interval: 1m30s, retries: 2}", "healthcheck: {test: b, timeout: 3s}"),
    "no-check": ("healthcheck: {test: [CMD, a]}", "healthcheck: {disable: true}"),
    "dependencies": ("depends_on: [maps]", "depends_on: [ports]"),
    "networks": ("networks: [n]", "networks: {m: {aliases: [www]}}"),
    "resources": (
        "deploy: {replicas: 2, resources: {limits: {cpus: '0.5', memory: 64M}}}",
        "deploy: {replicas: 3, resources: {reservations: {memory: 32M}}}",
    ),
    "limits": ("ulimits: {nofile: 5, nproc: 3}", "ulimits: {nofile: {soft: 1, hard: 2}}"),
    "old-words": ("mem_limit: 64m, cpus: 0.5, stop_grace_period: 1m", "mem_limit: 1g"),
    "restarts": ("restart: always", "restart: 'no'"),
    "flags": ("init: true, tty: true", "init: false, hostname: h"),
}
"""What two files say of one service."""
WEB = "services: {web: {image: 'web:1', %s}}"


def _each(which: int) -> str:
    lines = [f"  {name}: {{image: 'i:1', {pair[which]}}}" for name, pair in PAIRS.items()]
    return "\n".join(("services:", *lines, "volumes: {a: , z: }", "networks: {n: , m: }"))


CASES = {
    "merging": Case({"0": _each(0), "1": _each(1)}),
    "extends": Case(
        {
            "0": "services:\n"
            "  web: {extends: {file: sub/base.yaml, service: mid}, environment: {B: '3'}, scale: 2}\n"
            "  base: {image: i, ports: ['80'], cap_add: [A]}\n"
            "  more: {extends: {service: base}, ports: ['81'], cap_add: [B]}\n",
            "sub/base.yaml": "services:\n  mid: {extends: {service: base}, environment: [B=2, C=2]}\n"
            "  base: {image: i, env_file: own.env, volumes: ['./data:/data'], environment: {A: '1'}}\n",
            "sub/own.env": "OWN=1\nA=none\n",
        }
    ),
    "profiles": Case(
        {
            "0": "services: {a: {image: a}, b: {image: b, profiles: [p]}, c: {image: c, profiles: [q]}}",
            "1": "services: {c: {profiles: [r]}}",
        },
        profiles=("p",),
    ),
    "variables": Case(
        {
            "0": WEB % "environment: {A: '${A}', B: '${B:-b}', C: '${C-c}', D: '$$D', E: '${E:-}', F: 'x$A-${A}'}",
            "1": WEB % "environment: {G: '${B:-2}${A:?no}', FROM: '${FROM_FILE}', BOTH: '${BOTH}', SHELL_ONLY: }",
            ".env": "FROM_FILE=file\nBOTH=file\n# COMMENT=1\nEMPTY=\n",
        },
        environ={"A": "a", "BOTH": "shell", "SHELL_ONLY": "s"},
    ),
    "env files": Case(
        {
            "0": WEB % "env_file: [one.env, two.env], environment: {C: own}",
            "1": WEB % "env_file: three.env",
            "one.env": "A=1\nB=1\nC=1\n",
            "two.env": "B=2\nexport D=2\n",
            "three.env": "E='3'\nF=\"x y\"\n",
        }
    ),
    "fragments": Case(
        {
            "0": "x-env: &env {A: '1', B: '2'}\nx-web: &web {image: i, environment: {<<: *env, B: '3'}}\n"
            "services: {web: {<<: *web, command: [x]}, more: {<<: *web, environment: *env}}\n",
            "1": "services: {more: {environment: {B: '4'}}}",
        }
    ),
    "secrets": Case(
        {
            "0": WEB % "secrets: [s], configs: [{source: c, target: /etc/c}]"
            + "\nsecrets: {s: {file: ./s.txt}, t: {file: ./t.txt}}\nconfigs: {c: {file: ./t.txt}}",
            "1": WEB % "secrets: [{source: t, target: other}]",
            "s.txt": "one",
            "t.txt": "two",
        }
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_files_mean_what_docker_compose_makes_of_them(name: str, tmp_path: Path) -> None:
    """Its version in Debian 12 is 1.29, which knows neither `include` nor `!reset`."""
    _needs_compose()
    case, folder = CASES[name], tmp_path / "shop"
    folder.mkdir()
    for file, text in case.files.items():
        path = folder / _named(file)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    merged = _merged(folder, case)
    names = [str(folder / _named(file)) for file in case.files if file.isdigit()]
    assert _apps(merged, folder, (), case) == _apps(Path(names[0]).read_text(), folder, names[1:], case)


def _named(file: str) -> str:
    return f"{file}.yaml" if file.isdigit() else file


def _needs_compose() -> None:
    if shutil.which("docker-compose") is None and not os.environ.get("CI"):
        pytest.skip("docker-compose is missing: apt-get install docker-compose")


def _merged(folder: Path, case: Case) -> str:
    files = [word for file in case.files if file.isdigit() for word in ("-f", _named(file))]
    profiles = [word for profile in case.profiles for word in ("--profile", profile)]
    done = subprocess.run(
        ["docker-compose", *files, *profiles, "config"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **case.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _apps(text: str, folder: Path, others: Any, case: Case) -> Any:
    def contents(path: str) -> bytes | None:
        return Path(path).read_bytes() if Path(path).is_file() else None

    def files(path: str) -> str | None:
        found = contents(path)
        return None if found is None else found.decode()

    found = read(
        text,
        path=str(folder / "0.yaml"),
        environ=case.environ,
        files=files,
        contents=contents,
        others=others,
        choice=Choice(profiles=case.profiles),
    )
    apps = {app["id"]: app for app in found.body()["apps"]}
    for app in apps.values():
        app["dependencies"] = sorted(app.get("dependencies", ()))
        docker = app["container"]["docker"]
        docker["parameters"] = sorted(docker["parameters"], key=lambda each: (each["key"], each["value"]))
        app["container"]["volumes"] = sorted(app["container"]["volumes"], key=lambda each: each["containerPath"])
        app["networks"] = sorted(app["networks"], key=lambda each: each.get("name", ""))
    return apps
