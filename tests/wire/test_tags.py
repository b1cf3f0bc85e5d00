"""ETags: nobody overwrites what they have not read, and nobody is sent what they have."""

import asyncio

import pytest
from cells import Answer, Cell

WEB = {"id": "/shop/web", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32}
WEB_PATH, SHOP = "/v2/apps/shop/web", "/v2/groups/shop"


async def tag(cell: Cell, path: str) -> str:
    answer = await cell.call("GET", path)
    assert answer.status == 200
    return answer.headers["ETag"]


def wished(tag: str) -> str:
    return tag.strip('"').rpartition(".")[0]


def refused(answer: Answer) -> bool:
    return answer.status == 412 and "changed since it was read" in answer.json["message"]


@pytest.mark.parametrize("path", ["/v2/apps", "/v2/apps?id=web", WEB_PATH, "/v2/groups", SHOP])
async def test_an_answer_that_the_client_has_is_not_sent_again(cell: Cell, path: str) -> None:
    await cell.deploy(WEB)
    first = await tag(cell, path)
    for known in (first, f"W/{first}", f'"other", {first}', "*"):
        answer = await cell.call("GET", path, If_None_Match=known)
        assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", first)
    assert (await cell.call("GET", path, If_None_Match='"other"')).status == 200
    await cell.deploy({**WEB, "instances": 2})
    changed = await cell.call("GET", path, If_None_Match=first)
    assert changed.status == 200 and wished(changed.headers["ETag"]) != wished(first)


async def test_a_change_of_what_was_changed_since_it_was_read_is_refused(cell: Cell) -> None:
    await cell.deploy(WEB)
    old, old_all, old_shop = [await tag(cell, path) for path in (WEB_PATH, "/v2/apps", SHOP)]
    await cell.deploy({**WEB, "instances": 2})
    for method, path, body, known in (
        ("PUT", WEB_PATH, {"instances": 3}, old),
        ("PATCH", WEB_PATH, {"instances": 3}, old),
        ("POST", f"{WEB_PATH}/restart", {}, old),
        ("DELETE", WEB_PATH, None, old),
        ("PUT", "/v2/apps", [{**WEB, "instances": 3}], old_all),
        ("PATCH", "/v2/apps", [{**WEB, "instances": 3}], old_all),
        ("POST", "/v2/apps", {**WEB, "id": "/new"}, old_all),
        ("PUT", SHOP, {"apps": []}, old_shop),
        ("PUT", f"{SHOP}?dryRun=true", {"apps": []}, old_shop),
        ("POST", SHOP, {"id": "new"}, old_shop),
        ("DELETE", SHOP, None, old_shop),
        ("PUT", WEB_PATH, {"instances": 3}, f"W/{await tag(cell, WEB_PATH)}"),
    ):
        assert refused(await cell.call(method, path, body, If_Match=known)), (method, path)
    assert (
        cell.mirror.world().apps.keys() == {"/shop/web"} and cell.mirror.world().apps["/shop/web"].instances == 2
    )
    for path in (WEB_PATH, SHOP, "/v2/apps"):
        body = (
            [{**WEB, "mem": 33}] if path == "/v2/apps" else {"instances": 1} if path == WEB_PATH else {"apps": []}
        )
        answer = await cell.call("PUT", f"{path}?force=true", body, If_Match=f'"other", {await tag(cell, path)}')
        assert answer.status == 200, answer


async def test_tasks_that_come_and_go_are_no_change(cell: Cell) -> None:
    await cell.deploy(WEB)
    read = await tag(cell, WEB_PATH)
    (task,) = cell.mirror.world().tasks["/shop/web"]
    assert (await cell.call("DELETE", f"{WEB_PATH}/tasks/{task}")).status == 200
    await cell.until(lambda: task not in cell.mirror.world().tasks.get("/shop/web", {}))
    await cell.until(lambda: len(cell.mirror.world().statuses.get("/shop/web", {})) == 1)
    assert await tag(cell, WEB_PATH) != read
    assert (await cell.call("PUT", WEB_PATH, {"instances": 2}, If_Match=read)).status == 200


async def test_what_must_be_there_or_must_not(cell: Cell) -> None:
    for path, body in ((WEB_PATH, WEB), ("/v2/groups/toys", {"apps": []})):
        absent = await cell.call("PUT", path, body, If_Match="*")
        assert absent.status == 412 and "does not exist" in absent.json["message"]
        assert (await cell.call("PUT", path, body, If_None_Match="*")).status in (200, 201)
        there = await cell.call("PUT", f"{path}?force=true", body, If_None_Match="*")
        assert there.status == 412 and "exists already" in there.json["message"]
        assert (await cell.call("PUT", f"{path}?force=true", body, If_Match="*")).status == 200


async def test_of_many_who_change_what_they_all_have_read_one_does(cell: Cell) -> None:
    """Each adds one instance; none is lost, though all read and write at once."""
    await cell.deploy({**WEB, "instances": 0})
    clients, turns = 5, 4

    async def client() -> None:
        for _ in range(turns):
            while True:
                answer = await cell.call("GET", WEB_PATH)
                body = {"instances": answer.json["app"]["instances"] + 1}
                done = await cell.call("PUT", f"{WEB_PATH}?force=true", body, If_Match=answer.headers["ETag"])
                if done.status == 200:
                    break
                assert refused(done), done

    await asyncio.gather(*(client() for _ in range(clients)))
    assert cell.mirror.world().apps["/shop/web"].instances == clients * turns
