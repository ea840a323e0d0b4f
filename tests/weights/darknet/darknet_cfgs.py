"""The cfgs of darknet's published networks, as far as they matter without training."""

from __future__ import annotations

V3_ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
V4_ANCHORS = "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401"
TINY_ANCHORS = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"


class Cfg:
    """A cfg under construction; every method adds a layer and gives its number."""

    def __init__(self, width: int, height: int | None = None, activation: str = "leaky", **net) -> None:
        self.count, self.activation = -1, activation
        self.lines: list[str] = []
        self.add("net", **({"width": width, "height": height or width, "channels": 3} | net))

    def add(self, kind: str, **options) -> int:
        self.lines += [f"[{kind}]", *(f"{key}={value}" for key, value in options.items()), ""]
        self.count += 1
        return self.count - 1

    def conv(self, filters: int, size: int = 3, stride: int = 1, **options) -> int:
        options = {"batch_normalize": 1, "pad": 1, "activation": self.activation} | options
        return self.add("convolutional", filters=filters, size=size, stride=stride, **options)

    def linear(self, filters: int, **options) -> int:
        return self.conv(filters, 1, **({"batch_normalize": 0, "activation": "linear"} | options))

    def alternate(self, filters: int, sizes: str) -> None:
        """3x3 with `filters`, and 1x1 with half as many, as `sizes` say."""
        for size in sizes:
            self.conv(filters if size == "3" else filters // 2, int(size))

    def pool(self, size: int = 2, stride: int = 2, **options) -> int:
        return self.add("maxpool", size=size, stride=stride, **options)

    def route(self, *layers: int, **options) -> int:
        return self.add("route", layers=",".join(map(str, layers)), **options)

    def shortcut(self, source: int = -3, **options) -> int:
        return self.add("shortcut", **({"from": source, "activation": "linear"} | options))

    def upsample(self) -> int:
        return self.add("upsample", stride=2)

    def pyramid_pool(self) -> None:
        """Maxima over 5, 9 and 13 pixels beside the map itself."""
        self.pool(5, 1)
        self.route(-2)
        self.pool(9, 1)
        self.route(-4)
        self.pool(13, 1)
        self.route(-1, -3, -5, -6)

    def yolo(self, mask: str, anchors: str, classes: int, **options) -> int:
        self.linear(3 * (5 + classes), activation="logistic" if options.get("new_coords") else "linear")
        num = len(anchors.split(",")) // 2
        return self.add("yolo", mask=mask, anchors=anchors, classes=classes, num=num, **options)

    def classify(self) -> None:
        self.add("avgpool")
        self.add("softmax", groups=1)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def _darknet19_trunk(cfg: Cfg) -> int:
    """All but the last convolution; gives the layer that YOLOv2 passes through."""
    for filters, sizes in ((32, "3"), (64, "3"), (128, "313"), (256, "313"), (512, "31313")):
        cfg.alternate(filters, sizes)
        passed = cfg.pool() - 1
    cfg.alternate(1024, "31313")
    return passed


def darknet19(width: int = 256) -> Cfg:
    cfg = Cfg(width)
    _darknet19_trunk(cfg)
    cfg.linear(1000)
    cfg.classify()
    return cfg


def darknet53_conv74(width: int = 416) -> Cfg:
    """The trunk alone, whose weights start every training of YOLOv3."""
    cfg = Cfg(width)
    cfg.conv(32)
    for filters, count in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        cfg.conv(filters, stride=2)
        for _ in range(count):
            cfg.alternate(filters, "13")
            cfg.shortcut()
    return cfg


def darknet53(width: int = 256) -> Cfg:
    cfg = darknet53_conv74(width)
    cfg.add("avgpool")
    cfg.linear(1000)
    cfg.add("softmax", groups=1)
    return cfg


def extraction(width: int = 224) -> Cfg:
    """The classifier that YOLOv1 was pretrained as."""
    cfg = Cfg(width)
    cfg.conv(64, 7, 2)
    cfg.pool()
    cfg.conv(192)
    cfg.pool()
    for filters, size in ((128, 1), (256, 3), (256, 1), (512, 3)):
        cfg.conv(filters, size)
    cfg.pool()
    cfg.alternate(512, "13131313")
    cfg.alternate(1024, "13")
    cfg.pool()
    cfg.alternate(1024, "1313")
    cfg.linear(1000, activation="leaky")
    cfg.classify()
    return cfg


def alexnet(width: int = 227) -> Cfg:
    cfg = Cfg(256, activation="relu")
    cfg.add("crop", crop_height=width, crop_width=width, flip=1, angle=0, saturation=1, exposure=1, shift=0.2)
    for filters, size, stride, pad, pools in (
        (96, 11, 4, 0, 1),
        (256, 5, 1, 1, 1),
        (384, 3, 1, 1, 0),
        (384, 3, 1, 1, 0),
    ):
        cfg.conv(filters, size, stride, pad=pad, batch_normalize=0)
        if pools:
            cfg.pool(3, 2, padding=0)
    cfg.conv(256, batch_normalize=0)
    cfg.pool(3, 2, padding=0)
    for output in (4096, 4096):
        cfg.add("connected", output=output, activation="relu")
        cfg.add("dropout", probability=0.5)
    cfg.add("connected", output=1000, activation="linear")
    cfg.add("softmax", groups=1)
    return cfg


def vgg16(width: int = 224) -> Cfg:
    cfg = Cfg(256, activation="relu")
    cfg.add("crop", crop_height=width, crop_width=width, flip=1, exposure=1, saturation=1, angle=0)
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            cfg.conv(filters, batch_normalize=0)
        cfg.pool()
    for output in (4096, 4096):
        cfg.add("connected", output=output, activation="relu")
        cfg.add("dropout", probability=0.5)
    cfg.add("connected", output=1000, activation="linear")
    cfg.add("softmax", groups=1)
    return cfg


def resnet(depth: int = 50, width: int = 256) -> Cfg:
    """The shortcuts of a new width or size add what fits: there is no projection."""
    stages = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]
    cfg = Cfg(width)
    cfg.conv(64, 7, 2)
    cfg.pool()
    for stage, count in enumerate(stages):
        filters = 64 * 2**stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            if depth < 50:
                cfg.conv(filters, 3, stride)
                cfg.conv(filters, 3, activation="linear")
                cfg.shortcut(-3, activation="leaky")
            else:
                cfg.conv(filters, 1)
                cfg.conv(filters, 3, stride)
                cfg.conv(4 * filters, 1, activation="linear")
                cfg.shortcut(-4, activation="leaky")
    cfg.add("avgpool")
    cfg.linear(1000)
    cfg.add("softmax", groups=1)
    return cfg


def densenet201(width: int = 256) -> Cfg:
    cfg = Cfg(width)
    cfg.conv(64, 7, 2)
    cfg.pool()
    for stage, (count, filters) in enumerate(((6, 128), (12, 256), (48, 896), (32, 0))):
        for _ in range(count):
            cfg.conv(128, 1)
            cfg.conv(32)
            cfg.route(-1, -3)
        if stage < 3:
            cfg.conv(filters, 1)
            cfg.pool()
    cfg.add("avgpool")
    cfg.linear(1000)
    cfg.add("softmax", groups=1)
    return cfg


def yolov1(width: int = 448) -> Cfg:
    cfg = Cfg(width)
    cfg.conv(64, 7, 2)
    cfg.pool()
    cfg.conv(192)
    cfg.pool()
    for filters, size in ((128, 1), (256, 3), (256, 1), (512, 3)):
        cfg.conv(filters, size)
    cfg.pool()
    cfg.alternate(512, "13131313")
    cfg.alternate(1024, "13")
    cfg.pool()
    cfg.alternate(1024, "13133")
    cfg.conv(1024, 3, 2)
    cfg.alternate(1024, "33")
    cfg.add("local", size=3, stride=1, pad=1, filters=256, activation="leaky")
    cfg.add("dropout", probability=0.5)
    side = width // 64
    cfg.add("connected", output=side**2 * 35, activation="linear")
    cfg.add("detection", classes=20, coords=4, rescore=1, side=side, num=3, softmax=0, sqrt=1, jitter=0.2)
    return cfg


def yolov1_tiny(width: int = 448) -> Cfg:
    cfg = Cfg(width)
    for filters in (16, 32, 64, 128, 256, 512):
        cfg.conv(filters)
        cfg.pool()
    cfg.conv(1024)
    cfg.conv(256)
    cfg.add("connected", output=1470, activation="linear")
    cfg.add("detection", classes=20, coords=4, rescore=1, side=7, num=2, softmax=0, sqrt=1, jitter=0.2)
    return cfg


def yolov2(width: int = 608, classes: int = 80) -> Cfg:
    cfg = Cfg(width)
    passed = _darknet19_trunk(cfg)
    cfg.alternate(1024, "33")
    cfg.route(passed)
    cfg.conv(64, 1)
    cfg.add("reorg", stride=2)
    cfg.route(-1, -4)
    cfg.conv(1024)
    cfg.linear(5 * (5 + classes))
    anchors = "0.57273, 0.677385, 1.87446, 2.06253, 3.33843, 5.47434, 7.88282, 3.52778, 9.77052, 9.16828"
    cfg.add("region", anchors=anchors, bias_match=1, classes=classes, coords=4, num=5, softmax=1, thresh=0.6)
    return cfg


def yolov2_tiny(width: int = 416, classes: int = 20) -> Cfg:
    """With 20 classes the one of PASCAL VOC, with 80 that of COCO, which is narrower at the end."""
    cfg = Cfg(width)
    for filters in (16, 32, 64, 128, 256):
        cfg.conv(filters)
        cfg.pool()
    cfg.conv(512)
    cfg.pool(2, 1)
    cfg.conv(1024)
    cfg.conv(1024 if classes == 20 else 512)
    cfg.linear(5 * (5 + classes))
    anchors = "1.08,1.19,  3.42,4.41,  6.63,11.38,  9.42,5.11,  16.62,10.52"
    cfg.add("region", anchors=anchors, classes=classes, coords=4, num=5, softmax=1)
    return cfg


def yolov3(width: int = 416, classes: int = 80, spp: bool = False) -> Cfg:
    cfg = darknet53_conv74(width)
    for scale, (filters, mask) in enumerate(((1024, "6,7,8"), (512, "3,4,5"), (256, "0,1,2"))):
        if scale:
            cfg.route(-4)
            cfg.conv(filters // 2, 1)
            cfg.upsample()
            cfg.route(-1, 61 if scale == 1 else 36)
        if spp and not scale:
            cfg.alternate(filters, "131")
            cfg.pyramid_pool()
            cfg.alternate(filters, "1313")
        else:
            cfg.alternate(filters, "131313")
        cfg.yolo(mask, V3_ANCHORS, classes, ignore_thresh=0.7, truth_thresh=1, random=1)
    return cfg


def yolov3_tiny(width: int = 416, classes: int = 80) -> Cfg:
    cfg = Cfg(width)
    for filters in (16, 32, 64, 128, 256):
        cfg.conv(filters)
        cfg.pool()
    cfg.conv(512)
    cfg.pool(2, 1)
    cfg.conv(1024)
    cfg.conv(256, 1)
    cfg.conv(512)
    cfg.yolo("3,4,5", TINY_ANCHORS, classes)
    cfg.route(-4)
    cfg.conv(128, 1)
    cfg.upsample()
    cfg.route(-1, 8)
    cfg.conv(256)
    cfg.yolo("0,1,2", TINY_ANCHORS, classes)
    return cfg


def _cross_stage(cfg: Cfg, filters: int, count: int, whole: bool = False) -> int:
    """A stage of CSPDarknet: one part goes through the shortcuts, the other past them."""
    part = filters if whole else filters // 2
    cfg.conv(filters, stride=2)
    cfg.conv(part, 1)
    cfg.route(-2)
    cfg.conv(part, 1)
    for _ in range(count):
        cfg.conv(filters // 2, 1)
        cfg.conv(part)
        cfg.shortcut()
    cfg.conv(part, 1)
    cfg.route(-1, -(3 * count + 4))
    return cfg.conv(filters, 1)


def yolov4(width: int = 608, classes: int = 80) -> Cfg:
    cfg = Cfg(width, activation="mish")
    cfg.conv(32)
    _cross_stage(cfg, 64, 1, whole=True)
    _cross_stage(cfg, 128, 2)
    fine, middle = _cross_stage(cfg, 256, 8), _cross_stage(cfg, 512, 8)
    _cross_stage(cfg, 1024, 4)
    cfg.activation = "leaky"
    cfg.alternate(1024, "131")
    cfg.pyramid_pool()
    cfg.alternate(1024, "131")
    tops = [cfg.count - 1]
    for filters, stage in ((512, middle), (256, fine)):
        cfg.conv(filters // 2, 1)
        cfg.upsample()
        cfg.route(stage)
        cfg.conv(filters // 2, 1)
        cfg.route(-1, -3)
        cfg.alternate(filters, "13131")
        tops.append(cfg.count - 1)
    for step, (filters, mask, scale) in enumerate(((256, "0,1,2", 1.2), (512, "3,4,5", 1.1), (1024, "6,7,8", 1.05))):
        if step:
            cfg.route(-4)
            cfg.conv(filters // 2, 3, 2)
            cfg.route(-1, tops[2 - step])
            cfg.alternate(filters, "13131")
        cfg.conv(filters)
        cfg.yolo(mask, V4_ANCHORS, classes, scale_x_y=scale, iou_loss="ciou", nms_kind="greedynms", beta_nms=0.6)
    return cfg


def yolov4_tiny(width: int = 416, classes: int = 80) -> Cfg:
    cfg = Cfg(width)
    cfg.conv(32, stride=2)
    cfg.conv(64, stride=2)
    for filters in (64, 128, 256):
        cfg.conv(filters)
        cfg.route(-1, groups=2, group_id=1)
        cfg.conv(filters // 2)
        cfg.conv(filters // 2)
        cfg.route(-1, -2)
        wide = cfg.conv(filters, 1)
        cfg.route(-6, -1)
        cfg.pool()
    cfg.conv(512)
    cfg.conv(256, 1)
    cfg.conv(512)
    cfg.yolo("3,4,5", TINY_ANCHORS, classes, scale_x_y=1.05)
    cfg.route(-4)
    cfg.conv(128, 1)
    cfg.upsample()
    cfg.route(-1, wide)
    cfg.conv(256)
    cfg.yolo("1,2,3", TINY_ANCHORS, classes, scale_x_y=1.05)
    return cfg
