"""The classes of published data sets of label maps."""

from __future__ import annotations

VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""By pixel value; 255 is the border of objects (Everingham et al., VOC2012 development kit)."""

VOC_BORDER = (224, 224, 192)
"""The color of the value 255 in VOC's palette."""

CITYSCAPES = {
    7: ("road", (128, 64, 128)), 8: ("sidewalk", (244, 35, 232)), 11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)), 13: ("fence", (190, 153, 153)), 17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)), 20: ("traffic sign", (220, 220, 0)), 21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)), 23: ("sky", (70, 130, 180)), 24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)), 26: ("car", (0, 0, 142)), 27: ("truck", (0, 0, 70)), 28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)), 32: ("motorcycle", (0, 0, 230)), 33: ("bicycle", (119, 11, 32)),
}  # fmt: skip
"""Names and colors of the 19 evaluated classes by their label ids, in the order of their train ids (Cordts et al.,
"The Cityscapes Dataset", 2016)."""

CITYSCAPES_FIRST_THING = 24
"""The label ids from here on are of things."""

CITYSCAPES_UNUSED = frozenset({*range(7), 9, 10, 14, 15, 16, 18, 29, 30, 255})
"""The label ids that are not evaluated; 255 stands for -1, the license plate."""

CAMVID = {
    "sky": (128, 128, 128), "building": (128, 0, 0), "pole": (192, 192, 128), "road": (128, 64, 128),
    "pavement": (60, 40, 222), "tree": (128, 128, 0), "sign": (192, 128, 128), "fence": (64, 64, 128),
    "car": (64, 0, 128), "pedestrian": (64, 64, 0), "bicyclist": (0, 128, 192),
}  # fmt: skip
"""Colors of the 11 classes of SegNet's edition by pixel value; 11 is void (Badrinarayanan et al., "SegNet", 2017)."""

CAMVID_VOID = 11

COCO_STUFF_UNUSED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91})
"""The ids of COCO-Stuff that no annotation has."""

_ADE20K = """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
    table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
    armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard,
    chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway,
    case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower,
    book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine,
    hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane,
    dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship,
    fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag,
    minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher,
    screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate,
    monitor, bulletin board, shower, radiator, glass, clock, flag
"""

_COCO_STUFF = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign,
    stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat,
    backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
    baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife,
    spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch,
    potted plant, bed, mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell
    phone, microwave, oven, toaster, sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair
    drier, toothbrush, hair brush, banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard,
    carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt,
    door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other,
    fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss,
    mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing,
    railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other,
    stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick,
    wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind,
    window-other, wood
"""


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.replace("\n", " ").split(","))


ADE20K = _names(_ADE20K)
"""The 150 classes of ADE20K's scene parsing by pixel value, from 1 (Zhou et al., "Scene Parsing through ADE20K
Dataset", 2017)."""

COCO_STUFF = _names(_COCO_STUFF)
"""The 182 names of COCO-Stuff by id, from 1; the first 91 are things (Caesar et al., "COCO-Stuff", 2018)."""
