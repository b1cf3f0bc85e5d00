"""A cell that lives: wishes, kills, ends, sickness, darkness and time in any order; what must hold, holds.

Surge counts every task that has not ended, draining and stopping ones included. Minimum health counts tasks that
are meant to run, healthy and ready, on a node that answers.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
from apply import apply, obey, report, standing, tasks_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from builders import app, node, world
from kato.model.action import Count, Drain, Forget, Place, Plan, Stop
from kato.model.app import App, PortDefinition, RestartPolicy, UpgradeStrategy, VersionInfo
from kato.model.app import HealthCheck as Check
from kato.model.deployment import Deployment, Kill, Launches, Nudge
from kato.model.frontend import BorderAck
from kato.model.health import fulfils
from kato.model.ids import timestamp
from kato.model.node import Resources
from kato.model.task import Task, TaskState
from kato.model.world import World
from kato.plan import Recall, decide
from kato.plan.constraints import value
from kato.plan.effects import without

CONSTRAINTS: list[tuple[tuple[str, ...], ...]] = [
    (),
    (("hostname", "UNIQUE"),),
    (("@hostname", "MAX_PER", "2"),),
    (("@zone", "GROUP_BY"),),
    (("@zone", "GROUP_BY", "2"),),
    (("@zone", "CLUSTER"),),
    (("rack", "LIKE", "r[12]"), ("@zone", "GROUP_BY")),
    (("rack", "UNLIKE", "r1"),),
    (("size", "IS", "2"),),
]
ZONES = ("a", "b", None)
IDS = ("/g/a", "/g/b", "/c")
TURNS = st.lists(st.integers(0, 255), max_size=4)
FIXED = {"port_definitions": (PortDefinition(port=31001),), "require_ports": True}
PORTS: list[dict[str, Any]] = [{}, {"ports": 1}, {"ports": 2}, FIXED]
POLICIES = (
    RestartPolicy(condition="none"),
    RestartPolicy(condition="none", job=True),
    RestartPolicy(condition="on-failure"),
    RestartPolicy(condition="on-failure", max_attempts=1),
    RestartPolicy(condition="on-failure", max_attempts=2, job=True),
)
KINDS: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda ports, more: ports | more,
    st.sampled_from(PORTS),
    st.fixed_dictionaries(
        {
            "constraints": st.sampled_from(CONSTRAINTS),
            "upgrade_strategy": st.builds(
                UpgradeStrategy,
                minimum_health_capacity=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
                maximum_over_capacity=st.sampled_from([0.0, 0.2, 1.0]),
            ),
            "cpus": st.sampled_from([0.1, 0.5, 1.0]),
            "health_checks": st.sampled_from([(), (Check(),)]),
        },
        optional={"kill_selection": st.just("OLDEST_FIRST"), "restart_policy": st.sampled_from(POLICIES)},
    ),
)


def failures(here: World) -> dict[str, Launches]:
    """How launching has gone, but for attempts, of which a number may be skipped."""
    return {id: msgspec.structs.replace(each, attempts=0) for id, each in here.launches.items()}


class Cell(RuleBasedStateMachine):
    world: World
    specs: dict[tuple[str, str], App]

    @initialize(
        shapes=st.lists(
            st.tuples(st.integers(1, 6), st.integers(0, 2), st.integers(1, 3), st.integers(3, 12)),
            min_size=1,
            max_size=4,
        ),
        borders=st.integers(0, 2),
        instances=st.integers(2, 6),
        more=KINDS,
    )
    def start(
        self, shapes: list[tuple[int, int, int, int]], borders: int, instances: int, more: dict[str, Any]
    ) -> None:
        self.now = 1_000_000.0
        self.recall = Recall()
        self.specs = {}
        self.count = 0
        nodes = [
            node(
                f"n{n}",
                cpus=float(cpus),
                zone=ZONES[zone],
                attributes={"rack": f"r{rack}", "size": float(rack)},
                ports=((31000, 31000 + width),),
                price=0.5 * rack,
            )
            for n, (cpus, zone, rack, width) in enumerate(shapes)
        ]
        specs = self.specs
        self.world = replace(
            world(nodes=nodes, borders=[BorderAck(node=f"n{n}", seq=0) for n in range(min(borders, len(nodes)))]),
            spec=lambda id, version: specs.get((id, version)),
        )
        self.deploy(("/g/a", app("/g/a", instances=instances, version=self.version(), **more)))
        for _ in range(3):
            self.turn(255)

    def version(self) -> str:
        self.count += 1
        return timestamp(self.now + self.count / 1000)

    def deploy(self, *wishes: tuple[str, App | None]) -> None:
        """As the api does: a deployment takes over those that hold its apps."""
        ids = {id for id, _ in wishes}
        original = {id: now.version if (now := self.world.apps.get(id)) else None for id in ids}
        apps = dict(self.world.apps)
        for id, wish in wishes:
            apps.pop(id, None)
            if wish is not None:
                apps[id] = wish
                self.specs[(id, wish.version)] = wish
        held = {
            id: msgspec.structs.replace(each, cancelled=True) if ids & each.target.keys() else each
            for id, each in self.world.deployments.items()
        }
        target = {id: wish.version if wish else None for id, wish in wishes}
        version = self.version()
        new = Deployment(id=f"d{self.count}", version=version, original=original, target=target, started=self.now)
        self.world = replace(self.world, apps=apps, deployments={**held, new.id: new})

    @rule(id=st.sampled_from(IDS), instances=st.integers(0, 6), more=KINDS, turns=TURNS)
    def wish(self, id: str, instances: int, more: dict[str, Any], turns: list[int]) -> None:
        self.deploy((id, app(id, instances=instances, version=self.version(), **more)))
        self.take(turns)

    @rule(more=KINDS, turns=TURNS)
    def upgrade(self, more: dict[str, Any], turns: list[int]) -> None:
        before = self.world.apps.get("/g/a")
        if before is not None and before.instances:
            self.deploy(("/g/a", app("/g/a", instances=before.instances, version=self.version(), **more)))
            self.take(turns)

    @precondition(lambda self: bool(self.world.apps))
    @rule(data=st.data(), instances=st.integers(0, 6), turns=TURNS)
    def scale(self, data: st.DataObject, instances: int, turns: list[int]) -> None:
        before = self.world.apps[data.draw(st.sampled_from(sorted(self.world.apps)))]
        version = self.version()
        info = VersionInfo(last_scaling_at=version, last_config_change_at=before.config_version)
        self.deploy(
            (before.id, msgspec.structs.replace(before, instances=instances, version=version, version_info=info))
        )
        self.take(turns)

    @precondition(lambda self: bool(self.world.apps))
    @rule(data=st.data(), turns=TURNS)
    def remove(self, data: st.DataObject, turns: list[int]) -> None:
        self.deploy((data.draw(st.sampled_from(sorted(self.world.apps))), None))
        self.take(turns)

    @rule(instances=st.integers(1, 3), job=st.sampled_from([None, *POLICIES]), turns=TURNS)
    def group(self, instances: int, job: RestartPolicy | None, turns: list[int]) -> None:
        more: dict[str, Any] = {"version": self.version(), "instances": instances}
        self.deploy(
            ("/g/a", app("/g/a", ports=1, dependencies=("/g/b",), **more)),
            ("/g/b", app("/g/b", ports=1, dependencies=("/c",), **more)),
            ("/c", app("/c", restart_policy=job, **more)),
        )
        self.take(turns)

    @precondition(lambda self: bool(tasks_of(self.world)))
    @rule(
        data=st.data(),
        state=st.sampled_from(
            [
                TaskState.STARTING,
                TaskState.RUNNING,
                TaskState.RUNNING,
                TaskState.FINISHED,
                TaskState.FINISHED,
                TaskState.FAILED,
                TaskState.LOST,
            ]
        ),
        alive=st.booleans(),
        ready=st.booleans(),
        turns=TURNS,
    )
    def happen(self, data: st.DataObject, state: TaskState, alive: bool, ready: bool, turns: list[int]) -> None:
        task = data.draw(st.sampled_from(tasks_of(self.world)))
        status = self.world.statuses.get(task.app, {}).get(task.id)
        if status is None or not status.state.ended:
            self.world = report(self.world, task, state, self.now, alive=alive, ready=ready)
        self.take(turns)

    @precondition(lambda self: bool(tasks_of(self.world)))
    @rule(data=st.data(), known=st.booleans(), turns=TURNS)
    def kill(self, data: st.DataObject, known: bool, turns: list[int]) -> None:
        task = data.draw(st.sampled_from(tasks_of(self.world)))
        id = task.id if known else "nobody"
        self.world = replace(self.world, kills={**self.world.kills, id: Kill(task=id, app=task.app)})
        self.take(turns)

    @rule(id=st.sampled_from(IDS), turns=TURNS)
    def nudge(self, id: str, turns: list[int]) -> None:
        self.world = replace(self.world, nudges={**self.world.nudges, id: Nudge(app=id)})
        self.take(turns)

    @rule(data=st.data(), turns=TURNS)
    def darken(self, data: st.DataObject, turns: list[int]) -> None:
        dark = data.draw(st.sets(st.sampled_from(sorted(self.world.nodes)), max_size=1))
        self.world = replace(self.world, dark=frozenset(dark))
        self.take(turns)

    @precondition(lambda self: len(self.world.nodes) > 1)
    @rule(data=st.data(), turns=TURNS)
    def vanish(self, data: st.DataObject, turns: list[int]) -> None:
        """A node is taken out of the cell, with whatever ran there; that is nobody's failure."""
        id = data.draw(st.sampled_from(sorted(self.world.nodes)))
        running = [task for app in self.world.tasks for task in standing(self.world, app) if task.goal != "done"]
        before = {task.id for task in running if task.node == id}
        self.world = replace(self.world, nodes=without(self.world.nodes, id))
        after = apply(self.world, self.decided().actions, self.now)
        assert not before & {task.id for task in tasks_of(after)}
        self.take(turns)

    @rule(data=st.data(), taken=st.sets(st.integers(31000, 31012)), cpus=st.integers(0, 3), turns=TURNS)
    def learn(self, data: st.DataObject, taken: set[int], cpus: int, turns: list[int]) -> None:
        """A node has other facts: ports that something else listens on, and more cores."""
        before = self.world.nodes[data.draw(st.sampled_from(sorted(self.world.nodes)))]
        more = msgspec.structs.replace(before.resources, cpus=before.resources.cpus + cpus)
        now = msgspec.structs.replace(before, taken=tuple(sorted(taken)), resources=more, price=float(cpus))
        self.world = replace(self.world, nodes={**self.world.nodes, now.id: now})
        self.take(turns)

    @rule(seconds=st.sampled_from([0.5, 5.0, 31.0, 61.0, 400.0]), turns=TURNS)
    def wait(self, seconds: float, turns: list[int]) -> None:
        self.now += seconds
        self.take(turns)

    @rule(turns=TURNS)
    def sessions(self, turns: list[int]) -> None:
        """Whatever drains has open sessions meanwhile."""
        for mask in turns:
            self.turn(mask, {task.id: 1 for task in tasks_of(self.world)})

    @rule(share=st.floats(0.0, 1.0))
    def crash(self, share: float) -> None:
        """Only the first part of a plan is committed."""
        plan = self.decided()
        part = plan.actions[: math.ceil(share * len(plan.actions))]
        self.world = apply(self.world, part, self.now)

    def take(self, turns: list[int]) -> None:
        for mask in turns:
            self.turn(mask)

    def turn(self, mask: int, sessions: Mapping[str, int] | None = None) -> None:
        """One plan, carried out; then the agents of the masked tasks report, and the borders acknowledge."""
        self.world = apply(self.world, self.decided().actions, self.now)
        self.world = obey(self.world, self.now, mask, sessions or {})
        self.now += 1.0

    def decided(self) -> Plan:
        plan = decide(self.world, self.now, self.recall)
        assert plan == decide(self.world, self.now), "what is recalled changes the plan"
        assert plan.wake_at is None or plan.wake_at > self.now
        self.check(plan)
        self.check_parts(plan)
        again = decide(apply(self.world, plan.actions, self.now), self.now)
        assert not again.actions, f"deciding again yields {[str(each) for each in again.actions]}"
        return plan

    def check_parts(self, plan: Plan) -> None:
        """Whatever first part of a plan is committed, each failure is counted once when it is decided again."""
        whole = failures(apply(self.world, plan.actions, self.now))
        counting = any(getattr(each, "launches", None) for each in plan.actions if not isinstance(each, Count))
        for cut in range(1, len(plan.actions)) if counting else ():
            part = apply(self.world, plan.actions[:cut], self.now)
            rest = decide(part, self.now)
            assert failures(apply(part, rest.actions, self.now)) == whole, f"cut after {plan.actions[cut - 1]}"

    def check(self, plan: Plan) -> None:
        here = self.world
        for action in plan.actions:
            if isinstance(action, Place):
                self.check_place(here, action.task)
                self.check_jobs(here, self.specs[(action.task.app, action.task.version)])
            elif isinstance(action, Forget):
                self.check_finished(here, action.task)
            here = apply(here, [action], self.now)
        for id, wish in self.world.apps.items():
            self.check_capacity(id, wish, plan, here)

    def check_jobs(self, here: World, wish: App) -> None:
        """No version of an app is begun before the jobs that it depends on have ended well."""
        launches = here.launches.get(wish.id)
        begun = launches is not None and launches.config == wish.config_version
        for id in wish.dependencies if not begun else ():
            job = here.apps.get(id)
            if job is not None and job.job:
                well = [task for task in here.tasks.get(id, {}).values() if self.ended_well(here, task)]
                assert sum(task.config == job.config_version for task in well) >= job.instances

    def check_finished(self, here: World, task: Task) -> None:
        """What has ended well is not forgotten, and so not run again, unless a user wishes for something else."""
        wish = here.apps.get(task.app)
        if not self.ended_well(here, task) or wish is None or task.config != wish.config_version:
            return
        if any(task.app in each.target for each in here.deployments.values()):
            return  # its goal may be what was before
        others = [each for each in here.tasks[task.app].values() if each.config == task.config]
        assert wish.restarts == "any" or task.id in here.kills or len(others) > wish.instances

    def ended_well(self, here: World, task: Task) -> bool:
        status = here.statuses.get(task.app, {}).get(task.id)
        return task.goal in ("run", "done") and status is not None and status.state is TaskState.FINISHED

    def check_place(self, here: World, task: Task) -> None:
        """Naively, as Marathon states each operator."""
        wish = self.specs[(task.app, task.version)]
        assert task.node not in here.dark
        everybody = standing(here, task.app)
        others = [each for each in everybody if each.node in here.nodes]  # what is done may outlive its node
        for field, operator, *rest in wish.constraints:
            mine = value(here.nodes[task.node], field)
            counts = Counter(value(here.nodes[other.node], field) for other in others)
            match operator:
                case "UNIQUE":
                    assert mine is not None and not counts[mine]
                case "MAX_PER":
                    assert mine is not None and counts[mine] < int(rest[0])
                case "CLUSTER":
                    newest = [other for other in others if other.config == task.config] or others
                    values = Counter(value(here.nodes[other.node], field) for other in newest)
                    assert mine is not None and values[mine] == max(values.values(), default=0)
                    assert len(values) <= 1 or newest is others
                case "GROUP_BY" if not rest:
                    known = [count for each, count in counts.items() if each is not None]
                    assert mine is not None and (not counts[mine] or counts[mine] == min(known))
                case "GROUP_BY":
                    most = max(wish.instances * 2 + 1, len(everybody) + 1)
                    assert mine is not None and counts[mine] < math.ceil(most / int(rest[0]))
                case "LIKE":
                    assert mine in ("r1", "r2")
                case "UNLIKE":
                    assert mine != "r1"
                case "IS":
                    assert mine == "2"

    def check_capacity(self, id: str, wish: App, plan: Plan, after: World) -> None:
        """Where no step holds it back: surge after placing, and those who serve after what leaves by plan."""
        if any(id in each.target and len(each.target) > 1 for each in self.world.deployments.values()):
            return
        least = math.ceil(round(wish.instances * wish.upgrade_strategy.minimum_health_capacity, 9))
        most = int(round(wish.instances * (1 + wish.upgrade_strategy.maximum_over_capacity), 9))
        mine = [each for each in plan.actions if getattr(each, "task", None) and each.task.app == id]  # type: ignore[union-attr]
        if any(isinstance(each, Place) for each in mine):
            there = standing(after, id)
            old = any(task.config != wish.config_version for task in there)
            assert len(there) <= most + (1 if least == most and old else 0), "more tasks than may be at once"
        left = [each for each in mine if isinstance(each, Drain | Stop) and each.reason != "killed by request"]
        taken = sum(self.serves(self.world, each.task) for each in left)
        serving = sum(self.serves(self.world, task) for task in self.world.tasks.get(id, {}).values())
        killed = sum(self.serves(self.world, each.task) for each in mine if isinstance(each, Drain | Stop)) - taken
        if taken:
            assert serving - killed - taken >= min(least, wish.instances), "fewer serve than must"

    def serves(self, here: World, task: Task) -> bool:
        answers = task.node in here.nodes and task.node not in here.dark
        status = here.statuses.get(task.app, {}).get(task.id)
        spec = self.specs[(task.app, task.version)]
        if spec.restarts != "any" and task.id not in here.kills and self.ended_well(here, task):
            return True
        return answers and fulfils(spec, task, status)

    @invariant()
    def nothing_is_oversubscribed(self) -> None:
        if not hasattr(self, "world"):
            return
        for id, machine in self.world.nodes.items():
            mine = [task for task in tasks_of(self.world) if task.node == id]
            ports = [port for task in mine for port in task.ports]
            assert len(ports) == len(set(ports)), "a port is given twice"
            assert all(low <= port <= high for port in ports for low, high in machine.ports)
            for kind in ("cpus", "mem", "disk", "gpus"):
                used = sum(getattr(task.resources, kind) for task in mine)
                assert used <= getattr(machine.resources, kind) + 1e-6, f"{kind} of {id} is oversubscribed"

    def teardown(self) -> None:
        """Once all goes well, all deployments end and everything wished for is there, or it is said why not."""
        if not hasattr(self, "world"):
            return
        self.world = replace(self.world, dark=frozenset())
        roomy = {
            id: msgspec.structs.replace(
                each,
                resources=Resources(cpus=99.0, mem=99_000.0, disk=99_000.0),
                ports=((30000, 32000),),
                taken=(),
            )
            for id, each in self.world.nodes.items()
        }
        self.world = replace(self.world, nodes=roomy)
        for _ in range(150):
            self.now += 20.0
            plan = self.decided()
            if not plan.actions and not self.moves():
                break
            self.world = obey(apply(self.world, plan.actions, self.now), self.now)
        else:
            raise AssertionError("it does not come to rest")
        stuck = {
            id
            for id, wait in plan.waits.items()
            if any(each.filter in ("constraint", "ports") for each in wait.refusals)
        }
        failed = [
            task
            for task in tasks_of(self.world)
            if task.goal == "done" and not task.finished(self.world.statuses[task.app][task.id])
        ]
        given_up = [wait for wait in plan.waits.values() if "as often as it may" in wait.reason]
        if stuck or failed or given_up:
            return
        assert not self.world.deployments and not plan.waits and not self.world.kills and not self.world.nudges
        assert self.world.launches.keys() <= self.world.apps.keys()
        for id, wish in self.world.apps.items():
            found = standing(self.world, id)
            assert len(found) == wish.instances and {task.config for task in found} <= {wish.config_version}
        assert self.world.tasks.keys() <= self.world.apps.keys()

    def moves(self) -> bool:
        """Whether an agent would still report something."""
        return obey(self.world, self.now).statuses != self.world.statuses or any(
            task.goal == "drain" for task in tasks_of(self.world)
        )


def test_what_a_plan_promises_holds_after_every_event() -> None:
    run_state_machine_as_test(
        Cell,
        settings=settings(
            max_examples=200, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
