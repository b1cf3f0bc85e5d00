"""`/v1/rollback` and `/v1/versions`: a cell whose apps fail and are mended; where they go back to."""

from typing import Any

import pytest
from cells import Cell

SLEEP = {"cmd": "sleep 1000", "cpus": 0.1, "mem": 32}
CHECKED = {**SLEEP, "id": "/web", "portDefinitions": [{"port": 0}], "healthChecks": [{"protocol": "TCP"}]}


async def changed(cell: Cell, **more: Any) -> str:
    """A new version of /web; its deployment."""
    return (await cell.call("PUT", "/v2/apps/web?force=true", more)).deployment


async def back(cell: Cell, status: int = 200, **body: str) -> Any:
    answer = await cell.call("POST", "/v1/rollback/web", body)
    assert answer.status == status, answer
    return answer.json


async def states(cell: Cell) -> list[str]:
    return [each["state"] for each in (await cell.get("/v1/versions/web"))["versions"]]


async def test_a_version_that_was_taken_back_is_never_gone_forward_to(cell: Cell) -> None:
    await cell.deploy(CHECKED)
    await cell.over(await changed(cell, env={"STEP": "2"}))
    cell.machine.sick.add("/web")
    await changed(cell, cmd="exit 1")
    await changed(cell, cmd="exit 2")
    assert await states(cell) == ["present", "not whole", "former", "whole"]
    cell.machine.sick.clear()
    said = await back(cell)
    assert [each["sentence"] for each in said["changes"]] == ["update /web: cmd exit 2 → sleep 1000"]
    await cell.over(said["deploymentId"])
    assert await states(cell) == ["present", "not whole", "not whole", "whole", "former"]
    said = await back(cell)
    assert [each["sentence"] for each in said["changes"]] == ["update /web: env.STEP 2 → none"]
    await cell.over(said["deploymentId"])
    refused = await back(cell, 404)
    assert refused["message"].startswith("/web has no former version that once was whole")
    assert cell.mirror.world().apps["/web"].cmd == "sleep 1000"


async def test_it_goes_to_a_version_that_is_named(cell: Cell) -> None:
    await cell.deploy(CHECKED)
    first = cell.mirror.world().apps["/web"].version
    await cell.over(await changed(cell, instances=3))
    said = await back(cell, version=first)
    assert [each["sentence"] for each in said["changes"]] == ["scale /web: 3 → 1 task"]
    newest = cell.mirror.world().apps["/web"].version
    assert (await back(cell, 404, version="nope"))["message"].startswith(
        f"/web has no version 'nope'. The last that it has: {newest}, "
    )


@pytest.mark.parametrize("path", ["/v1/versions/nobody", "/v1/rollback/nobody"])
async def test_an_app_that_is_not_there(cell: Cell, path: str) -> None:
    answer = await cell.call("GET" if "versions" in path else "POST", path, None if "versions" in path else {})
    assert (answer.status, answer.json["message"]) == (404, "App '/nobody' does not exist")
