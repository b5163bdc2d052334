from __future__ import annotations

import asyncio
import base64
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from fairlead.errors import ConfigError, NotFound, Unauthorized
from fairlead.service import keys as module
from fairlead.service.keys import Keyring, Keys
from fairlead.storage.database import Database
from fairlead.storage.tables import Key


@pytest.fixture
def keys(database: Database, tmp_path: Path) -> Keys:
    return Keys(database, tmp_path / "home" / "keys.secret")


@pytest.fixture
def ring(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    """One that looks at the database each time."""
    monkeypatch.setattr(module, "_FRESH_S", 0.0)
    return Keyring(keys, local_only=True)


async def test_a_key_is_random_and_only_its_hash_is_kept(keys: Keys, database: Database, tmp_path: Path) -> None:
    first, second = await keys.add("anna", "laptop"), await keys.add("anna")
    assert first != second
    assert first.startswith("fl_")
    assert len(base64.urlsafe_b64decode(first.removeprefix("fl_") + "=")) == 32
    listed = await keys.every()
    assert [(key.person, key.hint, key.label) for key in listed] == [
        ("anna", first[:9], "laptop"),
        ("anna", second[:9], ""),
    ]
    async with database.reading() as connection:
        digests = list((await connection.execute(select(Key.digest))).scalars())
    assert all(len(digest) == 32 for digest in digests)
    assert not any(first[9:].encode() in digest for digest in digests)
    secret = tmp_path / "home" / "keys.secret"
    assert oct(secret.stat().st_mode)[-3:] == "600"
    assert len(list(secret.parent.iterdir())) == 1


async def test_a_key_names_its_holder_until_it_is_revoked(keys: Keys, ring: Keyring) -> None:
    assert await ring.holder(None) is None
    assert await ring.holder("Bearer anything") is None, "open mode asks for none"
    annas, bens = await keys.add("anna"), await keys.add("ben")
    assert await ring.holder(f"Bearer {annas}") == "anna"
    assert await ring.holder(f"bearer  {bens} ") == "ben"
    assert await ring.has_valid()
    first, second = await keys.every()
    await keys.revoke(first.id)
    with pytest.raises(Unauthorized, match="not valid"):
        await ring.holder(f"Bearer {annas}")
    assert await ring.holder(f"Bearer {bens}") == "ben"
    with pytest.raises(NotFound):
        await keys.revoke(first.id)
    await keys.revoke(second.id)
    assert not await ring.has_valid()
    with pytest.raises(Unauthorized, match="asks for an access key"):
        await ring.holder(None)  # a server whose last key was revoked lets nobody in
    assert await keys.clear() == 2
    assert await ring.holder(None) is None


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer {short}",
        "Bearer ä",
        "Bearer \ud800",
    ],
)
async def test_what_is_no_valid_key_is_refused(keys: Keys, ring: Keyring, given: str | None) -> None:
    key = await keys.add("anna")
    with pytest.raises(Unauthorized):
        await ring.holder(given and given.format(key=key, short=key[:-1]))


async def test_others_than_this_machine_need_a_key_even_where_none_exists(keys: Keys) -> None:
    with pytest.raises(Unauthorized):
        await Keyring(keys, local_only=False).holder(None)


async def test_a_change_counts_within_a_second_and_asking_costs_microseconds(keys: Keys) -> None:
    key = await keys.add("anna")
    ring = Keyring(keys, local_only=True)
    header = f"Bearer {key}"
    await ring.holder(header)
    began = time.perf_counter()
    for _ in range(1000):
        await ring.holder(header)
    assert (time.perf_counter() - began) / 1000 < 100e-6
    await keys.revoke(1)
    await asyncio.sleep(1.1)
    with pytest.raises(Unauthorized):
        await ring.holder(header)


async def test_use_is_noted(keys: Keys, ring: Keyring) -> None:
    key = await keys.add("anna")
    await keys.add("ben")
    await ring.holder(f"Bearer {key}")
    assert [row.used_at for row in await keys.every()] == [None, None]
    await ring.close()
    used = [row.used_at for row in await keys.every()]
    assert used[0] is not None
    assert used[1] is None


async def test_without_its_secret_no_key_is_valid(keys: Keys, ring: Keyring, tmp_path: Path) -> None:
    key = await keys.add("anna")
    secret = tmp_path / "home" / "keys.secret"
    kept = secret.read_bytes()
    secret.unlink()
    with pytest.raises(Unauthorized):
        await ring.holder(f"Bearer {key}")
    secret.write_bytes(b"")
    with pytest.raises(ConfigError, match="damaged"):
        await keys.add("anna")
    secret.write_bytes(bytes(32))
    with pytest.raises(Unauthorized):
        await ring.holder(f"Bearer {key}")
    secret.write_bytes(kept)
    assert await ring.holder(f"Bearer {key}") == "anna"
