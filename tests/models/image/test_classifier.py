"""Classifiers and localizers: against torchvision, and as models like any other."""

import pytest
import torch
import torchvision
from torchvision.transforms._presets import ImageClassification

import detkit
from detkit.backbones import TimmBackbone, classifier
from detkit.engine.checkpoint import save_model
from detkit.errors import InputError
from detkit.models import Classifier, Localizer
from detkit.preprocess import CenterCrop, Stretch
from detkit.structures import Category, Classification, Detections, Target

CLASSES = 3


def _images(seed, *sizes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]


def _smooth_images(seed, *sizes):
    """Smooth images of which a trained net says different things."""
    generator = torch.Generator().manual_seed(seed)
    noise = [torch.rand(1, 3, 6, 8, generator=generator) * 255 for _ in sizes]
    return [
        torch.nn.functional.interpolate(one, size=size, mode="bicubic")[0].clamp(0, 255).byte()
        for one, size in zip(noise, sizes, strict=True)
    ]


@pytest.mark.parametrize("size", [(300, 400), (500, 333), (256, 256), (257, 999), (100, 120)])
@pytest.mark.parametrize(("crop", "shorter"), [(224, 256), (225, 232), (64, 64)])
def test_the_center_is_torchvisions(size, crop, shorter):
    image = _images(0, size)[0]
    # Of bytes torchvision rounds to whole gray levels what it has resized; here nothing is rounded.
    expected = ImageClassification(crop_size=crop, resize_size=shorter)(image / 255)
    batch = CenterCrop((crop, crop), shorter)([image])
    assert batch.sizes == [(crop, crop)]
    torch.testing.assert_close(batch.images[0], expected, rtol=1e-4, atol=1e-4)


def test_an_image_of_the_crops_size_is_taken_as_it_is():
    image = _images(0, (64, 64))[0]
    batch = CenterCrop((64, 64), 80, mean=(0, 0, 0), std=(1, 1, 1))([image])
    assert torch.equal(batch.images[0], image / 255)


@pytest.mark.parametrize("size", [(100, 140), (96, 60), (64, 48)])
def test_boxes_go_through_the_crop_and_back(size):
    crop = CenterCrop((64, 48), 72)
    batch = crop(_images(0, size))
    target = Target(torch.tensor([[10.0, 20, 30, 45]]), torch.tensor([0]))
    moved = crop.targets([target], batch)[0]
    back = crop.restore([Detections(moved.boxes, torch.ones(1), target.labels)], batch)[0]
    torch.testing.assert_close(back.boxes, target.boxes)
    # The middle of the image stays in the middle, up to the rounding of sizes and of the corner.
    height, width = size
    middle = Target(torch.tensor([[width / 2 - 1, height / 2 - 1, width / 2 + 1, height / 2 + 1]]), target.labels)
    center = crop.targets([middle], batch)[0].boxes.view(2, 2).mean(dim=0)
    assert (center - torch.tensor([24.0, 32.0])).abs().max() <= 1


def test_a_crop_larger_than_its_image_is_refused():
    with pytest.raises(InputError, match="shorter_side is 200"):
        CenterCrop((224, 224), 200)


def test_published_weights_give_torchvisions_answers(shared):
    path = shared / "weights" / "squeezenet1_1_imagenet.pth"
    if not path.is_file():
        pytest.skip(f"no {path}")
    model = Classifier("squeezenet1_1", 1000, weights=str(path)).eval()
    theirs = torchvision.models.squeezenet1_1()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    preset = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    images = _smooth_images(1, (300, 400), (500, 333), (225, 300))
    theirs.eval()
    with torch.no_grad():
        batch = torch.stack([preset(image / 255) for image in images])
        expected = theirs(batch)
        assert torch.equal(model.raw(batch).logits, expected)
        ours = model.raw(model.preprocess(images).images).logits
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)
    detections = model.predict(images)
    assert [answer.labels[0].item() for answer in detections] == expected.argmax(dim=1).tolist()


@pytest.mark.parametrize("name", ["squeezenet1_0", "legacy_seresnet18"])
def test_a_net_by_its_name_keeps_its_own_layers(name, tmp_path):
    torch.manual_seed(0)
    theirs = classifier(name, CLASSES)
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    ours = Classifier(name, CLASSES, weights=str(tmp_path / "net.pth")).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.raw(images).logits, theirs.eval()(images))


def test_the_size_is_the_nets_own():
    assert Classifier("alexnet_two_towers", CLASSES).preprocess.size == (227, 227)
    assert Classifier("resnet18", CLASSES).preprocess.size == (224, 224)


def test_googlenets_auxiliary_classifiers_learn_too():
    torch.manual_seed(0)
    model = Classifier("googlenet", CLASSES, preprocess=CenterCrop((64, 64), 64)).train()
    # Dropout would leave out others at each call.
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    images, targets = _images(0, (230, 260), (256, 256)), [Target.empty(image_label=label) for label in (1, 2)]
    loss = model(images, targets)["cls"]
    main, first, second = model.net(model.preprocess(images).images)
    labels = torch.tensor([1, 2])
    parts = [torch.nn.functional.cross_entropy(logits, labels) for logits in (main, first, second)]
    torch.testing.assert_close(loss, parts[0] + 0.3 * (parts[1] + parts[2]), rtol=1e-4, atol=1e-4)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert set(model.eval()(images, targets)) == {"cls"}


def test_each_residual_block_begins_as_the_identity():
    torch.manual_seed(0)
    for net in ("resnet18", "resnet50", TimmBackbone("test_resnet")):
        model = Classifier(net, CLASSES, zero_gamma=True)
        ends = [
            getattr(block, "bn3", getattr(block, "bn2", None))
            for block in model.modules()
            if hasattr(block, "downsample")
        ]
        assert len(ends) >= 4
        assert all((norm.weight == 0).all() for norm in ends)
    with pytest.raises(InputError, match="SqueezeNet has none"):
        Classifier("squeezenet1_1", CLASSES, zero_gamma=True)
    with pytest.raises(InputError, match="zero_gamma would undo them"):
        Classifier("resnet18", CLASSES, weights="net.pth", zero_gamma=True)
    with pytest.raises(InputError, match="TimmBackbone takes its own"):
        Classifier(TimmBackbone("test_resnet"), CLASSES, weights="net.pth")


def _models():
    torch.manual_seed(0)
    size = {"preprocess": Stretch((64, 64))}
    return [
        Classifier(TimmBackbone("test_resnet"), CLASSES, **size),
        Classifier("squeezenet1_1", CLASSES, preprocess=CenterCrop((64, 64), 72)),
        Localizer(TimmBackbone("test_resnet"), CLASSES, **size),
    ]


@pytest.mark.parametrize("index", [0, *(pytest.param(index, marks=pytest.mark.slow) for index in (1, 2))])
def test_raw_compiles_and_exports_whole(index):
    model = _models()[index].eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model.raw(images)
        compiled = torch.compile(model.raw, fullgraph=True, backend="eager")(images)

        class Raw(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, images):
                return self.model.raw(images)

        exported = torch.export.export(Raw(), (images,)).module()(images)
    for one, two, three in zip(expected, compiled, exported, strict=True):
        if isinstance(one, torch.Tensor):
            torch.testing.assert_close(two, one)
            torch.testing.assert_close(three, one)


@pytest.mark.parametrize("index", range(3))
def test_a_file_brings_the_model_back(index, tmp_path):
    model = _models()[index]
    model.categories = [Category(5, "a"), Category(6, "b"), Category(9, "c")]
    backbone = {"class_path": "detkit.backbones.TimmBackbone", "init_args": {"name": "test_resnet"}}
    stretch = {"class_path": "detkit.preprocess.Stretch", "init_args": {"size": [64, 64]}}
    crop = {"class_path": "detkit.preprocess.CenterCrop", "init_args": {"size": [64, 64], "shorter_side": 72}}
    arguments = [
        {"net": backbone, "preprocess": stretch},
        {"net": "squeezenet1_1", "weights": "gone.pth", "preprocess": crop},
        {"backbone": backbone, "preprocess": stretch},
    ][index]
    class_path = f"detkit.models.{type(model).__name__}"
    config = {"class_path": class_path, "init_args": {"num_classes": CLASSES, **arguments}}
    save_model(model, config, tmp_path / "model.ckpt")
    loaded = detkit.load(tmp_path / "model.ckpt")
    assert loaded.categories == model.categories
    images = _images(0, (70, 90), (64, 64))
    for detections, expected in zip(loaded.predict(images), model.predict(images), strict=True):
        assert type(detections) is type(expected) is (Detections if index == 2 else Classification)
        assert torch.equal(detections.scores, expected.scores)
        assert torch.equal(detections.labels, expected.labels)
