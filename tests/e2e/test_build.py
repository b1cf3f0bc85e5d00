"""A Compose project whose image is built by the real engine, and run by it and without it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine import IMAGE, Dockerd
from machine import PATIENCE, SLOW, Machine, own_cell

PROJECT = """
name: shop
services:
  web:
    image: shop/web:dev
    build: {{context: web, args: {{PLACE: /w}}, labels: {{of: us}}, target: served}}
    stop_grace_period: 0.5s
    ports: ["80"]
    network_mode: host
    x-kato: {{runtime: {runtime}, host: shop.localhost, health: {{http: /, interval: 1s}}}}
"""
DOCKERFILE = f"""
FROM {IMAGE} AS served
ARG PLACE
RUN mkdir -p $PLACE && echo made > $PLACE/made
COPY . /w/
CMD exec httpd -f -p $PORT0 -h /w
FROM {IMAGE}
"""


@pytest.fixture(scope="module")
def machine(engine: Dockerd) -> Iterator[Machine]:
    with engine.network(), own_cell(DOCKER_HOST=engine.url) as machine:
        write(machine, "index.html", "one\n")
        write(machine, "Dockerfile", DOCKERFILE)
        write(machine, ".dockerignore", "notes\n")
        up(machine)
        yield machine


def write(machine: Machine, name: str, text: str) -> None:
    path = machine.root / "web" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def project(machine: Machine, runtime: str = "docker") -> Path:
    file = machine.root / "compose.yaml"
    file.write_text(PROJECT.format(runtime=runtime))
    return file


def up(machine: Machine, *, runtime: str = "docker", code: int = 0) -> str:
    return machine.kato("up", "-d", "--timeout", "200", str(project(machine, runtime)), code=code)


def image(machine: Machine) -> str:
    return str(machine.get("/v2/apps/shop/web")["app"]["container"]["docker"]["image"])


def images(engine: Dockerd) -> set[str]:
    return set(engine.ask("images", "--all", "--quiet").split())


def tasks(machine: Machine) -> set[str]:
    return {task["id"] for task in machine.tasks("/shop/web")}


def test_an_image_is_built_named_by_its_id_and_run(machine: Machine, engine: Dockerd) -> None:
    assert machine.site("shop.localhost") == (200, "one\n")
    assert machine.site("shop.localhost", "/made") == (200, "made\n")
    name, _, id = image(machine).partition(":")
    assert name == "localhost/kato/shop"
    said = json.loads(engine.ask("inspect", image(machine)))[0]
    assert said["Id"].startswith(f"sha256:{id}") and "shop/web:dev" in said["RepoTags"]
    assert said["Config"]["Labels"] == {"of": "us", "kato.built": "/shop"}


def test_what_did_not_change_or_is_ignored_changes_nothing(machine: Machine) -> None:
    before = tasks(machine)
    write(machine, "notes", "for nobody")
    assert "Nothing to change" in up(machine)
    assert machine.site("shop.localhost", "/notes")[0] == 404
    assert tasks(machine) == before


def test_plan_builds_nothing_and_says_so(machine: Machine, engine: Dockerd) -> None:
    before = images(engine)
    write(machine, "other.html", "other\n")
    said = machine.kato("plan", str(project(machine)), code=0)
    assert "kato up builds the image of /shop/web first" in said and "Nothing would change" in said
    (machine.root / "web/other.html").unlink()
    assert images(engine) == before


def test_convert_says_that_the_image_has_no_name_yet(machine: Machine) -> None:
    assert "/shop/web: `kato up` of the file itself builds the image" in machine.kato(
        "convert", str(project(machine))
    )


def test_a_build_that_fails_shows_its_last_lines_and_changes_nothing(machine: Machine) -> None:
    before = tasks(machine)
    write(machine, "Dockerfile", DOCKERFILE.replace("RUN ", "RUN echo it is too late >&2 && exit 7 && "))
    try:
        said = up(machine, code=1)
    finally:
        write(machine, "Dockerfile", DOCKERFILE)
    error = said.partition("The image of /shop/web was not built: `docker build` ended with exit code ")[2]
    assert "Nothing was deployed" in error and "it is too late" in error and "returned a non-zero code: 7" in error
    assert tasks(machine) == before


def test_a_line_may_be_as_long_as_it_likes(machine: Machine) -> None:
    before = tasks(machine)
    write(machine, "Dockerfile", f"FROM {IMAGE} AS served\nRUN head -c 3000000 /dev/zero | tr '\\0' x; exit 7\n")
    try:
        said = up(machine, code=1)
    finally:
        write(machine, "Dockerfile", DOCKERFILE)
    assert "returned a non-zero code: 7" in said and "fault in" not in said and tasks(machine) == before


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore"])
def test_what_would_be_read_without_end_is_refused(machine: Machine, name: str) -> None:
    path = machine.root / "web" / name
    before = path.read_text()
    path.unlink()
    os.mkfifo(path)
    try:
        assert f"{path} is no regular file" in up(machine, code=1)
    finally:
        path.unlink()
        path.write_text(before)


def test_a_command_that_is_ended_ends_its_builds(machine: Machine) -> None:
    write(machine, "Dockerfile", f"FROM {IMAGE} AS served\nRUN sleep 9000\n")
    words, env = ["kato", "up", "-d", str(project(machine))], {**machine.env, "TMPDIR": str(machine.root)}
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        while "RUN sleep" not in process.stdout.readline():
            assert process.poll() is None
        process.terminate()
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
        write(machine, "Dockerfile", DOCKERFILE)
    assert "Nothing was deployed." in said and process.returncode == 130
    assert not [*machine.root.glob("kato-build-*")] and str(machine.root / "web") not in _command_lines()


def _command_lines() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace").replace("\0", " "))
    return "\n".join(found)


def test_another_image_is_another_version(machine: Machine) -> None:
    before = image(machine)
    write(machine, "index.html", "two\n")
    said = up(machine)
    assert "COPY . /w/" in said
    assert image(machine) != before
    machine.until(lambda: machine.site("shop.localhost") == (200, "two\n"), 5 * SLOW)


def test_the_same_image_runs_without_an_engine(machine: Machine) -> None:
    before = image(machine), machine.site("shop.localhost")
    up(machine, runtime="oci")
    machine.until(lambda: (image(machine), machine.site("shop.localhost")) == before, 10 * SLOW)
    assert before[1][0] == 200
    assert machine.get("/v2/apps/shop/web")["app"]["container"]["type"] == "MESOS"
    assert list((machine.data / "oci").glob("shop_web*/oci/state/task"))


def test_without_an_engine_it_says_why_and_starts_no_cell() -> None:
    machine = Machine()
    machine.env["DOCKER_HOST"] = f"unix://{machine.root}/nothing.sock"
    try:
        write(machine, "Dockerfile", DOCKERFILE)
        assert "nothing.sock" in up(machine, code=1)
        assert machine.get("/ping") is None and not machine.data.exists()
    finally:
        machine.close()
