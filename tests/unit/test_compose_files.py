"""A Compose project of several files: what is extended, included and chosen; and which files are meant."""

import json
from pathlib import Path

import pytest
from test_compose_merge import compose, faults

from kato.cli.changes.source import Chosen, load
from kato.cli.changes.source import named as which
from kato.language import gathering
from kato.language.profiles import Choice
from kato.model.errors import InvalidInput

BASE = """
services:
  base:
    command: [base]
    environment: {A: "1", B: "2"}
    depends_on: [db]
  db: {command: db}
"""


def test_a_service_extends_another_of_its_file_and_that_a_third() -> None:
    app = compose(BASE + "  mid: {extends: {service: base}, environment: [B=3]}\n  web: {extends: mid, scale: 2}")
    web = app.apps[-1]
    assert (web.args, web.env, web.instances) == (("base",), {"A": "1", "B": "3"}, 2)
    assert web.dependencies == ("/shop/db",)


def test_a_service_of_another_file_brings_its_paths_and_nothing_else() -> None:
    other = """
include: [missing.yaml]
services:
  one: {command: x, env_file: a.env, working_dir: in, volumes: [./data:/data, v:/v], build: x}
  two: {extends: {service: one, file: deeper/base.yaml}, volumes: !override ["./x:/x"], build: !reset null}
"""
    deeper = "services: {one: {extends: zero, command: deep}, zero: {env_file: ['../a.env'], working_dir: .}}"
    text = "services: {web: {extends: {file: sub/other.yaml, service: two}}}"
    manifest = compose(text, sub__other=other, sub__deeper__base=deeper)
    (web,) = manifest.apps
    assert (web.cmd, web.env) == ("deep", {"A": "sub"}) and web.container
    assert [volume.host_path for volume in web.container.volumes] == ["/srv/shop/sub/x"]
    assert web.labels == {"KATO_WORKDIR": "/srv/shop/sub/deeper"}


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("web: {extends: {service: web}}", "0.yaml:2:9: services.web.extends: services extend one another in a "
         "circle: web → web"),
        ("a: {extends: b, command: x}\n  b: {extends: {service: c}}\n  c: {extends: a}",
         "circle: a → b → c → a"),
        ("web: {extends: {service: x, file: o.yaml}}", "o.yaml:1:16: services.x.extends: services extend one "
         "another in a circle: web (/srv/shop/0.yaml) → x → web (/srv/shop/0.yaml)"),
        ("web: {extends: bas}\n  base: {command: x}", "there is no service 'bas' in /srv/shop/0.yaml. Did you"),
        ("web: {extends: {service: y, file: o.yaml}}", "there is no service 'y' in /srv/shop/o.yaml."),
        ("web: {extends: {service: y, file: no.yaml}}", "0.yaml:2:31: the file: there is no file /srv/shop/no.ya"),
        ("web: {extends: {service: y, file: bad.yaml}}", "/srv/shop/bad.yaml:1:1"),
        ("web: {extends: {file: o.yaml}}", "must name a service"),
        ("web: {extends: [a]}", "must name a service"),
        ("web: {extends: {service: x, fil: o.yaml}}", "'fil' is not a key that is taken here. Did you mean"),
        ("web: {extends: {service: x, file: 'https://x/y'}}", "'https://x/y' is not on this machine; fetch it"),
    ],
)  # fmt: skip
def test_what_cannot_be_extended_is_refused_with_its_line(lines: str, fault: str) -> None:
    other = "services: {x: {extends: {service: web, file: 0.yaml}}}"
    with pytest.raises(InvalidInput) as caught:
        compose(f"services:\n  {lines}\n", o=other, bad="@")
    assert fault in str(caught.value)


def test_a_fault_of_what_is_extended_names_its_own_file_once() -> None:
    text = "services: {a: {extends: {file: o.yaml, service: x}}, b: {extends: {file: o.yaml, service: x}}}"
    found = faults(text, o="services:\n  x:\n    command: [x]\n    prots: []\n")
    assert [each.partition(": ")[0] for each in found] == ["o.yaml:4:5", "o.yaml:4:5"]
    assert [each.split(": ")[1] for each in found] == ["services.a.prots", "services.b.prots"]


def test_a_long_chain_is_refused_and_a_wide_one_is_read_once() -> None:
    chain = "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(60)) + "  s60: {command: x}\n"
    assert "more than 50 services extend one another" in faults("services:\n" + chain)[0]
    wide = "".join(f"  s{n}: {{extends: {{service: x, file: o.yaml}}}}\n" for n in range(300))
    assert len(compose("services:\n" + wide, o="services: {x: {command: x}}").apps) == 300


def test_what_unfolds_into_too_much_is_refused_before_it_costs_anything() -> None:
    base = {"command": "x", "environment": [f"A{n}" for n in range(5_000)]}
    many = {f"s{n}": {"extends": "base", "environment": ["B"]} for n in range(500)}
    with pytest.raises(InvalidInput, match="the files unfold into more than 1000000 values"):
        compose(json.dumps({"services": {"base": base, **many}}))


INCLUDED = """
services:
  db:
    command: [db, "$V", "${W}"]
    environment: [V, W]
    env_file: a.env
    volumes: ["./data:/data", "v:/v"]
    secrets: [s]
secrets: {s: {environment: W}}
volumes: {v: }
"""


def test_an_included_file_has_its_own_folder_and_variables() -> None:
    text = "include: [sub/store.yaml]\nservices: {web: {command: web, depends_on: [db]}}\n"
    manifest = compose(text, sub__store=INCLUDED)
    web, db = manifest.apps
    assert web.dependencies == ("/shop/db",) and web.labels == {"KATO_WORKDIR": "/srv/shop"}
    assert db.args == ("db", "outer", "sub") and db.env == {"A": "sub", "V": "outer", "W": "sub"}
    assert db.labels == {"KATO_WORKDIR": "/srv/shop/sub"} and db.container
    assert [v.host_path or (v.external and v.external.name) for v in db.container.volumes][:2] == [
        "/srv/shop/sub/data", "shop_v",
    ]  # fmt: skip
    assert [secret.value for secret in manifest.secrets.values()] == [b"sub"]


def test_the_long_form_names_several_files_a_folder_and_variables() -> None:
    text = "include: [{path: [sub/store.yaml, more.yaml], project_directory: ., env_file: [sub/.env, e.yaml]}]"
    (db,) = compose(text, sub__store=INCLUDED, more="services: {db: {command: [over]}}", e="W=last").apps
    assert db.args == ("over",) and db.env == {"A": "file", "V": "outer", "W": "last"}
    assert db.labels == {"KATO_WORKDIR": "/srv/shop"}


def test_a_file_that_only_includes_is_a_compose_file_and_may_be_included_itself() -> None:
    one, two = "include: [two.yaml]\nname: one\n", "services: {x: {command: x}}"
    manifest = compose("include: [one.yaml, two.yaml]\n", one=one, two=two)
    assert [app.id for app in manifest.apps] == ["/shop/x"]


def test_a_later_file_changes_what_an_earlier_one_includes() -> None:
    over = "services: {db: {command: [over], volumes: ['./data:/more']}}"
    (db,) = compose("include: [sub/store.yaml]", over, sub__store=INCLUDED).apps
    assert db.args == ("over",) and db.container
    paths = [volume.host_path for volume in db.container.volumes]
    assert paths[0] == "/srv/shop/sub/data" and paths[2] == "/srv/shop/data"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("include: [one.yaml]", "two.yaml:1:11: include: files include one another in a circle: "
         "/srv/shop/one.yaml → /srv/shop/two.yaml → /srv/shop/one.yaml"),
        ("include: [o.yaml]\nservices: {x: {command: other}}", "0.yaml:2:12: services.x: /srv/shop/o.yaml:1:12 "
         "has another one, which is included"),
        ("include: [gone.yaml]", "0.yaml:1:11: the file: there is no file /srv/shop/gone.yaml"),
        ("include: o.yaml", "include: must be a list of files"),
        ("include: [{paht: o.yaml}]", "'paht' is not a key that is taken here. Did you mean 'path'?"),
        ("include: [{env_file: o.yaml}]", "include: needs the path of a file"),
        ("include: [{path: o.yaml, env_file: gone.env}]", "there is no file /srv/shop/gone.env"),
        ("include: ['https://example.com/c.yaml']", "is not on this machine; fetch it"),
        ("include: ['${GONE:?set it}']", "the variable GONE is not set: set it"),
    ],
)  # fmt: skip
def test_what_cannot_be_included_is_refused_with_its_line(text: str, fault: str) -> None:
    others = {"o": "services: {x: {command: x}}", "one": "include: [two.yaml]", "two": "include: [one.yaml]"}
    found = faults(text, named=others)
    assert any(fault in each for each in found), found


def test_a_project_has_at_most_200_files() -> None:
    names = [f"n{n}" for n in range(201)]
    with pytest.raises(InvalidInput, match="more than 200 files"):
        compose(
            "include: [" + ", ".join(f"{n}.yaml" for n in names) + "]", named=dict.fromkeys(names, "services: {}")
        )


PROFILES = """
services:
  foo: {command: x}
  bar: {command: x, profiles: [test]}
  baz: {command: x, profiles: [test], depends_on: [bar]}
  zot: {command: x, profiles: [debug], depends_on: [bar], secrets: [s]}
secrets: {s: {file: gone}}
"""


@pytest.mark.parametrize(
    ("profiles", "variable", "services", "apps"),
    [
        ((), "", (), "foo"),
        (("test",), "", (), "foo bar baz"),
        (("test",), "debug", (), "foo bar baz"),
        ((), "test, other", (), "foo bar baz"),
        ((), "", ("bar",), "bar"),
        ((), "", ("baz",), "bar baz"),
        ((), "", ("foo", "bar"), "foo bar"),
    ],
)
def test_profiles_and_named_services_choose_what_is_meant(
    profiles: tuple[str, ...], variable: str, services: tuple[str, ...], apps: str
) -> None:
    environ = {"COMPOSE_PROFILES": variable}
    manifest = compose(PROFILES, environ=environ, choice=Choice(profiles=profiles, services=services))
    assert [app.id.removeprefix("/shop/") for app in manifest.apps] == apps.split()
    assert manifest.group == (None if services else "/shop")


@pytest.mark.parametrize(
    ("choice", "fault"),
    [
        (Choice(profiles=("debug",)), "services.zot.depends_on: bar is not active; choose it with --profile test"),
        (Choice(services=("zot",)), "services.zot.depends_on: bar is not active; choose it with --profile test"),
        (Choice(services=("fo",)), "services: there is no service 'fo'. Did you mean 'foo'?"),
        (Choice(profiles=("*",)), "secrets.s.file: there is no file gone"),
    ],
)
def test_what_is_not_active_is_not_awaited(choice: Choice, fault: str) -> None:
    assert any(fault in each for each in faults(PROFILES, choice=choice))


def test_a_project_of_which_nothing_is_active_says_what_to_choose() -> None:
    found = faults("services: {a: {command: x, profiles: [p, q]}}")
    assert found == ["0.yaml:1:1: services: no service is active; choose some with --profile p or q"]


def test_a_dependency_that_is_not_required_may_be_inactive() -> None:
    text = "services: {a: {command: x, depends_on: {b: {required: false}}}, b: {command: x, profiles: [p]}}"
    assert [app.dependencies for app in compose(text).apps] == [()]


def folder(path: Path, **texts: str) -> None:
    for name, text in texts.items():
        (path / f"{name.replace('_', '.')}").write_text(text)


ONE = "services: {a: {command: x}}"


def test_a_folders_file_is_overridden_by_the_one_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path, compose_yaml=ONE, compose_override_yaml="services: {a: {command: y}}")
    folder(tmp_path, other_yaml="services: {a: {scale: 3}}")
    assert [app.cmd for app in load(".").apps] == ["y"] == [app.cmd for app in load(str(tmp_path)).apps]
    assert [app.cmd for app in load("compose.yaml").apps] == ["x"]
    both = load(".", Chosen(files=("compose.yaml", "other.yaml"), project_name="mine"))
    assert [(app.id, app.cmd, app.instances) for app in both.apps] == [("/mine/a", "x", 3)]
    monkeypatch.setenv("COMPOSE_FILE", "compose.yaml:other.yaml")
    assert load(".").apps[0].instances == 3 and [app.cmd for app in load("compose.yaml").apps] == ["x"]
    monkeypatch.setenv("COMPOSE_PATH_SEPARATOR", ";")
    monkeypatch.setenv("COMPOSE_FILE", "compose.yaml;compose.override.yaml")
    assert load(".").apps[0].cmd == "y"


def test_composes_own_variables_may_stand_in_dot_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path, a_yaml=ONE, b_yaml="services: {b: {command: y, profiles: [p]}}")
    (tmp_path / ".env").write_text("COMPOSE_FILE=a.yaml:b.yaml\nCOMPOSE_PROFILES=p\nCOMPOSE_PROJECT_NAME=env\n")
    assert [app.id for app in load(".").apps] == ["/env/a", "/env/b"]


def test_variables_and_paths_are_taken_from_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    folder(tmp_path / "there", compose_yaml="services: {a: {command: '$A $B $C', volumes: ['./d:/d']}}")
    (tmp_path / ".env").write_text("A=not")
    (tmp_path / "there/.env").write_text("A=dot\nB=dot\nC=dot")
    (tmp_path / "one.env").write_text("A=one\nB=one")
    (tmp_path / "two.env").write_text("B=two of $A\nC=two")
    assert load(".", Chosen(project_directory="there")).apps[0].cmd == "dot dot dot"
    (app,) = load("there", Chosen(project_directory=".", env_file=("one.env", "two.env"))).apps
    assert app.cmd == "one two of one two"
    assert app.container is not None and app.container.volumes[0].host_path == str(tmp_path / "d")
    assert app.id == f"/{tmp_path.name.replace('_', '-')}/a"
    with pytest.raises(InvalidInput, match=r"There is no file .*/gone\.env \(--env-file\)\."):
        load("there", Chosen(env_file=("gone.env",)))


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path, a_yaml=ONE)
    with pytest.raises(InvalidInput, match=r"There is no file or folder .*/b\.yaml\.$"):
        load(".", Chosen(files=("a.yaml", "b.yaml")))
    with pytest.raises(InvalidInput, match="For the service of a file: --service web"):
        which("web")


def test_what_was_typed_is_said_again() -> None:
    chosen = Chosen(files=("a b.yaml", "c.yaml"), project_name="n", profile=("p",), service=("s",))
    assert chosen.words(".") == "-f 'a b.yaml' -f c.yaml -p n --profile p --service s"
    chosen = Chosen(project_directory="d", env_file=("a", "b"))
    assert chosen.words("x.yaml") == "x.yaml --project-directory d --env-file a --env-file b"
    assert Chosen().words("x.yaml") == "x.yaml" and Chosen().words(".") == ""


@pytest.mark.parametrize(
    "text",
    [
        'include: ["a\\0b"]',
        'include: ["\\ud800"]',
        'services: {a: {command: x, env_file: "a\\0b"}}',
        'services: {a: {extends: {service: x, file: "\\ud800"}}}',
        'services: {a: {command: "\\ud83d"}}',
        'services: {"\\ud83d": {command: x}}',
        'include: [{path: b.yaml, project_directory: "a\\0b"}]',
    ],
)
def test_a_name_that_no_file_can_have_is_no_fault_of_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "compose.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text("services: {b: {command: x}}")
    with pytest.raises(InvalidInput, match=r"called as no file can be|surrogate pair") as wrong:
        load(str(tmp_path))
    str(wrong.value).encode()


def test_variables_that_double_one_another_do_not_fill_the_memory(tmp_path: Path) -> None:
    doubling = f"A0={'x' * 32}\n" + "".join(f"A{n + 1}=${{A{n}}}$A{n}\n" for n in range(30))
    (tmp_path / ".env").write_text(doubling)
    (tmp_path / "compose.yaml").write_text("services: {web: {command: x}}")
    with pytest.raises(InvalidInput, match=r"\.env:1\d: A1\d: .* more than 2000000 characters"):
        load(str(tmp_path))
    (tmp_path / ".env").write_text(f"A={'x' * 1000}\n")
    (tmp_path / "compose.yaml").write_text(f"services: {{web: {{command: '{'$A' * 3000}'}}}}")
    with pytest.raises(InvalidInput, match=r"compose.yaml:1:18: .* more than 2000000 characters"):
        load(str(tmp_path))


def test_files_that_unfold_into_too_much_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MAX_VALUES", 1000)
    (tmp_path / "compose.yaml").write_text(f"include: [{', '.join(f'{n}.yaml' for n in range(9))}]")
    for n in range(9):
        (tmp_path / f"{n}.yaml").write_text(f"x-a: {[1] * 200}\nservices: {{s{n}: {{command: x}}}}")
    with pytest.raises(InvalidInput, match=r"4\.yaml:1:1: the files unfold into more than"):
        load(str(tmp_path))
