"""The operations of the API come in; an OpenAPI 3.1 document of them comes out. Pure.

What bodies look like is msgspec's schema of the model's structs and of `forms.py`; the words are the docstrings.
"""

import inspect
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from kato.api import forms
from kato.api.answers import answer, encode
from kato.api.operation import JSON, Answer, Body, Operation, ok
from kato.api.version import kato_version
from kato.language.shape import add_old_words
from kato.model.app import App, Group

Json = dict[str, Any]
EVERY = (400, 401, 403)
"""How every request may fail: it cannot be read, shows no token where it must, a stranger or a web page asks."""
SCHEMES: Json = {
    "token": {"type": "http", "scheme": "bearer", "description": "The cell's token (kato certify)."},
    "password": {"type": "http", "scheme": "basic", "description": "The token as the password of any user."},
}
SECURITY: Sequence[Json] = ({}, {"token": []}, {"password": []})
"""On the cell's machine its own user and root need none."""
PARAMETERS = {
    "id": "The path of an app or group, with or without its first slash; of logs and exec a task's id too.",
    "name": "The name of a secret, such as shop/db-password.",
    "task": "The id of a task or of its instance.",
    "version": "A version: a timestamp, as an answer tells it.",
}
TAG = "What is wished for, a dot, and a digest of the answer."
KNOWN = "ETags of answers that the client has: 304 where it would be one of them."
MEANT = "ETags: only where what is wished for is as one of them says, else 412; `*`: only where it exists."
_PLACE = re.compile(r"\{(\w+)(?::path)?\}")
_PARTIAL = ("App", "Group")
_WORD = "[A-Za-z0-9_-][A-Za-z0-9_.-]*"


def _place(pattern: str, example: str) -> Json:
    return {"schema": {"type": "string", "pattern": f"^{pattern}$"}, "example": example}


_PLACES: dict[str, Json] = {
    "id": _place(f"/?{_WORD}(/{_WORD})*", "shop/web"),
    "name": _place(f"{_WORD}(/{_WORD})*", "shop/db-password"),
    "task": _place(_WORD, "shop_web.instance-1f0c5a9e-5b1c-5c43-8a3f-2f6f3f4e9a10._app.1"),
    "version": _place("[0-9TZ:.-]+", "2026-01-01T00:00:00.000Z"),
}


def document(operations: Sequence[Operation]) -> Json:
    """The whole document, as plain data."""
    types = [App, Group, forms.Problem, *(type for each in operations for type in _types(each))]
    schemas, components = _schemas(types)
    paths: Json = {}
    for each in operations:
        path = _PLACE.sub(r"{\1}", each.path)
        paths.setdefault(path, {})[each.method.lower()] = _operation(each, path, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Káto",
            "version": kato_version(),
            "description": "/v2 is Marathon's API (1.11); /v1 is Káto's own, where times are epoch seconds.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": SECURITY,
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": SCHEMES},
    }


def described(operations: Sequence[Operation]) -> Operation:
    """The operation that answers with the document of all, itself included."""
    known: list[bytes] = []

    async def openapi(request: Request) -> Response:
        """This document."""
        if not known:
            known.append(encode(document([*operations, own])))
        return answer(known[0])

    own = Operation("GET", "/openapi.json", openapi, ok(dict[str, Any]))
    return own


def _types(operation: Operation) -> Iterable[Any]:
    yield from (query.type for query in operation.query)
    for each in operation.answers.values():
        for type in (each.media or {JSON: each.type}).values():
            yield from type if isinstance(type, tuple) else (type,)
    if operation.takes is not None:
        yield operation.takes.type


def _schemas(types: Sequence[Any]) -> tuple[dict[str, Json], Json]:
    """Type, by its `repr`, → schema, and the named schemas that these refer to."""
    named, components = msgspec.json.schema_components(types, schema_hook=lambda _type: {"title": "anything"})
    add_old_words(components, deprecated=True, writeOnly=True)
    own = components["AppInfo"]
    own["properties"] = components["App"]["properties"] | own["properties"]
    own["required"] = components["App"]["required"]
    for name in _PARTIAL:
        components[f"{name}Change"] = {**components[name], "required": []}
    placed: Json = _placed(components)
    return {repr(type): _placed(schema) for type, schema in zip(types, named, strict=True)}, placed


def _placed(node: Any) -> Any:
    """A schema whose references lead to where OpenAPI keeps schemas."""
    if isinstance(node, dict):
        return {
            key: value.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _placed(value)
            for key, value in node.items()
        }
    return [_placed(each) for each in node] if isinstance(node, list | tuple) else node


def _operation(operation: Operation, path: str, schemas: dict[str, Json]) -> Json:
    room = type(getattr(operation.act, "__self__", operation)).__name__.lower()
    name = getattr(operation.act, "__name__", "")
    root = "_root" if room == "groups" and "{id}" not in path else ""
    said = inspect.getdoc(operation.act) or ""
    found: Json = {
        "operationId": f"{room}_{name}{root}",
        "tags": [room],
        "summary": said.partition("\n")[0],
        "parameters": [
            *(
                {"name": place, "in": "path", "required": True, "description": PARAMETERS[place], **_PLACES[place]}
                for place in _PLACE.findall(operation.path)
            ),
            *(
                {
                    "name": query.name,
                    "in": "query",
                    "description": query.about,
                    "schema": schemas[repr(query.type)],
                }
                for query in operation.query
            ),
        ],
        "responses": {
            **{str(status): _answer(each, schemas) for status, each in operation.answers.items()},
            **{str(status): _problem(status) for status in sorted({*EVERY, *operation.fails})},
        },
    }
    if operation.tagged:
        _tag(found, operation.method)
    if operation.takes is not None:
        found["requestBody"] = {
            "required": True,
            "content": {operation.takes.media: _body(operation.takes, schemas)},
        }
    return found


def _tag(found: Json, method: str) -> None:
    """Adds what is said of ETags: reads answer with them, changes are held against them."""
    name, said = ("If-None-Match", KNOWN) if method == "GET" else ("If-Match", MEANT)
    found["parameters"].append({"name": name, "in": "header", "description": said, "schema": {"type": "string"}})
    if method == "GET":
        tag = {"ETag": {"description": TAG, "schema": {"type": "string"}}}
        found["responses"]["200"].setdefault("headers", {}).update(tag)
        found["responses"]["304"] = {"description": "It is the answer that the client has.", "headers": tag}
    else:
        found["responses"]["412"] = _problem(412)


def _body(body: Body, schemas: dict[str, Json]) -> Json:
    schema = schemas[repr(body.type)]
    if body.partial:
        change = {f"#/components/schemas/{name}": f"#/components/schemas/{name}Change" for name in _PARTIAL}
        schema = {**schema, "$ref": change[schema["$ref"]]}
    return {"schema": schema, **({"example": body.example} if body.example is not None else {})}


def _answer(answer: Answer, schemas: dict[str, Json]) -> Json:
    found: Json = {"description": answer.about}
    media = answer.media or ({JSON: answer.type} if answer.type is not None else {})
    if media:
        found["content"] = {kind: {"schema": _schema(type, schemas)} for kind, type in media.items()}
    if answer.headers:
        found["headers"] = {
            name: {"description": said, "schema": {"type": "string"}} for name, said in answer.headers.items()
        }
    return found


def _schema(type: Any, schemas: dict[str, Json]) -> Json:
    return {"anyOf": [schemas[repr(each)] for each in type]} if isinstance(type, tuple) else schemas[repr(type)]


def _problem(status: int) -> Json:
    schema = {"$ref": "#/components/schemas/Problem"}
    said: Json = {"description": HTTPStatus(status).phrase, "content": {JSON: {"schema": schema}}}
    if status == 401:
        said["headers"] = {"WWW-Authenticate": {"description": "Bearer.", "schema": {"type": "string"}}}
    return said
