"""`/v2/groups`: trees of apps come in as wishes for a whole folder, and go out as documents."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from kato.api import asked, forms, tags
from kato.api.answers import answer
from kato.api.body import flag, read_object
from kato.api.marathon.deployments import step_documents
from kato.api.marathon.documents import embedded
from kato.api.operation import CHANGE, CREATED, DEPLOYMENT, EMBED, FORCE, WISH, Answer, Body, Operation, Query, ok
from kato.api.parts import Parts
from kato.api.wish import Wish, find, wish
from kato.api.wish.wish import Asked
from kato.model.app import App, Group
from kato.model.ids import absolute, parent, within
from kato.model.world import World
from kato.store import keys

NEVER = "1970-01-01T00:00:00.000Z"
"""The version of a cell in which nothing was ever wished for."""
Json = dict[str, Any]


class Groups:
    """The routes of groups."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Operation]:
        """The most specific first."""
        embed = (Query("embed", list[str], EMBED),)
        changed = ok(forms.Deployed, "The wish is in force.", Marathon_Deployment_Id=DEPLOYMENT)
        made = {201: Answer(forms.Deployed, "It was created.", headers=CREATED)}
        dry = Query("dryRun", bool, "Only answer with the steps that it would take.")
        steps = ok((forms.Deployed, forms.StepList), "The wish is in force; of `dryRun`, its steps.")
        takes = Body(Group, example={"id": "/shop", "apps": []})
        tree = Body(Group, example={"apps": []}, partial=True)
        found: list[Operation] = []
        for one in ("/v2/groups", "/v2/groups/{id:path}"):
            found += [
                Operation("GET", f"{one}/versions", self.versions, ok(list[str]), (), None, (404, 503)),
                Operation(
                    "PUT", f"{one}/versions/{{version}}", self.back, changed, (FORCE,), None, CHANGE, tagged=True
                ),
                Operation("GET", f"{one}/apps", self.apps, ok(forms.AppList), embed, None, (404,)),
            ]
        for one in ("/v2/groups", "/v2/groups/{id:path}"):
            found += [
                Operation("GET", one, self.get, ok(forms.GroupInfo), embed, None, (404,), tagged=True),
                Operation("POST", one, self.create, made, (FORCE,), takes, WISH, tagged=True),
                Operation("PUT", one, self.put, steps, (FORCE, dry), tree, WISH, tagged=True),
                Operation("DELETE", one, self.delete, changed, (FORCE,), None, CHANGE, tagged=True),
            ]
        return found

    async def get(self, request: Request) -> Response:
        """A group with all below it."""
        world, id = self._parts.world, _id(request)
        find.group(world, id)
        asked = request.query_params.getlist("embed")
        words = {word.removeprefix("group.") for word in asked}
        apps = not asked or any(word == "apps" or word.startswith("apps.") for word in words)
        embed = embedded(word for word in asked if "." in word.removeprefix("group."))
        tree = Folders(world, lambda app: self._document(world, app, embed))
        found = answer(tree.document(id, apps=apps, groups=not asked or "groups" in words))
        return tags.tagged(request, found, tags.of_group(id)(world))

    async def apps(self, request: Request) -> Response:
        """The apps in a group, at any depth."""
        world, id = self._parts.world, _id(request)
        find.group(world, id)
        embed = embedded(request.query_params.getlist("embed"))
        inside = [self._document(world, app, embed) for app in world.apps.values() if within(app.id, id)]
        return answer({"apps": inside})

    async def versions(self, request: Request) -> Response:
        """The versions that the group can go back to, the newest first."""
        id = find.group(self._parts.world, _id(request))
        history = await self._history(id)
        return answer(sorted({version for held in history.values() for version in held}, reverse=True))

    async def create(self, request: Request) -> Response:
        """A new group; it must not exist."""
        id, body = _id(request), await read_object(request)
        response = await self._wish(request, lambda world: asked.create_group(world, id, body), status=201)
        response.headers["Location"] = f"/v2/groups{absolute(str(body.get('id', '')), id)}"
        return response

    async def put(self, request: Request) -> Response:
        """A group as the body says, whole; with `dryRun` only the steps that it would take."""
        id, body = _id(request), await read_object(request)
        history = await self._history(id) if "version" in body else {}

        def wanted(world: World) -> Wish:
            return asked.update_group(world, id, body, history)

        if flag(request, "dryRun"):
            world = self._parts.world
            checked = tags.only_if(request, tags.of_group(id), wanted)
            draft = await self._parts.wishes.plan(world, checked, force=True)
            return answer({"steps": step_documents(draft.deployment, draft.overlay(world))})
        return await self._wish(request, wanted)

    async def back(self, request: Request) -> Response:
        """A group as it was at a version (a path that Marathon dropped and old clients still use)."""
        id, version = _id(request), str(request.path_params["version"])
        history = await self._history(id)
        return await self._wish(
            request, lambda world: asked.update_group(world, id, {"version": version}, history)
        )

    async def delete(self, request: Request) -> Response:
        """A group that goes, with all in it."""
        id = _id(request)
        return await self._wish(request, lambda world: wish.remove_group(world, id))

    async def _wish(self, request: Request, wanted: Asked, status: int = 200) -> Response:
        wanted = tags.only_if(request, tags.of_group(_id(request)), wanted)
        return await self._parts.wish(wanted, force=flag(request, "force"), status=status)

    def _document(self, world: World, app: App, embed: frozenset[str]) -> msgspec.Raw:
        documents = self._parts.documents
        if not embed:
            return msgspec.Raw(documents.app(app))
        return msgspec.Raw(documents.info(world, app, embed, self._parts.clock()))

    async def _history(self, id: str) -> Mapping[str, list[str]]:
        held: dict[str, list[str]] = {}
        for app, version in await self._parts.versions(keys.versions_below(id)):
            if app in self._parts.world.apps:
                held.setdefault(app, []).append(version)
        return held


class Folders:
    """A World's apps and groups as a tree. encoded: an app's document."""

    def __init__(self, world: World, encoded: Callable[[App], msgspec.Raw]) -> None:
        self._world = world
        self._encoded = encoded
        self._apps: dict[str, list[App]] = {}
        self._below: dict[str, set[str]] = {}
        for app in world.apps.values():
            self._apps.setdefault(parent(app.id), []).append(app)
            self._add(parent(app.id))
        for group in world.groups:
            self._add(group)

    def document(self, id: str, *, apps: bool, groups: bool) -> Json:
        """One group, with its apps and with the groups below it where they are asked for."""
        record = self._world.groups.get(id)
        document: Json = {"id": id, "version": self._version(id)}
        document["dependencies"] = record.dependencies if record else []
        document["pods"] = []
        document["apps"] = [self._encoded(app) for app in self._apps.get(id, ())] if apps else []
        below = sorted(self._below.get(id, ())) if groups else []
        document["groups"] = [self.document(each, apps=apps, groups=True) for each in below]
        return document

    def _add(self, group: str) -> None:
        while group != "/":
            above = parent(group)
            self._below.setdefault(above, set()).add(group)
            group = above

    def _version(self, id: str) -> str:
        record = self._world.groups.get(id)
        versions = [app.version for app in self._apps.get(id, ())] + [record.version if record else NEVER]
        return max([*versions, *(self._version(each) for each in self._below.get(id, ()))])


def _id(request: Request) -> str:
    """The group in a request's path; none is the root."""
    return absolute("/" + str(request.path_params.get("id", "")))
