"""wait and open: apps' names go in; it returns once they are as wished, or hands their URLs to a browser."""

import webbrowser

from kato.cli.changes.follow import until_served, until_settled
from kato.cli.printing.live import View
from kato.cli.printing.show import say
from kato.cli.signals import Parting
from kato.cli.views.listing import urls_by_app
from kato.cli.words.names import find_app, find_apps
from kato.cli.words.place import THERE, TIMEOUT, Address, AppName, Seconds
from kato.config import has_browser
from kato.model.errors import NotFound


async def wait(*apps: str, timeout: Seconds = TIMEOUT, place: Address = THERE) -> None:
    """Wait until apps are as wished: every task there, healthy and served. Exit code 1, with the reasons, if they
    are not in time.

    Parameters
    ----------
    apps
        Apps (`vote`, `/voting/vote`) or projects (`voting`); without any, all there are.
    timeout
        Seconds to wait at most.
    """
    with Parting("Nothing was changed; what is under way goes on."):
        async with place.client() as client:
            known = [each["id"] for each in await client.apps() if each["version"]]
            ids = {id for app in apps for id in find_apps(app, known)} or set(known)
            if not ids:
                raise NotFound(
                    "Nothing is deployed, so there is nothing to wait for. Deploy something: kato up FILE"
                )
            with View() as view:
                await until_settled(client, ids, view, wished=ids, timeout=timeout)
            await until_served(client, ids)
            say(f"{len(ids)} app{'' if len(ids) == 1 else 's'} as wished after {view.seconds:.1f} s.")


async def open(app: AppName, /, *, place: Address = THERE) -> None:
    """Print where an app answers, and open it where there is a browser."""
    async with place.client() as client:
        id = find_app(app, [each["id"] for each in await client.apps()])
        urls = urls_by_app(await client.services()).get(id, [])
    if not urls:
        raise NotFound(f"{id} answers nowhere: it has no port, or none that is served. See: kato why {app}")
    pages = [url for url in urls if url.startswith("http")]
    for url in pages or urls:
        say(url)
    if pages and has_browser():
        webbrowser.open(pages[0])
