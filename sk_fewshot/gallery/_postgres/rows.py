"""The gallery as classifiers see it: transactions over its tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sk_fewshot.gallery._examples import Examples
from sk_fewshot.gallery._gallery import MemoryGallery, Neighbors
from sk_fewshot.gallery._keys import after, checked_ids
from sk_fewshot.gallery._labels import index_of
from sk_fewshot.gallery._means import ClassMeans, refuse_ids, refuse_removal
from sk_fewshot.gallery._postgres import search, tables, values
from sk_fewshot.gallery._postgres.connections import transaction
from sk_fewshot.gallery._postgres.tables import Rows, Settings, Tables
from sk_fewshot.gallery._stored import StoredGallery

if TYPE_CHECKING:
    from sk_fewshot.gallery._postgres.engine import PostgresGallery

_MOST_INDEXED = 2_000  # dimensions


@dataclass(frozen=True)
class PostgresRows(StoredGallery):
    """A gallery in PostgreSQL, as one classifier uses it.

    Parameters
    ----------
    engine : PostgresGallery
    kind : str
        Name of the class of galleries in memory that holds such rows.
    metric, encoder : str
        What its rows must be compared by, and come from.
    dimension : int or None, default=None
        How many numbers they have; None before it was begun or opened.
    """

    engine: PostgresGallery
    kind: str
    metric: str
    encoder: str
    dimension: int | None = None
    _known: dict[UUID, NDArray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def _keyed(self) -> bool:
        return self.kind == Examples.__name__

    @property
    def classes(self) -> NDArray:
        """The classes that are there, sorted."""
        with self._read() as (database, settings):
            return self._classes(database, settings)

    def opened(self) -> Self:
        """Take part in the gallery that is there."""
        with self._read() as (_, settings):
            return replace(self, dimension=settings.dimension)

    def in_memory(self) -> MemoryGallery:
        """Return all of it, as it is at this moment, in memory."""
        with self._read() as (database, settings):
            chunks = list(database.read(settings))
        if not chunks:
            raise ValueError(f"table={self.engine.table!r} has no rows; fit enrols some.")

        def column(name: str) -> NDArray:
            return np.concatenate([getattr(chunk, name) for chunk in chunks])

        if not self._keyed:
            order = column("labels").argsort()
            parts = (column(name)[order] for name in ("labels", "embeddings", "counts"))
            return ClassMeans(*parts)
        order = column("arrival").argsort()
        return Examples.of(*(column(name)[order] for name in ("embeddings", "labels", "ids")))

    def begun(self, embeddings, y, ids, *, joins) -> Self:
        """Enrol the first examples of this process, as :class:`StoredGallery` says."""
        with transaction(self.engine.dsn, read_only=False) as connection:
            database = Tables(connection, self.engine.table)
            if database.settings(lock=True) is None:
                database.create()
            settings = database.settings(lock=True)
            if settings is None or not joins:
                database.execute("delete from {rows}")
                database.drop_index()
                settings = self._new_settings(embeddings, y, ids)
            self._enrol(database, self._checked(settings), embeddings, y, ids)
        return replace(self, dimension=embeddings.shape[1])

    def enrolled(self, embeddings, y, ids=None) -> Self:
        """Enrol further embeddings (n, d) of the classes y (n,)."""
        with self._write() as (database, settings):
            self._enrol(database, settings, embeddings, y, ids)
        return self

    def without_class(self, label) -> Self:
        """Delete the rows of a class."""
        with self._write() as (database, settings):
            classes = self._classes(database, settings)
            known = classes[[index_of(label, classes)]]
            database.execute(
                "delete from {rows} where label = any(%s)", [values.as_text("label", known)]
            )
            if database.is_empty():
                raise ValueError(
                    f"label={label!r} is the only class enrolled, and a gallery cannot be without "
                    "any; enrol another class first, or fit anew."
                )
            database.replace_settings(replace(settings, version=uuid4()))
        return self

    def without(self, ids) -> Self:
        """Delete the examples of these ids."""
        if not self._keyed:
            refuse_removal()
        given = checked_ids(ids, None)
        with self._write() as (database, settings):
            known = []
            if values.type_of(given) == settings.id_type:
                deleted = database.execute(
                    "delete from {rows} where id = any(%s) returning id",
                    [values.as_text("ids", given)],
                ).fetchall()
                known = [id for (id,) in deleted]
            if len(known) < len(given):
                unknown = given[~np.isin(values.as_text("ids", given), known)]
                raise ValueError(f"ids must be among those enrolled, got {unknown[:5].tolist()}.")
            if database.is_empty():
                raise ValueError(
                    "ids has all examples that are enrolled, and a classifier cannot be without "
                    "any; enrol others first, or fit anew."
                )
            database.replace_settings(replace(settings, version=uuid4()))
        return self

    def neighbors(self, queries, k, metric, *, device, approximate=False) -> Neighbors:
        """Find the k nearest rows to each query, as :class:`Gallery` says."""
        with self._read() as (database, settings):
            found = search.neighbors(
                database,
                settings,
                queries,
                k,
                device=device,
                by_index=self.engine.search == "hnsw",
            )
            if settings.id_type is not None:
                return found
            codes = np.searchsorted(self._classes(database, settings), found.labels)
            return replace(found, keys=codes)

    def _classes(self, database: Tables, settings: Settings) -> NDArray:
        """Return the classes, read again only where something has changed."""
        classes = self._known.get(settings.version)
        if classes is None:
            classes = np.sort(values.from_text(database.labels(), settings.label_type))
            self._known.clear()
            self._known[settings.version] = classes
        return classes

    @contextmanager
    def _read(self) -> Iterator[tuple[Tables, Settings]]:
        with transaction(self.engine.dsn, read_only=True) as connection:
            database = Tables(connection, self.engine.table)
            yield database, self._checked(database.settings())

    @contextmanager
    def _write(self) -> Iterator[tuple[Tables, Settings]]:
        with transaction(self.engine.dsn, read_only=False) as connection:
            database = Tables(connection, self.engine.table)
            yield database, self._checked(database.settings(lock=True))

    def _checked(self, settings: Settings | None) -> Settings:
        """Return the settings of a gallery that goes with this classifier.

        Raises
        ------
        ValueError
            If there is none, or it does not.
        """
        table = f"table={self.engine.table!r}"
        if settings is None:
            raise ValueError(f"{table} is no gallery yet, or no longer; fit creates it.")
        if settings.kind != self.kind:
            raise ValueError(
                f"{table} holds {settings.kind}, but this classifier keeps {self.kind}: prototypes "
                "and single examples cannot share a gallery."
            )
        if settings.encoder != self.encoder:
            raise ValueError(
                f"{table} holds embeddings of another encoder, which cannot be compared with this "
                "one's. All classifiers over one gallery need the same encoder, frozen: "
                "encoder=FrozenEstimator(fitted)."
            )
        if settings.metric != self.metric:
            raise ValueError(
                f"{table} is compared by metric={settings.metric!r}, got metric={self.metric!r}."
            )
        if self.dimension not in (None, settings.dimension):
            raise ValueError(
                f"{table} holds embeddings of {settings.dimension} numbers now, and this "
                f"classifier's have {self.dimension}: it was fitted anew with others."
            )
        return settings

    def _new_settings(self, embeddings: NDArray, y: NDArray, ids: Any) -> Settings:
        given = None if ids is None else checked_ids(ids, len(embeddings))
        return Settings(
            format=tables.FORMAT,
            kind=self.kind,
            dimension=embeddings.shape[1],
            metric=self.metric,
            encoder=self.encoder,
            label_type=values.type_of(y),
            id_type=None
            if not self._keyed
            else "integer"
            if given is None
            else values.type_of(given),
            next_id=0,
            longest=0.0,
            version=uuid4(),
        )

    def _enrol(
        self, database: Tables, settings: Settings, embeddings: NDArray, y: NDArray, ids: Any
    ) -> None:
        if embeddings.shape[1] != settings.dimension:
            raise ValueError(
                f"table={self.engine.table!r} holds embeddings of {settings.dimension} numbers, "
                f"got some of {embeddings.shape[1]}."
            )
        if values.type_of(y) != settings.label_type:
            raise ValueError(
                f"y must hold labels of the type enrolled before, {settings.label_type}, got "
                f"{values.type_of(y)} such as {y[0]!r}."
            )
        if settings.id_type is None:
            refuse_ids(ids)
            rows = _means(database, settings, embeddings, y)
        else:
            ids = _new_ids(database, settings, ids, len(y))
            rows = Rows(y, values.as_float32(embeddings, settings.metric), ids)
            next_id = min(after(ids, settings.next_id), values.LARGEST_INTEGER)
            settings = replace(settings, next_id=next_id)
        longest = max(settings.longest, float(values.lengths_of(rows.embeddings).max()))
        settings = replace(settings, longest=longest, version=uuid4())
        self._check_dimension(settings.dimension)
        database.add(rows)
        database.replace_settings(settings)
        if self.engine.search == "hnsw":
            database.create_index(settings)

    def _check_dimension(self, dimension: int) -> None:
        most = _MOST_INDEXED if self.engine.search == "hnsw" else values.MOST_DIMENSIONS
        if dimension > most:
            raise ValueError(
                f"index=PostgresGallery(..., search={self.engine.search!r}) holds embeddings of "
                f"at most {most} numbers, got some of {dimension}."
            )


def _means(database: Tables, settings: Settings, embeddings: NDArray, y: NDArray) -> Rows:
    """Return the means of these classes over what was and is enrolled; the old rows are deleted."""
    labels = np.unique(y)
    before = database.take(settings, values.as_text("y", labels))
    if before is None:
        now = ClassMeans.of(embeddings, y)
    else:
        order = before.labels.argsort()
        assert before.counts is not None
        assert before.sums is not None
        then = ClassMeans(
            before.labels[order],
            before.embeddings[order],
            before.counts[order],
            before.sums[order],
        )
        now = then.enrolled(embeddings, y)
    sums = now.rows.astype(np.float64) if now.sums is None else now.sums
    means = values.as_float32(now.rows, settings.metric)
    return Rows(now.classes, means, counts=now.counts, sums=sums)


def _new_ids(database: Tables, settings: Settings, ids: ArrayLike | None, n: int) -> NDArray:
    """Return keys for examples to be enrolled.

    Raises
    ------
    ValueError
        If they are of another type than those before, or enrolled already.
    """
    if ids is None:
        if settings.id_type != "integer":
            raise ValueError(
                "ids must be given, as the examples enrolled before have strings as keys, got "
                "ids=None."
            )
        if settings.next_id + n > values.LARGEST_INTEGER:
            raise ValueError(
                f"ids must be given, as the numbers after {settings.next_id - 1} do not fit into "
                "int64, got ids=None."
            )
        return np.arange(settings.next_id, settings.next_id + n)
    given = checked_ids(ids, n)
    if values.type_of(given) != settings.id_type:
        raise ValueError(
            f"ids must be of the type enrolled before, {settings.id_type}, got "
            f"{values.type_of(given)} such as {given[0]!r}."
        )
    texts = values.as_text("ids", given)
    found = database.execute("select id from {rows} where id = any(%s) limit 1", [texts]).fetchone()
    if found is not None:
        known = values.from_text([found[0]], settings.id_type).tolist()[0]
        raise ValueError(f"ids must be new, but {known!r} is enrolled already.")
    return given
