"""Networks that embed examples, and fast inference with any network."""

from sk_fewshot.encoders._folding import folded
from sk_fewshot.encoders._inference import encode
from sk_fewshot.encoders.conv4 import Conv4
from sk_fewshot.encoders.mlp import MLP

__all__ = ["MLP", "Conv4", "encode", "folded"]
