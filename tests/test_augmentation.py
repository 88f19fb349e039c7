"""Random affine changes and symmetries as classes."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.ndimage import zoom

from sk_fewshot.augmentation import RandomAffine, normalize_moments, symmetries_as_classes

STILL = {"degrees": 0, "translate": 0, "scale": (1, 1), "shear": 0}


def blob(height, width, row, column, channels=1, sigma=1.5):
    """A smooth spot centred on (row, column)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    spot = torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2))
    return spot.expand(1, channels, height, width).clone()


def centres(images):
    """Centre of mass of each image, (n, 2), in pixels from the middle, as (x, y)."""
    height, width = images.shape[2:]
    weights = images.sum(1) / images.sum((1, 2, 3))[:, None, None]
    x = (weights.sum(1) * (torch.arange(width) - (width - 1) / 2)).sum(1)
    y = (weights.sum(2) * (torch.arange(height) - (height - 1) / 2)).sum(1)
    return torch.stack([x, y], dim=1)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (5, 3, 9, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test__call__same_shape_dtype_and_input_unchanged(shape, dtype):
    images = torch.rand(shape, dtype=dtype)
    before = images.clone()
    changed = RandomAffine()(images)
    assert changed.shape == images.shape
    assert changed.dtype == dtype
    assert torch.equal(images, before)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test__nothing_to_change__same_images(padding_mode):
    images = torch.rand(4, 2, 7, 10)
    still = RandomAffine(**STILL, padding_mode=padding_mode)
    torch.testing.assert_close(still(images), images, rtol=1e-4, atol=1e-5)


def test__draws__one_per_image_and_shared_by_channels():
    torch.manual_seed(0)
    changed = RandomAffine()(blob(12, 12, 4, 7, channels=3).repeat(5, 1, 1, 1))
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert torch.equal(changed[:, 0], changed[:, 2])
    assert len(changed.unique(dim=0)) == 5


def test__global_generator__repeats():
    images = torch.rand(3, 1, 8, 8)
    torch.manual_seed(1)
    first, second = RandomAffine()(images), RandomAffine()(images)
    torch.manual_seed(1)
    assert torch.equal(RandomAffine()(images), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("height", "width"), [(41, 41), (41, 61), (61, 41)])
def test__degrees__spot_stays_on_its_circle_within_the_angle(height, width):
    torch.manual_seed(0)
    spot = blob(height, width, (height - 1) / 2, (width - 1) / 2 + 12)
    turned = RandomAffine(**STILL | {"degrees": 60})(spot.repeat(200, 1, 1, 1))
    x, y = centres(turned).T
    torch.testing.assert_close(torch.hypot(x, y), torch.full((200,), 12.0), rtol=0.01, atol=0)
    angles = torch.rad2deg(torch.atan2(y, x))
    assert -60.5 < angles.min() < -50
    assert 50 < angles.max() < 60.5


def test__translate__share_of_each_side():
    torch.manual_seed(0)
    spots = blob(41, 81, 20, 40).repeat(300, 1, 1, 1)
    x, y = centres(RandomAffine(**STILL | {"translate": 0.1})(spots)).T
    for shift, side in ((x, 81), (y, 41)):
        assert 0.09 * side < shift.max() < 0.101 * side
        assert -0.101 * side < shift.min() < -0.09 * side


def test__scale__magnifies_about_the_centre():
    torch.manual_seed(0)
    spots = blob(41, 41, 20, 28).repeat(300, 1, 1, 1)
    x, y = centres(RandomAffine(**STILL | {"scale": (0.5, 1.5)})(spots)).T
    assert y.abs().max() < 0.01
    assert 3.95 < x.min() < 4.2
    assert 11.8 < x.max() < 12.05


def test__shear__slants_along_rows():
    torch.manual_seed(0)
    spots = blob(41, 41, 30, 20).repeat(300, 1, 1, 1)
    x, y = centres(RandomAffine(**STILL | {"shear": 45})(spots)).T
    torch.testing.assert_close(y, torch.full((300,), 10.0), rtol=0.01, atol=0)
    assert 9.5 < x.max() < 10.05
    assert -10.05 < x.min() < -9.5


def test__flip__mirrors_that_share_of_the_images():
    torch.manual_seed(0)
    images = torch.rand(1, 2, 6, 9).repeat(400, 1, 1, 1)
    changed = RandomAffine(**STILL, flip=0.25)(images)
    mirrored = torch.isclose(changed, images.flip(3), atol=1e-5).all((1, 2, 3))
    same = torch.isclose(changed, images, atol=1e-5).all((1, 2, 3))
    assert (mirrored ^ same).all()
    assert 0.2 < mirrored.float().mean() < 0.3
    torch.testing.assert_close(RandomAffine(**STILL, flip=1)(images), images.flip(3))


def test__flip__mirrors_the_changed_image():
    images = blob(21, 21, 5, 8).repeat(6, 1, 1, 1)
    torch.manual_seed(0)
    changed = RandomAffine()(images)
    torch.manual_seed(0)
    torch.testing.assert_close(RandomAffine(flip=1)(images), changed.flip(3), rtol=1e-4, atol=1e-5)


def test__padding_mode__decides_what_comes_in():
    torch.manual_seed(0)
    images = torch.ones(20, 1, 8, 8)
    shifts = STILL | {"translate": 0.5}
    assert RandomAffine(**shifts, padding_mode="zeros")(images).amin() == 0
    for padding_mode in ("border", "reflection"):
        changed = RandomAffine(**shifts, padding_mode=padding_mode)(images)
        torch.testing.assert_close(changed, images)


def test__copies__equal_and_same_values():
    augment = RandomAffine(degrees=20, padding_mode="border")
    images = torch.rand(2, 1, 8, 8)
    for other in (pickle.loads(pickle.dumps(augment)), copy.deepcopy(augment)):
        assert other == augment
        torch.manual_seed(0)
        expected = augment(images)
        torch.manual_seed(0)
        assert torch.equal(other(images), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"degrees": -1}, "'degrees' parameter of RandomAffine"),
        ({"translate": 1.5}, "'translate' parameter of RandomAffine"),
        ({"shear": 90}, "'shear' parameter of RandomAffine"),
        ({"flip": 2}, "'flip' parameter of RandomAffine"),
        ({"padding_mode": "white"}, "'padding_mode' parameter of RandomAffine"),
        ({"scale": 1.1}, "'scale' parameter of RandomAffine"),
        ({"scale": (1.2, 0.9)}, r"scale must be \(low, high\) with 0 < low <= high, got \(1.2"),
        ({"scale": (0, 1)}, r"scale must be \(low, high\)"),
        ({"scale": (1, 1, 1)}, r"scale must be \(low, high\)"),
    ],
)
def test__bad_argument__named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomAffine(**arguments)


@pytest.mark.parametrize("images", [torch.zeros(8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)])
def test__wrong_images__type_and_shape_in_error(images):
    with pytest.raises(ValueError, match=r"\(n, channels, height, width\), got torch.*\(.*8, 8\)"):
        RandomAffine()(images)


LABELS = st.one_of(
    npst.arrays(np.int64, st.integers(1, 6), elements=st.integers(-3, 3)),
    st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=6).map(np.array),
    st.lists(st.booleans(), min_size=1, max_size=6).map(np.array),
)


@given(
    LABELS,
    st.sampled_from([(3, 3), (2, 4, 4)]),
    st.sampled_from([("rotations", 4), ("dihedral", 8)]),
)
def test__symmetries__classes_and_images(y, shape, kind_and_k):
    kind, k = kind_and_k
    n, n_classes = len(y), len(np.unique(y))
    X = np.random.default_rng(0).random((n, *shape)).astype(np.float32)
    X_all, y_all = symmetries_as_classes(X, y, kind=kind)

    assert X_all.dtype == X.dtype
    assert np.array_equal(X_all[:n], X)
    assert np.array_equal(np.unique(y)[y_all[:n]], y)
    assert np.array_equal(np.unique(y_all), np.arange(k * n_classes))
    copies, codes = X_all.reshape(k, *X.shape), y_all.reshape(k, n)
    assert len(np.unique(copies[:, 0], axis=0)) == k
    assert np.array_equal(codes % n_classes, np.broadcast_to(codes[0], codes.shape))
    assert np.array_equal(codes // n_classes, np.broadcast_to(np.arange(k)[:, None], codes.shape))


@pytest.mark.parametrize(("kind", "k"), [("rotations", 4), ("dihedral", 8)])
def test__symmetries__closed_under_quarter_turns(kind, k):
    X = np.random.default_rng(0).random((1, 4, 4))
    X_all, _ = symmetries_as_classes(X, [0], kind=kind)
    again, _ = symmetries_as_classes(X_all, np.arange(k), kind=kind)
    assert len(np.unique(again, axis=0)) == k
    mirrored = (X_all == X[..., ::-1]).all((1, 2)).any()
    assert mirrored == (kind == "dihedral")


@pytest.mark.parametrize(
    ("X", "y", "kind", "message"),
    [
        (np.zeros((2, 3, 4)), [0, 1], "rotations", r"square images.*got \(2, 3, 4\)"),
        (np.zeros((2, 9)), [0, 1], "rotations", r"square images.*got \(2, 9\)"),
        (np.zeros((2, 3, 3)), [0], "rotations", "inconsistent numbers of samples"),
        (np.zeros((2, 3, 3)), [0, 1], "mirrors", "kind must be 'rotations' or 'dihedral'"),
    ],
)
def test__symmetries_bad_input__named(X, y, kind, message):
    with pytest.raises(ValueError, match=message):
        symmetries_as_classes(X, y, kind=kind)


def drawing(seed, height=24, width=24):
    """Smooth spots at random places away from the border."""
    rng = np.random.default_rng(seed)
    spots = [
        blob(height, width, *rng.uniform(0.35, 0.65, 2) * (height, width), sigma=1)
        for _ in range(6)
    ]
    return sum(spots)[0, 0].numpy()


def moments(images):
    """Centre (n, 2) and covariance (n, 2, 2) of the brightness, in pixels as (x, y)."""
    found = []
    for image in images:
        y, x = np.indices(image.shape)
        points = np.stack([x.ravel() + 0.5, y.ravel() + 0.5])
        weights = image.ravel()
        found.append(
            (np.average(points, axis=1, weights=weights), np.cov(points, aweights=weights))
        )
    centres, covariances = zip(*found, strict=True)
    return np.stack(centres), np.stack(covariances)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), extent=st.floats(5, 7))
def test__normalize_moments__centre_and_spread_as_asked(seed, extent):
    normal = normalize_moments(drawing(seed)[None], size=40, extent=extent)
    centre, covariance = moments(normal)
    np.testing.assert_allclose(centre, 20, atol=0.3)
    spread = np.sqrt(np.trace(covariance[0]) / 2)
    np.testing.assert_allclose(spread, 40 / extent, rtol=0.1)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test__normalize_moments__full_strength_rounds_what_none_leaves(seed):
    def elongation(strength):
        normal = normalize_moments(drawing(seed)[None], size=40, extent=7, strength=strength)
        values = np.linalg.eigvalsh(moments(normal)[1][0])
        return values[1] / values[0]

    before = elongation(0)
    assert elongation(1) < 1.15
    assert elongation(0.5) < 1.15 * before**0.5


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), shift=st.tuples(*[st.integers(-5, 5)] * 2))
def test__normalize_moments__place_and_size_are_gone(seed, shift):
    small = np.pad(drawing(seed), 6)
    moved = np.roll(small, shift, axis=(0, 1))
    large = zoom(small, 3, order=1, grid_mode=True, mode="nearest")
    normal = normalize_moments(small[None], size=12)
    np.testing.assert_allclose(normalize_moments(moved[None], size=12), normal, atol=1e-3)
    np.testing.assert_allclose(normalize_moments(large[None], size=12), normal, rtol=0.1, atol=0.1)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["rotations", "dihedral"]))
def test__normalize_moments__commutes_with_symmetries(seed, kind):
    X = np.stack([drawing(seed), drawing(seed + 1)])
    after, _ = symmetries_as_classes(normalize_moments(X), [0, 1], kind=kind)
    before = normalize_moments(symmetries_as_classes(X, [0, 1], kind=kind)[0])
    np.testing.assert_allclose(before, after, atol=1e-3)


def test__normalize_moments__a_row_does_not_depend_on_the_others():
    X = np.stack([drawing(seed, 20, 31) for seed in range(300)]).astype(np.float32)
    normal = normalize_moments(X, size=9)
    assert normal.shape == (300, 9, 9)
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normalize_moments(X[280:281], size=9)[0], normal[280], atol=1e-5)


def test__normalize_moments__channels_move_together():
    X = np.stack([drawing(0), drawing(1)])
    both = normalize_moments(X[None])  # (1, 2, 24, 24)
    np.testing.assert_allclose(both.sum(1), normalize_moments(X.sum(0)[None]), atol=1e-5)


@pytest.mark.parametrize("ink", [[], [(3, 4)], [(3, column) for column in range(20)]])
def test__normalize_moments__blank_dot_and_line(ink):
    X = np.zeros((1, 20, 20))
    for place in ink:
        X[0][place] = 1
    normal = normalize_moments(X)
    assert np.isfinite(normal).all()
    assert bool(normal.any()) == bool(ink)
    assert normal.mean() < 0.5


@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (np.zeros((8, 8)), {}, r"images must have shape .*\(8, 8\)"),
        (-np.ones((1, 8, 8)), {}, "0 or more"),
        (np.full((1, 8, 8), np.nan), {}, "finite"),
        (np.zeros((1, 8, 8)), {"strength": 1.5}, "strength"),
        (np.zeros((1, 8, 8)), {"extent": 0}, "extent"),
        (np.zeros((1, 8, 8)), {"size": 0}, "size"),
    ],
)
def test__normalize_moments__refuses(images, arguments, message):
    with pytest.raises(ValueError, match=message):
        normalize_moments(images, **arguments)
