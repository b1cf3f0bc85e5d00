"""What rooms say goes in, in a process of its own; what the log's files and standard error hold comes out."""

import subprocess
import sys
from pathlib import Path

SAYS = """
import sys
from pathlib import Path
import structlog
from kato.log import Ids, log_to

shipped = []
log_to(Path(sys.argv[1]), Ids("n1"), ship=shipped.append, size=2000)
log = structlog.get_logger()
for n in range(60):
    log.info(f"line {n}", app="/web", n=n)
try:
    raise ValueError("odd")
except ValueError:
    log.exception("a pass failed")
assert len(shipped) == 61 and '"node":"n1","app":"/web"' in shipped[0], shipped
"""


def test_full_files_are_begun_anew_and_no_line_is_cut_or_twice(tmp_path: Path) -> None:
    file = tmp_path / "cell.log"
    done = subprocess.run(
        [sys.executable, "-c", SAYS, str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = [tmp_path / f"cell.log{each}" for each in (".2", ".1", "")]
    assert all(2000 <= each.stat().st_size < 2200 for each in kept[:2]) and not (tmp_path / "cell.log.3").exists()
    written = "".join(each.read_text() for each in kept)
    assert done.stderr.endswith(written) and len(written) > 4000
    assert done.stderr.count("line 0 ") == done.stderr.count("line 59 ") == written.count("line 59 ") == 1
    assert "a pass failed" in written and written.count("ValueError: odd") == 1
