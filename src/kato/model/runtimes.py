"""The runtimes of Káto by their names: what may stand in a file, what a machine opens, what may be lost."""

RUNTIMES = ("process", "docker", "oci")
ENGINES = ("docker",)
"""Those that an engine carries, which may go. Tasks of others have a keeper each and nothing else."""
