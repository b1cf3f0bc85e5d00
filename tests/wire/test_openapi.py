"""The OpenAPI document: it knows every route that the server has, and answers are as it says."""

import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from cells import Cell

SLEEP = {"id": "/shop/web", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32}
PLACE = re.compile(r"\{(\w+)(?::path)?\}")


@pytest.fixture
async def described(cell: Cell) -> Any:
    return await cell.get("/openapi.json")


def schema_of(document: Any, path: str, method: str, status: int) -> Any:
    """The form of an answer, in which no key is unknown."""
    answers = document["paths"][path][method.lower()]["responses"]
    assert str(status) in answers, f"{method} {path} answers {status}, of which the document does not know"
    return {**answers[str(status)]["content"]["application/json"]["schema"], "components": strict(document)}


def strict(document: Any) -> Any:
    def closed(node: Any) -> Any:
        if isinstance(node, list):
            return [closed(each) for each in node]
        if not isinstance(node, dict):
            return node
        out = {key: closed(value) for key, value in node.items()}
        if isinstance(out.get("properties"), dict):
            out["additionalProperties"] = False
        return out

    return closed(document["components"])


async def test_every_route_is_described(described: Any, cell: Cell) -> None:
    told = {(path, method) for path, methods in described["paths"].items() for method in methods}
    routed = {
        (PLACE.sub(r"{\1}", route.path), method.lower())  # type: ignore[attr-defined]
        for route in cell.routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
    }
    assert told == routed and ("/openapi.json", "get") in told
    ids = [each["operationId"] for methods in described["paths"].values() for each in methods.values()]
    assert len(ids) == len(set(ids)) and described["openapi"] == "3.1.0"
    for methods in described["paths"].values():
        for each in methods.values():
            assert each["summary"] and {"400", "401", "403"} < each["responses"].keys()


async def test_who_may_ask_is_described(described: Any) -> None:
    assert described["security"] == [{}, {"token": []}, {"password": []}]
    schemes = described["components"]["securitySchemes"]
    assert {name: each["scheme"] for name, each in schemes.items()} == {"token": "bearer", "password": "basic"}
    for methods in described["paths"].values():
        for each in methods.values():
            assert "WWW-Authenticate" in each["responses"]["401"]["headers"]


async def test_every_reference_leads_somewhere_and_every_schema_is_one(described: Any) -> None:
    found = re.findall(r'"\$ref":"([^"]+)"', msgspec.json.encode(described).decode())
    assert found
    for name in {each.removeprefix("#/components/schemas/") for each in found}:
        assert name in described["components"]["schemas"], name
    for schema in described["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


ASKED: list[tuple[str, str, str, object, int]] = [
    ("GET", "/", "/", None, 200),
    ("GET", "/openapi.json", "/openapi.json", None, 200),
    ("POST", "/v2/apps", "/v2/apps", {**SLEEP, "id": "/new"}, 201),
    ("POST", "/v2/apps", "/v2/apps", SLEEP, 409),
    ("POST", "/v2/apps", "/v2/apps", {"id": "/x", "cpus": "much"}, 422),
    ("POST", "/v2/apps", "/v2/apps", {"id": "/x", "cmd": "x", "mem": -1}, 422),
    ("PUT", "/v2/apps", "/v2/apps", [SLEEP], 200),
    ("PATCH", "/v2/apps", "/v2/apps", [{**SLEEP, "id": "/none"}], 404),
    ("GET", "/v2/apps", "/v2/apps?embed=apps.tasks&embed=apps.taskStats&embed=apps.readiness", None, 200),
    ("GET", "/v2/apps", "/v2/apps?label=((", None, 400),
    ("GET", "/v2/apps/{id}/*", "/v2/apps/shop/*", None, 200),
    ("GET", "/v2/apps/{id}", "/v2/apps/shop/web", None, 200),
    ("GET", "/v2/apps/{id}", "/v2/apps/none", None, 404),
    ("GET", "/v2/apps/{id}", "/v2/apps/a%2F..%2F..%2Fetc", None, 400),
    ("PUT", "/v2/apps/{id}", "/v2/apps/shop/web", {"instances": 1}, 200),
    ("PUT", "/v2/apps/{id}", "/v2/apps/other", {"cmd": "x"}, 201),
    ("GET", "/v2/apps/{id}/tasks", "/v2/apps/shop/web/tasks", None, 200),
    ("DELETE", "/v2/apps/{id}/tasks", "/v2/apps/shop/web/tasks?host=none", None, 200),
    ("DELETE", "/v2/apps/{id}/tasks", "/v2/apps/shop/web/tasks?host=none&scale=true", None, 200),
    ("GET", "/v2/apps/{id}/versions", "/v2/apps/shop/web/versions", None, 200),
    ("GET", "/v2/groups", "/v2/groups", None, 200),
    ("GET", "/v2/groups", "/v2/groups?embed=group.apps&embed=group.apps.tasks&embed=group.groups", None, 200),
    ("GET", "/v2/groups/{id}", "/v2/groups/shop", None, 200),
    ("GET", "/v2/groups/{id}/apps", "/v2/groups/shop/apps", None, 200),
    ("GET", "/v2/groups/{id}/versions", "/v2/groups/shop/versions", None, 200),
    ("PUT", "/v2/groups/{id}", "/v2/groups/shop?dryRun=true", {"apps": []}, 200),
    ("POST", "/v2/groups", "/v2/groups", {"id": "/more", "apps": []}, 201),
    ("GET", "/v2/tasks", "/v2/tasks", None, 200),
    ("POST", "/v2/tasks/delete", "/v2/tasks/delete", {"ids": []}, 200),
    ("POST", "/v2/apps", "/v2/apps", {**SLEEP, "id": "/huge", "cpus": 1000}, 201),
    ("GET", "/v2/deployments", "/v2/deployments", None, 200),
    ("GET", "/v2/queue", "/v2/queue", None, 200),
    ("GET", "/v2/info", "/v2/info", None, 200),
    ("GET", "/v2/leader", "/v2/leader", None, 200),
    ("GET", "/v1/cell", "/v1/cell", None, 200),
    ("GET", "/v1/apps", "/v1/apps", None, 200),
    ("GET", "/v1/nodes", "/v1/nodes", None, 200),
    ("POST", "/v1/plan", "/v1/plan", {"apps": [{**SLEEP, "cpus": 2000}]}, 200),
    ("GET", "/v1/why/{id}", "/v1/why/huge", None, 200),
    ("GET", "/v1/drill", "/v1/drill?lose=web.1", None, 200),
    ("GET", "/v1/drill", "/v1/drill?lose=n1", None, 200),
    ("GET", "/v1/drill", "/v1/drill?lose=none", None, 404),
    ("GET", "/v1/drill", "/v1/drill", None, 400),
    ("GET", "/v1/versions/{id}", "/v1/versions/shop/web", None, 200),
    ("GET", "/v1/stats", "/v1/stats", None, 200),
    ("GET", "/v1/services", "/v1/services", None, 200),
    ("GET", "/v1/ended", "/v1/ended", None, 200),
    ("GET", "/v1/logs/{id}", "/v1/logs/none", None, 404),
    ("POST", "/v1/rollback/{id}", "/v1/rollback/shop/web", {}, 404),
    ("PUT", "/v1/secrets/{name}", "/v1/secrets/shop/pw", {"value": "canary"}, 200),
    ("PUT", "/v1/secrets/{name}", "/v1/secrets/shop/pw", {"value": 1}, 422),
    ("GET", "/v1/secrets", "/v1/secrets", None, 200),
    ("DELETE", "/v1/secrets/{name}", "/v1/secrets/shop/pw", None, 200),
    ("DELETE", "/v1/secrets/{name}", "/v1/secrets/shop/pw", None, 404),
    ("POST", "/v1/stop", "/v1/stop", None, 202),
]


async def test_answers_are_as_described(cell: Cell, described: Any) -> None:
    checks: dict[str, object] = {
        "healthChecks": [{"protocol": "HTTP", "path": "/"}],
        "readinessChecks": [{"portName": "http"}],
    }
    checks |= {"portDefinitions": [{"port": 0, "name": "http"}]}
    await cell.deploy({**SLEEP, **checks, "labels": {"HAPROXY_0_VHOST": "shop.localhost"}})
    cell.machine.idle.add("/huge")
    for method, path, asked, body, status in ASKED:
        answer = await cell.call(method, asked, body)
        assert answer.status == status, (method, asked, answer)
        form = jsonschema_rs.Draft202012Validator(schema_of(described, path, method, status))
        faults = [f"{list(each.instance_path)}: {each.message}" for each in form.iter_errors(answer.json)]
        assert not faults, (method, asked, faults[:5])
        headers = described["paths"][path][method.lower()]["responses"][str(status)].get("headers", {})
        assert not [name for name in headers if name not in answer.headers], (method, asked)


async def test_a_wish_as_described_is_taken(described: Any) -> None:
    """As the example is, and with old words of Marathon's."""
    post = described["paths"]["/v2/apps"]["post"]["requestBody"]["content"]["application/json"]
    form = jsonschema_rs.Draft202012Validator({**post["schema"], "components": strict(described)})
    assert form.is_valid(post["example"]) and form.is_valid({**SLEEP, "uris": ["x"], "ports": [0]})
    assert not form.is_valid({**SLEEP, "instance": 3}) and not form.is_valid({**SLEEP, "cpus": "much"})
