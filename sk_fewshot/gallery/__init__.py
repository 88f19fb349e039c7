"""What a classifier has enrolled, and the search over it."""

from sk_fewshot.gallery._examples import Examples
from sk_fewshot.gallery._gallery import Gallery
from sk_fewshot.gallery._means import ClassMeans
from sk_fewshot.gallery._postgres import PostgresGallery

__all__ = ["ClassMeans", "Examples", "Gallery", "PostgresGallery"]
