import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sk_fewshot.losses import TripletLoss

MARGINS = [0.21, 0.83, 4.7]  # no sum of distances of zero, duplicate and unit vectors


@pytest.fixture(scope="module")
def reference(one_distance, on_sphere):
    """The loss and the differences d_ap - d_an that it is about."""

    def loss(z, y, margin, mining, metric, normalize, soft):
        if normalize:
            z = on_sphere(z)
        n = len(z)
        d = [[one_distance(z[i], z[j], metric) for j in range(n)] for i in range(n)]
        gaps, terms = [], []
        for a in range(n):
            positives = [d[a][p] for p in range(n) if p != a and y[p] == y[a]]
            negatives = [d[a][q] for q in range(n) if y[q] != y[a]]
            if mining == "hard":
                if positives and negatives:
                    terms.append(max(positives) - min(negatives))
                continue
            gaps += [dp - dn for dp in positives for dn in negatives]
        if mining == "all":
            terms = gaps if soft else [gap for gap in gaps if gap + margin > 0]
        if mining == "semihard":
            terms = [gap for gap in gaps if -margin < gap < 0]
        if not terms:
            return 0 * z.sum(), gaps
        terms = torch.stack(terms)
        terms = torch.log1p(torch.exp(terms)) if soft else torch.clamp(terms + margin, min=0)
        return terms.mean(), gaps

    return loss


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("mining", ["all", "hard", "semihard"])
@settings(max_examples=40)
@given(
    data=st.data(),
    metric=st.sampled_from(["sqeuclidean", "euclidean", "cosine", "manhattan", "dot"]),
    margin=st.sampled_from(MARGINS),
    normalize=st.booleans(),
)
def test_triplet__any_batch__equals_the_loop_over_triplets(
    data, batches, reference, assert_equal_with_gradient, metric, mining, soft, margin, normalize
):
    z, y = data.draw(batches())
    arguments = (margin, mining, metric, normalize, soft)
    if mining == "semihard":  # which of two equal distances is the smaller is up to rounding
        assume(all(abs(gap) > 1e-9 for gap in reference(z, y, *arguments)[1]))
    loss = TripletLoss(*arguments)
    assert_equal_with_gradient(lambda z: loss(z, y), lambda z: reference(z, y, *arguments)[0], z)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("mining", ["all", "hard", "semihard"])
@pytest.mark.parametrize("n_classes", [2, 60])
def test_triplet__large_batch__equals_the_formula_anchor_by_anchor(
    assert_equal_with_gradient, mining, soft, n_classes
):
    n, margin = 240 if n_classes == 2 else 800, 0.2
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    y = torch.randint(n_classes, (n,), generator=generator)

    def expected(z):
        z = z / z.norm(dim=1, keepdim=True)
        total, count = 0, 0
        for a in range(n):
            d = (z[a] - z).square().sum(1)
            same = y == y[a]
            others = same.clone()
            others[a] = False
            gap = d[others].unsqueeze(1) - d[~same]
            if mining == "hard":
                gap = d[others].max() - d[~same].min() if others.any() else gap.new_empty(0)
            elif mining == "semihard":
                gap = gap[(gap < 0) & (gap > -margin)]
            elif not soft:
                gap = gap[gap > -margin]
            loss = torch.log1p(gap.exp()) if soft else (gap + margin).clamp(min=0)
            total, count = total + loss.sum(), count + loss.numel()
        return total / count

    loss = TripletLoss(margin, mining, soft=soft)
    assert_equal_with_gradient(lambda z: loss(z, y), expected, z)


LINE = torch.tensor([[0.0], [1.0], [-1.5], [4.0]])
LINE_LABELS = torch.tensor([0, 0, 1, 1])  # d^2: 1 in class 0, 30.25 in class 1


def test_triplet__all__is_the_mean_over_triplets_with_a_positive_loss():
    gaps = [1 - 2.25, 1 - 16, 1 - 6.25, 1 - 9, 30.25 - 2.25, 30.25 - 6.25, 30.25 - 16, 30.25 - 9]
    costs = [max(0, gap + 2) for gap in gaps]
    got = TripletLoss(2.0, "all", normalize=False)(LINE, LINE_LABELS)
    assert got.item() == pytest.approx(sum(costs) / sum(cost > 0 for cost in costs))


def test_triplet__hard__is_the_mean_over_anchors_also_those_without_a_loss():
    costs = [0.75, 0, 30, 23.25]  # 1 - 2.25, 1 - 6.25, 30.25 - 2.25, 30.25 - 9, each + 2
    got = TripletLoss(2.0, "hard", normalize=False)(LINE, LINE_LABELS)
    assert got.item() == pytest.approx(sum(costs) / 4)


def test_triplet__semihard__wants_the_negative_farther_than_the_positive_but_within_the_margin():
    got = TripletLoss(2.0, "semihard", normalize=False)(LINE, LINE_LABELS)
    assert got.item() == pytest.approx(0.75)  # only 1 < 2.25 < 1 + 2


def test_triplet__semihard__a_negative_exactly_as_far_as_the_positive_does_not_count():
    z = torch.tensor([[0.0], [1.0], [-1.0]])
    y = torch.tensor([0, 0, 1])
    assert TripletLoss(0.5, "semihard", normalize=False)(z, y) == 0
    assert TripletLoss(0.5, "all", normalize=False)(z, y) == 0.5


def test_triplet__default__is_facenets():
    loss = TripletLoss()
    assert (loss.margin, loss.mining, loss.metric) == (0.2, "semihard", "sqeuclidean")
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(20, 4, generator=generator)
    y = torch.arange(20) % 4
    scale = 1 + torch.rand(20, 1, generator=generator)
    torch.testing.assert_close(loss(scale * z, y), loss(z, y))  # on the unit sphere


def test_triplet__margin__is_in_squared_distance_for_sqeuclidean():
    z = torch.tensor([[0.0], [0.0], [3.0]])
    y = torch.tensor([0, 0, 1])
    for margin, costs in [(9.5, [0.5, 0.5]), (9.0, [])]:
        got = TripletLoss(margin, "all", normalize=False)(z, y)
        assert got == (sum(costs) / len(costs) if costs else 0)
    assert TripletLoss(3.5, "all", "euclidean", normalize=False)(z, y) == 0.5


def test_triplet__soft__is_softplus_without_the_margin():
    z = torch.tensor([[0.0], [1.0], [3.0]])
    y = torch.tensor([0, 0, 1])
    expected = (math.log1p(math.exp(1 - 3)) + math.log1p(math.exp(1 - 2))) / 2
    for margin in (0.1, 5.0):
        for mining in ("hard", "all"):
            loss = TripletLoss(margin, mining, "euclidean", normalize=False, soft=True)
            assert loss(z, y).item() == pytest.approx(expected)


def test_triplet__soft__stays_exact_for_very_hard_and_very_easy_triplets():
    z = torch.tensor([[0.0], [50.0], [1.0]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1])  # d_ap - d_an: 49 and 1
    got = TripletLoss(0.2, "all", "euclidean", normalize=False, soft=True)(z, y)
    assert got.item() == pytest.approx((49 + math.log1p(math.e)) / 2, rel=1e-12)


def test_triplet__callable_metric__equals_the_named_one():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 3, generator=generator)
    y = torch.arange(12) % 4
    for mining in ("all", "hard", "semihard"):
        for soft in (False, True):
            named, given_ = (
                TripletLoss(0.3, mining, metric, soft=soft)(z, y)
                for metric in ("manhattan", lambda x, y: torch.cdist(x, y, p=1.0))
            )
            torch.testing.assert_close(named, given_)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("mining", ["all", "hard", "semihard"])
def test_triplet__smooth_batch__passes_gradcheck(metric, mining, soft):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    loss = TripletLoss(0.9, mining, metric, soft=soft)
    assert torch.autograd.gradcheck(lambda z: loss(z, y), z)


def test_triplet__two_large_classes__memory_does_not_grow_with_the_triplets():
    resource = pytest.importorskip("resource")
    n = 1500  # 840 million triplets
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, 8, generator=generator, requires_grad=True)
    y = torch.arange(n) % 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    TripletLoss(0.2, "all")(z, y).backward()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kB; one byte a triplet would be 840 MB


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("margin", -0.1),
        ("margin", "0.2"),
        ("mining", "easy"),
        ("metric", "hamming"),
        ("normalize", "yes"),
        ("soft", None),
    ],
)
def test_triplet__bad_argument__is_named(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of TripletLoss"):
        TripletLoss(**{name: value})
