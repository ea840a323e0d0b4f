"""torchvision's detectors with random weights that detect something, and their detkit twins."""

import copy
from dataclasses import replace

import torch
import torchvision

import detkit.matching
from detkit.weights import from_torchvision


def make_twins(name, seed, classes, deltas=0.5, objectness=0.05, **arguments):
    """torchvision's model `name` with random weights, and ours with the same; both in evaluation mode."""
    torch.manual_seed(seed)
    theirs = getattr(torchvision.models.detection, name)(
        weights=None, weights_backbone=None, num_classes=classes + 1, **arguments
    )
    spread_outputs(theirs, deltas, objectness)
    ours = from_torchvision(name, theirs.state_dict())
    return theirs.eval(), ours.eval()


def make_small_twins(name, seed, classes, detections, proposals, samples=512, size=(128, 192), **arguments):
    """Twins that see small images and few regions, for the test's speed."""
    theirs, ours = make_twins(
        name,
        seed,
        classes,
        min_size=size[0],
        max_size=size[1],
        box_detections_per_img=detections,
        box_batch_size_per_image=samples,
        rpn_post_nms_top_n_test=proposals,
        **arguments,
    )
    ours.preprocess.min_size, ours.preprocess.max_size = size
    ours.box_head.postprocess.detections = detections
    ours.rpn.postprocess.detections = proposals
    ours.region_sampler = replace(ours.region_sampler, count=samples)
    return theirs, ours


@torch.no_grad()
def spread_outputs(model, deltas, objectness):
    """Random batch-norm statistics, and outputs that differ widely between regions and cells."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.25)
            module.weight.data.uniform_(0.4, 0.8)
    if model.roi_heads.has_mask():
        torch.nn.init.normal_(model.roi_heads.mask_predictor.mask_fcn_logits.weight, std=0.2)
    rpn, predictor = model.rpn.head, model.roi_heads.box_predictor
    layers = (
        (rpn.cls_logits, objectness),
        (rpn.bbox_pred, 0.2),
        (predictor.cls_score, 1.5),
        (predictor.bbox_pred, deltas),
    )
    for layer, std in layers:
        spread(model, layer, std)


def spread(model, layer, std):
    """Let what `layer` says have zero mean and a standard deviation of `std` in each channel."""
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    seen = []
    watch = layer.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs.transpose(0, 1).flatten(1)))
    model.eval()(random_images(99))
    watch.remove()
    outputs = torch.cat(seen, dim=1)
    factor = std / outputs.std(dim=1)
    layer.weight *= factor.view(-1, *[1] * (layer.weight.ndim - 1))
    layer.bias.copy_(-outputs.mean(dim=1) * factor)


def in_double(model):
    """A copy in float64, whose gradients can be compared.

    Rounding decides on which side of a ReLU a value near zero is, and batch norm in training makes much of it: in
    float32 gradients of the first layers depend on the processor by more than a thousandth.
    """
    model = copy.deepcopy(model)
    for part in model.children():  # a model of ours as a whole keeps anchors and pixel statistics in float32
        part.double()
    return model


def share_float32(theirs, ours, monkeypatch):
    """Both nets in float64 have the pixel statistics and boxes that are float32 here, and exact targets for them."""

    def rounded(boxes):
        return boxes.float().double()

    def with_rounded(_, inputs, output):
        images, targets = output
        return images, [one | {"boxes": rounded(one["boxes"])} for one in targets]

    theirs.transform.register_forward_hook(with_rounded)
    theirs.transform.image_mean = ours.preprocess.mean.flatten().tolist()
    theirs.transform.image_std = ours.preprocess.std.flatten().tolist()
    theirs.rpn.register_forward_hook(lambda _, inputs, output: ([rounded(one) for one in output[0]], output[1]))
    encode = ours.box_head.coder.encode
    monkeypatch.setattr(ours.box_head.coder, "encode", lambda *boxes: encode(*(one.double() for one in boxes)))


def random_images(seed):
    """Three images of different sizes: noise in patches, as each cell of a map is to see something of its own."""
    generator = torch.Generator().manual_seed(seed)
    images = []
    for height, width in ((180, 260), (150, 110), (64, 300)):
        patches = torch.rand(1, 3, height // 10, width // 10, generator=generator)
        patches = torch.nn.functional.interpolate(patches, size=(height, width), mode="bilinear")[0]
        images.append(0.8 * patches + 0.2 * torch.rand(3, height, width, generator=generator))
    return images


def random_boxes(image, count, generator):
    """`count` boxes in `image` or a little beyond it."""
    size = torch.tensor([image.shape[2], image.shape[1]])
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * size
    return corners.flatten(1) + torch.tensor([0.0, 0.0, 4.0, 4.0])


def paired(theirs, ours, images, at_least=1):
    """torchvision's detections of each image, and ours in the same order, which are the same boxes and scores.

    Scores may be so close that their order is chance: the nearest box of the same label is the twin.
    """
    with torch.inference_mode():
        expected, results = theirs(images), ours(images)
    for detections, result in zip(expected, results, strict=True):
        assert len(detections["boxes"]) >= at_least
        assert (result.scores.diff() <= 0).all()
        distance = (detections["boxes"][:, None] - result.boxes).abs().amax(dim=2)
        distance[(detections["labels"] - 1)[:, None] != result.labels] = torch.inf
        order = distance.argmin(dim=1)
        assert sorted(order.tolist()) == list(range(len(result)))
        result = result[order]
        torch.testing.assert_close(result.boxes, detections["boxes"], atol=1e-3, rtol=0)
        torch.testing.assert_close(result.scores, detections["scores"], atol=1e-4, rtol=0)
        yield detections, result


def draw_the_last(monkeypatch):
    """Both samplers then draw the last candidates of an image."""
    monkeypatch.setattr(torch, "randperm", lambda count, device=None: torch.arange(count, device=device).flip(0))
    monkeypatch.setattr(
        detkit.matching, "random_keys", lambda like, _: torch.arange(like.shape[1], dtype=torch.int32).expand_as(like)
    )
