"""An image that is to be built, as data: a file says so, and an engine's client does it."""

import msgspec


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """One image. context: an absolute folder, or an address. dockerfile: a path; inline: its text instead.

    flags: of `docker build`, name and value. project: whose it is, the first part of the image's name.
    """

    project: str
    context: str
    dockerfile: str | None = None
    inline: str | None = None
    flags: tuple[tuple[str, str], ...] = ()
