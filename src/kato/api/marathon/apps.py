"""`/v2/apps` and what lies below it: requests come in, wishes and documents go out."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from kato.api import asked, forms, tags
from kato.api.answers import answer, deployed
from kato.api.body import flag, read_list, read_object
from kato.api.marathon.documents import ALWAYS, SINGLE, embedded, shown, task_document
from kato.api.marathon.labels import selector
from kato.api.marathon.tasks import stopped, tasks_text, wants_text
from kato.api.operation import (
    CHANGE,
    CREATED,
    DEPLOYMENT,
    EMBED,
    FORCE,
    FORCE_UNLESS,
    HOST,
    KILL,
    TEXT,
    WISH,
    Answer,
    Body,
    Operation,
    Query,
    killed,
    ok,
)
from kato.api.parts import Parts, app_id
from kato.api.wish import Deployed, Wish, find, wish
from kato.api.wish.wish import Asked
from kato.language.marathon import read_app
from kato.language.wire import app_document
from kato.model.app import App
from kato.model.errors import NotFound
from kato.model.ids import within
from kato.model.world import World
from kato.store import keys

EXAMPLE = {"id": "/shop/web", "cmd": "exec python3 -m http.server $PORT", "instances": 2, "mem": 64}
CHANGED = {"instances": 3}


class Apps:
    """The routes of apps."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Operation]:
        """The most specific first: an app's id has slashes of its own."""
        one = "/v2/apps/{id:path}"
        some = Body(list[App], example=[EXAMPLE])
        embed = (Query("embed", list[str], EMBED),)
        chosen = (
            Query("id", str, "Apps whose id has this in it."),
            Query("cmd", str, "Apps whose command has this in it."),
            Query("label", str, "Apps whose labels fit: name, name==value, name in (a, b)."),
        )
        changed = ok(forms.Deployed, "The wish is in force.", Marathon_Deployment_Id=DEPLOYMENT)
        created = {201: Answer(forms.AppInfo, "It was created.", headers=CREATED)}
        put = {**changed, 201: Answer(forms.Deployed, "It was created.", headers=CREATED)}
        partial = Query("partialUpdate", bool, "Whether what the body does not say stays (the default).")
        found = ok({"application/json": forms.TaskList, TEXT: str})
        return [
            Operation("GET", "/v2/apps", self.index, ok(forms.AppList), (*chosen, *embed), tagged=True),
            Operation(
                "POST", "/v2/apps", self.create, created, (FORCE,), Body(App, example=EXAMPLE), WISH, tagged=True
            ),
            Operation("PUT", "/v2/apps", self.put_all, changed, (FORCE, partial), some, WISH, tagged=True),
            Operation("PATCH", "/v2/apps", self.patch_all, changed, (FORCE,), some, WISH, tagged=True),
            Operation("GET", f"{one}/tasks", self.tasks, found, (), None, (404,)),
            Operation("DELETE", f"{one}/tasks", self.kill, killed(forms.TaskList), (HOST, *KILL), None, CHANGE),
            Operation("DELETE", f"{one}/tasks/{{task}}", self.kill_one, killed(forms.TaskOne), KILL, None, CHANGE),
            Operation("GET", f"{one}/versions", self.versions, ok(forms.VersionList), (), None, (404, 503)),
            Operation("GET", f"{one}/versions/{{version}}", self.version, ok(App), (), None, (404,)),
            Operation("POST", f"{one}/restart", self.restart, changed, (FORCE,), None, CHANGE, tagged=True),
            Operation("GET", f"{one}/*", self.below, ok(forms.AppsBelow), embed, None, (404,)),
            Operation("GET", one, self.get, ok(forms.AppOne), embed, None, (404,), tagged=True),
            Operation(
                "PUT",
                one,
                self.put,
                put,
                (FORCE, partial),
                Body(App, example=CHANGED, partial=True),
                WISH,
                tagged=True,
            ),
            Operation(
                "PATCH",
                one,
                self.patch,
                changed,
                (FORCE,),
                Body(App, example=CHANGED, partial=True),
                WISH,
                tagged=True,
            ),
            Operation("DELETE", one, self.delete, changed, (FORCE_UNLESS,), None, CHANGE, tagged=True),
        ]

    # -- reading ----------------------------------------------------------------------------------------------

    async def index(self, request: Request) -> Response:
        """All apps, or those that `id`, `cmd` and `label` choose."""
        world = self._parts.world
        found = self._documents(world, "apps", self._chosen(world, request), request)
        return tags.tagged(request, found, tags.of_group("/")(world))

    async def below(self, request: Request) -> Response:
        """All apps within a group."""
        id, world = app_id(request), self._parts.world
        apps = [app for app in world.apps.values() if app.id != id and within(app.id, id)]
        if not apps:
            raise NotFound(f"Group '{id}' does not exist")
        return self._documents(world, "*", apps, request)

    async def get(self, request: Request) -> Response:
        """One app."""
        world = self._parts.world
        app = find.app(world, app_id(request))
        embed = SINGLE | embedded(request.query_params.getlist("embed"))
        document = self._parts.documents.info(world, app, embed, self._parts.clock())
        return tags.tagged(request, answer(b'{"app":%b}' % document), app.version)

    async def versions(self, request: Request) -> Response:
        """The versions that are kept of an app, the newest first."""
        app = find.app(self._parts.world, app_id(request))
        found = await self._parts.versions(keys.versions(app.id))
        return answer({"versions": sorted((version for _, version in found), reverse=True)})

    async def version(self, request: Request) -> Response:
        """One version of an app."""
        world = self._parts.world
        app = find.app(world, app_id(request))
        found = find.version(world, app.id, request.path_params["version"])
        return answer(app_document(found))

    async def tasks(self, request: Request) -> Response:
        """The tasks of an app."""
        world = self._parts.world
        app = find.app(world, app_id(request))
        if wants_text(request):
            return Response(tasks_text(world, [app]), media_type="text/plain")
        return answer({"tasks": [task_document(world, task) for task in shown(world.tasks.get(app.id, {}))]})

    def _chosen(self, world: World, request: Request) -> Iterable[App]:
        query = request.query_params
        found: Iterable[App] = world.apps.values()
        if id := query.get("id"):
            found = [app for app in found if id in app.id]
        if cmd := query.get("cmd"):
            found = [app for app in found if app.cmd and cmd in app.cmd]
        if label := query.get("label"):
            fits = selector(label)
            found = [app for app in found if fits(app.labels)]
        return found

    def _documents(self, world: World, name: str, apps: Iterable[App], request: Request) -> Response:
        now = self._parts.clock()
        embed = ALWAYS | embedded(request.query_params.getlist("embed"))
        documents = self._parts.documents
        documents.forget(world.apps.keys())
        found = b",".join([documents.info(world, app, embed, now) for app in apps])
        return answer(b'{"%b":[%b]}' % (name.encode(), found))

    # -- wishing ----------------------------------------------------------------------------------------------

    async def create(self, request: Request) -> Response:
        """A new app; it must not exist."""
        body = await read_object(request)
        parts = self._parts
        done = await self._commit(request, lambda world: asked.create(world, body))
        world = parts.world
        app = find.version(world, read_app(body).id, done.version)
        document = parts.documents.fresh(world, app, ALWAYS | {"tasks"}, [done.id], parts.clock())
        return answer(document, 201, {"Location": f"/v2/apps{app.id}", "Marathon-Deployment-Id": done.id})

    async def put(self, request: Request) -> Response:
        """An app as the body says; what it does not say stays, unless `partialUpdate=false`."""
        id, body, partial = app_id(request), await read_object(request), flag(request, "partialUpdate", True)
        created = False

        def wanted(world: World) -> Wish:
            nonlocal created
            created = id not in world.apps
            return asked.update(world, id, body, partial=partial)

        done = await self._commit(request, wanted)
        response = deployed(done.id, done.version, 201 if created else 200)
        if created:
            response.headers["Location"] = f"/v2/apps{id}"
        return response

    async def patch(self, request: Request) -> Response:
        """As PUT, but the app must exist."""
        id, body = app_id(request), await read_object(request)
        return await self._wish(request, lambda world: asked.update(world, id, body, partial=True, create=False))

    async def put_all(self, request: Request) -> Response:
        """Several apps at once."""
        bodies, partial = await read_list(request), flag(request, "partialUpdate", True)
        return await self._wish(request, lambda world: asked.update_all(world, bodies, partial=partial))

    async def patch_all(self, request: Request) -> Response:
        """Several apps at once; each must exist."""
        bodies = await read_list(request)
        return await self._wish(request, lambda world: asked.update_all(world, bodies, partial=True, create=False))

    async def delete(self, request: Request) -> Response:
        """An app that goes. `force` is true unless said otherwise, as in Marathon."""
        id = app_id(request)
        wanted = tags.only_if(request, tags.of_app(id), lambda world: wish.remove(world, id))
        return await self._parts.wish(wanted, force=flag(request, "force", True))

    async def restart(self, request: Request) -> Response:
        """All tasks of an app exchanged."""
        id = app_id(request)
        return await self._wish(request, lambda world: wish.restart(world, id))

    async def _wish(self, request: Request, wanted: Asked) -> Response:
        done = await self._commit(request, wanted)
        return deployed(done.id, done.version)

    async def _commit(self, request: Request, wanted: Asked) -> Deployed:
        place = tags.of_app(app_id(request)) if "id" in request.path_params else tags.of_group("/")
        done = await self._parts.wishes.commit(tags.only_if(request, place, wanted), force=_force(request))
        self._parts.tell_posted(request, done)
        return done

    # -- killing ----------------------------------------------------------------------------------------------

    async def kill(self, request: Request) -> Response:
        """All tasks of an app, or those on one host."""
        id, host = app_id(request), request.query_params.get("host")
        find.app(self._parts.world, id)
        return await stopped(
            self._parts, request, lambda world: find.tasks(world, id, host), lambda docs: {"tasks": docs}
        )

    async def kill_one(self, request: Request) -> Response:
        """One task of an app."""
        id, task = app_id(request), str(request.path_params["task"])
        find.app(self._parts.world, id)
        return await stopped(
            self._parts,
            request,
            lambda world: [find.task(world, id, task)],
            lambda docs: {"task": docs[0]},
        )


def _force(request: Request) -> bool:
    return flag(request, "force")
