"""Secrets and configs of a Compose file become files of its tasks, and values that the cell keeps under marks."""

import pytest
from test_compose import compose, faults

from kato.language import Manifest
from kato.model.app import Access

FILE = """name: shop
services:
  web:
    command: serve
    %s
    secrets:
      - pw
      - {source: key, target: tls/key.pem, uid: "103", gid: "104", mode: 0440}
      - {source: outside, target: /own/place}
    configs:
      - front
      - {source: pw, target: /etc/pw.conf, mode: 0o400}
secrets:
  pw: {environment: PW}
  key: {file: ./key.pem}
  outside: {external: true, name: team/outside}
configs:
  front: {content: "port = 1"}
  pw: {content: same}
"""


def read(how: str, pw: str = "canary-1") -> Manifest:
    return compose(FILE % how, environ={"PW": pw}, files={"/srv/shop/key.pem": "key"})


def test_each_is_a_file_at_its_place_and_a_value_under_a_mark() -> None:
    manifest = read("image: x")
    (app,) = manifest.apps
    assert app.container is not None
    found = {each.container_path: (each.secret, each.access) for each in app.container.volumes}
    assert found == {
        "/run/secrets/pw": ("pw", None),
        "/run/secrets/tls/key.pem": ("key", Access(uid=103, gid=104, mode="0440")),
        "/own/place": ("outside", None),
        "/front": ("config.front", None),
        "/etc/pw.conf": ("config.pw", Access(mode="0400")),
    }
    assert app.secrets["outside"].source == "team/outside"
    named = {name: each.source.partition("@") for name, each in app.secrets.items() if name != "outside"}
    assert {name: where for name, (where, _, _) in named.items()} == {
        "pw": "shop/pw",
        "key": "shop/key",
        "config.front": "shop/front",
        "config.pw": "shop/pw",
    }
    values = {app.secrets[name].source: value for name, value in (("pw", b"canary-1"), ("key", b"key"))}
    values |= {app.secrets["config.front"].source: b"port = 1", app.secrets["config.pw"].source: b"same"}
    assert {name: each.value for name, each in manifest.secrets.items()} == values
    assert "canary" not in repr(manifest) and "canary" not in str(manifest.body())


def test_a_process_has_them_in_its_sandbox_and_for_itself() -> None:
    manifest = read("x-kato: {runtime: process}")
    (app,) = manifest.apps
    assert app.container is not None and app.container.type == "MESOS"
    places = [each.container_path for each in app.container.volumes]
    assert places == ["run/secrets/pw", "run/secrets/tls/key.pem", "own/place", "front", "etc/pw.conf"]
    assert not [each for each in app.container.volumes if each.access]
    assert sum("are ignored: a process's file is its user's alone" in each for each in manifest.warnings) == 2


def test_another_value_is_another_app_and_the_same_one_is_the_same() -> None:
    one, same, other = read("image: x"), read("image: x"), read("image: x", "canary-2")
    assert one.apps == same.apps
    assert one.apps[0].secrets["pw"] != other.apps[0].secrets["pw"]
    assert one.apps[0].secrets["key"] == other.apps[0].secrets["key"]


@pytest.mark.parametrize(
    ("top", "fault"),
    [
        ("secrets: {a: {file: none}}", "secrets.a.file: there is no file none"),
        ("secrets: {a: {environment: NONE}}", "secrets.a.environment: NONE is not set in the environment"),
        ("secrets: {a: {}}", "secrets.a: needs one of file, environment, or external: true"),
        ("secrets: {a: {content: x}}", "secrets.a: needs one of file, environment"),
        ("configs: {a: {content: x, file: y}}", "configs.a: needs one of file, environment, content"),
        ("configs: {a: {content: ''}}", "configs.a.content: has 0 bytes"),
        ("configs: {'a b': {content: x}}", "its name may have letters"),
        ("secrets: {a: {external: true, driver: x}}", "secrets.a.driver: is a swarm's"),
    ],
)
def test_what_has_no_value_is_refused_with_its_place(top: str, fault: str) -> None:
    found = faults(f"services:\n  web:\n    image: x\n{top}\n")
    assert any(fault in each for each in found), found
