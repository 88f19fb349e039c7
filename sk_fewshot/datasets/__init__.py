"""Data sets with many classes, readers for people's own, and a split that keeps classes apart."""

from sk_fewshot._utils.pairs import ExamplePairs
from sk_fewshot.datasets._class_split import ClassSplit
from sk_fewshot.datasets._image_folder import list_images, load_image_folder
from sk_fewshot.datasets._image_reader import ImageReader
from sk_fewshot.datasets._omniglot import fetch_omniglot
from sk_fewshot.datasets._omniglot_one_shot import fetch_omniglot_one_shot

__all__ = [
    "ClassSplit",
    "ExamplePairs",
    "ImageReader",
    "fetch_omniglot",
    "fetch_omniglot_one_shot",
    "list_images",
    "load_image_folder",
]
