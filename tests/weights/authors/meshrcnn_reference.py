"""The networks of Mesh R-CNN's authors for ShapeNet written out in plain torch, on tensors with their names.

Their camera frame has x right, y up and z towards the camera; a vertex is seen at its normalized device coordinates.
"""

import math

import torch
import torchvision
from torch.nn import functional as F

DEPTHS = (0.67, 0.92)  # in which voxels lie, in normalized device coordinates
BLENDER = torch.tensor(
    [[2.1875, 0, 0, 0], [0, 2.1875, 0, 0], [0, 0, -1.002002, -0.2002002], [0, 0, -1, 0]], dtype=torch.float64
)


def resnet_names():
    """From torchvision's names of ResNet-50 to the authors', and the shapes."""
    with torch.device("meta"):
        shapes = {name: tuple(one.shape) for name, one in torchvision.models.resnet50().state_dict().items()}
    renamed = {}
    for name, shape in shapes.items():
        if name.startswith("fc."):
            continue
        own = name.replace("conv1.", "stem.0.", 1) if name.startswith("conv1.") else name
        own = own.replace("bn1.", "stem.1.", 1) if own.startswith("bn1.") else own
        renamed[f"backbone.{own.replace('layer', 'stage', 1)}"] = shape
    return renamed


def voxel_names(voxels=48, in_channels=2048):
    """The shapes of the voxel head's layers."""
    widths = [in_channels] + [256] * 4
    layers = {f"voxel_head.voxel_fcn{number}": (256, widths[number - 1], 3, 3) for number in range(1, 5)}
    layers |= {"voxel_head.deconv": (256, 256, 2, 2), "voxel_head.predictor": (voxels, 256, 1, 1)}
    return _with_biases(layers)


def mesh_names(in_channels, offset, prefix, channels=128):
    """The shapes of a mesh head's layers; `offset` is the name of the last of each stage."""
    layers = {}
    for stage in range(3):
        own = f"{prefix}.stages.{stage}"
        layers |= {f"{own}.bottleneck": (channels, in_channels), f"{own}.{offset}": (3, channels + 3)}
        for number in range(3):
            width = channels + 3 + (channels if stage and not number else 0)
            layers |= {f"{own}.gconvs.{number}.{part}": (channels, width) for part in ("w0", "w1")}
    return _with_biases(layers)


def _with_biases(layers):
    shapes = {}
    for name, shape in layers.items():
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (shape[1] if "deconv" in name else shape[0],)
    return shapes


def random_tensors(shapes, seed):
    """Values at which features neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.zeros((), dtype=torch.int64)
        elif name.endswith(("running_var", "bn3.weight")):
            tensors[name] = torch.rand(shape, generator=generator) * 0.4 + 0.3
        elif len(shape) == 1:
            tensors[name] = torch.randn(shape, generator=generator) * 0.1 + ("bn" in name and name.endswith("weight"))
        else:
            tensors[name] = torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
    return tensors


def shapenet_tensors(has_voxels, seed, voxels=48):
    """A state dict of a network for ShapeNet."""
    shapes = resnet_names() | (voxel_names(voxels) if has_voxels else {})
    tensors = random_tensors(shapes | mesh_names(3840, "vert_offset", "mesh_head"), seed)
    return {"K": BLENDER.float(), **tensors}


def pix3d_branches(has_voxels, classes, seed):
    """The tensors of the branches that a network for Pix3D has beside detectron2's."""
    layers = {"z_fc1": (1024, 256 * 49), "z_fc2": (1024, 1024), "z_pred": (classes, 1024)}
    shapes = _with_biases({f"roi_heads.z_head.{name}": shape for name, shape in layers.items()})
    shapes |= {f"roi_heads.{name}": one for name, one in voxel_names(24, 256).items()} if has_voxels else {}
    return random_tensors(shapes | mesh_names(256, "verts_offset", "roi_heads.mesh_head"), seed)


def voxel_logits(tensors, features):
    """The voxel head on the coarsest map."""
    x = F.interpolate(
        features, size=len(tensors["voxel_head.predictor.bias"]) // 2, mode="bilinear", align_corners=False
    )
    layer = _layers(tensors, "voxel_head.")
    for number in range(1, 5):
        x = F.relu(F.conv2d(x, *layer(f"voxel_fcn{number}"), padding=1))
    x = F.relu(F.conv_transpose2d(x, *layer("deconv"), stride=2))
    return F.conv2d(x, *layer("predictor"))


def refined(tensors, features, vertices, faces):
    """The vertices of one image's mesh after each stage, float64, in the authors' frame."""
    sides = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    neighbors = torch.zeros(len(vertices), len(vertices), dtype=torch.float64)
    neighbors[sides[:, 0], sides[:, 1]] = neighbors[sides[:, 1], sides[:, 0]] = 1
    tensors = {name: one.double() for name, one in tensors.items() if name.startswith("mesh_head.")}
    carried, stages = None, []
    for stage in range(3):
        layer = _layers(tensors, f"mesh_head.stages.{stage}.")
        seen = projected(vertices)
        grid = (seen * seen.new_tensor([1, -1, 1]))[None, None, :, :2]
        sampled = [F.grid_sample(one.double(), grid, align_corners=True)[0, :, 0].T for one in features]
        image = F.relu(F.linear(torch.cat(sampled, dim=1), *layer("bottleneck")))
        hidden = torch.cat([image, seen] + ([] if carried is None else [carried]), dim=1)
        for number in range(3):
            own, others = (F.linear(hidden, *layer(f"gconvs.{number}.{part}")) for part in ("w0", "w1"))
            carried = F.relu(own + neighbors @ others)
            hidden = torch.cat([carried, seen], dim=1)
        vertices = vertices + torch.tanh(F.linear(hidden, *layer("vert_offset")))
        stages.append(vertices)
    return stages


def projected(vertices):
    """Normalized device coordinates; the divisor is at least 0.1."""
    clip = torch.cat([vertices, torch.ones_like(vertices[:, :1])], dim=1) @ BLENDER.T
    w = clip[:, 3:]
    return clip[:, :3] / (torch.where(w < 0, -1.0, 1.0) * w.abs().clamp(min=0.1))


def of_voxels(vertices):
    """Vertices of cubes, in [-1, 1], in the camera frame."""
    x, y, z = vertices.unbind(1)
    near, far = DEPTHS
    w = 0.2002002 / (1.002002 - (near + (z + 1) / 2 * (far - near)))
    return torch.stack([x * w / 2.1875, -y * w / 2.1875, -w], dim=1)


def _layers(tensors, prefix):
    return lambda name: (tensors[f"{prefix}{name}.weight"], tensors[f"{prefix}{name}.bias"])
