"""Every kind of layer, and the boxes after suppression, against darknet's definitions in plain numpy."""

import darknet_cfgs as cfgs
import numpy as np
import pytest
import torch
from darknet_reference import ACTIVATIONS, Reference, do_nms_sort

from detkit.errors import InputError
from detkit.ops import box_iou
from detkit.preprocess import Letterbox, Stretch
from detkit.structures import Target
from detkit.weights import from_darknet

ANCHORS = "3,5, 6,6, 9,14, 12,7, 20,22, 25,16"


def _compare(stem, seed, batch=2):
    """Outputs of all layers for a random batch, of the model and of the reference."""
    cfg, weights = stem.with_suffix(".cfg").read_text(), stem.with_suffix(".weights").read_bytes()
    network = from_darknet(stem.with_suffix(".cfg"), stem.with_suffix(".weights")).network
    outputs = {}
    for index, layer in enumerate(network.layers):
        layer.register_forward_hook(lambda layer, given, output, index=index: outputs.__setitem__(index, output))
    images = torch.rand(batch, *network.input_shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        network(images)
    for image in range(batch):
        expected = Reference(cfg, weights).run(images[image].numpy())
        for index, output in enumerate(expected):
            assert network.layers[index].shape == output.shape, network.sections[index].kind
            np.testing.assert_allclose(
                outputs[index][image].detach().numpy(),
                output,
                atol=1e-4,
                rtol=1e-4,
                err_msg=str(network.sections[index]),
            )


def _convolutions(cfg):
    cfg.conv(8, 3)
    cfg.conv(6, 5, 2, batch_normalize=0, activation="mish")
    cfg.conv(6, 3, groups=6, activation="swish")
    cfg.conv(9, 3, groups=3, dilation=2, activation="relu6")
    cfg.conv(4, 3, pad=0, padding=0, stride_x=2, stride_y=1)
    cfg.conv(4, 1, dilation=4, activation="logistic")
    cfg.conv(4, 2, 2, activation="linear")
    cfg.add("convolutional", filters=3, size=1)
    cfg.add("deconvolutional", filters=4, size=4, stride=2, padding=1, batch_normalize=1, activation="leaky")
    cfg.add("deconvolutional", filters=3, size=3, stride=1, pad=1, activation="linear")


def _vectors(cfg):
    cfg.add("crop", crop_height=14, crop_width=18, flip=1)
    cfg.conv(4, 3, 2)
    cfg.add("local", size=3, stride=1, pad=1, filters=3, activation="leaky")
    cfg.add("local", size=2, stride=2, filters=2, activation="relu")
    cfg.add("dropout", probability=0.5)
    cfg.add("connected", output=12, activation="leaky")
    cfg.add("connected", output=10, batch_normalize=1, activation="linear")
    cfg.add("softmax", groups=2, temperature=2)
    cfg.add("cost", type="sse")


def _pools(cfg):
    cfg.pool()
    cfg.pool(2, 1)
    cfg.pool(3, 2)
    cfg.pool(5, 1)
    cfg.pool(3, 2, padding=0)
    cfg.add("local_avgpool", size=3, stride=1)
    cfg.add("upsample", stride=3, scale=0.5)
    cfg.add("batchnorm")
    cfg.add("avgpool")
    cfg.linear(7)
    cfg.add("softmax")


def _routes(cfg):
    cfg.conv(8, 3)
    cfg.route(-1, groups=4, group_id=2)
    cfg.conv(8, 3)
    cfg.route(0, -1, groups=2, group_id=1)
    cfg.add("reorg", stride=2)
    cfg.conv(4, 1)
    cfg.add("reorg3d", stride=2)
    cfg.add("reorg", stride=2, reverse=1)
    cfg.add("reorg", stride=2, reverse=1)
    cfg.route(-3)


def _shortcuts(cfg):
    cfg.conv(8, 3)
    cfg.conv(5, 3)
    cfg.shortcut(0, activation="leaky")  # fewer channels
    cfg.conv(8, 3, 2)
    cfg.shortcut(1)  # fewer and larger
    cfg.conv(6, 1)
    cfg.conv(6, 1)
    cfg.conv(6, 1)
    cfg.add("shortcut", **{"from": "-2, -3"}, activation="relu")
    cfg.shortcut(-2, alpha=0.5, beta=2)
    cfg.shortcut("-2, -3", weights_type="per_feature")
    cfg.shortcut(-2, weights_type="per_channel", weights_normalization="relu")
    cfg.shortcut("-2,-4", weights_type="per_channel", weights_normalization="softmax")
    cfg.upsample()
    cfg.shortcut(-3)  # smaller


def _attentions(cfg):
    cfg.conv(6, 3)
    cfg.add("avgpool")
    cfg.linear(3, activation="relu")
    cfg.linear(6, activation="logistic")
    cfg.add("scale_channels", **{"from": -4}, activation="leaky")
    cfg.linear(1, activation="logistic")
    cfg.add("scale_channels", **{"from": 0}, scale_wh=1)
    cfg.linear(6, activation="logistic")
    cfg.add("sam", **{"from": -2})
    cfg.add("implicit", filters=6)
    cfg.route(-2)
    cfg.add("shift_channels", **{"from": -2})
    cfg.add("control_channels", **{"from": -3})
    cfg.add("empty")


@pytest.mark.parametrize("build", [_convolutions, _vectors, _pools, _routes, _shortcuts, _attentions])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_layers_equal_their_definition(saved, build, seed):
    cfg = cfgs.Cfg(20, 16)
    build(cfg)
    _compare(saved(cfg, seed), seed)


def test_activations_equal_their_definition(saved):
    cfg = cfgs.Cfg(8)
    for name in ACTIVATIONS:
        cfg.conv(4, 3, activation=name)
        cfg.add("batchnorm")
        cfg.add("activation", activation=name)
    _compare(saved(cfg), 3)


@pytest.mark.parametrize("name", ["yolov2", "yolov3_tiny", "yolov4_tiny"])
def test_networks_equal_their_definition(saved, name):
    """Narrow ones, that plain loops can follow."""
    cfg = getattr(cfgs, name)(32, classes=2)
    narrow = {f"filters={width}": f"filters={width // 8}" for width in (1024, 512, 256, 128, 64, 32, 16)}
    cfg.lines = [narrow.get(line, line) for line in cfg.lines]
    _compare(saved(cfg), 5, batch=1)


def _yolo(cfg, **options):
    cfg.conv(8, 3, 8)
    cfg.yolo("3,4,5", ANCHORS, 3, **options)
    cfg.route(-3)
    cfg.conv(8)
    cfg.upsample()
    cfg.yolo("2,0,1", ANCHORS, 3, **options)


def _new_coords(cfg):
    _yolo(cfg, new_coords=1, scale_x_y=2.0)


def _stretched(cfg):
    _yolo(cfg, scale_x_y=1.2)


def _gaussian(cfg):
    cfg.conv(8, 3, 4)
    cfg.linear(2 * (9 + 3))
    cfg.add("Gaussian_yolo", mask="1,4", anchors=ANCHORS, classes=3, num=6, scale_x_y=1.1)


def _region(cfg, **options):
    cfg.conv(8, 3, 4)
    cfg.linear(3 * 8)
    cfg.add("region", anchors="0.5,0.7, 1,1, 2,1.5", classes=3, coords=4, num=3, **options)


def _softmax_region(cfg):
    _region(cfg, softmax=1)


def _grid(cfg, **options):
    cfg.conv(8, 3, 4)
    cfg.add("connected", output=5 * 5 * (3 + 2 * 5), activation="linear")
    cfg.add("detection", classes=3, coords=4, side=5, num=2, **options)


def _squared_grid(cfg):
    _grid(cfg, sqrt=1, softmax=1)


@pytest.mark.parametrize(
    "build", [_yolo, _stretched, _new_coords, _gaussian, _region, _softmax_region, _grid, _squared_grid]
)
@pytest.mark.parametrize(("seed", "size"), [(0, (62, 80)), (1, (96, 119)), (2, (32, 40))])
def test_detections_equal_their_definition(saved, build, seed, size):
    """The borders are narrow: cells that see nothing but gray say the same, and which of them suppresses is open."""
    cfg = cfgs.Cfg(40, 32)
    build(cfg)
    stem = saved(cfg, seed)
    _compare(stem, seed, batch=1)
    _compare_detections(stem, seed, size, stretches=build in (_grid, _squared_grid))


TREE = "thing -1\nanimal -1\ncup 0\nbowl 0\nball 0\ncat 1\ndog 1\npug 6\nhusky 6\nblue 4\nred 4\n"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_trees_of_classes_equal_their_definition(saved, tmp_path, seed):
    (tmp_path / "some.tree").write_text(TREE)
    cfg = cfgs.Cfg(40, 32)
    cfg.conv(16, 5, 4)
    cfg.linear(3 * 16)
    anchors = "0.5,0.7, 1,1, 2,1.5"
    cfg.add("region", anchors=anchors, classes=11, coords=4, num=3, softmax=1, tree=tmp_path / "some.tree")
    stem = saved(cfg, seed, spread=2.0)
    _compare(stem, seed, batch=1)
    labels = _compare_detections(stem, seed, (62, 80), stretches=False)
    assert min(labels) < 2 < max(labels)  # some at the roots, some below
    classifier = cfgs.Cfg(8)
    classifier.conv(11, 8, 8, pad=0, activation="linear")
    classifier.add("softmax", tree=tmp_path / "some.tree")
    _compare(saved(classifier, seed), seed)


def test_trees_that_do_not_fit_are_refused(saved, tmp_path):
    cfg = cfgs.Cfg(8)
    cfg.conv(11, 8, 8, pad=0, activation="linear")
    cfg.add("softmax", tree="some.tree")
    with pytest.raises(InputError, match=r"layer 1 \[softmax\]: there is no tree some\.tree"):
        saved(cfg)
    for tree, message in (("a -1\n", "has 1 classes, the layer 11"), ("a b\n", "a name and a parent")):
        (tmp_path / "some.tree").write_text(tree)
        with pytest.raises(InputError, match=message):
            saved(cfg)


def _compare_detections(stem, seed, size, stretches):
    """The image letterboxed, the boxes after suppression and in its pixels; gives their labels."""
    model = from_darknet(stem.with_suffix(".cfg"), stem.with_suffix(".weights"))
    assert type(model.preprocess) is (Stretch if stretches else Letterbox)
    model.score_threshold, model.nms_threshold = 0.05, 0.3
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        (detections,) = model([image])
        pixels = model.preprocess([image]).images[0].numpy()

    reference = Reference(stem.with_suffix(".cfg").read_text(), stem.with_suffix(".weights").read_bytes())
    reference.run(pixels)
    candidates = reference.boxes(size[1], size[0], 0.05, letterboxed=not stretches)
    before = sum(int((probabilities > 0).sum()) for _, _, probabilities in candidates)
    scale = np.array([size[1], size[0]] * 2)
    classes = model.num_classes
    expected = np.array(
        [
            (100 * label, 1000 * probability, *(box * scale))
            for box, _, probabilities in do_nms_sort(candidates, classes, 0.3)
            for label, probability in enumerate(probabilities)
            if probability > 0
        ]
    )
    assert before >= len(expected) > 2
    assert before > len(expected) or stretches
    centers, sizes = (
        (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2,
        detections.boxes[:, 2:] - detections.boxes[:, :2],
    )
    ours = torch.cat(
        (100 * detections.labels[:, None], 1000 * detections.scores[:, None], centers, sizes), dim=1
    ).numpy()
    assert len(ours) == len(expected)
    # The order of equals is free.
    difference = (np.abs(ours[:, None] - expected) / (1 + np.abs(expected) / 100)).max(axis=2)
    assert difference.min(axis=0).max() < 5e-3
    assert difference.min(axis=1).max() < 5e-3
    assert (np.diff(ours[:, 1]) <= 0).all()
    return detections.labels.tolist()


def test_an_empty_answer_and_a_batch(saved):
    cfg = cfgs.Cfg(40, 32)
    _yolo(cfg)
    model = from_darknet(saved(cfg).with_suffix(".cfg"))
    images = [torch.rand(3, 31, 40), torch.rand(3, 60, 74)]
    model.score_threshold = 1.0
    with torch.no_grad():
        assert [len(detections) for detections in model(images)] == [0, 0]
        model.score_threshold = 0.1
        together, alone = model(images)[1], model(images[1:])[0]
    torch.testing.assert_close(together.boxes, alone.boxes)
    assert len(alone) > 0
    overlaps = box_iou(alone.boxes, alone.boxes) * (alone.labels[:, None] == alone.labels)
    assert float(overlaps.fill_diagonal_(0).max()) <= 0.45 + 1e-5


def test_losses_are_refused(saved):
    cfg = cfgs.Cfg(40, 32)
    _yolo(cfg)
    target = Target(torch.tensor([[2.0, 3.0, 9.0, 8.0]]), torch.tensor([1]))
    with pytest.raises(InputError, match="to train take YOLOv1 to YOLOv4"):
        from_darknet(saved(cfg).with_suffix(".cfg"))([torch.rand(3, 32, 40)], [target])


def test_raw_outputs_compile_as_one_graph(saved):
    cfg = cfgs.Cfg(40, 32)
    _stretched(cfg)
    model = from_darknet(saved(cfg).with_suffix(".cfg"))
    images = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        compiled = torch.compile(model.raw, fullgraph=True, backend="eager")(images)
        torch.testing.assert_close(compiled, model.raw(images))


def test_classifiers_are_plain_networks(saved):
    cfg = cfgs.Cfg(32)
    cfg.conv(8, 3, 2)
    cfg.linear(10)
    cfg.classify()
    stem = saved(cfg)
    model = from_darknet(stem.with_suffix(".cfg"), stem.with_suffix(".weights"))
    with torch.no_grad():
        probabilities = model(torch.rand(5, 3, 32, 32))
    assert probabilities.shape == (5, 10)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(5))
