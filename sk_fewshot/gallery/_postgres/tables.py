"""The two tables of a gallery: its rows, and one row of settings that writers lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from sk_fewshot.gallery._postgres import values
from sk_fewshot.gallery._postgres.connections import load_psycopg

if TYPE_CHECKING:
    from psycopg import Connection

FORMAT = 1
SUFFIX = "_settings"
_HNSW = "_hnsw"
LONGEST_NAME = 63  # bytes; PostgreSQL cuts off what is longer
_CREATION = 0x736B5F6665777368  # key of the lock under which tables are created
_CHUNK = 2**14  # rows read or written at once
_OPERATORS = {  # of pgvector, and the classes of its indices
    "sqeuclidean": ("<->", "vector_l2_ops"),
    "euclidean": ("<->", "vector_l2_ops"),
    "cosine": ("<=>", "vector_cosine_ops"),
    "dot": ("<#>", "vector_ip_ops"),
}
METRICS = tuple(_OPERATORS)
_TABLES = """
create table if not exists {rows} (
    arrival bigint primary key,
    label text collate "C" not null,
    id text collate "C" unique,
    embedding vector not null,
    count bigint,
    sum double precision[]
);
alter table {rows} alter column embedding set storage main;
create index if not exists {by_label} on {rows} (label);
create table if not exists {settings} (
    one boolean primary key default true check (one),
    format integer not null,
    kind text not null,
    dimension integer not null,
    metric text not null,
    encoder text not null,
    label_type text not null,
    id_type text,
    next_id bigint not null,
    longest double precision not null,
    version uuid not null
)
"""


@dataclass(frozen=True)
class Settings:
    """What all rows of a gallery share.

    Parameters
    ----------
    format : int
        Of the tables.
    kind : str
        Name of the class of galleries in memory that holds such rows.
    dimension : int
    metric, encoder : str
    label_type, id_type : str
        As :func:`~sk_fewshot.gallery._postgres.values.type_of`; None: the rows have no keys.
    next_id : int
        Number of the next example that comes without a key.
    longest : float
        Length of the longest embedding that was ever enrolled.
    version : UUID
        Another one after each change.
    """

    format: int
    kind: str
    dimension: int
    metric: str
    encoder: str
    label_type: str
    id_type: str | None
    next_id: int
    longest: float
    version: UUID


@dataclass(frozen=True)
class Rows:
    """Some rows of a gallery: arrays of one length, or None for what they have not."""

    labels: NDArray
    embeddings: NDArray[np.float32]
    ids: NDArray | None = None
    counts: NDArray | None = None
    sums: NDArray[np.float64] | None = None
    arrival: Any = None


class Tables:
    """The tables of one name, over a connection in a transaction."""

    def __init__(self, connection: Connection, table: str):
        self._sql = load_psycopg().sql
        self._connection = connection
        self._table = table
        self._names = self._quoted(table)
        self._names_beside_parameters = self._quoted(table.replace("%", "%%"))

    def _quoted(self, table: str) -> dict[str, Any]:
        suffixes = {"rows": "", "settings": SUFFIX, "by_label": "_label", "hnsw": _HNSW}
        return {name: self._sql.Identifier(table + end) for name, end in suffixes.items()}

    def execute(self, statement: str, parameters: Sequence[Any] = (), **parts: Any) -> Any:
        """Run a statement, whose braces name tables or other parts of SQL."""
        composed = self._sql.SQL(statement).format(**self._names_beside_parameters, **parts)
        return self._connection.execute(composed, parameters, binary=True)

    def settings(self, *, lock: bool = False) -> Settings | None:
        """Read the settings, and with `lock` keep other writers waiting; None: no gallery."""
        if lock and not all(self._exist("", SUFFIX)):
            return None  # and the transaction goes on
        columns = self._sql.SQL(", ").join(map(self._sql.Identifier, Settings.__annotations__))
        for_update = self._sql.SQL("for update" if lock else "")
        try:
            row = self.execute(
                "select {columns} from {settings} {for_update}",
                columns=columns,
                for_update=for_update,
            ).fetchone()
        except load_psycopg().errors.UndefinedTable:
            return None
        except load_psycopg().errors.UndefinedColumn as error:
            raise ValueError(self._foreign()) from error
        if row is not None and row[0] != FORMAT:
            raise ValueError(
                f"table={self._table!r} was made by another version of this package, in format "
                f"{row[0]} instead of {FORMAT}."
            )
        return None if row is None else Settings(*row)

    def create(self) -> None:
        """Create what is not there of type and tables; others who create wait.

        Raises
        ------
        ValueError
            If the name is another table's, or there is no pgvector.
        """
        self.execute("select pg_advisory_xact_lock(%s)", [_CREATION])
        existing = self._exist("", SUFFIX)
        if all(existing):
            return
        if any(existing):
            raise ValueError(self._foreign())
        if self.execute("select from pg_extension where extname = 'vector'").rowcount == 0:
            try:
                self.execute("create extension vector")
            except load_psycopg().Error as error:
                raise ValueError(
                    "The database has no pgvector. Its administrator installs that, and creates it "
                    f"by CREATE EXTENSION vector. ({error})"
                ) from error
        self._connection.execute(self._sql.SQL(_TABLES).format(**self._names))

    def replace_settings(self, settings: Settings) -> None:
        """Write the settings."""
        names = list(Settings.__annotations__)
        columns = [self._sql.Identifier(name) for name in names]
        given = [self._sql.SQL("excluded.{}").format(column) for column in columns]
        self.execute(
            "insert into {settings} ({columns}) values ({values}) "
            "on conflict (one) do update set ({columns}) = row({given})",
            [getattr(settings, name) for name in names],
            columns=self._sql.SQL(", ").join(columns),
            values=self._sql.SQL(", ").join([self._sql.Placeholder()] * len(names)),
            given=self._sql.SQL(", ").join(given),
        )

    def add(self, rows: Rows) -> None:
        """Add rows after all others."""
        first = self.execute("select coalesce(max(arrival) + 1, 0) from {rows}").fetchone()[0]
        statement = self._sql.SQL("copy {rows} from stdin (format binary)").format(**self._names)
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(["int8", "text", "text", "bytea", "int8", "bytea"])
            for part in gen_batches(len(rows.labels), _CHUNK):
                n_rows = len(rows.labels[part])
                columns = (
                    range(first + part.start, first + part.start + n_rows),
                    values.as_text("y", rows.labels[part]),
                    [None] * n_rows if rows.ids is None else values.as_text("ids", rows.ids[part]),
                    values.vectors(rows.embeddings[part]),
                    [None] * n_rows if rows.counts is None else rows.counts[part].tolist(),
                    [None] * n_rows if rows.sums is None else values.arrays(rows.sums[part]),
                )
                for row in zip(*columns, strict=True):
                    copy.write_row(row)

    def read(self, settings: Settings) -> Iterator[Rows]:
        """Read all rows in any order, some at a time, without their sums."""
        statement = self._sql.SQL(
            "copy (select arrival, label, id, embedding, count from {rows}) "
            "to stdout (format binary)"
        ).format(**self._names)
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(["int8", "text", "text", "bytea", "int8"])
            chunk: list[Any] = []
            for row in copy.rows():
                chunk.append(row)
                if len(chunk) == _CHUNK:
                    yield as_rows(chunk, settings)
                    chunk = []
            if chunk:
                yield as_rows(chunk, settings)

    def take(self, settings: Settings, labels: list[str]) -> Rows | None:
        """Delete the rows of these classes and return them with their sums; None: none is there."""
        taken = self.execute(
            "delete from {rows} where label = any(%s) "
            "returning arrival, label, id, embedding, count, array_send(sum)",
            [labels],
        ).fetchall()
        return as_rows(taken, settings) if taken else None

    def labels(self) -> list[str]:
        """Return the label of each class."""
        return [label for (label,) in self.execute("select distinct label from {rows}").fetchall()]

    def is_empty(self) -> bool:
        """Whether there is no row."""
        return self.execute("select from {rows} limit 1").rowcount == 0

    def count(self) -> int:
        """Return the number of rows."""
        return self.execute("select count(*) from {rows}").fetchone()[0]

    def drop_index(self) -> None:
        """Drop the index for approximate search, if there is one."""
        if all(self._exist(_HNSW)):
            self.execute("drop index {hnsw}")

    def create_index(self, settings: Settings) -> None:
        """Create an index for approximate search, if there is none."""
        if all(self._exist(_HNSW)):
            return
        self.execute(
            "create index {hnsw} on {rows} using hnsw "
            "((embedding::vector({dimension})) {operators}) "
            "where vector_dims(embedding) = {dimension}",
            dimension=self._sql.Literal(settings.dimension),
            operators=self._sql.SQL(_OPERATORS[settings.metric][1]),
        )

    def nearest(
        self,
        settings: Settings,
        queries: NDArray[np.float32],
        n: int,
        *,
        by_index: bool,
    ) -> list[tuple[Any, ...]]:
        """Let the server find about the n nearest rows to each query.

        Returns
        -------
        list of tuple
            Number of the query from 1, distance by pgvector's operator, arrival, label, id,
            embedding as sent; the nearest of each query first.
        """
        operator = self._sql.SQL(_OPERATORS[settings.metric][0])
        dimension = self._sql.Literal(settings.dimension)
        if by_index:
            self.execute(
                "select set_config('hnsw.ef_search', greatest("
                "%s, coalesce(current_setting('hnsw.ef_search', true)::integer, 0))::text, true)",
                [max(n, _EF_SEARCH)],
            )
            row = self._sql.SQL("embedding::vector({})").format(dimension)
            order = self._sql.SQL("{} {} q.vector").format(row, operator)
        else:
            # no index has this expression; a zero vector has no cosine, and is at distance 1
            order = self._sql.SQL("coalesce(nullif(embedding {} q.vector, 'NaN'), 1)").format(
                operator
            )
        return self.execute(
            """
            with q as materialized (
                select number, literal::vector as vector
                from unnest(%s::text[]) with ordinality as given(literal, number)
            )
            select q.number, near.* from q cross join lateral (
                select coalesce(nullif(embedding {operator} q.vector, 'NaN'), 1) as distance,
                    arrival, label, id, embedding
                from {rows} where vector_dims(embedding) = {dimension}
                order by {order} limit %s
            ) near order by q.number, near.distance
            """,
            [values.vector_literals(queries), n],
            operator=operator,
            dimension=dimension,
            order=order,
        ).fetchall()

    def _foreign(self) -> str:
        return (
            f"table={self._table!r} or {self._table + SUFFIX!r} exists and is not of a gallery. "
            "Choose another name."
        )

    def _exist(self, *ends: str) -> list[bool]:
        """Whether there are tables or indices of this name with these ends."""
        names = [self._table + end for end in ends]
        found = self.execute(  # to_regclass may not see yet what another transaction has created
            "select relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace "
            "where relname::text = any(%s) and nspname = any(current_schemas(false))",
            [names],
        ).fetchall()
        return [(name,) in found for name in names]


_EF_SEARCH = 400  # rows that an approximate search keeps in sight, at least
MOST_BY_INDEX = 1000  # as many as it can


def as_rows(chunk: list[Any], settings: Settings) -> Rows:
    """Return rows given as arrival, label, id, embedding and, in class means, count and sum."""
    arrival, labels, ids, embeddings, *more = zip(*chunk, strict=True)
    keyed = settings.id_type is not None
    return Rows(
        values.from_text(labels, settings.label_type),
        values.from_vectors(embeddings, settings.dimension),
        None if settings.id_type is None else values.from_text(ids, settings.id_type),
        np.array(more[0], dtype=np.int64) if more and not keyed else None,
        values.from_arrays(more[1], settings.dimension) if more[1:] and not keyed else None,
        np.array(arrival, dtype=np.int64),
    )
