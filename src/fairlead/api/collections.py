"""`/collections`: rows of tables, made from JSON or a file, and found by the meaning of a column of theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field, StringConstraints

from fairlead.api.collection_responses import (
    Collection,
    CollectionRemoved,
    Collections,
    Hits,
    RowRemoved,
    Rows,
    TablePreview,
    TableSource,
)
from fairlead.api.files import received
from fairlead.api.multipart import FilesRoute
from fairlead.api.responses import EncodedJson, Json
from fairlead.api.schemas import Body, Name, UserName
from fairlead.api.security import JsonRequest, JsonRoute
from fairlead.api.services import Asker, Served, Services
from fairlead.api.sse import while_connected
from fairlead.errors import InvalidRequest
from fairlead.service.collections import Found, Status, table_from
from fairlead.service.uploads import Upload


class _Rows(JsonRequest):
    most_bytes = 8 << 20


class _RowsRoute(JsonRoute):
    request_class = _Rows


router = APIRouter(route_class=JsonRoute, tags=["collections"])
_with_rows = APIRouter(route_class=_RowsRoute, tags=["collections"])
_uploads = APIRouter(route_class=FilesRoute, tags=["collections"])

_LARGEST_NUMBER: Final = 2**31 - 1
_MOST_ROWS: Final = 50_000
_MOST_LISTED: Final = 1_000
_MOST_FOUND: Final = 100
_MOST_QUERY_CHARACTERS: Final = 10_000

CollectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
InPath = Annotated[CollectionName, Path()]
NewRows = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=_MOST_ROWS, fail_fast=True)]
Number = Annotated[int, Path(ge=1, le=_LARGEST_NUMBER)]
Delimiter = Annotated[str | None, Query(min_length=1, max_length=1)]
Encoding = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._-]{1,40}$")]
TextColumn = Annotated[ColumnName | None, Query()]


class CreateBody(Body):
    """`POST /collections`: rows are objects whose values are texts, numbers, true, false or null."""

    name: CollectionName
    rows: NewRows
    text_column: ColumnName | None = None
    model: Name | None = None
    user: UserName | None = None


class RowsBody(Body):
    """`POST /collections/{name}/rows`."""

    rows: NewRows
    user: UserName | None = None


class SearchBody(Body):
    """`POST /collections/{name}/search`."""

    query: Annotated[str, StringConstraints(max_length=_MOST_QUERY_CHARACTERS)]
    top_k: Annotated[int, Field(ge=1, le=_MOST_FOUND)] = 10
    filters: Annotated[dict[str, Any], Field(max_length=50)] | None = None
    min_score: Annotated[float, Field(ge=-1, le=1)] | None = None
    user: UserName | None = None


@_with_rows.post("/collections", status_code=201)
async def create(body: CreateBody, services: Served, asker: Asker) -> Json[Collection]:
    """Make a collection of rows; they are embedded in the background."""
    table = await table_from(body.rows, body.text_column)
    made = await services.collections.create(body.user or asker, body.name, table, model=body.model)
    return Json(collection_json(made), 201)


@_uploads.post("/collections/file", status_code=201)
async def create_from_file(
    request: Request,
    services: Served,
    asker: Asker,
    name: Annotated[CollectionName, Query()],
    *,
    text_column: TextColumn = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    model: Annotated[Name | None, Query()] = None,
    user: UserName | None = None,
) -> Json[Collection]:
    """Make a collection of a table: a form (multipart/form-data) with it in a field named `file`, csv, tsv or jsonl."""
    async with contextlib.AsyncExitStack() as discarding:
        upload = await _upload(request, services, discarding)
        table = await while_connected(request, services.tables.read(upload, text_column, delimiter, encoding))
    made = await services.collections.create(user or asker, name, table, model=model)
    return Json(collection_json(made), 201)


@_uploads.post("/collections/preview")
async def preview(
    request: Request,
    services: Served,
    *,
    text_column: TextColumn = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
) -> Json[TablePreview]:
    """What a table would be read as, with its first rows; nothing of it is kept."""
    async with contextlib.AsyncExitStack() as discarding:
        upload = await _upload(request, services, discarding)
        found = await while_connected(request, services.tables.preview(upload, text_column, delimiter, encoding))
    header = found.header
    names = [column.name for column in header.columns]
    return Json(
        {
            "columns": [{"name": column.name, "type": column.type} for column in header.columns],
            "text_column": found.text_column,
            "text_column_guessed": text_column is None,
            "delimiter": header.delimiter,
            "encoding": header.encoding,
            "rows": [dict(zip(names, row, strict=True)) for row in found.rows],
            "row_count": header.row_count,
        }
    )


@router.get("/collections")
async def list_collections(services: Served, asker: Asker, user: UserName | None = None) -> Json[Collections]:
    """The asker's collections by name, and after them what comes with the server."""
    found = await services.collections.listed(user or asker)
    return Json({"collections": [collection_json(status) for status in found]})


@router.get("/collections/{name}")
async def look_at(name: InPath, services: Served, asker: Asker, user: UserName | None = None) -> Json[Collection]:
    """A collection, and how far it is embedded."""
    return Json(collection_json(await services.collections.find(user or asker, name)))


@router.delete("/collections/{name}")
async def remove(name: InPath, services: Served, asker: Asker, user: UserName | None = None) -> Json[CollectionRemoved]:
    """Delete a collection with all its rows, also while it is embedded."""
    await services.collections.remove(user or asker, name)
    return Json({"name": name, "removed": True})


@router.get("/collections/{name}/rows")
async def list_rows(
    name: InPath,
    services: Served,
    asker: Asker,
    offset: Annotated[int, Query(ge=0, le=_LARGEST_NUMBER)] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 100,
    user: UserName | None = None,
) -> Json[Rows]:
    """Rows in the order in which they came."""
    rows, count = await services.collections.rows(user or asker, name, offset, limit)
    return Json({"rows": [{"id": row.id, "row": dict(row.row)} for row in rows], "row_count": count})


@_with_rows.post("/collections/{name}/rows", status_code=201)
async def add_rows(name: InPath, body: RowsBody, services: Served, asker: Asker) -> Json[Collection]:
    """Append rows; what they leave out of the columns is null."""
    return Json(collection_json(await services.collections.add_rows(body.user or asker, name, body.rows)), 201)


@router.delete("/collections/{name}/rows/{row_id}")
async def remove_row(
    name: InPath, row_id: Number, services: Served, asker: Asker, user: UserName | None = None
) -> Json[RowRemoved]:
    """Delete a row."""
    await services.collections.remove_row(user or asker, name, row_id)
    return Json({"name": name, "row_id": row_id, "removed": True})


@router.post("/collections/{name}/search")
async def search(name: InPath, body: SearchBody, request: Request, services: Served, asker: Asker) -> Json[Hits]:
    """The rows whose texts are nearest to the query in meaning, best first."""
    looking = services.collections.search(
        body.user or asker, name, body.query, top_k=body.top_k, filters=body.filters, min_score=body.min_score
    )
    return EncodedJson(found_json(await while_connected(request, looking)))


router.include_router(_with_rows)
router.include_router(_uploads)


async def _upload(request: Request, services: Services, discarding: contextlib.AsyncExitStack) -> Upload:
    """The one file of a form."""
    uploads = await received(request, services.documents, discarding)
    if len(uploads) > 1:
        raise InvalidRequest("A collection is made of one file: send the others by themselves.", param="file")
    return uploads[0]


def found_json(found: Found) -> Hits:
    """What a search found, as clients see it."""
    return {
        "results": [{"id": hit.id, "row": hit.row, "text": hit.text, "score": hit.score} for hit in found.hits],
        "searched": found.searched,
        "state": found.state,
        "took_ms": found.took_ms,
    }


def collection_json(status: Status) -> Collection:
    """A collection as clients see it."""
    kept = status.collection
    return {
        "name": kept.name,
        "state": status.state,
        "model": kept.model,
        "text_column": kept.text_column,
        "text_column_guessed": kept.text_column_guessed,
        "columns": [{"name": column["name"], "type": column["type"]} for column in kept.columns],
        "row_count": kept.row_count,
        "embedded_count": kept.embedded_count,
        "skipped_count": kept.skipped_count,
        "size_bytes": kept.size_bytes,
        "index": {"kind": "exact" if status.recall is None else "approximate", "recall": status.recall},
        "source": None if kept.source is None else _source_json(kept.source),
        "builtin": status.is_builtin,
        "created_at": _time(kept.created_at),
        "updated_at": _time(kept.updated_at),
        "error": kept.error if status.state == "failed" else None,
    }


def _source_json(source: Mapping[str, Any]) -> TableSource:
    return {"file": source["file"], "delimiter": source["delimiter"], "encoding": source["encoding"]}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
