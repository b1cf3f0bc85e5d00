"""Real tasks that write go in; what they said comes out, with its offsets, whatever else befalls it."""

import asyncio
import os

import pytest

from kato.drivers.runtime import Options
from kato.drivers.runtime.process import Driver
from kato.model.errors import DriverError
from runtimes import TASK, as_root, command, ended, ending_all, launch, run, said


async def test_output_is_told_though_the_task_closed_its_sandbox(driver: Driver) -> None:
    await run(driver, "echo said; chmod 000 .", user="nobody" if os.geteuid() == 0 else None)
    assert await said(driver) == "said\n"
    await driver.remove(TASK)
    assert await said(driver) == "said\n"


async def test_output_is_rotated_and_keeps_its_offsets(options: Options) -> None:
    async with ending_all(await Driver.open(options, rotate=1000)) as driver:
        await driver.start(launch("for i in $(seq 1000); do printf 'line %04d\\n' $i; done"))
        await ended(driver)
        files = sorted(os.listdir(options.folder / TASK))
        assert [name for name in files if name.startswith("stdout")] == [
            "stdout.10000",
            "stdout.8000",
            "stdout.9000",
        ]
        pieces = [piece async for piece in driver.output(TASK, "stdout", tail=None, follow=False)]
        assert pieces[0].offset == 8000
        text = b"".join(piece.data for piece in pieces).decode()
        assert text == "".join(f"line {n:04d}\n" for n in range(801, 1001))
        assert await said(driver, tail=150) == "".join(f"line {n:04d}\n" for n in range(851, 1001))


async def test_each_line_has_its_time_across_rotation(options: Options) -> None:
    async with ending_all(await Driver.open(options, rotate=1000)) as driver:
        await driver.start(launch("for i in $(seq 200); do printf 'line %04d\\n' $i; sleep 0.002; done"))
        await ended(driver)
        pieces = [piece async for piece in driver.output(TASK, "stdout", tail=None, follow=False)]
        assert b"".join(piece.data for piece in pieces).decode() == "".join(
            f"line {n:04d}\n" for n in range(1, 201)
        )
        times = [piece.time for piece in pieces if piece.time is not None]
        assert len(times) == len(pieces) > 20 and times == sorted(times)
        (options.folder / TASK / "times.stdout.1000").unlink()  # as of an older keeper, or a full disk
        bare = [piece async for piece in driver.output(TASK, "stdout", tail=None, follow=False)]
        assert b"".join(piece.data for piece in bare) == b"".join(piece.data for piece in pieces)
        assert {piece.time is None for piece in bare} == {True, False}
        files = os.listdir(options.folder / TASK)
        assert {name for name in files if name.startswith("times")} == {
            "times.stdout.0",
            "times.stdout.2000",
            "times.stderr.0",
        }


async def test_output_is_followed_across_rotation(options: Options) -> None:
    async with ending_all(await Driver.open(options, rotate=1000)) as driver:
        await driver.start(launch("for i in $(seq 400); do printf 'line %04d\\n' $i; sleep 0.001; done"))
        async with asyncio.timeout(60):
            offset, text = 0, b""
            async for piece in driver.output(TASK, "stdout", tail=None, follow=True):
                assert piece.offset == offset
                offset += len(piece.data)
                text += piece.data
        assert text.decode() == "".join(f"line {n:04d}\n" for n in range(1, 401))


async def test_fast_output_arrives_whole(driver: Driver) -> None:
    assert (await run(driver, "head -c 8000000 /dev/zero | tr '\\0' x")).code == 0
    assert len(await said(driver)) == 8_000_000


@as_root
async def test_a_full_disk_costs_output_but_neither_task_nor_truth(options: Options) -> None:
    options.folder.mkdir()
    command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(options.folder))
    try:
        async with ending_all(await Driver.open(options)) as driver:
            exit = await run(driver, "head -c 1000000 /dev/zero; exit 3")
            assert exit.code == 3
            with pytest.raises(DriverError, match="No space left"):
                await driver.start(launch("true", task="b.instance-1"))
            assert list(await driver.found()) == [TASK]
    finally:
        command("umount", str(options.folder))
