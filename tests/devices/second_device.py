"""A second torch device in memory of its own, on any machine: what mixes devices fails here too.

:func:`register` makes the device "twin", for the whole process, by torch's experimental backends in
Python. A tensor on it wraps a CPU tensor and computes the same numbers by the same kernels, so that
results are bitwise those of the CPU. But, as on a GPU, it refuses to be combined with CPU tensors
of one dimension or more, to become a NumPy array and, where it is to, to hold float64.
"""

import contextlib
import traceback
from types import SimpleNamespace

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "twin"
DEVICE = None  # once registered
SUPPORTED = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")

_settings = SimpleNamespace(float64=True, library=None)
_waits = []

_MOVES = ("aten.copy_", "aten._to_copy")
_LOOKS = (  # at numbers, for their own sake or for the shape of a result
    "aten._local_scalar_dense",
    "aten._unique",
    "aten.bincount",
    "aten.equal",
    "aten.is_nonzero",
    "aten.masked_select",
    "aten.nonzero",
    "aten.repeat_interleave.Tensor",
    "aten.unique_",
)


def register(*, float64):
    """Make the device; without float64 it refuses such tensors, as Apple's MPS does."""
    global DEVICE
    _settings.float64 = float64
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
    DEVICE = torch.device(NAME, 0)
    _settings.library = torch.library.Library("_", "IMPL")
    _settings.library.fallback(_run, "PrivateUse1")
    torch.inference_mode = _no_grad_instead
    torch.tensor = _made_on_cpu_first(torch.tensor)
    torch.as_tensor = _made_on_cpu_first(torch.as_tensor)


@contextlib.contextmanager
def waits():
    """Collect where the process waits for numbers of the device, as lists of source lines."""
    before = len(_waits)
    found = []
    yield found
    found.extend(_waits[before:])


class _Module(backend_registration._DummyBackendModule):
    """What torch and its users ask a backend for; the twin draws from the CPU's generator."""

    def __init__(self):
        self.generator = torch.Generator()

    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device=0):
        return self.generator.get_state()

    def set_rng_state(self, state, device=0):
        self.generator.set_state(state)

    def manual_seed(self, seed):
        self.generator.manual_seed(seed)


class Twin(torch.Tensor):
    """A tensor on the device, around the CPU tensor `raw`."""

    @staticmethod
    def __new__(cls, raw, requires_grad=False):
        if raw.dtype == torch.float64 and not _settings.float64:
            raise TypeError(f"{NAME}: float64 is not supported on this device.")
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, *args, **(kwargs or {}))

    def __repr__(self):
        return f"Twin({self.raw!r})"

    def __reduce_ex__(self, protocol):
        return _restored, (self.detach().cpu(), type(self), self.requires_grad)

    def __deepcopy__(self, memo):
        if not self.is_leaf:
            raise RuntimeError("Only leaf tensors can be copied.")
        copied = self.detach().clone().requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return memo.setdefault(id(self), copied)

    def tolist(self):
        _note()
        return self.raw.tolist()

    def numpy(self, *args, **kwargs):
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy.")

    def __array__(self, *args, **kwargs):
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy.")


def _restored(raw, cls, requires_grad):
    return raw.to(NAME).requires_grad_(requires_grad)


def _lstm_cell(of_input, of_hidden, cell, *biases):
    """What only GPUs have a kernel for; a workspace is what backward needs."""
    gates = sum(biases, of_input + of_hidden)
    enter, keep, new, leave = gates.chunk(4, 1)
    workspace = torch.cat([enter.sigmoid(), keep.sigmoid(), new.tanh(), leave.sigmoid()], 1)
    enter, keep, new, leave = workspace.chunk(4, 1)
    cell = keep * cell + enter * new
    return leave * cell.tanh(), cell, workspace


def _lstm_cell_backward(of_hidden, of_cell, before, cell, workspace, has_bias):
    enter, keep, new, leave = workspace.chunk(4, 1)
    of_cell = 0 if of_cell is None else of_cell
    if of_hidden is not None:
        of_cell = of_cell + of_hidden * leave * (1 - cell.tanh() ** 2)
    of_leave = 0 * leave if of_hidden is None else of_hidden * cell.tanh()
    of_gates = [
        of_cell * new * enter * (1 - enter),
        of_cell * before * keep * (1 - keep),
        of_cell * enter * (1 - new**2),
        of_leave * leave * (1 - leave),
    ]
    of_gates = torch.cat(of_gates, 1)
    return of_gates, of_cell * keep, of_gates.sum(0) if has_bias else None


_OF_GPUS = {
    "aten._thnn_fused_lstm_cell.default": _lstm_cell,
    "aten._thnn_fused_lstm_cell_backward_impl.default": _lstm_cell_backward,
}


def _run(op, *args, **kwargs):
    leaves = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
    here = [a for a in leaves if isinstance(a, Twin)]
    elsewhere = [a for a in leaves if not isinstance(a, Twin) and a.dim() > 0]
    name = str(op)
    if here and elsewhere and not name.startswith(_MOVES):
        raise RuntimeError(f"{name}: expected all tensors on one device, found cpu and {DEVICE}.")
    target = kwargs.get("device")
    if target is not None:
        to_twin = torch.device(target).type == NAME
    elif name.startswith("aten.copy_"):
        to_twin = isinstance(args[0], Twin)
    else:
        to_twin = bool(here)
    if here and (name.startswith(_LOOKS) or not to_twin or _by_mask(name, args)):
        _note()
    plain = tree_map(lambda a: a.raw if isinstance(a, Twin) else a, (args, kwargs))
    options = {
        key: torch.device("cpu")
        if isinstance(value, torch.device) and value.type == NAME
        else value
        for key, value in plain[1].items()
    }
    if to_twin:
        options.pop("pin_memory", None)
    known = {id(a.raw): a for a in here}

    def wrapped(value):
        if isinstance(value, torch.Tensor) and to_twin and not isinstance(value, Twin):
            return known[id(value)] if id(value) in known else Twin(value)
        return value

    return tree_map(wrapped, _OF_GPUS.get(name, op)(*plain[0], **options))


def _by_mask(name, args):
    """Whether an index is a mask, of which the true places are looked for."""
    if not name.startswith(("aten.index.", "aten.index_put", "aten._index_put")):
        return False
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])


def _note():
    frames = traceback.extract_stack()[:-2]
    ours = [f for f in frames if "site-packages" not in f.filename]
    _waits.append([f"{f.filename}:{f.lineno} {f.line}" for f in ours])


def _made_on_cpu_first(make):
    """torch.tensor and torch.as_tensor of numbers reach no Python backend: make, then move."""

    def patched(*args, device=None, **kwargs):
        if device is not None and torch.device(device).type == NAME:
            made = make(*args, **kwargs)
            return made if isinstance(made, Twin) else made.to(NAME)
        if device is None:
            return make(*args, **kwargs)
        return make(*args, device=device, **kwargs)

    return patched


def _no_grad_instead(mode=True):
    """Inference tensors cannot be wrapped."""
    return torch.no_grad() if mode is True else contextlib.nullcontext()
