import pytest
import torch
from contexts import context_of
from torch import nn
from torch.nn import functional as F

from detkit.boxes import EdgeCoder
from detkit.errors import InputError
from detkit.heads import NMS, MergeBoxes, OverFeatHead
from detkit.heads.dense.overfeat import OverFeatOutput, offset_max_pool
from detkit.ops import box_iou
from detkit.structures import Target

CLASSES = 3


def make_head(strides=(8, 16), channels=6, seed=0, **options):
    torch.manual_seed(seed)
    options = {"pool": 3, "window": 2, "class_hidden": (10,), "box_hidden": (12, 8)} | options
    return OverFeatHead([channels] * len(strides), strides, CLASSES, **options)


def features_of(height, width, strides=(8, 16), channels=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, channels, height // s, width // s, generator=generator) for s in strides]


@pytest.mark.parametrize(("size", "height", "width"), [(3, 17, 11), (2, 9, 14), (1, 4, 5), (3, 3, 3)])
def test_offset_pooling_is_pooling_at_every_offset_interleaved(size, height, width):
    x = torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(height))
    result = offset_max_pool(x, size)
    expected = torch.full_like(result, torch.nan)
    for dy in range(size):
        for dx in range(size):
            if height - dy >= size and width - dx >= size:
                expected[:, :, dy::size, dx::size] = F.max_pool2d(x[:, :, dy:, dx:], size, size)
    assert torch.equal(result, expected)


@pytest.mark.parametrize("seed", [21, 22])
def test_every_position_is_the_fully_connected_layers_on_its_window(seed):
    """The brute force: cut the window out of the map, pool it as the paper's net does, and multiply by matrices."""
    head = make_head(seed=seed).eval()
    features = features_of(112, 104, seed=seed)
    raw = head(features, context_of((112, 104)))

    def fully_connected(layers, pooled):
        x = pooled.flatten(1)
        for layer in layers:
            x = F.linear(x, layer.weight.flatten(1), layer.bias) if isinstance(layer, nn.Conv2d) else layer(x)
        return x

    position = 0
    for feature in features:
        for y in range(feature.shape[2] - 5):
            for x in range(feature.shape[3] - 5):
                pooled = F.max_pool2d(feature[:, :, y : y + 6, x : x + 6], 3, 3)
                torch.testing.assert_close(raw.logits[:, position], fully_connected(head.classes, pooled))
                edges = fully_connected(head.edges, pooled).unflatten(1, (CLASSES, 4))
                torch.testing.assert_close(raw.edges[:, position], edges)
                position += 1
    assert raw.logits.shape == (2, position, CLASSES + 1)


def test_windows_lie_where_their_cells_are():
    raw = make_head()(features_of(64, 80), context_of((64, 80)))
    level0 = raw.windows[:15].view(3, 5, 4)
    assert level0[0, 0].tolist() == [0, 0, 48, 48]
    assert level0[2, 4].tolist() == [32, 16, 80, 64]
    assert level0[1, 2].tolist() == [16, 8, 64, 56]
    # A window of the second level is 96 pixels wide, more than the image has: one in its middle.
    assert raw.windows[15:].tolist() == [[-8, -16, 88, 80]]


def test_windows_of_a_trunk_without_padding_are_the_crops_that_it_sees():
    """OverFeat's accurate net: 221 + 12 n pixels give 15 + n cells, and window n begins at 12 n."""
    head = make_head(strides=(12,), window=5)
    windows = head([torch.rand(1, 6, 17, 16)], context_of((221 + 24, 221 + 12))).windows
    centers = ((windows[:, :2] + windows[:, 2:]) / 2).view(3, 2, 2)
    assert centers[0, 0].tolist() == [110.5, 110.5]
    assert centers[2, 1].tolist() == [122.5, 134.5]
    assert (windows[:, 2] - windows[:, 0]).unique().tolist() == [180]


def test_edges_are_coded_in_tenths_of_the_window():
    coder = EdgeCoder()
    windows = torch.tensor([[10.0, 20, 30, 60]])
    boxes = torch.tensor([[12.0, 16, 33, 60]])
    torch.testing.assert_close(coder.encode(windows, boxes), torch.tensor([[1.0, -1.0, 1.5, 0.0]]))
    torch.testing.assert_close(coder.decode(windows, coder.encode(windows, boxes)), boxes)
    assert coder.decode(windows, torch.zeros(1, 4, dtype=torch.float16)).dtype == torch.float32


def some_raw(head, seed=3):
    generator = torch.Generator().manual_seed(seed)
    windows = head(features_of(128, 128), context_of((128, 128))).windows
    logits = torch.randn(2, len(windows), CLASSES + 1, generator=generator, requires_grad=True)
    edges = torch.randn(2, len(windows), CLASSES, 4, generator=generator, requires_grad=True)
    return OverFeatOutput(logits, edges, windows)


@pytest.mark.parametrize("seed", [31, 32])
def test_losses_of_all_windows_are_the_paper_s(seed):
    head = make_head(positives_per_image=10_000, negatives_per_image=10_000, keep_best=False)
    raw = some_raw(head, seed)
    targets = [
        Target(torch.tensor([[10.0, 12, 60, 55], [70, 60, 120, 118]]), torch.tensor([2, 0])),
        Target(torch.tensor([[30.0, 20, 118, 122]]), torch.tensor([1])),
    ]
    classification, regression = [], []
    for image, target in enumerate(targets):
        iou = box_iou(target.boxes, raw.windows)
        for position, window in enumerate(raw.windows):
            best = iou[:, position].argmax()
            if iou[best, position] >= 0.5:
                label = int(target.labels[best])
                sides = (window[2:] - window[:2]).repeat(2)
                expected = (target.boxes[best] - window) / sides * 10
                regression.append(((raw.edges[image, position, label] - expected) ** 2).sum() / 2)
                classification.append(-raw.logits[image, position].log_softmax(0)[label])
            elif iou[best, position] < 0.3:
                classification.append(-raw.logits[image, position].log_softmax(0)[CLASSES])
    assert len(regression) > 10
    losses = head.losses(raw, context_of([(128, 128)] * 2, targets))
    torch.testing.assert_close(losses["overfeat_cls"], torch.stack(classification).mean())
    torch.testing.assert_close(losses["overfeat_box"], torch.stack(regression).mean())


def test_half_of_the_background_are_the_most_offending_windows():
    torch.manual_seed(0)
    head = make_head(negatives_per_image=40)
    rows = torch.full((300,), -1)
    rows[:20] = -2  # ignored, and offending most of all
    logits = torch.zeros(300, CLASSES + 1)
    logits[:, 1] = torch.linspace(5, -5, 300)
    for _ in range(5):
        positives, sample = head._sample(rows[None], logits[None], None)
        assert not positives.is_drawn.any()
        negatives = sample.windows[sample.is_drawn]
        assert len(negatives.unique()) == 40
        assert negatives.min() >= 20
        # 20 at random; of the others the 20 most offending ones, which are among the first 40 there are.
        assert (negatives < 60).sum() >= 20
        assert (negatives >= 60).sum() >= 8
    few = head._sample(rows[None, :31], logits[None, :31], None)[1]
    assert few.windows[few.is_drawn].sort().values.tolist() == list(range(20, 31))


def test_every_image_gives_its_own_sample_and_every_foreground_window_is_drawn_equally_often():
    head = make_head(positives_per_image=5, negatives_per_image=0)
    rows = torch.stack((torch.arange(20) % 2 - 1, torch.arange(20) % 10 - 9))  # 10 of foreground, and 2
    times, rounds = torch.zeros(2, 20), 1000
    generator = torch.Generator().manual_seed(0)
    for _ in range(rounds):
        positives, _ = head._sample(rows, torch.zeros(2, 20, CLASSES + 1), generator)
        assert positives.is_drawn.sum(dim=1).tolist() == [5, 2]
        times.index_put_(
            (torch.where(positives.is_drawn)[0], positives.windows[positives.is_drawn]), torch.ones(7), True
        )
    assert times[rows < 0].sum() == 0
    assert (times[1, rows[1] >= 0] == rounds).all()
    assert (times[0, rows[0] >= 0] - rounds / 2).abs().max() < 5 * (rounds / 4) ** 0.5


def test_without_keep_best_far_windows_are_not_learned_and_with_it_they_are():
    target = [Target(torch.tensor([[50.0, 50, 58, 58]]), torch.tensor([1]))] * 2
    for keep_best in (False, True):
        head = make_head(keep_best=keep_best)
        losses = head.losses(some_raw(head), context_of([(128, 128)] * 2, target))
        assert (losses["overfeat_box"] > 0) == keep_best


@pytest.mark.parametrize("crowd", [False, True])
def test_without_objects_the_losses_stay_attached(crowd):
    head = make_head()
    raw = some_raw(head)
    target = Target.empty()
    if crowd:  # all over the image: there is no background either
        target = Target(torch.tensor([[-99.0, -99, 999, 999]]), torch.tensor([0]), iscrowd=torch.tensor([True]))
    losses = head.losses(raw, context_of([(128, 128)] * 2, [target] * 2))
    assert set(losses) == {"overfeat_cls", "overfeat_box"}
    assert losses["overfeat_box"] == 0
    assert (losses["overfeat_cls"] == 0) == crowd
    sum(losses.values()).backward()
    assert raw.logits.grad.isfinite().all()
    assert raw.edges.grad.abs().sum() == 0


@pytest.mark.parametrize("resolve", ["merge", "nms"])
def test_decoding_finds_what_was_encoded(resolve):
    head = make_head(postprocess=NMS() if resolve == "nms" else MergeBoxes())
    raw = some_raw(head)
    boxes, labels = torch.tensor([[10.0, 12, 60, 55], [70, 60, 120, 118]]), torch.tensor([2, 0])
    logits, edges = torch.zeros_like(raw.logits), torch.zeros_like(raw.edges)
    logits[..., CLASSES] = 9.0
    iou = box_iou(boxes, raw.windows)
    for box, label, overlap in zip(boxes, labels, iou, strict=True):
        seen = torch.where(overlap >= 0.4)[0]
        assert len(seen) > 2
        logits[0, seen, label] = 11.0
        edges[0, seen, label] = EdgeCoder().encode(raw.windows[seen], box.expand(len(seen), 4))
    detections = head.decode(OverFeatOutput(logits, edges, raw.windows), context_of([(128, 110), (128, 128)]))
    assert len(detections[1]) == 0
    assert sorted(detections[0].labels.tolist()) == [0, 2]
    wanted = boxes[[1, 0]] if detections[0].labels[0] == 0 else boxes
    torch.testing.assert_close(detections[0].boxes, wanted.clamp(max=torch.tensor([110.0, 128, 110, 128])))
    likely = torch.tensor([11.0, 9, 0, 0]).softmax(0)[0]
    for score, label in zip(detections[0].scores, detections[0].labels, strict=True):
        count = int((iou[labels.tolist().index(label)] >= 0.4).sum())
        expected = 1 - torch.exp(-likely * count) if resolve == "merge" else likely
        assert float(score) == pytest.approx(float(expected), rel=1e-5)
        assert score <= 1


def test_half_precision_is_learned_and_decoded_in_float32():
    head = make_head()
    raw = some_raw(head)
    half = OverFeatOutput(raw.logits.detach().half(), raw.edges.detach().half(), raw.windows)
    single = OverFeatOutput(half.logits.float(), half.edges.float(), raw.windows)
    target = [Target(torch.tensor([[10.0, 12, 60, 55]]), torch.tensor([2]))] * 2
    results = []
    for output in (half, single):
        torch.manual_seed(5)
        results.append(
            (
                head.losses(output, context_of([(128, 128)] * 2, target)),
                head.decode(output, context_of([(128, 128)] * 2)),
            )
        )
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1][0].boxes, results[1][1][0].boxes)


@pytest.mark.parametrize(
    ("channels", "strides", "message"),
    [([6, 8], [8, 16], "shares its layers .*6, 8"), ([6, 6], [8], r"channels \[6, 6\] but with strides \[8\]")],
)
def test_levels_that_do_not_fit_are_refused(channels, strides, message):
    with pytest.raises(InputError, match=message):
        OverFeatHead(channels, strides, CLASSES)
