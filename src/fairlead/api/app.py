"""The application: services, middleware and routes put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

import fairlead
from fairlead.api import (
    answering,
    chats,
    classification,
    collections,
    errors,
    files,
    me,
    models,
    native,
    openai,
    page,
    reference,
    summaries,
)
from fairlead.api import embeddings as embedding_routes
from fairlead.api.description import DescribedApp
from fairlead.api.identity import Identity
from fairlead.api.logs import RequestLog
from fairlead.api.security import Door, is_local
from fairlead.api.services import Services
from fairlead.config import Settings
from fairlead.service.answering import Answers
from fairlead.service.chats import Chats
from fairlead.service.classification import Classifications
from fairlead.service.collections import Collections
from fairlead.service.composing import Composer
from fairlead.service.conversations import Conversations
from fairlead.service.documents import ChatDocuments, FileLimits
from fairlead.service.embeddings import Embeddings
from fairlead.service.generation import Generator
from fairlead.service.live import LiveAnswers
from fairlead.service.metrics import Metrics
from fairlead.service.people import People
from fairlead.service.registry import Registry
from fairlead.service.store import Store
from fairlead.service.summaries import Summaries
from fairlead.service.tables import Tables
from fairlead.service.titles import Titles
from fairlead.service.users import Users

logger = logging.getLogger(__name__)


def create_app(settings: Settings, model: str | None = None, registry: Registry | None = None) -> FastAPI:
    """The server as an ASGI application; its services are at `app.state.services`.

    Args:
        settings: of the server.
        model: a name or the path of a GGUF file, loaded at start in place of the settings' default.
        registry: the models, where they are not those of the settings.

    Raises:
        ModelNotFound, ConfigError: there is no such model, or the database's URL is none.
    """
    services = _services(settings, registry or Registry(settings))
    registry = services.registry
    chosen = model or settings.default_model
    first = registry.add(chosen) if chosen is not None else None

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if not has_page:
            logger.warning("the web page was not built: `make build` does it")
        await services.store.open()
        await services.documents.start()
        await services.collections.start()
        loading = asyncio.create_task(registry.start(first)) if first is not None else None
        try:
            yield
        finally:
            await services.conversations.close()
            await services.documents.close()
            await services.collections.close()
            await registry.close()
            if loading is not None:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)
            await services.people.close()
            await services.store.close()

    app = DescribedApp(
        title="Fairlead",
        version=fairlead.__version__,
        lifespan=lifespan,
        middleware=_middleware(settings, services),
        docs_url=None,  # FastAPI's own pages fetch their scripts from other hosts
        redoc_url=None,
    )
    app.state.services = services
    errors.install(app)
    app.include_router(native.router)
    app.include_router(me.router)
    app.include_router(models.router)
    app.include_router(chats.router)
    app.include_router(files.router)
    app.include_router(openai.router)
    app.include_router(embedding_routes.router)
    app.include_router(summaries.router)
    app.include_router(answering.router)
    app.include_router(collections.router)
    app.include_router(classification.router)
    reference.install(app)
    has_page = page.install(app)
    return app


def _middleware(settings: Settings, services: Services) -> list[Middleware]:
    """What a request passes on its way to a route, outermost first."""
    middleware = [
        Middleware(RequestLog, metrics=services.metrics),
        Middleware(Door, hosts=settings.allowed_hosts, origins=settings.allowed_origins),
    ]
    if settings.allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allowed_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["X-Request-Id"],
            )
        )
    middleware.append(Middleware(Identity, keyring=services.people.keyring))  # behind CORS, which asks without a key
    return middleware


def _services(settings: Settings, registry: Registry) -> Services:
    """The services of one server, none of them started."""
    metrics = Metrics(registry.engine_stats)
    store = Store(settings)
    people = People(store.database, settings, local_only=is_local(settings.host))
    users = Users(settings.users, settings.max_waiting_per_user, people.usage.count)
    waiting, admit = settings.max_waiting, people.usage.check
    generator = Generator(registry, metrics, users, max_waiting=waiting, admit=admit)
    embeddings = Embeddings(registry, users, metrics, settings.embedding_model, max_waiting=waiting, admit=admit)
    limits = FileLimits(file_bytes=settings.max_file_bytes, files_per_chat=settings.max_files_per_chat)
    documents = ChatDocuments(store.database, settings.files_dir, embeddings, limits)
    searched = Collections(store.database, people, embeddings)
    live = LiveAnswers(store.database, settings.grace_s)
    metrics.chat_answers.set_function(lambda: live.count)
    composer = Composer(store.database, generator, documents, settings.files_share)
    titles = Titles(store.database, generator, enabled=settings.make_titles)
    return Services(
        registry=registry,
        generator=generator,
        embeddings=embeddings,
        users=users,
        metrics=metrics,
        store=store,
        people=people,
        chats=Chats(store.database, live, documents, registry.check_name),
        conversations=Conversations(store.database, generator, live, composer, titles),
        documents=documents,
        summaries=Summaries(generator),
        collections=searched,
        tables=Tables(),
        answers=Answers(generator, embeddings, searched),
        classifications=Classifications(generator, users, metrics),
    )
