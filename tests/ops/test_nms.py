import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import batched_nms, batched_nms_padded, nms, nms_padded
from detkit.ops.nms import batched_nms_reference, nms_reference

THRESHOLDS = [0.0, 0.05, 0.3, 0.5, 0.7, 0.95, 1.0]


def spread_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Small boxes all over the image: few overlap."""
    corner = torch.rand(count, 2, generator=generator) * 1000
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 40], 1)


def clustered_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Jittered copies of a few objects: most overlap."""
    objects = spread_boxes(10, generator) * torch.tensor([1, 1, 1.2, 1.2])
    chosen = objects[torch.randint(0, 10, (count,), generator=generator)]
    return chosen + torch.randn(count, 4, generator=generator) * 6


def mixed_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Boxes of all sizes and shapes, from a pixel to the whole image."""
    corner = torch.rand(count, 2, generator=generator) * 1000
    sides = 10 ** (torch.rand(count, 2, generator=generator) * 3)
    return torch.cat([corner - sides / 2, corner + sides / 2], 1)


def gridded_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Boxes on whole numbers: many equal ones, and many IoUs that are exactly a threshold."""
    corner = torch.randint(0, 12, (count, 2), generator=generator)
    return torch.cat([corner, corner + torch.randint(0, 8, (count, 2), generator=generator)], 1).float()


class Module(torch.nn.Module):
    """A function as torch.export takes it."""

    def __init__(self, function) -> None:
        super().__init__()
        self.forward = function


LAYOUTS = [spread_boxes, clustered_boxes, mixed_boxes, gridded_boxes]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [0, 1, 2, 17, 100, 700])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nms_picks_what_torchvision_picks(implementation, layout, count, seed):
    generator = torch.Generator().manual_seed(seed)
    boxes, scores = layout(count, generator), torch.rand(count, generator=generator)
    for threshold in THRESHOLDS:
        assert torch.equal(nms(boxes, scores, threshold), torchvision.ops.nms(boxes, scores, threshold))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nms_of_many_boxes_picks_what_torchvision_picks(native, layout, dtype):
    generator = torch.Generator().manual_seed(7)
    boxes, scores = layout(6000, generator).to(dtype), torch.rand(6000, generator=generator).to(dtype)
    for threshold in THRESHOLDS:
        assert torch.equal(nms(boxes, scores, threshold), torchvision.ops.nms(boxes, scores, threshold))


@pytest.mark.parametrize("levels", [1, 2, 40, 10**6])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.95])
def test_many_boxes_of_few_objects_with_ties_and_some_without_a_size(native, threshold, levels):
    generator = torch.Generator().manual_seed(levels)
    boxes, scores = clustered_boxes(9000, generator), torch.rand(9000, generator=generator)
    boxes[::500, 2:] = boxes[::500, :2] - torch.tensor([0.0, 3.0])
    scores = (scores * levels).floor() - levels / 2
    for dtype in (torch.float32, torch.float64):
        arguments = boxes.to(dtype), scores.to(dtype), threshold
        assert torch.equal(nms(*arguments), torchvision.ops.nms(*arguments))


def test_equal_scores_are_ranked_by_index(implementation):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 0, 60, 10], [0, 0, 10, 10]])
    scores = torch.tensor([0.0, 0.5, 0.5, -0.0])
    assert nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert nms(boxes, scores, 0.95).tolist() == [1, 2, 0]


@pytest.mark.parametrize(("threshold", "kept"), [(0.4999, [0]), (0.5, [0, 1]), (0.5001, [0, 1])])
def test_an_iou_of_exactly_the_threshold_does_not_suppress(implementation, threshold, kept):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), threshold).tolist() == kept


def test_the_threshold_is_compared_in_double_precision(implementation):
    # The IoU is 0.3 rounded to float32, which is greater than 0.3.
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 3]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.3).tolist() == [0]


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.integers(-6, 6)] * 4, st.integers(0, 3), st.integers(-1, 1)), max_size=40),
    threshold=st.sampled_from([-0.1, 0.0, 1 / 3, 0.5, 0.75, 1.0, 2.0]),
    unit=st.sampled_from([1.0, 1e-22, 1e-3, 1e18, 1e30]),
)
def test_any_boxes_are_treated_as_torchvision_does(rows, threshold, unit):
    """Degenerate, inverted, duplicate, underflowing and overflowing boxes included."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    boxes, scores, labels = table[:, :4] * unit, table[:, 4], table[:, 5].long()
    assert torch.equal(nms(boxes, scores, threshold), torchvision.ops.nms(boxes, scores, threshold))
    by_class = torchvision.ops.boxes._batched_nms_vanilla(boxes, scores, labels, threshold)
    assert set(batched_nms(boxes, scores, labels, threshold).tolist()) == set(by_class.tolist())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("count", [10, 3000])
def test_boxes_that_are_not_finite_are_treated_as_torchvision_does(native, count, value):
    generator = torch.Generator().manual_seed(0)
    boxes, scores = clustered_boxes(count, generator), torch.rand(count, generator=generator)
    boxes.view(-1)[torch.randint(0, 4 * count, (count // 5,), generator=generator)] = value
    assert torch.equal(nms(boxes, scores, 0.5), torchvision.ops.nms(boxes, scores, 0.5))


@pytest.mark.parametrize("name", ["first", "middle", "last"])
def test_one_huge_box_among_many_small_ones(native, name):
    generator = torch.Generator().manual_seed(0)
    boxes, scores = spread_boxes(3000, generator), torch.rand(3000, generator=generator)
    boxes[5] = torch.tensor([-1e7, -1e7, 1e7, 1e7])
    scores[5] = {"first": 2.0, "middle": 0.5, "last": -1.0}[name]
    assert torch.equal(nms(boxes, scores, 0.3), torchvision.ops.nms(boxes, scores, 0.3))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("labels", ["few", "many", "scattered"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_batched_nms_is_nms_of_each_class(implementation, layout, labels, seed):
    generator = torch.Generator().manual_seed(seed)
    boxes, scores = layout(600, generator), torch.rand(600, generator=generator)
    classes = torch.randint(0, 80 if labels == "many" else 3, (600,), generator=generator)
    if labels == "scattered":
        classes = torch.tensor([-(2**40), 7, 2**50])[classes]
    expected = torchvision.ops.boxes._batched_nms_vanilla(boxes, scores, classes, 0.5)
    assert torch.equal(batched_nms(boxes, scores, classes, 0.5), expected)


def test_batched_nms_needs_no_offsets_and_so_keeps_precision(implementation):
    # 16 pixels away at 2^24: shifting by classes would merge the two boxes' coordinates.
    far = torch.tensor([[0.0, 0, 1, 1], [2.0**24, 0, 2.0**24 + 4, 4], [2.0**24 + 16, 0, 2.0**24 + 20, 4]])
    kept = batched_nms(far, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 900, 900]), 0.5)
    assert kept.tolist() == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 10, 5000])
@pytest.mark.parametrize("size", [0, 1, 600])
def test_padded_nms_is_nms_in_a_fixed_size(implementation, size, count):
    generator = torch.Generator().manual_seed(0)
    boxes, scores = spread_boxes(size, generator), torch.rand(size, generator=generator)
    labels = torch.randint(0, 5, (size,), generator=generator)
    for classes, expected in ((None, nms(boxes, scores, 0.3)), (labels, batched_nms(boxes, scores, labels, 0.3))):
        kept, number = nms_padded(boxes, scores, 0.3, count, classes)
        assert kept.shape == (count,)
        assert number.shape == ()
        assert number.dtype == kept.dtype == torch.int64
        assert number == min(count, len(expected))
        assert torch.equal(kept[:number], expected[:count])
        assert (kept[number:] == -1).all()


@pytest.mark.parametrize("count", [0, 1, 40, 700])
@pytest.mark.parametrize(("size", "images"), [(0, 0), (0, 3), (1, 1), (600, 3), (600, 0)])
def test_padded_nms_of_a_batch_is_that_of_each_image(implementation, images, size, count):
    """Also where images have no box, and boxes no image."""
    generator = torch.Generator().manual_seed(0)
    boxes, scores = clustered_boxes(size, generator), torch.rand(size, generator=generator).mul(50).round()
    image_index = torch.randint(-1, images + 2, (size,), generator=generator)
    labels = torch.randint(-3, 3, (size,), generator=generator)
    for classes in (None, labels):
        kept, numbers = batched_nms_padded(boxes, scores, image_index, 0.3, images, count, classes)
        assert kept.shape == (images, count)
        assert numbers.shape == (images,)
        assert numbers.dtype == kept.dtype == torch.int64
        for image in range(images):
            own = torch.where(image_index == image)[0]
            expected = own[batched_nms(boxes[own], scores[own], own * 0 if classes is None else classes[own], 0.3)]
            assert numbers[image] == min(count, len(expected))
            assert torch.equal(kept[image, : numbers[image]], expected[:count])
            assert (kept[image, numbers[image] :] == -1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(implementation, dtype):
    generator = torch.Generator().manual_seed(0)
    boxes, scores = clustered_boxes(300, generator).to(dtype), torch.rand(300, generator=generator).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kept = nms(boxes, scores, 0.5)
    assert torch.equal(kept, torchvision.ops.nms(boxes.float(), scores.float(), 0.5))


def test_memory_need_not_be_contiguous(native):
    generator = torch.Generator().manual_seed(0)
    rows, scores = torch.randn(300, 9, generator=generator), torch.rand(300, 2, generator=generator)
    boxes = (rows * 20)[:, 1:9:2]
    kept = nms(boxes, scores[:, 0], 0.1)
    assert torch.equal(kept, torchvision.ops.nms(boxes.contiguous(), scores[:, 0].contiguous(), 0.1))


def test_input_errors_name_the_tensor(implementation):
    boxes, scores, labels = torch.zeros(3, 4), torch.zeros(3), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(InputError, match=r"boxes must have shape \(N, 4\), got \(3, 5\)"):
        nms(torch.zeros(3, 5), scores, 0.5)
    with pytest.raises(InputError, match=r"scores must have shape \(3,\), got \(2,\)"):
        nms(boxes, scores[:2], 0.5)
    with pytest.raises(InputError, match=r"boxes must be floating point, got torch.int64: .*boxes.float"):
        nms(boxes.long(), scores, 0.5)
    with pytest.raises(InputError, match="scores must not be NaN"):
        nms(boxes, scores * float("nan"), 0.5)
    with pytest.raises(InputError, match="count must not be negative, got -1"):
        nms_padded(boxes, scores, 0.5, -1)
    with pytest.raises(InputError, match=r"labels must have shape \(3,\)"):
        nms_padded(boxes, scores, 0.5, 2, labels[:1])
    with pytest.raises(InputError, match=r"labels must have shape \(3,\)"):
        batched_nms(boxes, scores, labels[:1], 0.5)
    with pytest.raises(InputError, match=r"labels must be integers, got torch\.float32"):
        batched_nms(boxes, scores, labels.float(), 0.5)
    with pytest.raises(InputError, match=r"image_index must be integers, got torch\.float32"):
        batched_nms_padded(boxes, scores, scores, 0.5, 1, 2)
    with pytest.raises(InputError, match="images and count must not be negative, got 1 and -2"):
        batched_nms_padded(boxes, scores, labels, 0.5, 1, -2)


def test_operator_registration(native):
    boxes, scores = spread_boxes(20, torch.Generator().manual_seed(0)), torch.rand(20)
    for labels in (None, torch.arange(20) % 2):
        torch.library.opcheck(torch.ops.detkit.nms.default, (boxes, scores, labels, 0.5))
        torch.library.opcheck(torch.ops.detkit.nms_padded.default, (boxes, scores, labels, 0.5, 15))
        of_a_batch = (boxes, scores, torch.arange(20) % 3, labels, 0.5, 3, 5)
        torch.library.opcheck(torch.ops.detkit.batched_nms_padded.default, of_a_batch)


def test_compiles_as_one_graph(native):
    generator = torch.Generator().manual_seed(0)
    boxes, scores = clustered_boxes(100, generator), torch.rand(100, generator=generator)
    labels = torch.arange(100) % 3

    def best(boxes, scores, labels):
        return boxes[batched_nms(boxes, scores, labels, 0.5)] + boxes[nms(boxes, scores, 0.3)].sum()

    compiled = torch.compile(best, fullgraph=True, backend="eager")
    assert torch.equal(compiled(boxes, scores, labels), best(boxes, scores, labels))


def test_padded_nms_compiles_with_static_shapes(native):
    generator = torch.Generator().manual_seed(0)
    boxes, scores = clustered_boxes(100, generator), torch.rand(100, generator=generator)

    def best(boxes, scores):
        kept, number = nms_padded(boxes, scores, 0.5, 20)
        return boxes[kept.clamp(min=0)] * (torch.arange(20) < number)[:, None]

    compiled = torch.compile(best, fullgraph=True, backend="aot_eager", dynamic=False)
    assert torch.equal(compiled(boxes, scores), best(boxes, scores))
    graph = torch.export.export(Module(best), (boxes, scores))
    (result,) = graph.graph.output_node().args[0]
    assert result.meta["val"].shape == (20, 4)


def test_padded_nms_of_a_batch_compiles_with_static_shapes(native):
    generator = torch.Generator().manual_seed(0)
    boxes, scores = clustered_boxes(100, generator), torch.rand(100, generator=generator)

    def best(boxes, scores):
        image_index = torch.where(scores > 0.2, torch.arange(100) % 3, -1)
        kept, numbers = batched_nms_padded(boxes, scores, image_index, 0.5, 3, 10)
        return boxes[kept.clamp(min=0)] * (torch.arange(10) < numbers[:, None])[..., None]

    compiled = torch.compile(best, fullgraph=True, backend="aot_eager", dynamic=False)
    assert torch.equal(compiled(boxes, scores), best(boxes, scores))
    graph = torch.export.export(Module(best), (boxes, scores))
    (result,) = graph.graph.output_node().args[0]
    assert result.meta["val"].shape == (3, 10, 4)


@pytest.mark.gpu
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000, 4096, 4097, 9000])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_cuda_picks_what_the_cpu_picks(cuda, layout, count):
    generator = torch.Generator().manual_seed(1)
    boxes, scores = layout(count, generator), torch.rand(count, generator=generator)
    labels = torch.randint(0, 5, (count,), generator=generator)
    for threshold in (-0.1, 0.0, 0.5, 0.7):
        kept = nms(boxes.to(cuda), scores.to(cuda), threshold)
        assert torch.equal(kept.cpu(), nms(boxes, scores, threshold))
        kept = batched_nms(boxes.to(cuda), scores.to(cuda), labels.to(cuda), threshold)
        assert torch.equal(kept.cpu(), batched_nms(boxes, scores, labels, threshold))


@pytest.mark.gpu
@pytest.mark.parametrize("size", [0, 1, 9000])
@pytest.mark.parametrize("count", [0, 1, 100, 9001])
def test_cuda_padded_nms_waits_for_nothing(cuda, size, count):
    generator = torch.Generator().manual_seed(1)
    boxes, scores = spread_boxes(size, generator), torch.rand(size, generator=generator)
    labels = torch.randint(0, 5, (size,), generator=generator)
    for classes in (None, labels):
        arguments = [boxes.to(cuda), scores.to(cuda), 0.5, count, None if classes is None else classes.to(cuda)]
        torch.cuda.set_sync_debug_mode("error")
        kept, number = nms_padded(*arguments)
        torch.cuda.set_sync_debug_mode("default")
        expected, expected_number = nms_padded(boxes, scores, 0.5, count, classes)
        assert torch.equal(kept.cpu(), expected)
        assert number.item() == expected_number.item()


@pytest.mark.gpu
@pytest.mark.parametrize("size", [0, 1, 9000])
@pytest.mark.parametrize("count", [0, 1, 100, 9001])
def test_cuda_padded_nms_of_a_batch_waits_for_nothing(cuda, size, count):
    generator = torch.Generator().manual_seed(1)
    boxes, scores = clustered_boxes(size, generator), torch.rand(size, generator=generator)
    image_index, labels = torch.randint(-1, 5, (2, size), generator=generator)
    for classes in (None, labels):
        arguments = [boxes, scores, image_index, 0.5, 4, count, classes]
        there = [one.to(cuda) if isinstance(one, Tensor) else one for one in arguments]
        torch.cuda.set_sync_debug_mode("error")
        kept, numbers = batched_nms_padded(*there)
        torch.cuda.set_sync_debug_mode("default")
        expected, expected_numbers = batched_nms_padded(*arguments)
        assert torch.equal(kept.cpu(), expected)
        assert torch.equal(numbers.cpu(), expected_numbers)


@pytest.mark.gpu
def test_cuda_memory_grows_with_the_boxes(cuda):
    generator = torch.Generator().manual_seed(1)
    boxes, scores = spread_boxes(100_000, generator).to(cuda), torch.rand(100_000, generator=generator).to(cuda)
    nms(boxes, scores, 0.5)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    nms(boxes, scores, 0.5)
    assert torch.cuda.max_memory_allocated() - before < 10e6  # a bit for every pair would be 1.25e9 bytes


@pytest.mark.gpu
def test_cuda_runs_on_the_current_stream(cuda):
    generator = torch.Generator().manual_seed(1)
    boxes, scores = clustered_boxes(9000, generator), torch.rand(9000, generator=generator)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # so that a kernel on another stream would see boxes that are not there yet
        there = boxes.to(cuda, non_blocking=True) + 0
        kept, number = nms_padded(there, scores.to(cuda), 0.5, 9000)
    stream.synchronize()
    assert torch.equal(kept[:number].cpu(), nms(boxes, scores, 0.5))


@pytest.mark.gpu
def test_cuda_refuses_nan_or_leaves_it_out(cuda):
    generator = torch.Generator().manual_seed(1)
    boxes, scores = spread_boxes(300, generator).to(cuda), torch.rand(300, generator=generator).to(cuda)
    bad = scores.clone()
    bad[::7] = float("nan")
    with pytest.raises(RuntimeError, match="scores must not be NaN"):
        nms(boxes, bad, 0.5)
    kept, number = nms_padded(boxes, bad, 0.5, 300)
    good = torch.where(~bad.isnan())[0]
    assert torch.equal(kept[:number], good[nms(boxes[good], scores[good], 0.5)])


def test_the_references_are_what_the_text_says():
    """Two of three overlapping boxes go; another class is left alone."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 1, 10, 11], [30, 30, 40, 40]])
    scores = torch.tensor([0.6, 0.9, 0.7, 0.8])
    assert nms_reference(boxes, scores, 0.5).tolist() == [1, 3]
    assert batched_nms_reference(boxes, scores, torch.tensor([0, 0, 1, 1]), 0.5).tolist() == [1, 3, 2]


def test_scores_that_require_a_gradient_give_no_warning(recwarn):
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 20, 30, 30]])
    assert nms(boxes, torch.tensor([0.2, 0.9], requires_grad=True), 0.5).tolist() == [1, 0]
    assert not recwarn.list
