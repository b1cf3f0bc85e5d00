"""Whatever a file says, reading it gives a manifest or InvalidInput in plain sentences, and nothing else."""

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kato.language import Manifest, read
from kato.language.dotenv import read_env
from kato.language.interpolation import interpolate
from kato.language.marathon import merge, read_app, read_apps, read_group
from kato.language.wire import app_document
from kato.model.app import App
from kato.model.errors import InvalidInput

MANY = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])

words = st.sampled_from(
    ["", "0", "1", "-1", "80", "8080:80", "1-2", "a", "x:y", "./a:b", "data:/d", "${A}", "${", "$$", "no", "/",
     "..", "1s", "1m30s", "512m", "CMD", "NONE", "web", "tcp", "\0", "é", "UNIQUE", "hostname", "process",
     "1e9", "nan"]
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | words
    | st.text(max_size=8)
)
keys = st.sampled_from(
    ["services", "web", "db", "command", "entrypoint", "environment", "env_file", "ports", "expose", "depends_on",
     "healthcheck", "test", "interval", "deploy", "replicas", "resources", "limits", "cpus", "memory", "scale",
     "update_config", "order", "parallelism", "placement", "constraints", "volumes", "x-kato", "host", "health",
     "http", "runtime", "target", "published", "type", "source", "name", "labels", "path", "condition", "restart"]
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | words, inner, max_size=5),
    max_leaves=12,
)
services = st.dictionaries(keys, values, max_size=6)
projects = st.fixed_dictionaries(
    {"services": st.dictionaries(words, services, max_size=3)}, optional={"volumes": values, "name": values}
)

marathon_keys = st.sampled_from([field.encode_name for field in msgspec.structs.fields(App)])
old_keys = st.sampled_from(
    ["uris", "ports", "ipAddress", "docker", "network", "portMappings", "volumes", "persistent"]
)
marathon_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(marathon_keys | old_keys, inner, max_size=4),
    max_leaves=10,
)
apps = st.dictionaries(marathon_keys | old_keys, marathon_values, max_size=6).map(
    lambda app: {"id": "/a", "cmd": "x"} | app
)


def attempt(text: str) -> None:
    try:
        manifest = read(text, path="/srv/a/compose.yaml", environ={"A": "1"}, files=lambda _path: None)
    except InvalidInput as error:
        assert str(error).startswith("/srv/a/compose.yaml")
    else:
        assert isinstance(manifest, Manifest)
        assert msgspec.json.encode(manifest.body())


@MANY
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    attempt(text)


@MANY
@given(st.text(alphabet="ab:-[]{}&*<#|>'\"!%@` \n\t1,?", max_size=40))
def test_any_punctuation(text: str) -> None:
    attempt(text)


@MANY
@given(projects)
def test_any_project(project: Any) -> None:
    attempt(msgspec.json.encode(project).decode())


@MANY
@given(
    apps | st.lists(apps, max_size=2) | st.dictionaries(st.sampled_from(["apps", "groups", "id"]), marathon_values)
)
def test_any_marathon_file(data: Any) -> None:
    attempt(msgspec.json.encode(data).decode())


@MANY
@given(apps, marathon_values, st.booleans())
def test_any_body(data: Any, patch: Any, strict: bool) -> None:
    for call in (
        lambda: read_app(data, strict=strict),
        lambda: read_apps([data, patch], strict=strict),
        lambda: read_group({"apps": [data], "groups": [patch]}, base="/g", strict=strict),
        lambda: read_app(merge(read_app({"id": "/a", "cmd": "x"}), patch)),
    ):
        try:
            call()
        except InvalidInput as error:
            assert str(error)


@MANY
@given(apps)
def test_what_was_read_is_written_and_read_again_unchanged(data: Any) -> None:
    try:
        app = read_app(data)
    except InvalidInput:
        return
    assert read_app(msgspec.json.decode(msgspec.json.encode(app_document(app))), strict=True) == app


@MANY
@given(st.text(alphabet="AB$${}:-?+ x'\"\\#=\n", max_size=30))
def test_any_interpolation_and_env_file(text: str) -> None:
    for call in (lambda: interpolate(text, {"A": "1"}.get), lambda: read_env(text, ".env", {"A": "1"}.get)):
        try:
            call()
        except InvalidInput as error:
            assert str(error)
