"""The runtime contract over every driver; each is one line that names it."""

from runtime_suite import RuntimeContract


class TestProcess(RuntimeContract):
    driver = "process"
