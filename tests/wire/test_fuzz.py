"""schemathesis reads the OpenAPI document and presses a cell with what the document says and what it does not: no
request makes the cell fail, and no status, content type, header or form of an answer is one that is not told.
"""

import asyncio
import os
import sys
from pathlib import Path

from cells import Cell

SETTINGS = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("as_lines.py")
SECONDS = 300


async def test_no_answer_is_undocumented(cell: Cell, tmp_path: Path) -> None:
    await cell.deploy({"id": "/shop/web", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32})
    words = ("-m", "schemathesis.cli", "--config-file", str(SETTINGS), "run", f"{cell.base}/openapi.json")
    pressing = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(pressing.communicate(), SECONDS)
    finally:
        if pressing.returncode is None:
            pressing.kill()
            await pressing.wait()
    assert pressing.returncode == 0, said.decode()
