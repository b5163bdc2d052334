"""The application: services, middleware and routes put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

import fairlead
from fairlead.api import embeddings as embedding_routes
from fairlead.api import errors, models, native, openai, reference
from fairlead.api.logs import RequestLog
from fairlead.api.security import Door
from fairlead.api.services import Services
from fairlead.config import Settings
from fairlead.service.embeddings import Embeddings
from fairlead.service.generation import Generator
from fairlead.service.metrics import Metrics
from fairlead.service.registry import Registry
from fairlead.service.users import Users


def create_app(settings: Settings, model: str | None = None, registry: Registry | None = None) -> FastAPI:
    """The server as an ASGI application; its services are at `app.state.services`.

    Args:
        settings: of the server.
        model: a name or the path of a GGUF file, loaded at start in place of the settings' default.
        registry: the models, where they are not those of the settings.

    Raises:
        ModelNotFound, ConfigError: there is no such model.
    """
    registry = registry or Registry(settings)
    metrics = Metrics(registry.engine_stats)
    users = Users(settings.users, settings.max_waiting_per_user)
    generator = Generator(registry, metrics, users, max_waiting=settings.max_waiting)
    embeddings = Embeddings(registry, users, metrics, settings.embedding_model, max_waiting=settings.max_waiting)
    services = Services(registry, generator, embeddings, users, metrics)
    chosen = model or settings.default_model
    first = registry.add(chosen) if chosen is not None else None

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(registry.start(first)) if first is not None else None
        try:
            yield
        finally:
            await registry.close()
            if loading is not None:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)

    middleware = [
        Middleware(RequestLog, metrics=metrics),
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
    app = FastAPI(
        title="Fairlead",
        version=fairlead.__version__,
        lifespan=lifespan,
        middleware=middleware,
        docs_url=None,  # FastAPI's own pages fetch their scripts from other hosts
        redoc_url=None,
    )
    app.state.services = services
    errors.install(app)
    app.include_router(native.router)
    app.include_router(models.router)
    app.include_router(openai.router)
    app.include_router(embedding_routes.router)
    reference.install(app)
    return app
