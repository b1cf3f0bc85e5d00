"""`/v1/secrets` over real connections: values go in, and never come out; who waits for one is told so."""

import base64
import time

from cells import Cell

from builders import NEEDS_SECRET
from kato.model.secret import Secret
from kato.store import Put, keys

CANARY = "canary-7f3a91"
LOOKS: tuple[str, ...] = ("/v2/apps", "/v2/groups", "/v2/tasks", "/v2/queue", "/v2/deployments", "/v1/secrets")
LOOKS += ("/v1/apps", "/v1/nodes", "/v1/cell", "/v1/services", "/v1/why/shop/db", "/v1/versions/shop/db")


async def test_a_missing_secret_is_waited_for_and_named_with_the_command_that_mends_it(cell: Cell) -> None:
    answer = await cell.call("PUT", "/v2/apps", [NEEDS_SECRET])
    assert answer.status == 200, answer
    why = await cell.get("/v1/why/shop/db")
    assert "needs the secret shop/password" in why["sentences"][0]
    assert "kato secrets set shop/password" in why["sentences"][0]
    (queued,) = (await cell.get("/v2/queue"))["queue"]
    assert queued["app"]["id"] == "/shop/db"
    assert not cell.mirror.world().tasks
    told = await cell.call("PUT", "/v1/secrets/shop/password", {"value": CANARY})
    assert told.json == {"name": "shop/password", "changed": True, "apps": ["/shop/db"]}
    await cell.over(answer.deployment)
    assert len(cell.mirror.world().tasks["/shop/db"]) == 1


async def test_what_runs_stays_while_its_next_version_waits_for_a_secret(cell: Cell) -> None:
    careless = {"upgradeStrategy": {"minimumHealthCapacity": 0, "maximumOverCapacity": 0}}
    await cell.deploy({**NEEDS_SECRET, **careless, "env": {}, "secrets": {}})
    (before,) = cell.mirror.world().tasks["/shop/db"]
    answer = await cell.call("PUT", "/v2/apps", [{**NEEDS_SECRET, **careless}])
    await cell.deploy({**NEEDS_SECRET, "id": "/later", "env": {}, "secrets": {}})  # decided after the other
    (standing,) = cell.mirror.world().tasks["/shop/db"].values()
    assert (standing.id, standing.goal) == (before, "run")
    await cell.call("PUT", "/v1/secrets/shop/password", {"value": CANARY})
    await cell.over(answer.deployment)
    assert before not in cell.mirror.world().tasks["/shop/db"]


async def test_names_are_told_and_no_value_ever_is(cell: Cell) -> None:
    packed = base64.b64encode(CANARY.encode()).decode()
    first = await cell.call("PUT", "/v1/secrets/shop/password", {"base64": packed})
    again = await cell.call("PUT", "/v1/secrets/shop/password", {"value": CANARY})
    assert (first.json["changed"], again.json["changed"]) == (True, False)
    await cell.deploy(NEEDS_SECRET)
    refused = [
        await cell.call("PUT", "/v1/secrets/shop/password", {"value": CANARY, "more": CANARY}),
        await cell.call("PUT", "/v1/secrets/shop/password", {"base64": f"{CANARY}!"}),
        await cell.call("PUT", "/v1/secrets/shop/password", {"value": [CANARY]}),
        await cell.call("PUT", "/v1/secrets/shop/password", {"value": "x" * 500_001}),
    ]
    assert [each.status for each in refused] == [422] * 4
    said = [await cell.call("GET", path) for path in LOOKS]
    assert [each.status for each in said] == [200] * len(LOOKS)
    (listed,) = said[LOOKS.index("/v1/secrets")].json["secrets"]
    assert (listed["name"], listed["apps"]) == ("shop/password", ["/shop/db"])
    for each in (*said, *refused, first, again):
        assert CANARY not in each.text and packed not in each.text
    assert CANARY not in repr(cell.mirror.world()) and CANARY in cell.mirror.get(keys.secret("shop/password")).text


async def test_a_secret_that_an_app_names_is_removed_by_force_alone(cell: Cell) -> None:
    assert (await cell.call("DELETE", "/v1/secrets/shop/password")).status == 404
    await cell.call("PUT", "/v1/secrets/shop/password", {"value": CANARY})
    await cell.deploy(NEEDS_SECRET)
    refused = await cell.call("DELETE", "/v1/secrets/shop/password")
    assert refused.status == 409 and "is named by /shop/db" in refused.json["message"]
    assert (await cell.call("DELETE", "/v1/secrets/shop/password?force=true")).status == 200
    assert (await cell.get("/v1/secrets")) == {"secrets": []}
    assert len(cell.mirror.world().tasks["/shop/db"]) == 1, "what runs goes on"


async def test_a_name_that_climbs_is_refused(cell: Cell) -> None:
    for name in ("a%2F..%2Fb", "a%20b", ".."):
        answer = await cell.call("PUT", f"/v1/secrets/{name}", {"value": CANARY})
        assert answer.status in (400, 404, 405), (name, answer)
    assert not cell.mirror.world().secrets


async def test_a_value_that_a_file_gave_goes_once_no_version_names_it(cell: Cell) -> None:
    old = {name: Secret(value=b"x", since=0.0) for name in ("shop/gone@aa", "shop/named@bb", "shop/by.hand")}
    fresh = Secret(value=b"x", since=time.time())
    puts = [Put(keys.secret(name), keys.encode(each)) for name, each in (old | {"shop/sent@cc": fresh}).items()]
    await cell.store.txn([], puts)
    await cell.deploy({**NEEDS_SECRET, "secrets": {"pw": {"source": "shop/named@bb"}}})
    await cell.until(lambda: "shop/gone@aa" not in cell.mirror.world().secrets)
    await cell.deploy({**NEEDS_SECRET, "id": "/shop/other", "env": {}, "secrets": {}})
    assert set(cell.mirror.world().secrets) == {"shop/named@bb", "shop/by.hand", "shop/sent@cc"}
