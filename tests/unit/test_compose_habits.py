"""What holds only in a container is a warning for a process, with the place and what to write."""

import pytest

from kato.language import read

NOTES = """
services:
  notes:
    command: serve
    volumes: [%s]
    %s
volumes: {notes: }
"""
CHECKED = """
services:
  web:
    command: serve
    ports: ["80:8080", "9090"]
    expose: [7070]
    healthcheck:
      test: %s
"""
SANDBOX = "will not be there: a process finds its volumes in its sandbox"


def warnings(text: str, env: str = "") -> list[str]:
    """Of a Compose file in the folder /srv/shop, beside `notes.env`; without the folder."""
    files = {"/srv/shop/notes.env": env}
    found = read(text, path="/srv/shop/compose.yaml", environ={}, files=files.get).warnings
    return [each.removeprefix("/srv/shop/") for each in found]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "environment: {DATA_DIR: /data}",
            f"compose.yaml:6:19: services.notes.environment.DATA_DIR: '/data' {SANDBOX}. `environment` is not "
            "expanded: leave it out, and write the command as a string that begins with "
            "DATA_DIR=$$MESOS_SANDBOX/data",
        ),
        (
            "environment: [DB=sqlite:////data/notes.db?key=s3cret]",
            f"compose.yaml:6:19: services.notes.environment[0]: '/data/notes.db' {SANDBOX}. `environment` is not "
            "expanded: leave it out, and write the command as a string that begins with "
            "DB=…$$MESOS_SANDBOX/data/notes.db…",
        ),
        (
            "entrypoint: store --dir=/data/deep --fast",
            f"compose.yaml:6:5: services.notes.entrypoint: '/data/deep' {SANDBOX}. Write "
            "$$MESOS_SANDBOX/data/deep",
        ),
        (
            "entrypoint: [store, /data]",
            f"compose.yaml:6:25: services.notes.entrypoint[1]: '/data' {SANDBOX}. Write $$MESOS_SANDBOX/data in a "
            "string instead of a list, for a shell to expand it",
        ),
        (
            'entrypoint: [sh, -c, "exec store /data"]',
            f"compose.yaml:6:26: services.notes.entrypoint[2]: '/data' {SANDBOX}. Write $$MESOS_SANDBOX/data",
        ),
    ],
)
@pytest.mark.parametrize(
    "volume", ["notes:/data", "./here:/data:ro", "{type: volume, source: notes, target: /data/}"]
)
def test_the_target_of_a_volume_is_not_where_a_container_has_it(volume: str, line: str, said: str) -> None:
    assert warnings(NOTES % (volume, line)) == [said]


def test_the_target_of_a_volume_in_an_env_file_is_a_warning() -> None:
    (said,) = warnings(NOTES % ("notes:/data", "env_file: notes.env"), "DATA_DIR=/data\n")
    assert said.startswith("compose.yaml:6:5: services.notes.env_file: '/data' will not be there")


@pytest.mark.parametrize(
    ("volume", "line"),
    [
        ("notes:/data", "entrypoint: DATA_DIR=$$MESOS_SANDBOX/data exec store"),
        ("notes:/data", "environment: {A: /database, B: ./data, C: /srv/data, D: http://host/data, E: data}"),
        ("notes:data", "environment: {DATA_DIR: /data}"),
        ("/data:/data", "environment: {DATA_DIR: /data/x}"),
    ],
)
def test_what_is_there_or_lies_elsewhere_is_none(volume: str, line: str) -> None:
    assert warnings(NOTES % (volume, line)) == []


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (
            '["CMD", "curl", "-fs", "http://localhost:8080/health"]',
            "nothing listens on 8080, which is the container's port: a process listens on $$PORT0. Write "
            'localhost:$$PORT0 in ["CMD-SHELL", line], since ["CMD", …] is not expanded',
        ),
        (
            "curl -fs http://127.0.0.1:9090",
            "nothing listens on 9090, which is the container's port: a process listens on $$PORT1. Write "
            "127.0.0.1:$$PORT1",
        ),
        (
            '["CMD", "sh", "-c", "nc -z localhost:7070"]',
            "nothing listens on 7070, which is the container's port: a process listens on $$PORT2. Write "
            "localhost:$$PORT2",
        ),
        (
            '["CMD", "curl", "http://localhost:$$PORT0"]',
            '$PORT0 stays as it is: ["CMD", …] is run without a shell. Write ["CMD-SHELL", line]',
        ),
    ],
)
def test_a_check_of_a_container_s_port_is_a_warning(test: str, said: str) -> None:
    assert warnings(CHECKED % test) == [f"compose.yaml:8:7: services.web.healthcheck.test: {said}"]


@pytest.mark.parametrize(
    "test",
    ['["CMD-SHELL", "curl localhost:$$PORT0"]', "curl localhost:80800", "curl localhost:80", "curl far:8080"],
)
def test_a_check_of_another_port_is_none(test: str) -> None:
    assert warnings(CHECKED % test) == []


def test_a_container_has_its_volumes_and_ports_where_it_says() -> None:
    text = (NOTES % ("notes:/data", "environment: {DATA_DIR: /data}")).replace(
        "command:", "image: notes\n    command:"
    )
    assert warnings(text) == []
    check = CHECKED % '["CMD", "curl", "http://localhost:8080"]'
    assert warnings(check.replace("command:", "image: web\n    command:")) == []


def test_what_nothing_expands_is_a_warning() -> None:
    assert warnings(NOTES % ("notes:/data", "environment: {DATA_DIR: $$MESOS_SANDBOX/data}")) == [
        "compose.yaml:6:19: services.notes.environment.DATA_DIR: $MESOS_SANDBOX stays as it is: `environment` is "
        "not expanded. Leave it out, and write the command as a string that begins with DATA_DIR=…$$MESOS_SANDBOX…"
    ]
    assert warnings(NOTES % ("notes:/data", 'entrypoint: [store, "$${PORT}"]')) == [
        "compose.yaml:6:25: services.notes.entrypoint[1]: $PORT stays as it is: a list is run without a shell. "
        "Write the command as a string"
    ]
