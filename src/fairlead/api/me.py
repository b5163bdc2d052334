"""`GET /me`: who one is to the server, what one may have, and what one has."""

from __future__ import annotations

from fastapi import APIRouter

from fairlead.api.responses import Json
from fairlead.api.schemas import UserName
from fairlead.api.security import JsonRoute
from fairlead.api.service_responses import Me
from fairlead.api.services import Asker, Proven, Served

router = APIRouter(route_class=JsonRoute)


@router.get("/me", tags=["service"])
async def me(services: Served, asker: Asker, proven: Proven, user: UserName | None = None) -> Json[Me]:
    """Who asks, their limits (null is none) and what they have of each."""
    name = user or asker
    people, known = services.people, services.users.find(name)
    limits, tokens = people.limits(name), await people.tokens_today(name)
    return Json(
        {
            "user": name,
            "secured": proven is not None,
            "limits": {
                "weight": limits.weight,
                "max_waiting": limits.max_waiting,
                "tokens_per_day": limits.tokens_per_day,
                "storage_bytes": limits.storage_bytes,
            },
            "used": {
                "waiting": known.waiting,
                "running": known.running,
                "prompt_tokens_today": tokens.prompt,
                "completion_tokens_today": tokens.completion,
                "tokens_today": tokens.total,
                "storage_bytes": await people.stored_bytes(name),
            },
            "day_ends_at": people.usage.resets_at().isoformat().replace("+00:00", "Z"),
        }
    )
