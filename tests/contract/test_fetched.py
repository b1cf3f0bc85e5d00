"""What is fetched for a task: real files over real connections, whole or not at all, within bounds, and inside."""

import asyncio
import gzip
import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kato.drivers.runtime.brought.downloads import Downloads
from kato.drivers.runtime.brought.fetched import Fetched
from kato.drivers.runtime.brought.unpacked import Bounds
from kato.drivers.runtime.process import Driver as Process
from kato.model.app import AppVolume, Artifact, Container, External
from kato.model.errors import DriverError
from runtimes import as_root, ending_all, folders, launch, run, said, until
from shop import Shop, link, packed

PAGE = {"www/page": b"hello\n"}


@pytest.fixture
async def fetched(tmp_path: Path) -> AsyncIterator[Fetched]:
    fetched = Fetched(tmp_path, Bounds(size=1 << 20, entries=50, seconds=20, silence=5))
    yield fetched
    await fetched.close()


async def bring(fetched: Fetched, *wanted: Artifact, task: str = "web.1") -> dict[str, bytes]:
    """All files that came, by their paths."""
    async with asyncio.timeout(60), fetched.files(task, wanted) as folder:
        assert folder is not None
        files = [each for each in folder.rglob("*") if each.is_file() and not each.is_symlink()]
        return {str(each.relative_to(folder)): each.read_bytes() for each in files}


def zipped(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            packed.writestr(entry, target)
    return whole.getvalue()


ARCHIVES = {
    "a.tar": packed(PAGE, how="w"),
    "a.tgz": packed(PAGE),
    "a.tar.bz2": packed(PAGE, how="w:bz2"),
    "a.tar.xz": packed(PAGE, how="w:xz"),
    "a.zip": zipped(PAGE),
}


@pytest.mark.parametrize("name", ARCHIVES)
async def test_archives_are_unpacked_as_mesos_does(fetched: Fetched, shop: Shop, name: str) -> None:
    whole = shop.files[f"/x/{name}"] = ARCHIVES[name]
    uri = shop.url(f"/x/{name}?token=1")
    assert await bring(fetched, Artifact(uri=uri)) == {name: whole, **PAGE}, "beside its archive"
    assert await bring(fetched, Artifact(uri=uri, cache=True)) == PAGE, "but not beside one that is cached"
    assert await bring(fetched, Artifact(uri=uri, extract=False)) == {name: whole}
    assert await bring(fetched, Artifact(uri=uri, extract=False, cache=True)) == {name: whole}
    assert await bring(fetched, Artifact(uri=uri, executable=True)) == {name: whole}
    assert await bring(fetched, Artifact(uri=uri, dest_path="in/other")) == {"in/other": whole}


async def test_a_file_of_gzip_is_one_file(fetched: Fetched, shop: Shop) -> None:
    shop.files["/dump.gz"] = gzip.compress(b"rows")
    assert (await bring(fetched, Artifact(uri=shop.url("/dump.gz"), cache=True))) == {"dump": b"rows"}


async def test_files_of_this_machine_are_copied(fetched: Fetched, tmp_path: Path) -> None:
    (here := tmp_path / "my conf").write_text("red")
    both = (Artifact(uri=str(here), dest_path="a"), Artifact(uri=f"file://{tmp_path}/my%20conf", dest_path="b"))
    assert await bring(fetched, *both) == {"a": b"red", "b": b"red"}


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("conf", "the path is not absolute"),
        ("/no/such/file", "No such file or directory. Look on this machine"),
        ("/dev/zero", "no plain file"),
        ("/etc", "no plain file"),
        ("hdfs://there/a", "hdfs is not spoken here"),
        ("http://127.0.0.1:1/a", "does not answer: connection refused"),
        ("http://127.0.0.1:1/", "names no file. Give it a `destPath`"),
    ],
)
async def test_what_cannot_be_fetched_is_told(fetched: Fetched, uri: str, words: str) -> None:
    with pytest.raises(DriverError, match=words):
        await bring(fetched, Artifact(uri=uri))


@pytest.mark.parametrize("place", ["../out", "/etc/out", "a/../../out"])
async def test_no_file_leaves_its_sandbox(fetched: Fetched, tmp_path: Path, place: str) -> None:
    (here := tmp_path / "conf").write_text("red")
    with pytest.raises(DriverError, match="no place inside the sandbox"):
        await bring(fetched, Artifact(uri=str(here), dest_path=place))


EVIL = {
    "up.tgz": packed({"../out": b"evil"}),
    "up.zip": zipped({"../out": b"evil"}),
    "root.zip": zipped({"/out": b"evil"}),
    "link.tgz": packed({"way/out": b"evil"}, link("way", "../../../..")),
    "link.zip": zipped({}, {"way": "../../out"}),
    "root-link.zip": zipped({}, {"way": "/etc/passwd"}),
    "through.tgz": packed({"way/in": b"evil"}, link("way", ".")),
    "same.tgz": packed({}, link("name", "../../../agent.json", tarfile.LNKTYPE)),
    "broken.tgz": packed({"page": os.urandom(5000)})[:3000],
    "broken.zip": b"PK no",
    "bomb.tgz": packed({"much": bytes(2 << 20)}),
    "bomb.zip": zipped({"much": bytes(2 << 20)}),
    "bomb.gz": gzip.compress(bytes(2 << 20)),
    "crowd.zip": zipped({f"{n}": b"" for n in range(60)}),
    "depths.tgz": packed({"a/" * 200 + "b": b""}),
}


@pytest.mark.parametrize("name", EVIL)
async def test_an_archive_that_is_broken_too_large_or_leads_outside_is_refused(
    fetched: Fetched, shop: Shop, tmp_path: Path, name: str
) -> None:
    (tmp_path / "agent.json").write_text("mine")
    shop.files[f"/{name}"] = EVIL[name]
    for cache in (False, True):
        with pytest.raises(DriverError, match=f"{name} cannot be unpacked: "):
            await bring(fetched, Artifact(uri=shop.url(f"/{name}"), cache=cache))
    assert not list(tmp_path.rglob("out")) and not list((tmp_path / ".fetched/tasks").iterdir())


async def test_links_inside_are_kept(fetched: Fetched, shop: Shop) -> None:
    shop.files["/a.tgz"] = packed({"v2/page": b"new"}, link("now", "v2"))
    async with fetched.files("web.1", (Artifact(uri=shop.url("/a.tgz")),)) as folder:
        assert folder is not None
        assert os.readlink(folder / "now") == "v2" and (folder / "now/page").read_bytes() == b"new"


async def test_too_much_and_too_slow_are_refused(shop: Shop, tmp_path: Path) -> None:
    shop.files = {"/much": bytes(3 << 20), "/slow": bytes(1000)}
    shop.half = {"/slow"}
    fetched, hasty = Fetched(tmp_path, Bounds(size=2 << 20)), Fetched(tmp_path, Bounds(seconds=0.3))
    with pytest.raises(DriverError, match="more than 2 MiB"):
        await bring(fetched, Artifact(uri=shop.url("/much")))
    with pytest.raises(DriverError, match=r"not all there within 0\.3 s"):
        await bring(hasty, Artifact(uri=shop.url("/slow")))
    silent = Fetched(tmp_path, Bounds(silence=0.1))
    with pytest.raises(DriverError, match="does not answer"):
        await bring(silent, Artifact(uri=shop.url("/slow")))
    assert not list((tmp_path / ".fetched/tasks").iterdir())
    for each in (fetched, hasty, silent):
        await each.close()


async def test_many_tasks_at_once_fetch_once_and_later_ones_ask_whether_it_is_new(
    fetched: Fetched, shop: Shop
) -> None:
    shop.files, shop.etags, shop.half = {"/a.bin": b"one!" * 1000}, {"/a.bin": '"1"'}, {"/a.bin"}
    wanted = Artifact(uri=shop.url("/a.bin"), cache=True)
    crowd = [asyncio.create_task(bring(fetched, wanted, task=f"web.{n}")) for n in range(10)]
    await until(lambda: shop.asked["/a.bin"] == 1 and fetched._downloads._refreshing != {})
    shop.rest.set()
    assert await asyncio.gather(*crowd) == [{"a.bin": b"one!" * 1000}] * 10
    assert (shop.asked["/a.bin"], shop.sent["/a.bin"]) == (1, 1)
    assert await bring(fetched, wanted) == {"a.bin": b"one!" * 1000}
    assert (shop.asked["/a.bin"], shop.sent["/a.bin"]) == (2, 1), "it was asked for, and was not sent again"
    shop.files, shop.etags = {"/a.bin": b"two"}, {"/a.bin": '"2"'}
    assert await bring(fetched, wanted) == {"a.bin": b"two"}


async def test_a_server_that_is_down_does_not_keep_a_cached_file_away(fetched: Fetched, shop: Shop) -> None:
    shop.files, wanted = {"/a": b"one"}, Artifact(uri=shop.url("/a"), cache=True)
    await bring(fetched, wanted)
    shop.broken = 503
    assert await bring(fetched, wanted) == {"a": b"one"}
    with pytest.raises(DriverError, match="503 Service Unavailable"):
        await bring(fetched, Artifact(uri=shop.url("/a")))
    shop.broken = 410
    with pytest.raises(DriverError, match="410 Gone"):
        await bring(fetched, wanted)


async def test_a_full_cache_loses_what_was_not_used_for_longest(shop: Shop, tmp_path: Path) -> None:
    shop.files = {f"/{n}": bytes([n]) * 400 for n in range(3)}
    downloads = Downloads(tmp_path, Bounds(), largest=1000)
    for n in (0, 1, 2):
        (await downloads.cached(shop.url(f"/{n}"))).close()
    held = {each.read_bytes()[0] for each in tmp_path.iterdir() if not each.suffix}
    assert held == {1, 2}
    await downloads.close()


async def test_a_checksum_behind_the_address_must_fit(fetched: Fetched, shop: Shop) -> None:
    shop.files["/a"] = b"one"
    right = hashlib.sha256(b"one").hexdigest()
    for cache in (True, False):
        assert await bring(fetched, Artifact(uri=f"{shop.url('/a')}#sha256={right}", cache=cache)) == {"a": b"one"}
        with pytest.raises(DriverError, match=f"its sha256 is {right}"):
            await bring(fetched, Artifact(uri=f"{shop.url('/a')}#sha256={'0' * 64}", cache=cache))


PROGRAM = """
import asyncio, sys
from pathlib import Path
from kato.drivers.runtime.brought.fetched import Fetched
from kato.model.app import Artifact

async def main():
    wanted = Artifact(uri=sys.argv[2], cache=bool(sys.argv[3]))
    async with Fetched(Path(sys.argv[1])).files("web.1", (wanted,)):
        pass

asyncio.run(main())
"""


async def test_half_of_a_download_is_never_taken_for_whole_after_kill_9(shop: Shop, tmp_path: Path) -> None:
    shop.files, shop.etags, shop.half = {"/a": b"whole" * 100_000}, {"/a": '"1"'}, {"/a"}
    for cache in (True, False):
        words = [sys.executable, "-c", PROGRAM, str(tmp_path), shop.url("/a"), "x" if cache else ""]
        child = subprocess.Popen(words)  # noqa: ASYNC220
        parts = tmp_path / ".fetched" / ("cache" if cache else "tasks/web.1")
        await until(lambda parts=parts: any(each.stat().st_size for each in parts.glob("*")))  # type: ignore[misc]
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert any(each.stat().st_size for each in parts.glob("*"))
    shop.half = set()
    fetched = Fetched(tmp_path)
    both = (Artifact(uri=shop.url("/a"), cache=True, dest_path="1"), Artifact(uri=shop.url("/a"), dest_path="2"))
    assert await bring(fetched, *both, task="other.1") == {"1": b"whole" * 100_000, "2": b"whole" * 100_000}
    assert not list((tmp_path / ".fetched/tasks").iterdir()), "what was brought then has gone"
    await fetched.close()


async def test_closing_ends_what_is_on_its_way(shop: Shop, tmp_path: Path) -> None:
    shop.files, shop.half = {"/a": bytes(1000)}, {"/a"}
    fetched = Fetched(tmp_path)
    crowd = [
        asyncio.create_task(bring(fetched, Artifact(uri=shop.url("/a"), cache=cache), task=f"{cache}"))
        for cache in (True, False)
    ]
    await until(lambda: shop.asked["/a"] == 2)
    await fetched.close()
    told = await asyncio.gather(*crowd, return_exceptions=True)
    assert [type(each) for each in told] == [asyncio.CancelledError] * 2


@as_root
async def test_files_of_a_process_are_its_user_s_and_keep_off_its_volumes(shop: Shop) -> None:
    shop.files = {"/a.tgz": packed({"www/page": b"hello\n"}, link("now", "www/page"))}
    fetch = (Artifact(uri=shop.url("/a.tgz")),)
    with folders() as options:
        runtime = await Process.open(options)
        async with ending_all(runtime):
            look = "stat -c %U . a.tgz now www www/page && test ! -w /etc/passwd"
            assert (await run(runtime, look, user="nobody", fetch=fetch)).code == 0
            assert await said(runtime) == "nobody\n" * 5
            volume = AppVolume(container_path="www", external=External(name="data", provider="kato"))
            with pytest.raises(DriverError, match="have 'www' where its volume is to be"):
                await runtime.start(
                    launch("true", task="b.1", fetch=fetch, container=Container(volumes=(volume,)))
                )
            assert set(await runtime.found()) == {"web.instance-1"}


async def test_the_first_that_begin_at_once_keep_their_folders(tmp_path: Path) -> None:
    """What an earlier life left is cleared once, not once more below those that have begun."""
    (tmp_path / "file").write_bytes(b"here")
    wanted = (Artifact(uri=f"file://{tmp_path}/file"),)

    async def one(fetched: Fetched, task: int) -> bytes:
        async with fetched.files(f"t{task}", wanted) as folder:
            assert folder is not None
            return await asyncio.to_thread((folder / "file").read_bytes)

    for life in range(30):
        (tmp_path / f"life-{life}").mkdir()
        fetched = Fetched(tmp_path / f"life-{life}")
        assert set(await asyncio.gather(*(one(fetched, task) for task in range(8)))) == {b"here"}
        await fetched.close()
