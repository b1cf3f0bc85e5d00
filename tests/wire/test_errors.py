"""Every error of Marathon's that docs/api.md promises, with its status and body."""

import pytest
from cells import Cell

SLEEP = {"id": "/web", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"   ",
        b'{"id": "\xff"}',
        b'{"id": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 5_000,
        b"nonsense",
        b"{}x",
    ],
    ids=["cut", "empty", "blank", "no-utf8", "lone-surrogate", "deep-list", "deep-object", "word", "more"],
)
async def test_malformed_json(cell: Cell, body: bytes) -> None:
    answer = await cell.call("POST", "/v2/apps", body)
    assert answer.status == 400
    assert answer.json["message"] == "Invalid JSON" and isinstance(answer.json["details"], str)


async def test_nesting_that_json_allows_is_refused_too(cell: Cell) -> None:
    answer = await cell.call("POST", "/v2/apps", b'{"id":"/a","env":' + b'{"a":' * 900 + b"1" + b"}" * 901)
    assert answer.status in (400, 422) and answer.json["message"] == "Invalid JSON"


async def test_wrong_types_are_all_listed(cell: Cell) -> None:
    answer = await cell.call("POST", "/v2/apps", {"id": "/a", "cpus": "much", "mem": [], "instances": "2"})
    assert answer.status == 422 and answer.json["message"] == "Invalid JSON"
    assert {each["path"] for each in answer.json["details"]} == {"/cpus", "/mem", "/instances"}
    assert all(each["errors"] for each in answer.json["details"])


@pytest.mark.parametrize(("method", "body"), [("POST", []), ("PUT", {}), ("PATCH", {})])
async def test_a_list_for_an_object_and_an_object_for_a_list(cell: Cell, method: str, body: object) -> None:
    answer = await cell.call(method, "/v2/apps", body)
    assert answer.status == 422 and answer.json["details"][0]["path"] == "/"


async def test_every_broken_rule_is_listed_with_its_path(cell: Cell) -> None:
    body = {
        "id": "/Bad_Name",
        "cmd": "x",
        "args": ["y"],
        "mem": -1,
        "upgradeStrategy": {"minimumHealthCapacity": 2},
    }
    answer = await cell.call("POST", "/v2/apps", body)
    assert answer.status == 422 and answer.json["message"] == "Object is not valid"
    paths = {each["path"] for each in answer.json["details"]}
    assert {"/id", "/", "/mem", "/upgradeStrategy/minimumHealthCapacity"} <= paths


async def test_faults_in_a_list_have_its_index(cell: Cell) -> None:
    answer = await cell.call("PUT", "/v2/apps", [SLEEP, {"id": "/b", "cmd": "x", "mem": -1}])
    assert answer.status == 422 and answer.json["details"][0]["path"] == "(1)/mem"
    assert (await cell.get("/v2/apps"))["apps"] == []
    answer = await cell.call("PUT", "/v2/apps", [SLEEP, {"cmd": "x"}, 3])
    assert answer.status == 422 and answer.json["details"][0]["path"] == "(1)/id"


async def test_what_is_no_app_at_all_is_listed_too(cell: Cell) -> None:
    answer = await cell.call("PUT", "/v2/apps", [SLEEP, {"x": 1}, 5, "s", None, {"id": "/c", "cpus": "much"}])
    assert answer.status == 422 and answer.json["message"] == "Invalid JSON"
    paths = [each["path"] for each in answer.json["details"]]
    assert paths == ["(1)/id", "(2)", "(3)", "(4)", "(5)/cpus"]


@pytest.mark.parametrize("depth", [300, 400, 600, 900, 1100, 5_000])
async def test_what_is_nested_too_deep_is_told_in_plain_words(cell: Cell, depth: int) -> None:
    deep = b'{"id":"/a","cmd":"x","env":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1)
    for method, body in (("POST", deep), ("PUT", b"[" + deep + b"]")):
        answer = await cell.call(method, "/v2/apps", body)
        assert answer.status in (400, 422)
        assert "ecursion" not in answer.text
        assert depth == 300 or "nested too deep" in answer.text


async def test_an_app_that_is_too_large_is_named_with_the_limit(cell: Cell) -> None:
    answer = await cell.call("PUT", "/v2/apps", [SLEEP, {**SLEEP, "id": "/large", "env": {"A": "x" * 1_000_000}}])
    assert answer.status == 413
    assert "App /large is too large" in answer.json["message"] and "1,000,000" in answer.json["message"]
    assert (await cell.get("/v2/apps"))["apps"] == []
    answer = await cell.call("PUT", "/v2/apps", [{**SLEEP, "env": {"A": "x" * 990_000}}])
    assert answer.status == 200


async def test_an_app_that_exists(cell: Cell) -> None:
    await cell.deploy(SLEEP)
    answer = await cell.call("POST", "/v2/apps", SLEEP)
    assert answer.status == 409 and answer.json == {"message": "An app with id [/web] already exists."}


async def test_a_locked_app_names_the_deployment(cell: Cell) -> None:
    cell.machine.idle.add("/web")
    created = await cell.call("POST", "/v2/apps", SLEEP)
    holder = created.headers["Marathon-Deployment-Id"]
    for method, path, body in (
        ("PUT", "/v2/apps/web", {"instances": 2}),
        ("PATCH", "/v2/apps/web", {"instances": 2}),
        ("PUT", "/v2/apps", [{"id": "/web", "instances": 2}]),
        ("DELETE", "/v2/apps/web?force=false", None),
        ("POST", "/v2/apps/web/restart", None),
        ("PUT", "/v2/groups", {"apps": []}),
        ("DELETE", "/v2/groups", None),
    ):
        answer = await cell.call(method, path, body)
        assert answer.status == 409, (method, path)
        assert answer.json == {
            "message": "App is locked by one or more deployments. Override with the option '?force=true'. "
            "View details at '/v2/deployments/<DEPLOYMENT_ID>'.",
            "deployments": [{"id": holder}],
        }
    forced = await cell.call("PUT", "/v2/apps/web?force=true", {"cmd": "sleep 2"})
    assert forced.status == 200
    await cell.until(lambda: holder not in cell.mirror.world().deployments)


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/v2/apps/none", "App '/none' does not exist"),
        ("GET", "/v2/apps/a/b/none/tasks", "App '/a/b/none' does not exist"),
        ("GET", "/v2/apps/none/versions", "App '/none' does not exist"),
        ("DELETE", "/v2/apps/none", "App '/none' does not exist"),
        ("DELETE", "/v2/apps/none/tasks", "App '/none' does not exist"),
        ("POST", "/v2/apps/none/restart", "App '/none' does not exist"),
        ("GET", "/v2/groups/none", "Group '/none' does not exist"),
        ("DELETE", "/v2/groups/none", "Group '/none' does not exist"),
        ("GET", "/v2/apps/none/*", "Group '/none' does not exist"),
        ("DELETE", "/v2/deployments/none", "DeploymentPlan none does not exist"),
        ("DELETE", "/v2/deployments/none?force=true", "DeploymentPlan none does not exist"),
        ("DELETE", "/v2/queue/none/delay", "Application /none not found in tasks queue."),
        ("GET", "/v2/nothing", "Not Found"),
        ("GET", "/v1/why/none", "App '/none' does not exist. `kato ls` lists those that do."),
        ("GET", "/v1/logs/none", "There is no app, group or task 'none'"),
    ],
)
async def test_what_does_not_exist(cell: Cell, method: str, path: str, message: str) -> None:
    answer = await cell.call(method, path)
    assert answer.status == 404 and answer.json == {"message": message}


async def test_a_task_and_a_version_that_do_not_exist(cell: Cell) -> None:
    await cell.deploy(SLEEP)
    task = await cell.call("DELETE", "/v2/apps/web/tasks/web.nothing")
    assert task.status == 404 and task.json == {"message": "Task 'web.nothing' does not exist"}
    version = "2001-01-01T00:00:00.000Z"
    for answer in (
        await cell.call("GET", f"/v2/apps/web/versions/{version}"),
        await cell.call("PUT", "/v2/apps/web", {"version": version}),
    ):
        assert answer.status == 404 and answer.json == {
            "message": f"App '/web' does not exist in version {version}"
        }


async def test_version_goes_only_with_id(cell: Cell) -> None:
    await cell.deploy(SLEEP)
    body = {"version": "2001-01-01T00:00:00.000Z", "instances": 2}
    answer = await cell.call("PUT", "/v2/apps/web", body)
    assert answer.status == 422 and answer.json["message"] == "Object is not valid"
    assert answer.json["details"][0]["errors"] == ["The 'version' field may only be combined with the 'id' field."]


async def test_scale_and_wipe_exclude_each_other(cell: Cell) -> None:
    await cell.deploy(SLEEP)
    for method, path, body in (
        ("DELETE", "/v2/apps/web/tasks?scale=true&wipe=true", None),
        ("POST", "/v2/tasks/delete?scale=true&wipe=true", {"ids": []}),
    ):
        answer = await cell.call(method, path, body)
        assert answer.status == 400
        assert answer.json == {"message": "You cannot use scale and wipe at the same time."}


async def test_ids_that_are_no_task_ids(cell: Cell) -> None:
    answer = await cell.call("POST", "/v2/tasks/delete", {"ids": ["not_known"]})
    assert answer.status == 400 and answer.json == {"message": "Invalid task id not_known"}
    answer = await cell.call("POST", "/v2/tasks/delete", {"ids": "x"})
    assert answer.status == 422 and answer.json["details"][0]["path"] == "/ids"
    gone = await cell.call("POST", "/v2/tasks/delete", {"ids": ["web.gone"]})
    assert gone.status == 200 and gone.json == {"tasks": []}


async def test_one_path_is_not_an_app_and_a_group(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/shop/web"})
    for id in ("/shop", "/shop/web/more"):
        answer = await cell.call("POST", "/v2/apps", {**SLEEP, "id": id})
        assert answer.status == 422 and answer.json["details"][0]["path"] == "/id"


async def test_a_circle_of_dependencies(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/a"}, {**SLEEP, "id": "/b", "dependencies": ["/a"]})
    answer = await cell.call("PUT", "/v2/apps/a", {"dependencies": ["/b"]})
    assert answer.status == 422 and "circle" in answer.json["details"][0]["errors"][0]


async def test_groups_that_exist(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/shop/web"})
    answer = await cell.call("POST", "/v2/groups", {"id": "/shop", "apps": []})
    assert answer.status == 409
    assert answer.json == {"message": "Group /shop is already created. Use PUT to change this group."}
    for method in ("POST", "PUT"):
        answer = await cell.call(method, "/v2/groups/shop/web", {"apps": []})
        assert answer.status == 409 and answer.json == {"message": "An app with id [/shop/web] already exists."}


async def test_faults_in_groups_have_their_path(cell: Cell) -> None:
    body = {
        "id": "/g",
        "apps": [SLEEP | {"id": "a"}],
        "groups": [{"id": "h", "apps": [{"id": "/elsewhere", "cmd": "x"}]}],
    }
    answer = await cell.call("POST", "/v2/groups", body)
    assert answer.status == 422 and answer.json["details"][0]["path"] == "/groups(0)/apps(0)/id"
    answer = await cell.call("PUT", "/v2/groups/g", {"apps": [{"id": "a", "cmd": 3}]})
    assert answer.status == 422 and answer.json["message"] == "Invalid JSON"
    assert answer.json["details"][0]["path"] == "/apps(0)/cmd"
    answer = await cell.call("PUT", "/v2/groups/g", {"groups": [{"apps": []}, 3]})
    assert answer.status == 422
    answer = await cell.call("PUT", "/v2/groups/g", {"groups": [{"id": "h", "groups": [{}]}]})
    assert answer.status == 422 and answer.json["details"][0]["path"] == "/groups(0)/groups(0)/id"


async def test_methods_and_media_types(cell: Cell) -> None:
    answer = await cell.call("DELETE", "/v2/apps")
    assert answer.status == 405 and answer.json == {"message": "Method Not Allowed"}
    answer = await cell.call("POST", "/v2/apps", b"<app/>", Content_Type="text/xml")
    assert answer.status == 415 and "application/json" in answer.json["message"]
    answer = await cell.call("GET", "/v2/events", Accept="application/json")
    assert answer.status == 405
    head = await cell.call("HEAD", "/v2/apps")
    assert head.status == 200 and head.text == ""


async def test_an_id_that_climbs_above_the_root_is_refused(cell: Cell) -> None:
    """Marathon stays at the root, and so makes /etc/passwd of /../../etc/passwd."""
    app = {"id": "/../../etc/passwd", "cmd": "sleep 1"}
    for method, path, body, where in (
        ("POST", "/v2/apps", app, "/id"),
        ("PUT", "/v2/apps", [app], "(0)/id"),
        ("PUT", "/v2/groups", {"apps": [{**app, "id": "../a"}]}, "/apps(0)/id"),
        ("PUT", "/v2/groups", {"groups": [{"id": "/a/../../b"}]}, "/groups(0)/id"),
        ("POST", "/v2/apps", {**app, "id": "/a", "dependencies": ["../../b"]}, "/dependencies"),
    ):
        answer = await cell.call(method, path, body)
        assert answer.status == 422, answer
        assert [each["path"] for each in answer.json["details"]] == [where]
        assert "climbs above the root" in str(answer.json["details"])
    answer = await cell.call("PUT", "/v2/apps/a%2F..%2F..%2Fetc", {"cmd": "sleep 1"})
    assert answer.status == 400 and "climbs above the root" in answer.json["message"]
    assert (await cell.get("/v2/apps"))["apps"] == []


async def test_an_encoded_slash_is_the_name_of_no_app(cell: Cell) -> None:
    """Made plain it would be the path of all apps."""
    for method, path in (("GET", "%2F"), ("PUT", "%2f"), ("DELETE", "%2F/"), ("POST", "%2F%2f/restart")):
        answer = await cell.call_as_it_is(method, f"/v2/apps/{path}")
        assert answer.status == 400 and "encoded slash" in answer.json["message"], (method, path, answer)
    for path in ("/v2/apps/", "/v2/groups/%2F", "/v2/apps/%2Fg%2F*"):
        assert (await cell.call_as_it_is("GET", path)).status in (200, 404), path


async def test_a_port_that_another_app_has_is_refused_with_its_name(cell: Cell) -> None:
    """Marathon takes it, and its load balancer serves one of the two."""
    await cell.deploy({"id": "/web", "cmd": "sleep 1", "instances": 0, "ports": [9080]})
    own = int(cell.base.rpartition(":")[2])
    for id, port, owner in (
        ("/api", 9080, "/web"),
        ("/api", own, "the cell's API"),
        ("/b", 8181, "the cell's ingress"),
    ):
        refused = await cell.call("POST", "/v2/apps", {"id": id, "cmd": "sleep 1", "ports": [port]})
        assert refused.status == 422 and refused.json == {
            "message": "Object is not valid",
            "details": [
                {
                    "path": "/portDefinitions(0)/port",
                    "errors": [
                        f"service port {port} of {id} belongs to {owner}; give {id} another one, or 0 for any "
                        "that is free"
                    ],
                }
            ],
        }
    apps = [{"id": name, "cmd": "sleep 1", "ports": [9090]} for name in ("a", "b")]
    refused = await cell.call("PUT", "/v2/groups/pair", {"apps": apps})
    assert refused.status == 422 and "/pair/b belongs to /pair/a" in refused.text
