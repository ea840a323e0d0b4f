"""The heads of YOLOv1 to v4: their gradients against darknet's deltas, and their decoding against a loop."""

from functools import partial

import darknet_deltas
import numpy as np
import pytest
import torch
from contexts import context_of
from torchvision.ops import complete_box_iou_loss, nms

from detkit.boxes import CellCoder
from detkit.errors import InputError
from detkit.heads import NMS, YOLOv1Head, YOLOv2Head, YOLOv3Head, YOLOv4Head
from detkit.structures import Target

SEEDS = [0, 1, 2]
CLASSES, SIZE = 3, (96, 128)
STRIDES = [8, 16, 32]
ANCHORS = [[(8.0, 10.0), (14.0, 9.0)], [(20.0, 24.0), (30.0, 18.0)], [(44.0, 60.0), (90.0, 70.0)]]
SQUARE, SIDE = (96, 96), 3


def _v1(**options):
    return YOLOv1Head([8], [32], CLASSES, side=SIDE, **({"hidden": 16} | options))


HEADS = {
    "v1": _v1,
    "v2": partial(YOLOv2Head, [8], [32], CLASSES, [ANCHORS[2]]),
    "v3": partial(YOLOv3Head, [8] * 3, STRIDES, CLASSES, ANCHORS),
    "v4": partial(YOLOv4Head, [8] * 3, STRIDES, CLASSES, ANCHORS),
}


def _size(name):
    return SQUARE if name == "v1" else SIZE


def _features(name, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    height, width = _size(name)
    strides = STRIDES if name in ("v3", "v4") else [32]
    return [torch.randn(batch, 8, height // stride, width // stride, generator=generator) for stride in strides]


def _raw(shapes, seed, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [(spread * torch.randn(2, *shape, generator=generator)).requires_grad_() for shape in shapes]


def _target(seed, count, size, crowded=0):
    generator = torch.Generator().manual_seed(seed)
    extent = torch.tensor([size[1], size[0]])
    sizes = 6 + torch.rand(count, 2, generator=generator) * 0.6 * extent
    corners = torch.rand(count, 2, generator=generator) * (extent - sizes)
    crowd = torch.arange(count) >= count - crowded
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return Target(torch.cat((corners, corners + sizes), dim=1), labels, iscrowd=crowd)


def _truths(target, size):
    height, width = size
    return [
        ([(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height], int(label))
        for (x1, y1, x2, y2), label in zip(target.boxes.double().tolist(), target.labels, strict=True)
    ]


def _twins(seed, size):
    """Objects of which some share a cell and a shape."""
    target = _target(seed, 5, size)
    boxes = torch.cat((target.boxes, target.boxes[:2] + 0.4))
    labels = torch.cat((target.labels, (target.labels[:2] + torch.tensor([1, 0])) % CLASSES))
    return Target(boxes, labels)


def _check(raws, deltas_of_images):
    """Losses are means over the two images; a delta is the negative gradient."""
    for raw, deltas in zip(raws, deltas_of_images, strict=True):
        torch.testing.assert_close(-2 * raw.grad, torch.from_numpy(np.stack(deltas)).float(), rtol=1e-3, atol=1e-4)


class TestGradientsAreDarknetsDeltas:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_of_v1(self, seed):
        head, cells, count = _v1(), SIDE**2, 2
        raw = _raw([(cells, CLASSES), (cells, count), (cells, count, 4)], seed, 0.5)
        output = type(head.split(torch.zeros(1, cells * (CLASSES + 5 * count))))(*raw)
        targets = [_twins(seed, SQUARE), _target(seed + 10, 1, SQUARE)]
        sum(head.losses(output, context_of([SQUARE] * 2, targets)).values()).backward()
        deltas = [
            darknet_deltas.detection(
                *(x[image].detach().double().numpy() for x in raw), _truths(target, SQUARE), SIDE, 5.0, 0.5
            )
            for image, target in enumerate(targets)
        ]
        _check(raw, zip(*deltas, strict=True))

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("early", [True, False])
    def test_of_v2(self, seed, early):
        head = HEADS["v2"](prior_images=2 if early else 0, ignore_iou=0.3)
        raw = _raw([(2, 3, 4, 5 + CLASSES)], seed)
        targets = [_twins(seed, SIZE), _target(seed + 10, 2, SIZE)]
        sum(head.losses(raw, context_of([SIZE] * 2, targets)).values()).backward()
        deltas = [
            darknet_deltas.region(
                raw[0][image].detach().double().numpy(), _truths(target, SIZE), ANCHORS[2], SIZE, 0.3, 5.0, 1.0, early
            )
            for image, target in enumerate(targets)
        ]
        _check(raw, [deltas])
        assert head.seen == 2

    @pytest.mark.parametrize("seed", SEEDS)
    def test_of_v3(self, seed):
        head = HEADS["v3"](ignore_iou=0.3)
        raw = _raw([(2, SIZE[0] // s, SIZE[1] // s, 5 + CLASSES) for s in STRIDES], seed)
        targets = [_twins(seed, SIZE), _target(seed + 10, 2, SIZE)]
        sum(head.losses(raw, context_of([SIZE] * 2, targets)).values()).backward()
        deltas = [
            darknet_deltas.yolo(
                [x[image].detach().double().numpy() for x in raw], _truths(target, SIZE), ANCHORS, SIZE, 0.3
            )[0]
            for image, target in enumerate(targets)
        ]
        _check(raw, zip(*deltas, strict=True))

    @pytest.mark.parametrize("seed", SEEDS)
    def test_of_v4_but_for_the_boxes_which_learn_torchvisions_ciou(self, seed):
        head = HEADS["v4"](ignore_iou=0.3, anchor_iou=0.3)
        raw = _raw([(2, SIZE[0] // s, SIZE[1] // s, 5 + CLASSES) for s in STRIDES], seed)
        targets = [_twins(seed, SIZE), _target(seed + 10, 2, SIZE)]
        losses = head.losses(raw, context_of([SIZE] * 2, targets))
        (losses["yolo_obj"] + losses["yolo_cls"]).backward()
        deltas, expected = [], 0.0
        for image, target in enumerate(targets):
            truths, per_image = _truths(target, SIZE), [x[image].detach().double().numpy() for x in raw]
            result, pairs = darknet_deltas.yolo(per_image, truths, ANCHORS, SIZE, 0.3, 0.3, [1.2, 1.1, 1.05], 0.25)
            for delta in result:
                delta[..., :4] = 0
            deltas.append(result)
            assert len(pairs) > len(target)
            for level, a, row, column, index in pairs:
                x, grid = per_image[level], (SIZE[0] // STRIDES[level], SIZE[1] // STRIDES[level])
                scale = [1.2, 1.1, 1.05][level]
                cx, cy, w, h = darknet_deltas.cell_box(
                    x[a, row, column], column, row, grid, ANCHORS[level][a], SIZE, scale
                )
                corners = torch.tensor([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]) * torch.tensor(
                    [SIZE[1], SIZE[0]] * 2
                )
                expected += complete_box_iou_loss(corners, target.boxes[index]).item()
        _check(raw, zip(*deltas, strict=True))
        assert losses["yolo_box"].item() == pytest.approx(expected / 2, rel=1e-4)


@pytest.mark.parametrize("name", HEADS)
class TestEveryHead:
    @pytest.mark.parametrize("crowded", [0, 1])
    def test_learns_without_objects_and_reaches_every_parameter(self, name, crowded):
        torch.manual_seed(0)
        head, size = HEADS[name](), _size(name)
        targets = [_target(0, crowded, size, crowded), Target.empty()]
        losses = head.losses(head(_features(name, 2, 0), context_of(size)), context_of([size] * 2, targets))
        assert losses.keys() == {"yolo_box", "yolo_obj", "yolo_cls"}
        assert all(loss.ndim == 0 and loss.isfinite() and loss.requires_grad for loss in losses.values())
        sum(losses.values()).backward()
        assert all(parameter.grad is not None for parameter in head.parameters())

    def test_learns_nothing_of_a_crowd(self, name):
        torch.manual_seed(0)
        head, size = HEADS[name](**({"prior_images": 0} if name == "v2" else {})), _size(name)
        everywhere = torch.tensor([[-5000.0, -5000.0, 5000.0, 5000.0]])
        crowd = Target(everywhere, torch.tensor([0]), iscrowd=torch.tensor([True]))
        raw = head(_features(name, 1, 0), context_of(size))
        assert all(loss == 0 for loss in head.losses(raw, context_of([size], [crowd])).values())

    def test_a_crowd_changes_nothing_elsewhere(self, name):
        torch.manual_seed(0)
        head, size = HEADS[name](), _size(name)
        raw = head(_features(name, 1, 0), context_of(size))
        target = _target(3, 3, size)
        far = Target(
            torch.cat((target.boxes, torch.tensor([[-900.0, -900.0, -890.0, -890.0]]))),
            torch.cat((target.labels, torch.tensor([1]))),
            iscrowd=torch.tensor([False] * 3 + [True]),
        )
        for first, second in zip(
            head.losses(raw, context_of([size], [target])).values(),
            head.losses(raw, context_of([size], [far])).values(),
            strict=True,
        ):
            torch.testing.assert_close(first, second)

    def test_objects_at_the_edge_count(self, name):
        head, size = HEADS[name](), _size(name)
        corner = torch.tensor([[size[1] - 9.0, size[0] - 9.0, size[1] + 9.0, size[0] + 9.0]])
        losses = head.losses(
            head(_features(name, 1, 0), context_of(size)), context_of([size], [Target(corner, torch.tensor([1]))])
        )
        assert losses["yolo_box"] > 0
        assert all(loss.isfinite() for loss in losses.values())

    def test_is_float32_under_autocast(self, name):
        torch.manual_seed(0)
        head, size = HEADS[name](postprocess=NMS(0.0)), _size(name)
        targets = [_target(0, 3, size), Target.empty()]
        with torch.autocast("cpu", torch.bfloat16):
            raw = head(_features(name, 2, 0), context_of(size))
            losses, detections = (
                head.losses(raw, context_of([size] * 2, targets)),
                head.decode(raw, context_of([size] * 2)),
            )
        assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
        assert all(one.boxes.dtype == torch.float32 for one in detections)
        sum(losses.values()).backward()
        assert all(parameter.grad.isfinite().all() for parameter in head.parameters())

    def test_images_do_not_mix(self, name):
        torch.manual_seed(0)
        head, size = HEADS[name](postprocess=NMS(0.0)).eval(), _size(name)
        features, targets = _features(name, 2, 1), [_target(0, 3, size), _target(1, 2, size, 1)]
        together = head(features, context_of(size))
        detections, losses = (
            head.decode(together, context_of([size] * 2)),
            head.losses(together, context_of([size] * 2, targets)),
        )
        apart = {key: 0.0 for key in losses}
        for image in range(2):
            raw = head([feature[image : image + 1] for feature in features], context_of(size))
            torch.testing.assert_close(
                head.decode(raw, context_of([size]))[0].boxes, detections[image].boxes, rtol=1e-4, atol=1e-3
            )
            for key, loss in head.losses(raw, context_of([size], targets[image : image + 1])).items():
                apart[key] += loss.item() / 2
        assert apart == pytest.approx({key: loss.item() for key, loss in losses.items()}, rel=1e-4, abs=1e-6)

    def test_wrong_image_size_is_an_error(self, name):
        features = [feature[..., :-1] for feature in _features(name, 1, 0)]
        with pytest.raises(InputError, match="set the size of its preprocess"):
            HEADS[name]()(features, context_of((90, 121)))


class TestDecode:
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("name", ["v2", "v3", "v4"])
    def test_equals_a_loop(self, name, seed):
        head = HEADS[name](postprocess=NMS(0.2, 0.5))
        levels = [ANCHORS[2]] if name == "v2" else ANCHORS
        strides = [32] if name == "v2" else STRIDES
        scales = [1.2, 1.1, 1.05] if name == "v4" else [1.0] * 3
        raw = _raw([(2, SIZE[0] // s, SIZE[1] // s, 5 + CLASSES) for s in strides], seed)
        for image in range(2):
            boxes, scores, labels = [], [], []
            for level, x in enumerate(raw):
                outputs = x[image].detach().double().numpy()
                for a, row, column in np.ndindex(outputs.shape[:3]):
                    values, grid = outputs[a, row, column], outputs.shape[1:3]
                    cx, cy, w, h = darknet_deltas.cell_box(
                        values, column, row, grid, levels[level][a], SIZE, scales[level]
                    )
                    chances = 1 / (1 + np.exp(-values[5:]))
                    if name == "v2":
                        chances = np.exp(values[5:]) / np.exp(values[5:]).sum()
                    for label, chance in enumerate(chances):
                        if chance * darknet_deltas.logistic(values[4]) > 0.2:
                            boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                            scores.append(chance * darknet_deltas.logistic(values[4]))
                            labels.append(label)
            boxes = torch.tensor(boxes).float() * torch.tensor([SIZE[1], SIZE[0]] * 2)
            scores, labels = torch.tensor(scores).float(), torch.tensor(labels)
            kept = torch.cat(
                [
                    rows[nms(boxes[rows], scores[rows], 0.5)]
                    for rows in ((labels == k).nonzero()[:, 0] for k in range(3))
                ]
            )
            kept = kept[scores[kept].argsort(descending=True)][:100]
            detections = head.decode(raw, context_of([SIZE] * 2))[image]
            assert len(detections) > 10
            torch.testing.assert_close(detections.scores, scores[kept])
            assert torch.equal(detections.labels, labels[kept])
            clipped = boxes[kept].clamp(min=0).minimum(torch.tensor([SIZE[1], SIZE[0]] * 2))
            torch.testing.assert_close(detections.boxes, clipped, rtol=1e-4, atol=1e-3)

    def test_of_v1_equals_a_box_by_hand(self):
        head = _v1()
        raw = head.split(torch.zeros(1, SIDE**2 * (CLASSES + 10)))
        raw.classes[0, 5, 2], raw.confidences[0, 5, 1] = 0.9, 0.5
        raw.coordinates[0, 5, 1] = torch.tensor([0.25, 0.5, 0.5, 0.7])
        (detections,) = head.decode(raw, context_of([SQUARE]))  # cell 5 is in row 1, column 2
        center, size = torch.tensor([2.25 * 32, 1.5 * 32]), torch.tensor([24.0, 0.49 * 96])
        torch.testing.assert_close(detections.boxes, torch.cat((center - size / 2, center + size / 2))[None])
        assert detections.scores.tolist() == pytest.approx([0.45])
        assert detections.labels.tolist() == [2]

    def test_of_v1_takes_outputs_in_darknets_order(self):
        flat = torch.arange(SIDE**2 * (CLASSES + 10), dtype=torch.float32)[None]
        raw = _v1().split(flat)
        assert raw.classes[0, 1, 0] == CLASSES
        assert raw.confidences[0, 1, 0] == SIDE**2 * CLASSES + 2
        assert raw.coordinates[0, 1, 1, 2] == SIDE**2 * (CLASSES + 2) + 8 + 4 + 2

    def test_new_coords_square_the_logistic_outputs(self):
        outputs = torch.tensor([0.3, -0.2, 0.5, -1.0]).view(1, 1, 1, 1, 4)
        box = CellCoder(2.0, new_coords=True).decode(outputs, torch.tensor([[10.0, 20.0]]), 8).flatten()
        s = outputs.flatten().sigmoid()
        torch.testing.assert_close((box[:2] + box[2:]) / 2, (2 * s[:2] - 0.5) * 8)
        torch.testing.assert_close(box[2:] - box[:2], torch.tensor([10.0, 20.0]) * 4 * s[2:] ** 2)

    def test_what_is_not_finite_is_dropped(self):
        raw = _raw([(2, SIZE[0] // s, SIZE[1] // s, 5 + CLASSES) for s in STRIDES], 0)
        with torch.no_grad():
            raw[0][0, 0, :3] = torch.nan
            raw[1][0, 0, 0, :, 0] = torch.inf
        detections = HEADS["v3"]().decode(raw, context_of([SIZE] * 2))
        assert all(one.boxes.isfinite().all() and one.scores.isfinite().all() for one in detections)


def test_a_local_layer_equals_a_convolution_where_its_weights_are_the_same():
    torch.manual_seed(0)
    head = _v1(local=True, hidden=5)
    layer = head.predict[0][0]
    conv = torch.nn.Conv2d(8, 5, 3, padding=1)
    with torch.no_grad():
        layer.weight.copy_(conv.weight.flatten(1).expand(9, -1, -1))
        layer.bias.copy_(conv.bias[:, None, None].expand(-1, 3, 3))
    (x,) = _features("v1", 2, 0)
    torch.testing.assert_close(layer(x), conv(x))


def test_maps_anchors_and_scales_must_be_as_many():
    with pytest.raises(
        InputError, match=r"YOLOv3Head got maps with channels \[8, 8\] and strides \[8, 16\], but anchors"
    ):
        YOLOv3Head([8, 8], [8, 16], 3)
