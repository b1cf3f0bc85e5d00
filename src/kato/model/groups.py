"""All apps and groups of a wish come in; every fault between them comes out."""

from collections.abc import Iterable

from kato.model.app import App
from kato.model.dependencies import Dependencies
from kato.model.deployment import GroupRecord
from kato.model.errors import Fault
from kato.model.ids import parent


def validate_group(apps: Iterable[App], groups: Iterable[GroupRecord] = ()) -> list[Fault]:
    """Every fault between apps: an id used twice, an app that is also a group, a circle of dependencies.

    A dependency on something that does not exist is no fault, as in Marathon: it may come later, and until then
    nothing waits for it.
    """
    apps, groups = tuple(apps), tuple(groups)
    faults: list[Fault] = []
    folders = {group.id for group in groups}
    for app in apps:
        folder = parent(app.id)
        while folder != "/" and folder not in folders:
            folders.add(folder)
            folder = parent(folder)
    seen: set[str] = set()
    for app in apps:
        if app.id in seen:
            faults.append(Fault("/id", f"two apps have the id {app.id}; give one another name"))
        elif app.id in folders:
            faults.append(Fault("/id", f"{app.id} is both an app and a group; give one another name"))
        seen.add(app.id)
    whole = Dependencies({app.id: app for app in apps}, {group.id: group for group in groups})
    for circle in whole.circles():
        faults.append(Fault("/dependencies", f"apps wait for each other in a circle: {' → '.join(circle)}"))
    return faults
