"""Compiles the keeper when the wheel is built: C source in, one static executable beside the drivers out."""

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/kato/drivers/runtime")


class KeeperHook(BuildHookInterface[Any]):
    """Builds `keeper` and marks the wheel as one for this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        folder = Path(self.root) / FOLDER
        target, sources = folder / "keeper", sorted((folder / "keepers").glob("*.c"))
        written = max(each.stat().st_mtime for each in (*sources, *(folder / "keepers").glob("*.h")))
        if target.exists() and target.stat().st_mtime >= written:
            return
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit(
                "The keeper is written in C and no compiler was found. Run: apt-get install gcc libc6-dev"
            )
        subprocess.run(
            [compiler, "-std=c11", "-Os", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-o", target, *sources],
            check=True,
        )
