"""Why a command could not be run beside a task, in the words of whoever tried, flows in; the error that tells a
person, with what a shell would exit with, flows out. Pure.
"""

import re

from kato.model.errors import DriverError, NotRun

MISSING = re.compile(r"executable file .*not found|no such file or directory", re.IGNORECASE | re.DOTALL)
CLOSED = re.compile(r"permission denied|operation not permitted|is a directory|exec format error", re.IGNORECASE)
ELSEWHERE = re.compile(r"chdir|\bcwd\b|working directory", re.IGNORECASE)
"""Of a container's runtime: it is the folder that is missing."""


def not_run(program: str, task: str, cause: str) -> DriverError:
    """cause: of a keeper, of crun, or of runc behind Docker's engine."""
    cause = " ".join(cause.split()).rstrip(".")
    if not ELSEWHERE.search(cause):
        if MISSING.search(cause):
            return NotRun(
                f"There is no program {program} in task {task}. Name one on the PATH there, or its whole path.",
                127,
            )
        if found := CLOSED.search(cause):
            why = found[0].lower()
            return NotRun(
                f"{program} may not be executed in task {task}: {why}. Name a program, or make it one: chmod +x.",
                126,
            )
    return DriverError(f"{program} could not be run in task {task}: {cause}.")
