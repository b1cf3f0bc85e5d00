"""What a change comes to: versions, ports, locks, pieces, the flip, what settles it, what is forgotten."""

import zlib

import msgspec
import pytest

from builders import V1, V2, app, node, task, world
from kato.api.wish import Draft, Wish
from kato.api.wish.draft import draft
from kato.api.wish.flip import Batch, batches, flip, prepare, settling
from kato.api.wish.ports import assign
from kato.api.wish.versions import in_use, outdated
from kato.api.wish.wish import group_back
from kato.model.app import App, Container, Network, PortDefinition, PortMapping, UpgradeStrategy
from kato.model.deployment import Deployment, GroupRecord, Kill
from kato.model.errors import InvalidApp, InvalidInput, Locked
from kato.model.ids import timestamp
from kato.model.world import World
from kato.store import MAX_TXN_BYTES, MAX_TXN_OPERATIONS, Put, keys

NOW = 1_800_000_000.0


def fresh(of: App) -> App:
    """An app as a front door hands it in."""
    return msgspec.structs.replace(of, version="", version_info=None)


def asked(look: World, *apps: App, force: bool = False, **more: object) -> Draft:
    wish = Wish(apps={each.id: each for each in apps}, **more)  # type: ignore[arg-type]
    return draft(look, wish, NOW, id="d2", force=force)


def holding(*apps: str, id: str = "d1", **more: object) -> Deployment:
    given: dict[str, object] = {"original": dict.fromkeys(apps), "target": dict.fromkeys(apps, V1)}
    return Deployment(id=id, version=V1, started=0, **(given | more))  # type: ignore[arg-type]


def test_a_new_app_has_one_version_for_all() -> None:
    found = asked(world(), fresh(app()))
    (piece,) = found.pieces
    assert found.version == piece.version == piece.config_version == timestamp(NOW)
    assert found.deployment is not None
    assert found.deployment.original == {"/web": None} and found.deployment.target == {"/web": found.version}


def test_the_same_again_is_nothing() -> None:
    found = asked(world(apps=[app()]), fresh(app()))
    assert found.deployment is None and not found.pieces and not found.writes and found.id == "d2"


def test_instances_alone_keep_the_configuration() -> None:
    (piece,) = asked(world(apps=[app()]), fresh(app(instances=5))).pieces
    assert piece.version_info is not None
    assert piece.version_info.last_scaling_at == piece.version and piece.config_version == V1


def test_how_tasks_are_exchanged_and_chosen_does_not_exchange_them() -> None:
    careful = UpgradeStrategy(minimum_health_capacity=0.5, maximum_over_capacity=0.2)
    wanted = fresh(app(instances=5, upgrade_strategy=careful, kill_selection="OLDEST_FIRST"))
    (piece,) = asked(world(apps=[app()]), wanted).pieces
    assert piece.config_version == V1 and piece.upgrade_strategy == careful


def test_anything_else_is_a_new_configuration() -> None:
    (piece,) = asked(world(apps=[app()]), fresh(app(instances=5, cpus=0.2))).pieces
    assert piece.config_version == piece.version


def test_a_restart_is_a_new_configuration_of_the_same() -> None:
    (piece,) = asked(world(apps=[app()]), fresh(app()), restart=frozenset({"/web"})).pieces
    assert piece.config_version == piece.version > V1


def test_going_back_keeps_the_old_configuration() -> None:
    look = world(apps=[app(version=V2, cpus=0.2)])
    (piece,) = asked(look, app(version=V1)).pieces
    assert piece.version > V2 and piece.config_version == V1
    assert not asked(look, app(version=V2, cpus=0.2)).writes


def test_versions_rise_though_the_clock_stands() -> None:
    late = timestamp(NOW + 500)
    found = asked(world(apps=[app(version=late)]), fresh(app(cpus=0.2)))
    assert found.version > late


def test_a_held_app_is_locked_and_force_takes_over() -> None:
    look = world(apps=[app(), app("/other")], deployments=[holding("/web"), holding("/other", id="d9")])
    with pytest.raises(Locked) as locked:
        asked(look, fresh(app(cpus=0.2)))
    assert locked.value.deployments == ("d1",) and locked.value.app == "/web"
    found = asked(look, fresh(app(cpus=0.2)), force=True)
    assert [each.id for each in found.cancelled] == ["d1"]


def test_an_unchanged_app_is_not_locked_and_a_cancelled_deployment_holds_nothing() -> None:
    look = world(apps=[app()], deployments=[holding("/web")])
    assert not asked(look, fresh(app())).writes
    over = world(apps=[app()], deployments=[holding("/web", cancelled=True)])
    assert asked(over, fresh(app(cpus=0.2))).cancelled == ()


def test_one_path_is_not_two_things_and_circles_are_refused() -> None:
    look = world(apps=[app("/shop/web"), app("/a"), app("/b", dependencies=("/a",))])
    for id in ("/shop", "/shop/web/x"):
        with pytest.raises(InvalidApp, match="both an app and a group"):
            asked(look, fresh(app(id)))
    with pytest.raises(InvalidApp, match="circle"):
        asked(look, fresh(app("/a", dependencies=("/b",))))


def test_service_ports_are_given_kept_and_never_shared() -> None:
    looks = world(
        apps=[app("/old", ports=1, port_definitions=app(ports=1).port_definitions)],
        nodes=[node(taken=tuple(range(10001, 20000)))],
    )
    given = assign({"/new": ported("/new", 0)}, looks, "salt", ())["/new"].ports[0].service
    assert given == 20000
    with pytest.raises(InvalidInput, match="Every service port"):
        assign({"/new": ported("/new", 0, 0)}, looks, "salt", ())
    with pytest.raises(InvalidInput):
        assign({"/new": ported("/new", 0)}, looks, "salt", (20000,))


def test_a_port_stays_with_its_index_and_a_written_one_wins() -> None:
    look = world(apps=[ported("/web", 10500, 10600)])
    kept = assign({"/web": ported("/web", 0, 0)}, look, "", ())["/web"]
    assert [port.service for port in kept.ports] == [10500, 10600]
    moved = assign({"/web": ported("/web", 10600, 0)}, look, "", ())["/web"]
    first, second = (port.service for port in moved.ports)
    assert first == 10600 and second not in (10500, 10600) and 10000 <= second <= 20000


def test_ports_are_the_same_every_time_and_others_in_another_cell() -> None:
    wanted = {f"/a{n}": ported(f"/a{n}", 0) for n in range(30)}
    one, again, other = (assign(wanted, world(), salt, ()) for salt in ("x", "x", "y"))
    assert one == again and one != other
    assert len({each.ports[0].service for each in one.values()}) == 30


def test_mappings_of_containers_get_service_ports_too() -> None:
    mapped = app("/c", networks=(Network(mode="container/bridge"),), port_definitions=None)
    container = Container(port_mappings=(PortMapping(container_port=80),))
    found = assign({"/c": msgspec.structs.replace(mapped, container=container)}, world(), "", ())["/c"]
    assert found.ports[0].service >= 10000 and found.ports[0].container == 80


def test_a_small_wish_is_one_transaction() -> None:
    found = asked(world(), fresh(app()), groups={"/g": GroupRecord(id="/g", version="")})
    (piece,) = prepare(found, {})
    assert piece.compares[0].to == 0
    head, rest = flip(found, {})
    assert rest == () and found.deployment is not None
    written = {op.key: op.value for op in head.ops if isinstance(op, Put)}
    assert set(written) == {"deployments/d2", "apps/web", "locks/web", "groups/g"}
    assert keys.decode("deployments/d2", written["deployments/d2"]).settled
    assert keys.decode("groups/g", written["groups/g"]).version == found.version


def test_a_large_wish_is_in_force_with_its_flip_and_settles_after() -> None:
    found = asked(world(), *(fresh(app(f"/a{n}")) for n in range(500)))
    head, rest = flip(found, {})
    (only,) = head.ops
    assert only.key == "deployments/d2" and isinstance(only, Put)
    assert not keys.decode(only.key, only.value).settled
    pointers = {op.key for batch in rest for op in batch.ops}
    assert pointers == {f"{room}/a{n}" for n in range(500) for room in ("apps", "locks")} | {"deployments/d2"}
    last = rest[-1].ops[0]
    assert isinstance(last, Put) and keys.decode(last.key, last.value).settled
    assert found.deployment is not None and settling(found.deployment) == rest


def test_every_transaction_fits_the_port() -> None:
    found = asked(world(), *(fresh(app(f"/a{n}", env={"X": "y" * 9000})) for n in range(500)))
    head, rest = flip(found, {})
    for batch in (*prepare(found, {}), head, *rest):
        assert len(batch.compares) + len(batch.ops) + 2 <= MAX_TXN_OPERATIONS
        assert sum(len(op.key) + len(op.value) for op in batch.ops if isinstance(op, Put)) < MAX_TXN_BYTES
        assert len({op.key for op in batch.ops}) == len(batch.ops)


def test_many_deployments_taken_over_end_before_the_flip_or_with_it() -> None:
    held = [holding(f"/a{n}", id=f"x{n}") for n in range(100)]
    look = world(apps=[app(f"/a{n}") for n in range(100)], deployments=held)
    found = asked(look, *(fresh(app(f"/a{n}", cpus=0.2)) for n in range(100)), force=True)
    modified = {keys.deployment(each.id): 7 for each in held}
    before = list(prepare(found, modified))
    head, rest = flip(found, modified)
    ended = [op.key for batch in (*before, head) for op in batch.ops if op.key.startswith("deployments/x")]
    assert len(ended) == len(set(ended)) == 100
    assert not [op for batch in rest for op in batch.ops if op.key.startswith("deployments/x")]
    assert any(compare.key.startswith("deployments/x") and compare.to == 7 for compare in head.compares)


def test_kills_and_removals_go_with_the_flip() -> None:
    found = asked(world(apps=[app()]), fresh(app(instances=0)), kills=(Kill(task="t", app="/web", scale=True),))
    assert "kills/t" in {op.key for op in flip(found, {})[0].ops}
    gone = draft(world(apps=[app()]), Wish(apps={"/web": None}), NOW, id="d2")
    assert gone.deployment is not None and gone.deployment.target == {"/web": None}


def test_an_overlay_is_the_world_as_wished() -> None:
    look = world(apps=[app(), app("/gone")], deployments=[holding("/web")])
    found = draft(look, Wish(apps={"/web": fresh(app(cpus=0.2)), "/gone": None}), NOW, id="d2", force=True)
    after = found.overlay(look)
    assert set(after.apps) == {"/web"} and after.apps["/web"].cpus == 0.2
    assert set(after.deployments) == {"d2"} and after.locks == {"/web": "d2", "/gone": "d2"}
    assert after.spec("/web", found.version) is after.apps["/web"] and after.spec("/web", V1) == app()


def test_versions_in_use_are_never_forgotten() -> None:
    old = [f"2025-01-{n:02}T00:00:00.000Z" for n in range(1, 31)]
    look = world(
        apps=[app(version=old[29])],
        tasks=[task(app(version=old[0]))],
        deployments=[
            Deployment(id="d", version=V1, started=0, original={"/web": old[1]}, target={"/web": old[2]})
        ],
    )
    assert outdated(old, in_use(look, "/web"), True) == [old[3], old[4]]
    assert outdated(old, in_use(look, "/web"), False) == old[3:29]
    assert outdated(old, in_use(world(), "/web"), False) == old


def test_batches_keep_order_and_leave_room() -> None:
    writes = [Batch((), (Put(f"k{n}", b"x"),)) for n in range(300)]
    made = list(batches(writes, reserve=1))
    assert [op.key for batch in made for op in batch.ops] == [f"k{n}" for n in range(300)]
    assert max(len(batch.ops) for batch in made) == MAX_TXN_OPERATIONS - 3


def ported(id: str, *ports: int) -> App:
    return app(id, port_definitions=tuple(PortDefinition(port=port) for port in ports))


def routed(id: str, host: str, port: int = 0, path: str = "/", **labels: str) -> App:
    named = {"HAPROXY_0_VHOST": host, "HAPROXY_0_PATH": path, **labels}
    return msgspec.structs.replace(ported(id, port or zlib.crc32(id.encode()) % 1000 + 100), labels=named)


def faults(look: World, *apps: App, own: dict[int, str] | None = None, **more: object) -> list[tuple[str, str]]:
    wish = Wish(apps={each.id: fresh(each) for each in apps} | more)  # type: ignore[arg-type]
    try:
        draft(look, wish, NOW, id="d2", own=own)
    except InvalidApp as error:
        return [(fault.path, fault.message) for fault in error.faults]
    return []


def test_a_service_port_is_one_apps() -> None:
    look = world(apps=[ported("/web", 8080)])
    ((path, message),) = faults(look, ported("/api", 0, 8080))
    assert path == "/portDefinitions(1)/port"
    assert message.startswith("service port 8080 of /api belongs to /web; give /api another one")
    assert faults(world(), ported("/web", 8080), ported("/api", 8080)), "nor can two of one wish have it"
    assert not faults(look, ported("/api", 8080), **{"/web": None}), "but it passes on"
    assert not faults(look, ported("/api", 8080), ported("/web", 8081))
    assert faults(look, ported("/api", 0), ported("/b", 8080)), "a free one for one is no excuse for another"


def test_a_service_port_that_the_balancer_does_not_serve_is_nobodys() -> None:
    udp = app("/dns", port_definitions=(PortDefinition(port=8080, protocol="udp"),))
    assert not faults(world(apps=[ported("/web", 8080)]), udp)


def test_the_cells_own_ports_are_no_apps() -> None:
    own = {8180: "API", 8181: "ingress"}
    found = faults(world(), ported("/web", 8180, 8181), own=own)
    assert [message.partition(";")[0] for _, message in found] == [
        "service port 8180 of /web belongs to the cell's API",
        "service port 8181 of /web belongs to the cell's ingress",
    ]


def test_a_host_with_its_path_is_one_apps() -> None:
    look = world(apps=[routed("/web", "shop.localhost")])
    ((path, message),) = faults(look, routed("/api", "x.localhost, Shop.localhost"))
    assert (
        path == "/labels/HAPROXY_0_VHOST" and "host shop.localhost with path / of /api belongs to /web" in message
    )
    assert not faults(look, routed("/api", "shop.localhost", path="/api"))
    assert faults(world(apps=[routed("/a", "x.y", path="/b/")]), routed("/c", "x.y", path="/b"))


def test_two_colours_of_one_deployment_group_share_their_host() -> None:
    """marathon-lb's zdd starts the next colour beside the last one."""
    blue, green = (
        routed(id, "shop.localhost", HAPROXY_DEPLOYMENT_GROUP="shop") for id in ("/shop-blue", "/shop-green")
    )
    assert not faults(world(apps=[blue]), green)
    assert faults(world(apps=[routed("/shop", "shop.localhost")]), green)


def test_apps_that_share_a_port_since_long_ago_can_be_changed() -> None:
    one, two = ported("/one", 8080), ported("/two", 8080)
    look = world(apps=[one, two])
    assert not faults(look, msgspec.structs.replace(one, instances=5))
    same = draft(look, group_back(look, "/", V1, {"/one": [V1], "/two": [V1]}), NOW, id="d2")
    assert same.deployment is None, "nor is going back to what stands refused"


def test_a_port_that_was_given_makes_way_for_the_cells_own_and_for_what_may_come_back() -> None:
    look = world(apps=[ported("/web", 10500)])
    moved = assign({"/web": ported("/web", 0)}, look, "", (10500,))["/web"]
    assert moved.ports[0].service != 10500
    change = holding("/web", original={"/web": V1}, target={"/web": V2})
    taken = [port for port in range(10001, 20001) if port != 10777]
    old = ported("/web", 10777)
    new = msgspec.structs.replace(ported("/web", 8080), version=V2)
    rolling = world(apps=[new], old=[old], deployments=[change], nodes=[node(taken=tuple(taken))])
    assert assign({"/new": ported("/new", 0)}, rolling, "", ())["/new"].ports[0].service == 10000
