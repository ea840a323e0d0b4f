"""Panoptic FPN: what its heads learn, what it answers, and how it comes back from files and for other classes."""

from dataclasses import replace

import pytest
import torch
from panoptic_models import CATEGORIES, PARTS, SIZES, make_batch, make_model
from torch.nn import functional as F

import detkit
from detkit.errors import InputError
from detkit.heads import SemanticFPNHead
from detkit.models import MaskRCNN, with_classes
from detkit.preprocess import ShortestEdge
from detkit.structures import Category, PanopticMap


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return make_model().eval()


def losses_of(model, images, targets):
    return model(images, targets, generator=torch.Generator().manual_seed(1))


def test_losses_are_those_of_mask_rcnn_and_half_of_the_semantic_one(model):
    images, targets = make_batch()
    twin = MaskRCNN(model.backbone, 5, preprocess=ShortestEdge(64, 96), **PARTS)
    twin.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("semantic_head")})
    losses, theirs = losses_of(model, images, targets), losses_of(twin, images, targets)
    for name, value in theirs.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-5), name
    assert losses.keys() - theirs.keys() == {"semantic"}
    # The paper's: cross-entropy of stuff and of all things as one class, at the resolution of the images.
    context = model.context(images, targets)
    raw = model.heads(model.features(context.batch), context)
    logits = F.interpolate(raw.semantic.logits, size=context.batch.padded_size, mode="bilinear")[:, [1, 3, 5]]
    labels = torch.full((2, *context.batch.padded_size), -1)
    for row, target in enumerate(context.targets):
        own = torch.tensor([2, 0, 2, 1, 2] + [-1] * 251)[target.label_map.long()]
        labels[row, : own.shape[0], : own.shape[1]] = own
    expected = 0.5 * F.cross_entropy(logits, labels, ignore_index=-1)
    assert losses["semantic"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_boxes_of_stuff_are_no_objects(model):
    images, targets = make_batch()
    more = [
        replace(
            target,
            boxes=torch.cat((torch.tensor([[0.0, 0, 40, 20]]), target.boxes)),
            labels=torch.cat((torch.tensor([3]), target.labels)),
            masks=torch.cat((torch.ones_like(target.masks[:1]), target.masks)),
        )
        for target in targets
    ]
    losses, with_stuff = losses_of(model, images, targets), losses_of(model, images, more)
    assert {name: value.item() for name, value in losses.items()} == {k: v.item() for k, v in with_stuff.items()}


@pytest.mark.parametrize("lacks", ["objects", "pixels"])
def test_an_image_teaches_the_heads_that_it_has_labels_for(lacks):
    torch.manual_seed(0)
    model = make_model()
    images, targets = make_batch()
    without = {"label_map": None} if lacks == "pixels" else {"boxes": None, "labels": None, "masks": None}
    losses = losses_of(model, images, [replace(target, **without) for target in targets])
    assert losses.keys() == losses_of(model, images, targets).keys()
    sum(losses.values()).backward()
    learned = {name.partition(".")[0] for name, one in model.named_parameters() if one.grad.abs().sum() > 0}
    assert all(one.grad is not None for one in model.parameters())
    heads = {"rpn", "box_head", "branches"} if lacks == "pixels" else {"semantic_head"}
    assert learned == heads | {"backbone", "neck"}


def test_panoptic_maps_teach_as_their_label_maps(model):
    images, targets = make_batch()
    maps = [torch.where(one.label_map == 255, -1, one.label_map.int() * 65536 + 3) for one in targets]
    given = [replace(one, label_map=None, panoptic_map=own) for one, own in zip(targets, maps, strict=True)]
    ours, theirs = losses_of(model, images, given), losses_of(model, images, targets)
    assert ours["semantic"].item() == theirs["semantic"].item()
    assert "panoptic_map" in model.learns_from


def test_images_of_two_data_sets_teach_as_each_alone():
    """One image has objects alone, the other the classes of pixels alone."""
    torch.manual_seed(0)
    model = make_model().eval()
    images, targets = make_batch(sizes=[SIZES[0]] * 2)
    objects, pixels = replace(targets[0], label_map=None), replace(targets[1], boxes=None, labels=None, masks=None)
    together = losses_of(model, images, [objects, pixels])
    alone = losses_of(model, images[:1], [objects]), losses_of(model, images[1:], [pixels])
    assert together["semantic"].item() == pytest.approx(alone[1]["semantic"].item(), rel=1e-4)
    assert together["mask"].item() == pytest.approx(alone[0]["mask"].item(), rel=1e-4)
    assert alone[0]["semantic"].item() == 0
    assert alone[1]["mask"].item() == 0


def test_answers_hold_objects_pixels_and_both_merged(model):
    images, _ = make_batch()
    for answer, size in zip(model.predict(images), SIZES, strict=True):
        assert isinstance(answer, PanopticMap)
        assert answer.panoptic_map.shape == answer.label_map.shape == size
        assert answer.panoptic_map.dtype == torch.int32
        assert set(answer.labels.tolist()) <= {0, 2, 4}
        assert answer.masks.shape == (len(answer.scores), *size)
        for one in answer.segments():
            assert CATEGORIES[one.label].is_thing == (one.instance > 0)
            assert one.name == CATEGORIES[one.label].name
            if one.instance:
                assert one.label == int(answer.labels[one.instance - 1])
                assert one.score == float(answer.scores[one.instance - 1]) >= 0.2
        known = answer.panoptic_map >= 0
        assert torch.equal(answer.panoptic_map[known] // 65536, answer.label_map[known].int())


def test_a_model_needs_to_know_what_is_stuff():
    images, targets = make_batch()
    model = make_model()
    model.categories = None
    with pytest.raises(InputError, match=r"set model\.categories"):
        model(images, targets)
    model.categories = ["disc", "box"]
    with pytest.raises(InputError, match="5 classes, but 2 categories"):
        model.eval()(images)


def test_a_checkpoint_keeps_which_classes_are_things(model, tmp_path):
    images, _ = make_batch()
    model.save(tmp_path / "panoptic.ckpt")
    loaded = detkit.load(tmp_path / "panoptic.ckpt")
    for own, theirs in zip(model.predict(images), loaded.predict(images), strict=True):
        assert torch.equal(own.panoptic_map, theirs.panoptic_map)
        assert torch.equal(own.label_map, theirs.label_map)


def test_a_model_for_other_classes_keeps_the_output_for_all_things(model):
    other = with_classes(model, [Category(1, "sand", is_thing=False), Category(2, "car"), Category(3, "disc")])
    ours, theirs = model.semantic_head.classes, other.semantic_head.classes
    assert theirs.weight.shape[0] == 4
    assert torch.equal(theirs.weight[[0, 2, 3]], ours.weight[[3, 0, 5]])
    assert torch.equal(other.box_head.classes.weight[[0, 2, 3]], model.box_head.classes.weight[[3, 0, 5]])
    answer = other.predict(make_batch()[0][0])
    assert all(one.label == 0 for one in answer.segments() if not one.instance)


def test_a_folded_copy_answers_alike(model):
    images, _ = make_batch()
    with torch.inference_mode():
        own, folded = model(images), model.folded()(images)
    for one, other in zip(own, folded, strict=True):
        assert torch.allclose(one.scores, other.scores, atol=1e-4)
        assert (one.panoptic_map == other.panoptic_map).float().mean() > 0.99


def test_the_head_for_stuff_is_that_of_the_paper_with_another_last_layer(model):
    head = SemanticFPNHead(model.neck.channels, model.neck.strides, 6, hidden=16, groups=4)
    assert {k: v.shape for k, v in head.state_dict().items()} == {
        k: v.shape for k, v in model.semantic_head.state_dict().items()
    }
