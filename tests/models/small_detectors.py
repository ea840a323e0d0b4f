"""What is asked of every small single-stage detector."""

import torch

from detkit.structures import Target


def two_images():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 60, 90, generator=generator), torch.rand(3, 50, 40, generator=generator)]


def check_learning_and_detecting(model, losses_of):
    """The named losses, gradients that are finite, and boxes within the images, of one image with objects and one
    without."""
    images = two_images()
    targets = [Target(torch.tensor([[5.0, 6, 40, 50], [50, 20, 88, 60]]), torch.tensor([0, 2])), Target.empty()]
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert losses.keys() == losses_of
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    for image, detections in zip(images, model.eval()(images), strict=True):
        assert len(detections)
        assert (detections.boxes >= 0).all()
        assert (detections.boxes <= torch.tensor([image.shape[2], image.shape[1]] * 2)).all()
        assert ((detections.boxes[:, 2:] - detections.boxes[:, :2]) > 0).all()
