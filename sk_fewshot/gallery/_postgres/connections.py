"""Connections to PostgreSQL: reused, checked before each use, never shared with a fork."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

_MOST_IDLE = 4  # connections to one database that wait for the next call

_idle: dict[str, list[Connection]] = {}
_of_parent: list[dict[str, list[Connection]]] = []


def load_psycopg() -> ModuleType:
    """Import psycopg.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import psycopg
    except ImportError as error:
        raise ImportError(
            'PostgresGallery needs the package psycopg: pip install "sk-fewshot[postgres]".'
        ) from error
    return psycopg


@contextmanager
def transaction(dsn: str, *, read_only: bool) -> Iterator[Connection]:
    """Run a block as one transaction: all of it, or where it raises nothing.

    A reading one sees the database as it was at its first statement. A writing one sees at each
    statement what others have committed.
    """
    psycopg = load_psycopg()
    connection = _connection(dsn)
    try:
        level = psycopg.IsolationLevel
        connection.read_only = read_only
        connection.isolation_level = level.REPEATABLE_READ if read_only else level.READ_COMMITTED
        with connection.transaction():
            yield connection
    except BaseException:
        connection.close()
        raise
    idle = _idle.setdefault(dsn, [])
    if len(idle) < _MOST_IDLE:
        idle.append(connection)
    else:
        connection.close()


def _connection(dsn: str) -> Connection:
    psycopg = load_psycopg()
    idle = _idle.setdefault(dsn, [])
    while True:
        try:
            connection = idle.pop()
        except IndexError:
            break
        try:
            connection.execute("")
        except psycopg.OperationalError:  # the server was restarted, or hung up
            connection.close()
        else:
            return connection
    try:
        psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise ValueError(
            'dsn must be an address as libpq takes it, such as "postgresql://user@host/database" '
            'or "host=... dbname=..."; the one given, which may hold a password, cannot be read.'
        ) from None
    return psycopg.connect(
        dsn,
        autocommit=True,
        client_encoding="utf8",
        fallback_application_name="sk_fewshot",
        prepare_threshold=None,  # plans depend on the limit
    )


@atexit.register
def _close_idle() -> None:
    for connections in _idle.values():
        for connection in connections:
            with suppress(Exception):
                connection.close()


def _leave_to_parent() -> None:
    """Keep the parent's connections open and unused: closing them here would end them there."""
    global _idle
    _of_parent.append(_idle)
    _idle = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
