"""How long a decision takes: 50,000 tasks from nothing, one change among 100,000, a wide deployment, a drill. JSON
lines.

python -m bench.decide [--seed N] [--profile]
"""

import argparse
import cProfile
import gc
import json
import pstats
import random
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from bench.figures import about
from kato.model.action import Place, Plan
from kato.model.app import App, PortDefinition, VersionInfo
from kato.model.deployment import Deployment
from kato.model.node import Node, Resources
from kato.model.task import Status, Task, TaskState
from kato.model.world import World
from kato.plan import Recall, decide, frontends
from kato.plan.deployment import steps
from kato.plan.drill import Loss, drill

T = TypeVar("T")

NOW = 1_800_000_000.0
VERSION = "2026-01-01T00:00:00.000Z"
NODES, SHAPES, APPS = 10_000, 300, 1_000
ZONES = [f"{region}-{zone}" for region in ("eu", "us", "ap") for zone in "abcd"]


def make_nodes(chance: random.Random) -> dict[str, Node]:
    """Nodes of `SHAPES` shapes: size, place, attributes, runtimes, and a price."""
    shapes: list[dict[str, Any]] = []
    for n in range(SHAPES):
        cpus = chance.choice([4, 8, 16, 32, 64])
        zone = chance.choice(ZONES)
        shapes.append(
            {
                "resources": Resources(cpus=cpus, mem=cpus * chance.choice([2048, 4096, 8192]), disk=200_000.0),
                "region": zone[:2],
                "zone": zone,
                "attributes": {"rack": f"r{n % 40}", "disk": chance.choice(["ssd", "hdd"]), "generation": n % 5},
                "runtimes": chance.choice([("process",), ("process", "docker"), ("process", "docker", "oci")]),
                "price": cpus * 0.05,
            }
        )
    nodes = {}
    for n in range(NODES):
        id = f"node-{n:05}"
        nodes[id] = Node(id=id, hostname=id, **shapes[n % SHAPES])
    return nodes


def make_apps(chance: random.Random, tasks: int) -> dict[str, App]:
    """Apps with `tasks` instances together, sizes apart; a third of them constrained, each in its own way."""
    weights = [chance.paretovariate(1.5) for _ in range(APPS)]
    counts = [max(1, round(weight / sum(weights) * tasks)) for weight in weights]
    counts[0] += tasks - sum(counts)
    apps = {}
    for n, count in enumerate(counts):
        id = f"/team{n % 50}/app{n}"
        apps[id] = App(
            id=id,
            cmd="serve",
            instances=count,
            cpus=chance.choice([0.05, 0.1, 0.25, 0.5, 1.0]),
            mem=float(chance.choice([32, 64, 128, 256, 512])),
            constraints=_constraints(chance, count) if n % 3 == 0 else (),
            port_definitions=tuple(PortDefinition(port=10_000 + n) for _ in range(chance.choice([0, 1, 1, 2]))),
            version=VERSION,
            version_info=VersionInfo(last_scaling_at=VERSION, last_config_change_at=VERSION),
        )
    return apps


def _constraints(chance: random.Random, count: int) -> tuple[tuple[str, ...], ...]:
    region = chance.choice(["eu", "us", "ap"])
    return chance.choice(
        [
            (("hostname", "UNIQUE"),),
            (("@zone", "GROUP_BY"),),
            (("@zone", "GROUP_BY", "12"), ("hostname", "UNIQUE")),
            (("rack", "MAX_PER", str(count // 10 + 1)),),
            (("rack", "LIKE", "r[12].?"), ("disk", "UNLIKE", "hdd")),
            (("@region", "IS", region),),
            (("@region", "CLUSTER"),),
            (("generation", "IS", "3"), ("@hostname", "MAX_PER", "2")),
        ]
    )


def timed(work: Callable[[], T], profile: bool) -> tuple[float, T]:
    """Seconds of this process's CPU-bound work on the wall clock, and its result."""
    gc.collect()
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(22)
    return seconds, result


def placed(world: World, plan: Plan) -> World:
    """The world once the plan is carried out and all of it runs."""
    tasks: dict[str, dict[str, Task]] = {}
    for action in plan.actions:
        if isinstance(action, Place):
            tasks.setdefault(action.task.app, {})[action.task.id] = action.task
    return replace(
        world,
        tasks=tasks,
        statuses={app: {t.id: running(t) for t in mine.values()} for app, mine in tasks.items()},
    )


def running(task: Task) -> Status:
    return Status(
        task=task.id, app=task.app, node=task.node, state=TaskState.RUNNING, seq=1, started=NOW - 500, ready=True
    )


def one_change(world: World, app: str) -> World:
    """The same world after one task of `app` has failed."""
    mine = dict(world.statuses[app])
    first = min(mine)
    mine[first] = msgspec.structs.replace(mine[first], state=TaskState.FAILED, exit_code=1, ended=NOW)
    return replace(world, statuses={**world.statuses, app: mine})


def one_fact(world: World, taken: int) -> World:
    """The same world after one node has found that something else listens on one of its ports."""
    first = msgspec.structs.replace(world.nodes[min(world.nodes)], taken=(taken,))
    return replace(world, nodes={**world.nodes, first.id: first})


def say(**figure: object) -> None:
    print(json.dumps({**figure, **about()}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    nodes = make_nodes(chance)

    from_nothing(nodes, chance, options)
    changes(nodes, chance, options)
    _steps()
    _drill(chance, options)


def from_nothing(nodes: dict[str, Node], chance: random.Random, options: argparse.Namespace) -> None:
    """50,000 tasks, of which none is there."""
    world = World(nodes=nodes, apps=make_apps(chance, 50_000))
    seconds, plan = timed(lambda: decide(world, NOW), options.profile)
    waits = sum(wait.count for wait in plan.waits.values())
    places = sum(isinstance(action, Place) for action in plan.actions)
    say(
        figure="decide_50k",
        seed=options.seed,
        seconds=round(seconds, 3),
        limit=3,
        placed=places,
        waiting=waits,
        nodes=NODES,
    )


def changes(nodes: dict[str, Node], chance: random.Random, options: argparse.Namespace) -> None:
    """100,000 tasks that run: the first look at them, then after one change, then after one fact of a node."""
    world = World(nodes=nodes, apps=make_apps(chance, 100_000))
    world = placed(world, decide(world, NOW))
    recall = Recall()
    whole, _ = timed(lambda: decide(world, NOW, recall), False)
    say(
        figure="decide_100k_first_look",
        seed=options.seed,
        seconds=round(whole, 3),
        tasks=sum(map(len, world.tasks.values())),
    )
    app = sorted(world.tasks)[500]
    changed = one_change(world, app)
    seconds, plan = timed(lambda: decide(changed, NOW, recall), options.profile)
    say(
        figure="decide_100k_one_change",
        seed=options.seed,
        seconds=round(seconds, 4),
        limit=0.1,
        actions=len(plan.actions),
    )
    fact = one_fact(changed, 31_999)
    seconds, plan = timed(lambda: decide(fact, NOW, recall), options.profile)
    say(
        figure="decide_100k_one_nodes_facts",
        seed=options.seed,
        seconds=round(seconds, 4),
        limit=0.1,
        actions=len(plan.actions),
    )
    views(world, changed, fact, options)


def views(world: World, changed: World, fact: World, options: argparse.Namespace) -> None:
    """What the balancers serve, after the same changes."""
    recall = Recall()
    frontends(world, recall)
    seconds, _ = timed(lambda: frontends(changed, recall), False)
    say(figure="frontends_100k_one_change", seed=options.seed, seconds=round(seconds, 4))
    seconds, _ = timed(lambda: frontends(fact, recall), False)
    say(
        figure="frontends_100k_one_nodes_facts",
        seed=options.seed,
        seconds=round(seconds, 4),
        max_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )


def _steps() -> None:
    """The steps of a deployment of 4,000 apps in 40 groups, each app waiting for the group before its own."""
    names = [f"/g{n % 40}/app{n}" for n in range(4_000)]
    before = {name: f"/g{n % 40 - 1}" for n, name in enumerate(names) if n % 40}
    apps = {
        name: App(id=name, cmd="serve", version=VERSION, dependencies=(before[name],) if name in before else ())
        for name in names
    }
    target: dict[str, str | None] = dict.fromkeys(names, VERSION)
    change = Deployment(id="d", version=VERSION, original=dict.fromkeys(names), target=target, started=NOW)
    world = World(apps=apps, spec=lambda id, version: apps[id])
    seconds, found = timed(lambda: steps(change, world), False)
    say(figure="steps_4k_apps", seconds=round(seconds, 4), limit=0.05, steps=len(found))


def _drill(chance: random.Random, options: argparse.Namespace) -> None:
    """One of two machines is lost in thought, and the other takes all of its 10,000 tasks. The seconds are the
    processor's, since it is done in a thread beside the cell.
    """
    huge = Resources(cpus=40_000.0, mem=40_000_000.0, disk=1e9)
    nodes = {id: Node(id=id, hostname=id, resources=huge, runtimes=("process",)) for id in ("a", "b")}
    apps = {
        id: msgspec.structs.replace(app, constraints=(), port_definitions=())
        for id, app in make_apps(chance, 20_000).items()
    }
    world = World(nodes=nodes, apps=apps)
    world = placed(world, decide(world, NOW))
    began = time.process_time()
    _, told = timed(lambda: drill(world, Loss("node", "a"), NOW), options.profile)
    seconds = time.process_time() - began
    moved = sum(line.heir is not None for line in told.lines)
    say(figure="drill_10k", seed=options.seed, seconds=round(seconds, 3), limit=1, moved=moved)


if __name__ == "__main__":
    main()
