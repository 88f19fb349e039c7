"""Data sets with many classes, readers for people's own, and a split that keeps classes apart."""

from ._class_split import ClassSplit
from ._image_folder import load_image_folder
from ._omniglot import fetch_omniglot
from ._omniglot_one_shot import fetch_omniglot_one_shot

__all__ = ["ClassSplit", "fetch_omniglot", "fetch_omniglot_one_shot", "load_image_folder"]
