"""What only the docker runtime promises: images, networks, volumes, privileges, and whose containers are whose."""

import asyncio
import contextlib
import json
import os
import signal
import stat
import time
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import IMAGE, Dockerd, Relay, big, dockerd, logins, needs_root, registry
from kato.drivers.runtime import Launch, Options
from kato.drivers.runtime.docker import Driver
from kato.drivers.runtime.docker.engine import Engine
from kato.drivers.runtime.docker.images import Images
from kato.model.app import (
    BUILT,
    AppVolume,
    Container,
    Docker,
    External,
    Network,
    Parameter,
    SecretRef,
    SecretSource,
)
from kato.model.conversation import Command
from kato.model.errors import DriverError, DriverMissing, DriverSilent
from kato.model.secret import Secret
from person import Person
from runtimes import (
    FLAGS,
    FLAGS_TOLD,
    PATIENCE,
    TELLS_FLAGS,
    comes,
    ended,
    ending_all,
    folders,
    hears,
    launch,
    reached_by_others,
    said,
)

SHARED = (Network(mode="container", name="default"),)
TASK = "web.instance-1"


@contextlib.asynccontextmanager
async def runtime(engine: Dockerd, **more: Any) -> AsyncIterator[Driver]:
    with folders() as options:
        driver = await Driver.open(asked(options, engine, **more))
        async with ending_all(driver):
            yield driver


def asked(options: Options, engine: Dockerd, **more: Any) -> Options:
    return msgspec.structs.replace(options, **({"engine": engine.url, "node": uuid.uuid4().hex} | more))


def contained(cmd: str, *, task: str = TASK, ports: tuple[int, ...] = (), **more: Any) -> Launch:
    """A launch of a shell line in a container; what `more` says of its image, its container and its app."""
    image: dict[str, Any] = {
        name: more.pop(name) for name in ("image", "parameters", "privileged") if name in more
    }
    parts = {name: more.pop(name) for name in ("volumes", "port_mappings") if name in more}
    container = Container(docker=Docker(**({"image": IMAGE} | image)), **parts)
    return msgspec.structs.replace(launch(cmd, task=task, container=container, **more), ports=ports)


async def test_without_an_engine_it_says_what_to_install(tmp_path: Path) -> None:
    options = Options(
        folder=tmp_path / "docker", volumes=tmp_path / "volumes", engine="unix:///nowhere/docker.sock"
    )
    driver = await Driver.open(options)
    with pytest.raises(DriverMissing, match=r"/nowhere/docker\.sock is not there\. Install Docker"):
        await driver.found()
    await driver.close()


async def test_an_image_that_cannot_be_had_is_named(engine: Dockerd) -> None:
    async with runtime(engine) as driver:
        with pytest.raises(DriverError, match=r"Its image localhost:1/nobody/has:1 cannot be pulled: "):
            await driver.start(contained("true", image="localhost:1/nobody/has:1"))
        assert await driver.found() == {}
        assert [each.name for each in driver._options.folder.iterdir()] == [".kept"]


async def test_an_image_that_is_never_to_be_pulled_is_used_where_it_is_there(engine: Dockerd) -> None:
    never = (Parameter(key="pull", value="never"),)
    async with runtime(engine) as driver:
        with pytest.raises(
            DriverError, match=r"Its image localhost:1/a:1 is not on this node, and is never to be"
        ):
            await driver.start(contained("true", image="localhost:1/a:1", parameters=never))
        await driver.start(contained("true", parameters=never))
        assert (await ended(driver)).code == 0


async def test_flags_reach_the_engine_and_the_check_of_an_image_can_be_left_out(engine: Dockerd) -> None:
    made = engine.ask("create", IMAGE, "true")
    engine.ask("commit", "--change", "HEALTHCHECK CMD true", made, "kato-flags:1")
    engine.ask("rm", made)
    flags = {"cgroupns": "private", "cpuset-cpus": "0", "interactive": "true",
             "device-cgroup-rule": "c 1:3 r", "no-healthcheck": "true", "oom-score-adj": "5", "pids-limit": "50",
             "userns": "host", "uts": "host"}  # fmt: skip
    parameters = tuple(Parameter(key=key, value=value) for key, value in flags.items())
    async with runtime(engine, privileged=True) as driver:
        await driver.start(contained("exec cat", image="kato-flags:1", parameters=parameters))
        await driver.start(contained("exec sleep 100", task="web.other", image="kato-flags:1"))
        found = await driver.found()
        assert found[TASK].check is None and found["web.other"].check is not None
        name = next(each for each in engine.ask("ps", "--format={{.Names}}").split() if each.endswith(TASK))
        host = json.loads(engine.ask("inspect", "--format={{json .HostConfig}}", name))
        seen = [host[key] for key in ("CpusetCpus", "OomScoreAdj", "PidsLimit", "UsernsMode", "UTSMode")]
        assert seen == ["0", 5, 50, "host", "host"] and host["DeviceCgroupRules"] == ["c 1:3 r"]
        assert found[TASK].exit is None, "cat waits for its input"
    engine.ask("rmi", "--force", "kato-flags:1")


async def test_a_private_image_is_pulled_by_who_has_logged_in_and_goes_when_it_is_long_unused(
    engine: Dockerd, tmp_path: Path
) -> None:
    with registry(engine, tmp_path) as address:
        image = f"{address}/test:1"
        async with runtime(engine) as stranger:
            with pytest.raises(DriverError, match=rf"Its image {image} cannot be pulled: .*no basic auth"):
                await stranger.start(contained("true", image=image))
        async with runtime(engine, logins=tmp_path / "config.json") as driver:
            digest = engine.ask("inspect", "--format={{.Id}}", IMAGE)
            await driver.start(contained("true", image=image))
            assert (await ended(driver)).code == 0
            assert engine.ask("inspect", "--format={{.Id}}", image) == digest
            await driver.remove(TASK)
            assert engine.ask("images", "--quiet", image)
            pulled, now = driver._options.folder / ".images", time.time()
            later = Images(Engine(engine.url), pulled, None, clock=lambda: now + 7.1 * 86_400)
            await later.tidy()
            await later._engine.close()
            assert not engine.ask("images", "--quiet", image)
    assert engine.ask("images", "--quiet", IMAGE), "what somebody else brought stays"


async def test_how_far_a_pull_is_can_be_asked(engine: Dockerd, tmp_path: Path) -> None:
    with registry(engine, tmp_path) as address, engine.network(), Relay(address, 4_000_000) as relay:
        big(engine, f"{address}/big:1")
        engine.ask(f"--config={tmp_path}", "push", f"{address}/big:1")
        engine.ask("rmi", f"{address}/big:1")
        (tmp_path / "logins").write_bytes(logins(relay.address))
        image = f"{relay.address}/big:1"
        async with runtime(engine, logins=tmp_path / "logins") as driver:
            assert await driver.pulls() == []
            fetching = asyncio.create_task(driver.fetch(contained("true", image=image).app, {}))
            pull = await comes(driver, image, 2_000_000)
            assert pull.node == driver._options.node
            assert pull.whole is not None and pull.got < pull.whole and pull.whole > 6_000_000
            relay.released.set()
            async with asyncio.timeout(PATIENCE):
                await fetching
            assert await driver.pulls() == []
        engine.ask("rmi", image)


async def test_an_image_that_was_built_goes_when_it_is_long_unused(engine: Dockerd) -> None:
    image = f"{BUILT}shop:0123"
    engine.ask("tag", IMAGE, image)
    async with runtime(engine) as driver:
        await driver.start(contained("true", image=image))
        assert (await ended(driver)).code == 0
        await driver.remove(TASK)
        assert engine.ask("images", "--quiet", image)
        now = time.time()
        for days, there in ((6.9, True), (7.1, False)):
            pulled = driver._options.folder / ".images"
            later = Images(Engine(engine.url), pulled, None, clock=partial(float, now + days * 86_400))
            await later.tidy()
            await later._engine.close()
            assert bool(engine.ask("images", "--quiet", image)) == there
        with pytest.raises(
            DriverError, match=r"was built by `kato up` and is not on this node.*kato up. builds it"
        ):
            await driver.start(contained("true", image=image, parameters=(Parameter(key="pull", value="never"),)))


async def test_a_private_image_is_pulled_by_the_app_s_own_secret(engine: Dockerd, tmp_path: Path) -> None:
    with registry(engine, tmp_path) as address:
        own = Docker(image=f"{address}/test:1", pull_config=SecretRef(secret="shelves"))
        what = launch("true", container=Container(docker=own), secrets={"shelves": SecretSource(source="a")})
        async with runtime(engine) as driver:
            useless = {"shelves": Secret(value=b'{"auths": {"elsewhere:1": {"auth": "YTpi"}}}', since=0.0)}
            with pytest.raises(DriverError, match=rf"secret 'shelves' for pulling has no login for {address}"):
                await driver.start(msgspec.structs.replace(what, secrets=useless))
            given = {"shelves": Secret(value=(tmp_path / "config.json").read_bytes(), since=0.0)}
            await driver.start(msgspec.structs.replace(what, secrets=given))
            assert (await ended(driver)).code == 0
        engine.ask("rmi", "--force", f"{address}/test:1")


async def test_volumes_outlive_their_containers(engine: Dockerd) -> None:
    async with runtime(engine) as driver:
        volume = AppVolume(container_path="/data", external=External(name="votes", provider="kato"))
        await driver.start(contained("echo 1 > /data/count", volumes=(volume,)))
        assert (await ended(driver)).code == 0
        await driver.remove(TASK)
        await driver.start(contained("cat /data/count", task="web.instance-2", volumes=(volume,)))
        await ended(driver, "web.instance-2")
        assert await said(driver, "web.instance-2") == "1\n"


async def test_a_volume_without_a_name_is_a_task_s_own_and_goes_with_it(engine: Dockerd, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("hello")
    before = set(engine.ask("volume", "ls", "-q").split())
    async with runtime(engine) as driver:
        source = AppVolume(container_path="/code", host_path=str(tmp_path))
        named = AppVolume(container_path="/code/named", external=External(name="within"))
        own = (Parameter(key="volume", value="/code/own"),)
        leave = "ls /code/own; cat /code/page; ls /code/named; echo 1 > /code/own/left; echo 2 > /code/named/kept"
        for task, found in ((TASK, "hello"), ("web.instance-2", "hellokept\n")):
            await driver.start(contained(leave, task=task, volumes=(named, source), parameters=own))
            assert (await ended(driver, task)).code == 0
            assert await said(driver, task) == found, "nothing of the task before, but what is named"
            await driver.remove(task)
    assert [each.name for each in (tmp_path / "own").iterdir()] == [], "it hides the folder that it lies in"
    assert set(engine.ask("volume", "ls", "-q").split()) <= before


async def test_a_folder_of_the_host_may_be_read_only(engine: Dockerd, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("hello")
    async with runtime(engine) as driver:
        volume = AppVolume(container_path="/in", host_path=str(tmp_path), mode="RO")
        await driver.start(contained("cat /in/page && ! touch /in/other", volumes=(volume,)))
        assert (await ended(driver)).code == 0
        assert await said(driver) == "hello"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"privileged": True}, "to be privileged"),
        ({"parameters": (Parameter(key="privileged", value="true"),)}, "to be privileged"),
        ({"parameters": (Parameter(key="cap-add", value="cap_sys_admin"),)}, "the capability cap_sys_admin"),
        ({"parameters": (Parameter(key="device", value="/dev/null:/dev/x"),)}, "the device /dev/null"),
        ({"parameters": (Parameter(key="pid", value="host"),)}, "the processes .pid. of the host"),
        ({"parameters": (Parameter(key="volume", value="/:/host:ro"),)}, "/ of the host"),
        ({"volumes": (AppVolume(container_path="/s", host_path="/proc", mode="RO"),)}, "/proc of the host"),
    ],
)
async def test_what_gives_the_machine_away_is_held_back(engine: Dockerd, more: dict[str, Any], named: str) -> None:
    async with runtime(engine) as driver:
        with pytest.raises(DriverError, match=rf"{named}.*KATO_PRIVILEGED=1"):
            await driver.start(contained("true", **more))
        assert await driver.found() == {}


@pytest.mark.parametrize("name", ["container:web", "../../info", "x?y"])
async def test_a_network_s_name_leads_into_no_other_container(engine: Dockerd, name: str) -> None:
    async with runtime(engine) as driver:
        with pytest.raises(DriverError, match="which says something else to the engine"):
            await driver.start(contained("true", networks=(Network(mode="container", name=name),)))
        assert await driver.found() == {}


async def test_a_privileged_cell_holds_back_nothing(engine: Dockerd) -> None:
    asked = {"pid": "host", "volume": "/:/host:ro", "device": "/dev/null:/dev/x"}
    parameters = tuple(Parameter(key=key, value=value) for key, value in asked.items())
    async with runtime(engine, privileged=True) as driver:
        await driver.start(contained("test -c /dev/x && test -d /host/proc", parameters=parameters))
        assert (await ended(driver)).code == 0


async def test_a_container_has_the_rights_that_it_is_given(engine: Dockerd) -> None:
    given = tuple(Parameter(key=key, value=value) for key, value in (("cap-drop", "ALL"), ("cap-add", "NET_RAW")))
    async with runtime(engine) as driver:
        await driver.start(contained("grep CapEff /proc/self/status | cut -f2", parameters=given))
        await ended(driver)
        assert int(await said(driver), 16) == 1 << 13


async def test_a_terminal_and_an_init_of_its_own(engine: Dockerd) -> None:
    init = (Parameter(key="init", value="true"),)
    async with runtime(engine) as driver:
        await driver.start(contained("tty; tr '\\0' ' ' < /proc/1/cmdline", parameters=init, tty=True))
        await ended(driver)
        terminal, first = (await said(driver)).split("\r\n")
        assert terminal == "/dev/pts/0" and "init" in first.split()[0]


async def test_an_image_is_held_to_its_digest_and_asked_for_anew_where_it_is_to_be(
    engine: Dockerd, tmp_path: Path
) -> None:
    with registry(engine, tmp_path) as address:
        image = f"{address}/test:1"
        async with runtime(engine, logins=tmp_path / "config.json") as driver:
            await driver.start(contained("true", image=image))
            await ended(driver)
            (first,) = json.loads(engine.ask("inspect", "--format={{json .RepoDigests}}", image))
            made = engine.ask("create", IMAGE, "true")
            engine.ask("commit", "--change", "ENV NEWER=1", made, image)
            engine.ask("rm", made)
            engine.ask(f"--config={tmp_path}", "push", image)
            engine.ask("tag", IMAGE, image)  # the older one is here under that name, the newer one in the registry
            tell = "echo ${NEWER:-0}"
            always = (Parameter(key="pull", value="always"),)
            for task, more in (
                ("a.1", {"image": image}),
                ("b.1", {"image": image, "parameters": always}),
                ("c.1", {"image": first}),
            ):
                await driver.start(contained(tell, task=task, **more))
                await ended(driver, task)
            assert [await said(driver, task) for task in ("a.1", "b.1", "c.1")] == ["0\n", "1\n", "0\n"]
        for name in (image, first):
            engine.ask("rmi", "--force", name)


async def test_parameters_are_flags_of_docker_run(engine: Dockerd) -> None:
    async with runtime(engine) as driver:
        await driver.start(contained(TELLS_FLAGS, parameters=FLAGS))
        await ended(driver)
        assert await said(driver) == FLAGS_TOLD
        with pytest.raises(DriverError, match=r"'publish-all' is not taken"):
            await driver.start(contained("true", task="b.1", parameters=(Parameter(key="publish-all", value=""),)))


async def test_memory_beyond_its_limit_is_told_apart(engine: Dockerd) -> None:
    async with runtime(engine) as driver:
        await driver.start(contained("tail /dev/zero", mem=16.0))
        exit = await ended(driver)
        assert (exit.oom, exit.code) == (True, 137)


async def test_containers_of_others_are_neither_seen_nor_touched(engine: Dockerd) -> None:
    stranger = engine.ask(
        "run", "--detach", "--network=none", "--label=kato.task=web.instance-1", IMAGE, "sleep", "999"
    )
    async with runtime(engine) as one, runtime(engine) as other:
        await one.start(contained("sleep 1000"))
        assert await other.found() == {}
        await other.stop(TASK, 0)
        await other.remove(TASK)
        assert (await one.found())[TASK].exit is None
    assert engine.ask("ps", "--quiet", "--no-trunc") == stranger
    engine.ask("rm", "--force", stranger)


async def test_a_restart_of_the_engine_ends_no_task_and_loses_no_end() -> None:
    needs_root()
    with dockerd() as engine, folders() as options:
        driver = await Driver.open(asked(options, engine))
        async with ending_all(driver):
            await driver.start(
                contained("trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done", task="a.1")
            )
            await driver.start(contained("sleep 1000", task="b.1"))
            await hears(driver, "ready", "a.1")
            await driver.start(
                contained("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done", task="c.1")
            )
            await hears(driver, "ready", "c.1")
            pids = {task: found.pid for task, found in (await driver.found()).items()}
            waiting = asyncio.create_task(driver.wait("a.1"))
            await asyncio.sleep(0)
            await asyncio.to_thread(engine.stop)
            with pytest.raises(DriverError, match=r"docker\.sock"):
                await driver.found()
            with pytest.raises(DriverSilent):  # of which a health check says nothing
                await driver.execute("b.1", ("true",), 10)
            await driver.stop("c.1", 30)
            assert pids["a.1"] is not None
            os.kill(pids["a.1"], signal.SIGUSR1)
            await asyncio.to_thread(engine.start)
            async with asyncio.timeout(60):
                assert (await waiting).code == 7
                assert (await driver.wait("c.1")).code == 5
            assert (await driver.found())["b.1"].pid == pids["b.1"]


async def test_what_a_container_s_root_leaves_makes_nobody_else_root(engine: Dockerd) -> None:
    volume = AppVolume(container_path="/v", external=External(name="v"))
    leave = 'for d in /v "$MESOS_SANDBOX"; do cp /bin/busybox $d/root; chmod 777 $d; chmod 4755 $d/root; done'
    async with runtime(engine) as driver:
        await driver.start(contained(leave, volumes=(volume,)))
        assert (await ended(driver)).code == 0
        folders = driver._options
        for path in (folders.folder / TASK / "sandbox/root", folders.volumes / "v/root"):
            assert path.stat().st_mode & stat.S_ISUID and not reached_by_others(path)


async def test_an_engine_that_hangs_is_told_and_holds_nobody(engine: Dockerd) -> None:
    with folders() as options:
        told = asked(options, engine)
        first = await Driver.open(told)
        await first.start(contained("sleep 1000"))
        await first.close()
        driver = await Driver.open(told, Engine(engine.url, answer=0.5))
        with engine.hanging():
            for ask in (
                driver.found,
                lambda: driver.start(contained("true", task="b.1", networks=SHARED)),
                lambda: driver.execute(TASK, ("true",), 1000),
                lambda: Person(driver, Command(("true",))).leaves(),
            ):
                with pytest.raises(DriverError, match=r"has not answered for 0\.5 s.*systemctl restart docker"):
                    await ask()
            removing = asyncio.create_task(driver.remove(TASK))
            await asyncio.sleep(0)
            await driver.close()
            with pytest.raises(DriverError):
                await removing
        async with ending_all(await Driver.open(told)) as runtime:
            assert (await runtime.found())[TASK].exit is None


async def test_our_labels_on_a_container_that_is_not_called_as_ours_are_nothing(engine: Dockerd) -> None:
    """Else its `kato.task` could name another's, which would be removed where it was made and not started."""
    async with runtime(engine) as driver:
        node = driver._options.node
        victim, label = f"kato-{node}-x", f"--label=kato.node={node}"
        made = [engine.ask("create", f"--name={victim}", "--network=none", IMAGE, "true")]
        for task in ("x", f"y/../{victim}", "", "z"):
            made.append(engine.ask("create", label, f"--label=kato.task={task}", "--network=none", IMAGE, "true"))
        try:
            assert await driver.found() == {}
            with pytest.raises(DriverError, match=rf"a container {victim} of somebody else is there"):
                await driver.start(contained("true", task="x"))
            assert set(made) <= set(engine.ask("ps", "--all", "--quiet", "--no-trunc").split())
        finally:
            engine.ask("rm", *made)
